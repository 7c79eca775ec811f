"""What goes wrong in a run: disks that are slow, stall or fail, CPUs that are late, sudden kills.

Interface: spawn `FaultInjector` and tell it a `Fault` when it is due. A fault whose target is not
there is none.
Units: ns.
"""

from typing import Any, Final

import attrs

from kernelsim.actors.core.kernel import Kernel
from kernelsim.actors.core.signal import SIGKILL, send_signal
from kernelsim.actors.core.task import Task
from kernelsim.actors.parts.block_device import BlockDevice
from kernelsim.explore.plan import BAD_READS, BAD_WRITES, KILL, SLOW_DISK, Fault
from kernelsim.sim.actor import Actor

ALL_SECTORS: Final = 1 << 60
KEEPER_PID: Final = 20  # of the threads that keep a CPU; below all processes


class FaultInjector(Actor):
    """The actor that does to a machine what its plan says.

    Args:
        kernel: The machine.
    """

    def __init__(self, kernel: Kernel) -> None:
        super().__init__("faults")
        self._kernel = kernel
        self._nr_keepers = 0

    def receive(self, message: Any) -> None:  # noqa: ANN401 - a Fault
        """Let something go wrong."""
        assert isinstance(message, Fault)
        if message.kind == SLOW_DISK:
            self._slow_disk(message)
        elif message.kind in (BAD_READS, BAD_WRITES):
            self._break_disk(message)
        elif message.kind == KILL:
            self._kill(message.target)
        else:
            number = int(message.target)
            if number < len(self._kernel.cpus):
                self._nr_keepers += 1
                self.engine.spawn(_CpuKeeper(self._kernel, message, self._nr_keepers))

    def _slow_disk(self, fault: Fault) -> None:
        device = self._kernel.devices.get(fault.target)
        if device is None:
            return
        _slow_by(device, fault.by_ns)
        until_ns = self.engine.now_ns + fault.for_ns
        self.engine.clock.schedule(until_ns, _recover, (device, fault.by_ns))

    def _break_disk(self, fault: Fault) -> None:
        device = self._kernel.devices.get(fault.target)
        if device is None:
            return
        device.faults.fail(0, ALL_SECTORS, is_write=fault.kind == BAD_WRITES)
        self.engine.clock.schedule(self.engine.now_ns + fault.for_ns, _mend, device)

    def _kill(self, name: str) -> None:
        for process in list(self._kernel.processes.values()):
            if process.comm == name:
                send_signal(self._kernel, process, SIGKILL)


def _slow_by(device: BlockDevice, ns: int) -> None:
    """Let each request take longer; several such times may overlap."""
    spec = device.spec
    device.spec = attrs.evolve(
        spec,
        read_latency_ns=spec.read_latency_ns + ns,
        write_latency_ns=spec.write_latency_ns + ns,
    )


def _recover(item: tuple[BlockDevice, int]) -> bool:
    device, ns = item
    _slow_by(device, -ns)
    return False


def _mend(device: BlockDevice) -> bool:
    device.faults.mend()  # of two times that overlap the first to end ends both
    return False


class _CpuKeeper(Actor):
    """A thread of the kernel that keeps a CPU for a time and lets nobody else in."""

    def __init__(self, kernel: Kernel, fault: Fault, number: int) -> None:
        super().__init__(f"keeper{number}")
        self._kernel = kernel
        self._fault = fault

    async def run(self) -> None:
        """Take the CPU when its turn comes, keep it, end."""
        cpu = self._kernel.cpus[int(self._fault.target)]
        task = Task(self.engine, self.name, KEEPER_PID, (cpu,))
        await task.get_cpu(wakeup=True)
        await task.compute(self._fault.by_ns)
        await task.put_cpu()
