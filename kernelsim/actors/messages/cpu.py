"""What a CPU hears: tasks that want it or leave it, and interrupts of other CPUs."""

import msgspec

from kernelsim.sched.fair import SchedEntity


class Schedule(msgspec.Struct, frozen=True, gc=False):
    """Let a task run; the answer comes when it does: a CPU, and whether it goes on.

    The CPU is another one if that took the task over while it waited. A task goes on that asks at
    the instant at which it left the idle CPU: then it has not stopped at all, and there was no
    context switch.

    Attributes:
        task: Name of the task.
        wakeup: It slept before.
        entity: Its account of CPU time.
    """

    task: str
    wakeup: bool
    entity: SchedEntity


class Deschedule(msgspec.Struct, frozen=True, gc=False):
    """The running task leaves the CPU.

    Attributes:
        task: Name of the task.
        in_iowait: It waits for I/O, as io_schedule does; `Cpu.io_done` ends that.
    """

    task: str
    in_iowait: bool = False


class FlushTlb(msgspec.Struct, frozen=True, gc=False):
    """Forget translations of one address space; the answer is the acknowledgement.

    Attributes:
        asid: Of the address space; None for the one that is loaded, if it has changed.
        vpn: First page to forget.
        nr_pages: How many; above the ceiling, or without an asid, all of the address space.
        times: Interrupts that ask the same, one after the other.
    """

    asid: int | None
    vpn: int
    nr_pages: int
    times: int = 1


class FlushKernelTlb(msgspec.Struct, frozen=True, gc=False):
    """Forget translations of the kernel; the answer is the acknowledgement.

    Attributes:
        nr_pages: How many pages; above the ceiling all goes, what processes have in the TLB too.
    """

    nr_pages: int
