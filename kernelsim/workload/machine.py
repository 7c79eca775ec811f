"""The handle of a machine: what a workload may do with it.

    async def main(machine):
        process = await machine.spawn("hog")

`await machine.spawn(…)` starts a process, `machine.sysctl(…)` reads or writes a tunable,
`await machine.snapshot(…)` keeps what /proc shows now, `machine.expect(…)` states what must hold,
`machine.rng("name")` is a stream of random integers of the seed.
The machine itself, below, is `kernelsim.machine`; no workload needs to reach into it.
Units: bytes, ns.
"""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from pathlib import Path
from typing import TypeVar

from kernelsim.actors.core.sysctl import write_sysctl
from kernelsim.actors.process.start import start_process
from kernelsim.actors.space.kdamond import watch
from kernelsim.config.sysctl import SYSCTLS, SysctlValue
from kernelsim.config.sysctl_write import parse_value
from kernelsim.errors import ConfigError
from kernelsim.machine import Machine
from kernelsim.mm.page.mempolicy import Mempolicy
from kernelsim.mm.page.mpol_new import parse_mempolicy
from kernelsim.mm.space.binfmt_elf import ElfProgram
from kernelsim.mm.space.static_program import DEFAULT_PROGRAM
from kernelsim.sim.locks import WaitQueue
from kernelsim.sim.rng import Rng
from kernelsim.units import parse_duration
from kernelsim.workload.arguments import cpus_of, process_name
from kernelsim.workload.arguments import oom_score_adj as score_adj
from kernelsim.workload.damon import Damon, DamonChoice, damon_attrs
from kernelsim.workload.dimm import Dimms
from kernelsim.workload.disk import DiskHandle
from kernelsim.workload.exe import elf_program
from kernelsim.workload.expectations import Expectations
from kernelsim.workload.handle import ProcessHandle
from kernelsim.workload.kernel_thread import KernelThreadHandle, start_kernel_thread
from kernelsim.workload.log import AuthorLogger, author_logger
from kernelsim.workload.machine_view import MachineView
from kernelsim.workload.net_device import NetDeviceHandle, plug_net_device
from kernelsim.workload.panic import until_panic
from kernelsim.workload.program import Program

T = TypeVar("T")


async def _keep_nothing(_name: str) -> None:
    """Keep no snapshot; what a machine does unless told otherwise."""


def _print_nothing(_line: str) -> None:
    """Print no line; what a machine does unless told otherwise."""


class MachineHandle(MachineView):
    """One machine, seen from a workload.

    Args:
        machine: It.
        on_snapshot: What to do when the workload takes a snapshot; gets its name.
        on_line: What to do with each line that the workload prints.
        mempolicy: Memory policy of the processes that ask for none, as numactl would have it set.
        damon: Whose memory accesses kdamond watches: a pid, a comm or all.

    Attributes:
        processes: All that were started, in that order, those that have ended too.
        notes: Lines for the summary of the run.
        expectations: What the workload stated must hold, and whether it did.
        dimms: DIMMs to put in and take out.
        damon_choice: What the user wants to see watched.
    """

    def __init__(
        self,
        machine: Machine,
        on_snapshot: Callable[[str], Awaitable[None]] = _keep_nothing,
        on_line: Callable[[str], None] = _print_nothing,
        *,
        mempolicy: str | None = None,
        damon: str | None = None,
    ) -> None:
        self.processes: list[ProcessHandle] = []
        self.notes: list[str] = []
        self.expectations = Expectations()
        self.dimms = Dimms(machine.kernel)
        super().__init__(machine)
        self._on_snapshot = on_snapshot
        self._on_line = on_line
        self._mempolicy = mempolicy
        self.damon_choice = DamonChoice(damon)

    def run(self, main: Callable[["MachineHandle"], Awaitable[T]]) -> T | None:
        """Boot the machine, run a workload on it, stop; returns and raises as `Engine.run`.

        Raises:
            CheckFailedError: Expectations of the workload did not hold; the text names all.
        """
        result = self.run_to_end(main)
        self.expectations.require()
        return result

    def run_to_end(self, main: Callable[["MachineHandle"], Awaitable[T]]) -> T | None:
        """Run as `run` does, and leave it to the caller to look at `expectations`."""
        return self._machine.run(lambda _machine: main(self))

    def disk(self, name: str) -> DiskHandle:
        """Return the handle of a disk: its statistics, and what may break it.

        Raises:
            ConfigError: There is no such disk.
        """
        devices = self._machine.kernel.devices
        if name not in devices:
            known = ", ".join(devices) or "none, as it has no disk"
            raise ConfigError("disk", name, f"must be one of {known}")
        return DiskHandle(devices[name])

    async def spawn(
        self,
        name: str,
        program: Program | None = None,
        *,
        cpu: int | Iterable[int] | None = None,
        mempolicy: str | None = None,
        oom_score_adj: int = 0,
        exe: str | Path | bytes | ElfProgram | None = None,
    ) -> ProcessHandle:
        """Start a process.

        Args:
            name: Its comm.
            program: What it does: an async function of the handle, run beside the workload; None
                for a process that does what the workload asks through the handle.
            cpu: The CPU it may run on, or several in the order it prefers them; None for all.
            mempolicy: Its memory policy, as numactl would have it set: "bind:NODES",
                "interleave:NODES", "preferred:NODE", "preferred_many:NODES" or "local"; NODES as
                "0,2-3", and "bind=static:0" or "bind=relative:0" for the flags. None for that of
                the run, which is the default unless the user names one.
            oom_score_adj: -1000 … 1000.
            exe: A real ELF program whose image it has: a path, such as "/bin/true", or the bytes of
                one. It is read from the machine's disk. None for a small static program.

        Returns:
            The handle, when the process runs.

        Raises:
            ConfigError: No such CPU, node or policy, no name or score, or no program.
        """
        kernel = self._machine.kernel
        comm = process_name(name)
        adj = score_adj(oom_score_adj)
        cpus = kernel.cpus if cpu is None else cpus_of(kernel, "cpu", cpu)
        image = DEFAULT_PROGRAM if exe is None else elf_program(kernel, comm, exe)
        text = self._mempolicy if mempolicy is None else mempolicy
        policy = mempolicy_of(kernel.phys.nodes_with_memory, text)
        entry = start_process(kernel, comm, cpus, policy, image)
        entry.oom_score_adj = entry.oom_score_adj_min = adj
        handle = ProcessHandle(kernel, entry, self.processes)
        self.processes.append(handle)
        await handle.start(program)
        self.damon_choice.look(kernel, entry)
        return handle

    def damon(
        self,
        process: ProcessHandle,
        *,
        sample: int | str = "5ms",
        aggr: int | str = "100ms",
        update: int | str = "1s",
        min_regions: int = 10,
        max_regions: int = 1000,
    ) -> Damon:
        """Have DAMON watch which memory a process uses: kdamond samples it from now on.

        The log gets a `damon_aggregated` for each region; `kernelsim inspect DIR --damon FILE`
        makes a record of them for damo.

        Args:
            process: Which; several share one kdamond, and the intervals it was started with.
            sample: Interval between two looks at a page of each region.
            aggr: Interval over which looks that saw a use are counted.
            update: Interval after which the mappings are looked at again.
            min_regions: Fewest regions, >= 3.
            max_regions: Most regions.

        Returns:
            What it sees, to look at: `damon.regions(process)`.

        Raises:
            ConfigError: An interval or a number is out of range.
        """
        how = damon_attrs(sample, aggr, update, min_regions, max_regions)
        kernel = self._machine.kernel
        if process.pid not in kernel.processes:
            raise ConfigError("process", process.name, "must be one that has not ended")
        return Damon(watch(kernel, kernel.processes[process.pid], how))

    def kernel_thread(
        self, name: str, *, cpu: int | Iterable[int] | None = None
    ) -> KernelThreadHandle:
        """Start a kernel thread, to run kernel code: on one CPU, on several, or on any."""
        return start_kernel_thread(self._machine.kernel, name, cpu)

    def net_device(self, name: str, *, cpu: int = 0) -> NetDeviceHandle:
        """Plug in a network card, such as "eth0", whose interrupts go to a CPU."""
        return plug_net_device(self._machine.kernel, name, cpu)

    async def sleep(self, duration: int | str) -> None:
        """Let virtual time pass: ns, or text such as "1s"."""
        with until_panic(self._machine.kernel):
            await self._machine.engine.sleep(parse_duration(duration))

    def rng(self, name: str) -> Rng:
        """Return the workload's own stream of random integers of that name, from the run's seed.

        The same seed and name draw the same numbers, whatever else draws: see sim/rng.py for
        `bits`, `below`, `between`, `chance`, `choice` and `shuffle`. No stream of the machine is
        shared.

        Raises:
            ConfigError: The name is no text.
        """
        if not isinstance(name, str):
            raise ConfigError("rng", name, 'must be a name such as "arrivals"')
        return self._machine.engine.rng(f"workload/{name}")

    def sysctl(self, name: str, value: SysctlValue | None = None) -> SysctlValue:
        """Write a tunable if a value is given; return what is in force."""
        if not isinstance(name, str):
            raise ConfigError("sysctl", name, 'must be a name such as "vm.swappiness"')
        if value is not None:
            write_sysctl(self._machine.kernel, name, value)
            if SYSCTLS[name].idle:
                self.note_idle(name)
        elif name not in SYSCTLS:
            parse_value(name, None)  # says what is wrong with it
        in_force: SysctlValue = getattr(self._machine.kernel.sysctl, SYSCTLS[name].attribute)
        return in_force

    async def drop_caches(self, what: int = 3) -> None:
        """Write to vm.drop_caches, in a process of its own: 1 pages of files, 2 objects, 3 both.

        Raises:
            SyscallError: EINVAL for another number.
        """
        await self.write_action("drop_caches", what)

    async def compact_memory(self) -> None:
        """Write to vm.compact_memory, in a process of its own: all nodes are compacted, whole.

        Raises:
            SyscallError: ENOENT; a classic kernel cannot.
        """
        await self.write_action("compact_memory", 1)

    async def write_action(self, call: str, value: int) -> None:
        """Write a number to a file of /proc/sys that does something, in a process of its own.

        Raises:
            SyscallError: The number is none it takes.
        """
        writer = await self.spawn("sysctl")
        await writer.syscall(call, value)
        await writer.exit()

    async def write_sysfs(self, path: str, word: str) -> None:
        """Write a word to a file of /sys, in a process of its own, as `echo offline > …` does.

        The files are those below /sys/devices/system/memory: `memory2/state` takes offline, online,
        online_kernel and online_movable. /sys/devices/system/node/node0/compact takes any word.

        Raises:
            SyscallError: ENOENT for no such file, EACCES for one to read only, EINVAL, or why the
                memory cannot go offline: EBUSY, with the reason in the kernel log.
        """
        writer = await self.spawn("sh")
        try:
            await writer.syscall("write_sysfs", path, word)
        finally:
            await writer.exit()

    def note_idle(self, name: str) -> None:
        """Say in the summary that a tunable the user writes changes nothing yet."""
        text = f"{name} is accepted and changes nothing yet: {SYSCTLS[name].idle}"
        if text not in self.notes:
            self.note(text)

    async def snapshot(self, name: str) -> None:
        """Keep what /proc and /sys show at this moment, under a name."""
        await self._on_snapshot(name)

    def print(self, *lines: str) -> None:
        """Print lines as what the workload puts out: they go to workload.out of the run, too."""
        for line in lines:
            self._on_line(line)

    def wait_queue(self, name: str) -> WaitQueue:
        """Return a queue in which programs sleep until another one wakes them, in virtual time.

        `await queue.wait()` sleeps, `queue.wake_all()` wakes all and `queue.wake()` the first; the
        name says what for, in the report of all waits.
        """
        return self._machine.engine.wait_queue(name)

    @property
    def log(self) -> AuthorLogger:
        """The author's own events in the run's log: `machine.log.info("phase", number=2)`.

        structlog's logger: `machine.log.bind(trial=1)` is one with a field in each event. An event
        has the virtual time and the actor that is running, `main` or a process's program.
        """
        return author_logger(self._machine.engine)

    def expect(self, condition: object, text: str = "") -> bool:
        """State that something holds; if it does not, the run goes on and ends with exit status 1.

        Returns:
            Whether it holds.

        Raises:
            WorkloadError: The condition is none, such as a text, or the text is none.
        """
        return self.expectations.state(condition, text, self.now_ns)

    def note(self, text: str) -> None:
        """Keep a line for the summary of the run."""
        self.notes.append(text)


def mempolicy_of(
    with_memory: Sequence[int], text: str | None, *, key: str = "mempolicy"
) -> Mempolicy | None:
    """Return the memory policy a text names; None for the default.

    Args:
        with_memory: Nodes that have memory.
        text: Such as "interleave:0-1".
        key: Of the setting, for the error.

    Raises:
        ConfigError: The text is no policy, or names a node without memory.
    """
    if text is None:
        return None
    rule = (
        'must be "local", or a policy and nodes with memory, such as "bind:0" or "interleave:0-1"'
    )
    if not isinstance(text, str):
        raise ConfigError(key, text, rule)
    try:
        policy = parse_mempolicy(text, with_memory)
    except ValueError:
        raise ConfigError(key, text, rule) from None
    if isinstance(policy, int):
        raise ConfigError(key, text, rule)
    return policy
