"""Lets a reclaimer do a batch in compiled code, as far as nobody else can notice.

What needs more than free locks and its CPU the reclaimer does with messages, as it does all of it
when `burst_pages` is 1; the outcome is the same, to the last counter and the last nanosecond.
Interface: a `ReclaimBurst` a reclaimer; `begin` a batch, then `go_on` before each of its steps.
Units: pages, ns.
"""

import numpy as np

from kernelsim.actors.core.current import Current
from kernelsim.actors.core.lock_run import LockRun
from kernelsim.actors.tracing import trace, wants
from kernelsim.mm.burst.free_pages import new_free_run
from kernelsim.mm.burst.lock_run import LR_ALLOC_NS
from kernelsim.mm.core.mem import I64
from kernelsim.mm.reclaim.reclaim_batch import STAT_NR_TAKEN, ReclaimBatch
from kernelsim.mm.reclaim.reclaim_run import (
    DONE,
    JUDGE,
    WORK_COMPUTED_NS,
    WORK_ISOLATED_NS,
    WORK_LRU,
    WORK_NR_TO_SCAN,
    WORK_SCANNED,
    WORK_SKIPPED,
    WORK_STEP,
    begin_batch,
    new_work,
    reclaim_run,
)
from kernelsim.mm.reclaim.scan_control import ScanControl
from kernelsim.mm.swap.swap_plug import SwapPlug
from kernelsim.trace.kmem import mm_page_free
from kernelsim.trace.vmscan import mm_vmscan_lru_isolate


class ReclaimBurst:
    """The batches of one reclaimer.

    Args:
        current: The task that reclaims.
        batch: Its work space.
        plug: Its writes.

    Attributes:
        work: State of the present batch, WORK_*.
    """

    def __init__(self, current: Current, batch: ReclaimBatch, plug: SwapPlug) -> None:
        self._kernel, self._task = current
        self._batch = batch
        self._plug = plug
        self._locks = LockRun(current, new_free_run(), mm_page_free)
        self._flushes = np.zeros(0, np.int64)
        self._sc: ScanControl
        latency = self._kernel.spec.latency
        self.work: I64 = new_work(
            latency.scan_page_ns, latency.swap_slot_ns, self._kernel.swap_segments_max
        )

    def begin(self, sc: ScanControl, nid: int, lru: int, nr_to_scan: int) -> None:
        """Begin a batch of an inactive list."""
        self._sc = sc
        begin_batch(
            self.work, nid, lru, nr_to_scan=nr_to_scan, highest_zoneidx=sc.reclaim_idx, how=sc.how()
        )

    def begin_isolated(self, nid: int, how: int) -> None:
        """Begin a batch of pages that are off their list, whichever that was."""
        begin_batch(self.work, nid, 0, nr_to_scan=0, highest_zoneidx=0, how=how)
        self.work[WORK_STEP] = JUDGE

    def go_on(self) -> int:
        """Take steps of the batch; return the one that is to be taken by messages, or DONE."""
        kernel, work = self._kernel, self.work
        if work[WORK_STEP] == DONE or not self._locks.begin(computes=True, makes_up=True):
            return int(work[WORK_STEP])
        mms = kernel.mms.mms
        if len(self._flushes) != len(mms.pgd_row):
            self._flushes = np.zeros(len(mms.pgd_row), np.int64)
        is_lazy = all(cpu.is_lazy() for cpu in kernel.cpus)
        reclaim_run(
            *kernel.space, kernel.swap, kernel.spaces.mappings, kernel.lruvec, kernel.burst,
            self._batch, self._plug, work, self._flushes, is_lazy,
            kernel.bursts.slab_requests(self._task), self._locks.run,
        )  # fmt: skip
        self._enter()
        return int(work[WORK_STEP])

    def _enter(self) -> None:
        """Enter what has come of it, in the order of time."""
        work = self.work
        if work[WORK_ISOLATED_NS] >= 0:
            self.trace_isolate(at_ns=int(work[WORK_ISOLATED_NS]))
            work[WORK_ISOLATED_NS] = -1
        self._task.stime_ns += int(work[WORK_COMPUTED_NS])
        work[WORK_COMPUTED_NS] = 0
        self._task.stime_ns += int(self._locks.run[LR_ALLOC_NS])  # of slabs
        self._task.waits.lock_ns += int(self._locks.run[LR_ALLOC_NS])
        for number in self._flushes.nonzero()[0].tolist():
            self._kernel.mms.by_number[number].tlb_gen += int(self._flushes[number])
            self._flushes[number] = 0
        self._locks.end()

    def trace_isolate(self, *, at_ns: int | None = None) -> None:
        """Log that pages were taken off the list, now or at another time."""
        if not wants(self._task, mm_vmscan_lru_isolate):
            return
        work, sc = self.work.tolist(), self._sc
        point = mm_vmscan_lru_isolate(
            sc.reclaim_idx, sc.order, work[WORK_NR_TO_SCAN], work[WORK_SCANNED],
            work[WORK_SKIPPED], int(self._batch.stat[STAT_NR_TAKEN]), work[WORK_LRU],
        )  # fmt: skip
        trace(self._task, point, at_ns=at_ns)
