"""Lets a task get many pages for files in compiled code, as far as nobody else can notice.

What needs more than page lists and free locks the task does with messages, as it does all of it
when `burst_pages` is 1; the outcome is the same, to the last counter and the last nanosecond.
Interface: a `CacheBurst` a task; `fill` for readahead, `store_new` for writes.
Units: pages of the file, ns.
"""

from typing import Final

import numpy as np

from kernelsim.actors.core.current import Current
from kernelsim.actors.core.lock_run import LockRun
from kernelsim.actors.core.page_requests import fill_request
from kernelsim.actors.tracing import wants
from kernelsim.fs.inode import HOLE, Inode
from kernelsim.mm.burst.cache_pages import (
    CR_AT,
    CR_DIRTY_RATIO,
    CR_END,
    CR_FILE,
    CR_HAVE,
    CR_IN_FAULT,
    CR_MARK,
    CR_NR_DIRTY,
    CR_NR_DIRTY_MAX,
    CR_NR_PLACED,
    CR_PAGE_NS,
    CR_SWAP_FREE,
    CR_TOKEN,
    fill_run,
    new_cache_run,
    store_new_run,
)
from kernelsim.mm.burst.columns import R_ZONES, ZONES_MAX
from kernelsim.mm.burst.lock_run import LR_ALLOC_NS
from kernelsim.mm.core.mem import I64, PAGEVEC_SIZE
from kernelsim.mm.file.page_writeback import EXCEEDED_RATELIMIT
from kernelsim.mm.page.alloc_context import AllocContext
from kernelsim.mm.swap.swap_area import SS_FREE
from kernelsim.trace.kmem import mm_page_alloc
from kernelsim.trace.writeback import writeback_dirty_folio

PAGES_AT_ONCE: Final = 4096  # of a write, so that rows for them can be set aside


class CacheBurst:
    """The runs of one task.

    Args:
        current: The task.
    """

    def __init__(self, current: Current) -> None:
        self._kernel, self._task = current
        self._locks = LockRun(current, new_cache_run(), mm_page_alloc)
        self._request = np.zeros(R_ZONES + ZONES_MAX, np.int64)
        self._pfns = np.zeros(PAGEVEC_SIZE, np.int64)

    def fill(
        self, inode: Inode, start: int, stop: int, mark: int, context: AllocContext, pfns: I64
    ) -> tuple[int, int]:
        """Enter pages of a window; return how many were, and how many are allocated in `pfns`."""
        kernel, run = self._kernel, self._begin(inode, start, stop, context)
        if run is None:
            return 0, 0
        run[CR_MARK], run[CR_IN_FAULT] = mark, self._task.in_lru_fault
        fill_run(
            kernel.mem, kernel.spaces.mappings, kernel.lruvec, kernel.burst, self._request,
            kernel.bursts.slab_requests(self._task), pfns, run,
        )  # fmt: skip
        self._end()
        return int(run[CR_NR_PLACED]), int(run[CR_HAVE])

    def store_new(
        self, inode: Inode, start: int, stop: int, token: int, context: AllocContext
    ) -> tuple[int, int]:
        """Store to whole pages that are not cached; return how many, and those made dirty.

        The device has room for them, or places, and the task need not look at the limits of dirty
        pages before it has stored to one more.
        """
        kernel, task = self._kernel, self._task
        nr_dirty_max = self._nr_until_balance(inode)
        if nr_dirty_max <= 1 or not inode.is_dirty:
            return 0, 0
        if kernel.mem.activate_batch[task.cpu.number, 0] or wants(task, writeback_dirty_folio):
            return 0, 0
        place, nr = inode.map_blocks(start, min(stop - start, PAGES_AT_ONCE))
        filesystem, latency = kernel.files.filesystems[inode.device], kernel.spec.latency
        if place == HOLE:
            nr = min(nr, filesystem.nr_free - filesystem.nr_reserved)
        run = self._begin(inode, start, start + nr, context)
        if run is None:
            return 0, 0
        run[CR_TOKEN], run[CR_NR_DIRTY_MAX] = token, nr_dirty_max
        run[CR_PAGE_NS] = latency.page_copy_ns + latency.write_begin_ns
        run[CR_DIRTY_RATIO] = kernel.phys.tunables.now.vm_dirty_ratio
        store_new_run(
            kernel.mem, kernel.spaces.mappings, kernel.lruvec, kernel.burst, self._request,
            kernel.bursts.slab_requests(self._task), self._pfns, run,
        )  # fmt: skip
        self._end()
        done = int(run[CR_NR_PLACED])
        if place == HOLE:
            filesystem.reserve(done)
        return done, int(run[CR_NR_DIRTY])

    def _nr_until_balance(self, inode: Inode) -> int:
        """Return the dirty pages with which the task has to look at the limits; 0 for at once.

        Source: Linux 6.1 mm/page-writeback.c:balance_dirty_pages_ratelimited_flags
        """
        kernel, task = self._kernel, self._task
        bdi, cpu = kernel.backing_devs[inode.device], task.cpu.number
        state, dirty = bdi.state, task.dirty
        # In the classic era each write asks how much is under way, and limits in bytes depend on
        # the whole machine.
        if bdi.pool is not None or kernel.phys.tunables.now.vm_dirty_bytes:
            return 0
        if state.dirty_throttle_leaks[cpu]:
            return 0
        most = dirty.nr_dirtied_pause
        if bdi.wb.dirty_exceeded:
            most = min(most, EXCEEDED_RATELIMIT)
        return min(most - dirty.nr_dirtied, state.ratelimit_pages - state.bdp_ratelimits[cpu])

    def _begin(self, inode: Inode, start: int, stop: int, context: AllocContext) -> I64 | None:
        """Return the state of a run with what all of them need; None if there is to be none.

        Pages that are interleaved are requested one by one.
        """
        run = self._locks.run
        if context.is_interleaved or not self._locks.begin(computes=True):
            return None
        run[CR_FILE], run[CR_SWAP_FREE] = inode.number, self._kernel.swap.state[SS_FREE]
        run[CR_AT], run[CR_END] = start, stop
        fill_request(self._request, context, oom_victim=self._task.oom_victim)
        self._kernel.spaces.pool.reserve(stop - start)
        return run

    def _end(self) -> None:
        task = self._task
        task.stime_ns += self._locks.end()
        task.waits.lock_ns += int(self._locks.run[LR_ALLOC_NS])
