"""Tells a checker what the CPUs do in compiled code, event by event.

Only when checking is on; bursts then take one event at a time, which changes nothing but speed.
"""

from kernelsim.actors.core.kernel import Kernel
from kernelsim.actors.core.task import Task
from kernelsim.mm.burst.access import next_access
from kernelsim.mm.burst.columns import (
    B_AT,
    B_DONE,
    B_LISTED,
    B_PHASE,
    B_STOP,
    B_STRIDE,
    B_TOKEN,
    B_VPN,
    B_WRITE,
    ENTER,
    RETURN,
    STOP_FREE,
    STOPPED,
    USER,
)
from kernelsim.mm.core.mem import I64


class BurstWitness:
    """Compares the columns of a CPU before and after an event.

    Args:
        kernel: The machine.
    """

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._before: I64 = kernel.burst.run

    def look(self) -> None:
        """Keep the columns as they are before an event."""
        self._before = self._kernel.burst.run.copy()
        self._kernel.observer.looks()

    def tell(self, task: Task) -> None:
        """Say what the event on a task's CPU did to its program's memory."""
        observer, number = self._kernel.observer, task.cpu.number
        before, after = self._before[number], self._kernel.burst.run[number]
        nr = int(after[B_DONE] - before[B_DONE])
        observer.steps(number, before)
        if before[B_PHASE] == USER:
            self._stored(task.pid, number, before, nr)
            if after[B_PHASE] == ENTER:
                vpn, write = next_access(self._kernel.burst, number)
                observer.faulting(task.pid, vpn, int(after[B_TOKEN]), write=write)
        elif before[B_PHASE] == RETURN or (
            after[B_PHASE] == STOPPED and after[B_STOP] != STOP_FREE
        ):
            observer.served(task.pid, nr)

    def _stored(self, pid: int, number: int, before: I64, nr: int) -> None:
        """Say which pages were there and have been stored to."""
        observer, token = self._kernel.observer, int(before[B_TOKEN])
        if not before[B_LISTED]:
            if before[B_WRITE] and nr:
                observer.stored(pid, int(before[B_VPN]), nr, int(before[B_STRIDE]), token)
            return
        first = int(before[B_AT])
        for packed in self._kernel.burst.access[number, first : first + nr].tolist():
            if packed & 1:
                observer.stored(pid, packed >> 1, 1, 1, token)
