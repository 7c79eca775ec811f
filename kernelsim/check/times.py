"""What CPU time tasks had and how long they queued for it, kept apart from their own accounts.

The CPUs say who comes, who runs and who leaves; what a process is charged must be what it ran,
what is told of its waits what it waited (for zone locks: at least that), and user time must be the
same by CPUs and by processes.
Linux: kernel/sched/core.c, kernel/sched/cputime.c, 6.1.
Interface: a `Times` a machine, told by the CPUs; `check_times` at a look.
Units: ns.
"""

from collections.abc import Iterator

from kernelsim.actors.core.kernel import Kernel
from kernelsim.actors.parts.cpu import CpuState


class Times:
    """What each task had, by its name.

    Attributes:
        ran_ns: CPU time of turns that are over.
        waited_ns: In run queues, and for the switch.
        spun_ns: For zone locks, until pages were handed out under them.
    """

    def __init__(self) -> None:
        self.ran_ns: dict[str, int] = {}
        self.waited_ns: dict[str, int] = {}
        self.spun_ns: dict[str, int] = {}
        self._since_ns: dict[str, int] = {}  # it wants the CPU, or has it
        self._asked_ns: dict[str, int] = {}  # it wants pages of a zone

    def wants(self, task: str, now_ns: int) -> None:
        """Note that a task queues for a CPU."""
        self._since_ns[task] = now_ns

    def runs(self, task: str, at_ns: int) -> None:
        """Note that a task has the CPU from a time on."""
        waited_ns = at_ns - self._since_ns.get(task, at_ns)
        self.waited_ns[task] = self.waited_ns.get(task, 0) + waited_ns
        self._since_ns[task] = at_ns

    def leaves(self, task: str, now_ns: int) -> None:
        """Note that its turn is over."""
        ran_ns = now_ns - self._since_ns.get(task, now_ns)
        self.ran_ns[task] = self.ran_ns.get(task, 0) + ran_ns

    def asks_zone(self, task: str, now_ns: int) -> None:
        """Note that a task asks for pages of a zone."""
        self._asked_ns[task] = now_ns

    def has_zone(self, task: str, now_ns: int) -> None:
        """Note that the zone hands them out, or has none."""
        spun_ns = now_ns - self._asked_ns.pop(task, now_ns)
        self.spun_ns[task] = self.spun_ns.get(task, 0) + spun_ns


def check_times(kernel: Kernel, times: Times) -> Iterator[str]:
    """Compare what processes that have no CPU are charged with what they had."""
    busy = {name for cpu in kernel.cpus for name in on_cpu_or_waiting(cpu.state)}
    for entry in kernel.processes.values():
        task = entry.task
        if task.on_cpu or task.name in busy:
            continue
        ran_ns, waited_ns = times.ran_ns.get(task.name, 0), times.waited_ns.get(task.name, 0)
        charged_ns = task.utime_ns + task.stime_ns
        if charged_ns != ran_ns:
            yield f"{task.name} ran {ran_ns} ns and is charged {charged_ns} ns"
        if task.run_delay_ns != waited_ns:
            yield f"{task.name} waited {waited_ns} ns for a CPU, and says {task.run_delay_ns} ns"
        spun_ns = times.spun_ns.get(task.name, 0)
        if task.waits.lock_ns < spun_ns:  # what it did under the locks is more
            yield f"{task.name} spun {spun_ns} ns for zones, and says {task.waits.lock_ns} ns"


def on_cpu_or_waiting(state: CpuState) -> Iterator[str]:
    """Name the tasks that a CPU runs or keeps waiting."""
    if state.current is not None:
        yield state.current
    for task, _, _ in state.run_queue:
        yield task
