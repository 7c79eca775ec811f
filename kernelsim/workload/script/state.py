"""What the processes of a running script share: the machine, its files, the waiting steps.

Interface: a `ScriptState` a run.
"""

import attrs

from kernelsim.errors import WorkloadError
from kernelsim.sim.locks import WaitQueue
from kernelsim.workload.machine import MachineHandle
from kernelsim.workload.script.drivers import Drivers
from kernelsim.workload.script.host import Hypervisor


@attrs.define
class ScriptState:
    """One run of a script.

    Attributes:
        machine: What it runs on; its lines are printed there.
        file: The script, for errors.
        hypervisor: What puts DIMMs in and asks them to leave.
        drivers: What the kernel does for itself, which some steps ask for.
        waiting: Lines and steps that only another process can end, and that have not ended.
    """

    machine: MachineHandle
    file: str
    waiting: list[tuple[int, str]] = attrs.field(factory=list)
    hypervisor: Hypervisor = attrs.field(
        init=False, default=attrs.Factory(lambda self: Hypervisor(self.machine), takes_self=True)
    )
    drivers: Drivers = attrs.field(
        init=False, default=attrs.Factory(lambda self: Drivers(self.machine), takes_self=True)
    )
    _files: list[str] = attrs.field(factory=list, init=False)
    _made: WaitQueue | None = attrs.field(default=None, init=False)

    def make_file(self, path: str) -> None:
        """Make a file, and wake the processes that wait for it."""
        self._files.append(path)
        if self._made is not None:
            self._made.wake_all()

    def has_file(self, path: str) -> bool:
        """Tell whether a process has made a file."""
        return path in self._files

    async def wait_for_file(self, path: str) -> None:
        """Wait until a file is there."""
        if self._made is None:
            self._made = self.machine.wait_queue("files of the script")
        while path not in self._files:
            await self._made.wait()

    def stuck(self) -> WorkloadError | None:
        """Return why the script never ends, if a step waits that no other step ends."""
        if not self.waiting:
            return None
        line, text = self.waiting[0]
        rule = f"the script never ends: nobody ends step {text!r}"
        return WorkloadError(rule, self.file, line)
