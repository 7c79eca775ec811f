"""Tells a checker what the CPUs do in compiled code.

Only when checking is on. What faults choose is judged when a burst comes back to the actors; which
stores are done is told when a CPU leaves its burst, or when the checker looks before that.
Units: virtual page numbers, ns.
"""

import numpy as np

from kernelsim.actors.core.kernel import Kernel
from kernelsim.actors.core.task import Task
from kernelsim.mm.burst.access import next_access
from kernelsim.mm.burst.columns import (
    B_AT,
    B_DONE,
    B_LISTED,
    B_PHASE,
    B_READ,
    B_STOP,
    B_STRIDE,
    B_TOKEN,
    B_VPN,
    B_WRITE,
    BACK,
    OUT,
    STOP_FREE,
    STOPPED,
    USER,
)
from kernelsim.mm.burst.pages import refill_in_turn
from kernelsim.mm.burst.watch import begin_watch, new_watch, note_refill, run_watched
from kernelsim.mm.core.mem import I64
from kernelsim.mm.space.memory import READ_MASK


class BurstWitness:
    """Watches the bursts of one machine.

    Args:
        kernel: The machine.
    """

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._watch = new_watch(kernel.mem, kernel.burst)
        self._told: dict[int, I64] = {}  # columns of each CPU in a burst when it was told of last
        self._tasks: dict[int, Task] = {}

    def begins(self, task: Task) -> None:
        """Note where a task's CPU begins."""
        number = task.cpu.number
        self._tasks[number] = task
        self._told[number] = self._kernel.burst.run[number].copy()

    def run(self, before: tuple[int, int, int], nr_max: int) -> tuple[int, int, int, int]:
        """Let CPUs go on as `run_burst` does."""
        kernel, watch = self._kernel, self._watch
        kernel.observer.looks()
        begin_watch(kernel.mem, watch)
        return run_watched(*kernel.space, kernel.swap, kernel.burst, watch, *before, nr_max)

    def refill(self, number: int) -> int:
        """Let a CPU refill its list in its turn as `refill_in_turn` does."""
        kernel, watch = self._kernel, self._watch
        kernel.observer.looks()
        begin_watch(kernel.mem, watch)
        hold_ns = refill_in_turn(kernel.mem, kernel.burst, number)
        note_refill(kernel.mem, kernel.burst, watch, number)
        self.tell_steps()
        return hold_ns

    def tell_steps(self) -> None:
        """Say what CPUs did since in the kernel."""
        self._kernel.observer.steps(self._watch, self._tasks)

    def tell_stores(self) -> None:
        """Say what all programs have stored so far."""
        for number in self._told:
            self._tell_stores(number)

    def ends(self, number: int) -> None:
        """Say what the program of a CPU has stored; its burst is over."""
        self._tell_stores(number)
        del self._told[number], self._tasks[number]

    def _tell_stores(self, number: int) -> None:
        burst, observer = self._kernel.burst, self._kernel.observer
        told, now, pid = self._told[number], burst.run[number], self._tasks[number].pid
        self._told[number] = now.copy()  # who hears of it may ask what others have stored
        nr = int(now[B_DONE] - told[B_DONE])
        if nr:
            if not is_in_fault(told) and not is_in_fault(now):  # else one may be read and not done
                self._loaded(pid, number, told, nr, int(now[B_READ] - told[B_READ]))
            self._stored(pid, number, told, nr)
        if is_in_fault(now):
            vpn, write = next_access(burst, number)
            observer.faulting(pid, vpn, int(now[B_TOKEN]), write=write)
        else:
            observer.served(pid, 0)

    def _loaded(self, pid: int, number: int, told: I64, nr: int, total: int) -> None:
        """Say which pages were read, and what all of them held together before any store."""
        if told[B_LISTED]:
            first, stored, loaded = int(told[B_AT]), set[int](), list[int]()
            for packed in self._kernel.burst.access[number, first : first + nr].tolist():
                if packed & 1:
                    stored.add(packed >> 1)
                elif packed >> 1 in stored:
                    total -= int(told[B_TOKEN])
                else:
                    loaded.append(packed >> 1)
            vpns = np.array(loaded, np.int64)
        else:
            vpns = told[B_VPN] + told[B_STRIDE] * np.arange(0 if told[B_WRITE] else nr)
        self._kernel.observer.loaded(pid, vpns, total & READ_MASK)

    def _stored(self, pid: int, number: int, told: I64, nr: int) -> None:
        observer, token = self._kernel.observer, int(told[B_TOKEN])
        if not told[B_LISTED]:
            if told[B_WRITE]:
                observer.stored(pid, int(told[B_VPN]), nr, int(told[B_STRIDE]), token)
            return
        first = int(told[B_AT])
        for packed in self._kernel.burst.access[number, first : first + nr].tolist():
            if packed & 1:
                observer.stored(pid, packed >> 1, 1, 1, token)


def is_in_fault(row: I64) -> bool:
    """Tell whether a CPU is in the middle of a fault, whose store may have been done."""
    if row[B_PHASE] in (OUT, STOPPED):  # its task may be giving back pages before it goes on
        return bool(row[B_STOP] == STOP_FREE)
    return row[B_PHASE] not in (USER, BACK)
