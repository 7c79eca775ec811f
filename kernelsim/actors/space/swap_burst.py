"""Lets a fault get the pages of a swap window in compiled code, as far as nobody else can notice.

What needs more than page lists and free locks the fault handler does with messages, as it does all
of it when `burst_pages` is 1; the outcome is the same, to the last counter and the last nanosecond.
Interface: a `SwapBurst` a task; `enter` for a window.
Units: slots, pages, ns.
"""

import numpy as np

from kernelsim.actors.core.current import Current
from kernelsim.actors.core.lock_run import LockRun
from kernelsim.actors.core.page_requests import fill_request
from kernelsim.mm.burst.columns import R_ZONES, ZONES_MAX
from kernelsim.mm.burst.lock_run import LR_ALLOC_NS
from kernelsim.mm.burst.swap_pages import (
    SW_HAVE,
    SW_IN_FAULT,
    SW_NID,
    SW_NR,
    SW_TARGET,
    enter_window,
    new_swap_run,
)
from kernelsim.mm.core.mem import I64
from kernelsim.mm.page.alloc_context import AllocContext
from kernelsim.trace.kmem import mm_page_alloc


class SwapBurst:
    """The runs of one task.

    Args:
        current: The task.
    """

    def __init__(self, current: Current) -> None:
        self._kernel, self._task = current
        self._locks = LockRun(current, new_swap_run(), mm_page_alloc)
        self._request = np.zeros(R_ZONES + ZONES_MAX, np.int64)

    def enter(
        self, slots: I64, nr: int, target: int, context: AllocContext, pfns: I64
    ) -> tuple[int, bool]:
        """Enter pages for `slots[:nr]` in the swap cache, to be read.

        Returns:
            How many pages are allocated, in `pfns`; whether all are entered, else none is.
        """
        kernel, task, run = self._kernel, self._task, self._locks.run
        if context.is_interleaved or not self._locks.begin():  # then pages are requested singly
            return 0, False
        fill_request(self._request, context, oom_victim=task.oom_victim)
        run[SW_TARGET], run[SW_NR], run[SW_IN_FAULT] = target, nr, task.in_lru_fault
        enter_window(
            kernel.mem, kernel.swap, kernel.lruvec, kernel.burst, self._request, slots, pfns, run
        )
        self._locks.end()
        alloc_ns = int(run[LR_ALLOC_NS])
        task.stime_ns += alloc_ns
        task.waits.lock_ns += alloc_ns
        nid = int(run[SW_NID])
        if nid >= 0:
            kernel.nodes[nid].swap.note_reads(slots[:nr], target, task.name)
        return int(run[SW_HAVE]), nid >= 0
