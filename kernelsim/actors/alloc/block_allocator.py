"""Asking nodes for blocks of pages: requests of an order above 0, which may find memory in pieces.

Linux: mm/page_alloc.c: get_page_from_freelist, __alloc_pages_slowpath, 6.1.
A request runs in the time of the task that makes it: above low it takes a block if there is one;
else kswapd is told, and the task compacts memory and reclaims some itself.
Units: pages, pfn; an order is the logarithm of a number of pages.
"""

from kernelsim.actors.alloc.direct_compact import try_to_compact_pages, zonelist_suitable
from kernelsim.actors.alloc.direct_reclaim import try_to_free_pages
from kernelsim.actors.alloc.node_reclaim import node_reclaim
from kernelsim.actors.alloc.page_allocator import GFP_MAY_FAIL, out_of_memory, slowpath_flags
from kernelsim.actors.alloc.wakeup_kswapd import wake_all_kswapds, wakeup_kswapd
from kernelsim.actors.alloc.warn_alloc import warn_alloc
from kernelsim.actors.core.current import Current
from kernelsim.actors.core.free_pages import drain_all_pages
from kernelsim.actors.messages.blocks import AllocBlock
from kernelsim.actors.tracing import trace
from kernelsim.mm.core.mem import (
    MIGRATE_MOVABLE,
    Z_BOOSTED_WATERMARK,
    Z_NID,
    Z_TYPE_INDEX,
    Z_WATERMARK_BOOST,
    Z_WMARK_LOW,
    Z_WMARK_MIN,
    zone_of,
)
from kernelsim.mm.core.vmstat import COMPACT_FAIL, COMPACT_STALL, COMPACT_SUCCESS
from kernelsim.mm.page.alloc_context import AllocContext
from kernelsim.mm.page.compact_suitable import CompactRetry
from kernelsim.mm.page.compaction import (
    COMPACT_PRIO_ASYNC,
    PAGE_ALLOC_COSTLY_ORDER,
    CompactResult,
)
from kernelsim.mm.page.gfp import Gfp
from kernelsim.mm.page.page_alloc import zone_watermark_ok
from kernelsim.mm.reclaim.vmscan_direct import ReclaimRetry
from kernelsim.trace.oom import compact_retry


async def alloc_block(current: Current, context: AllocContext, order: int) -> int:
    """Get a block of pages; return its first frame, 0 if the request fails.

    Args:
        current: Who asks; it sleeps in here if its request may.
        context: Where to look.
        order: Its size, above 0.

    Source: Linux 6.1 mm/page_alloc.c:__alloc_pages
    """
    pfn = await get_block_from_freelist(current, context, order, mark=Z_WMARK_LOW)
    return pfn or await _Slowpath(current, context, order).run()


async def get_block_from_freelist(
    current: Current, context: AllocContext, order: int, *, mark: int, alloc_flags: int = 0
) -> int:
    """Take a block from the first zone that has one and is above the watermark; 0 if none is.

    Source: Linux 6.1 mm/page_alloc.c:get_page_from_freelist, :rmqueue
    """
    kernel, task = current
    mem = kernel.mem

    def has_one(zone: int) -> bool:
        mark_pages = int(mem.zone[zone, mark] + mem.zone[zone, Z_WATERMARK_BOOST])
        return zone_watermark_ok(mem, zone, order, mark_pages, context.highest_zoneidx, alloc_flags)

    for zone in context.zonelist:
        if not has_one(zone):
            await node_reclaim(current, context, zone)
        if not has_one(zone):
            continue
        kernel.observer.asks_block(task, context, zone, order, mark, alloc_flags)
        nid, cpu = int(mem.zone[zone, Z_NID]), task.cpu
        request = AllocBlock(
            zone, order, cpu.nid, context.preferred_nid, context.migratetype, cpu.name,
            int(context.gfp),
        )  # fmt: skip
        began_ns = kernel.engine.now_ns
        pfn: int = await kernel.nodes[nid].ref.ask(request)
        spent_ns = kernel.engine.now_ns - began_ns  # spinning, and working under the lock
        task.waits.lock_ns += spent_ns
        task.stime_ns += spent_ns
        if mem.zone[zone, Z_BOOSTED_WATERMARK]:
            mem.zone[zone, Z_BOOSTED_WATERMARK] = 0
            wakeup_kswapd(current, nid, int(mem.zone[zone, Z_TYPE_INDEX]), Gfp(0))
        if pfn:
            return pfn
    return 0


class _Slowpath:
    """One request that found no block above low.

    Source: Linux 6.1 mm/page_alloc.c:__alloc_pages_slowpath
    """

    def __init__(self, current: Current, context: AllocContext, order: int) -> None:
        self._current = current
        self._context = context
        self._order = order
        self._is_costly = order > PAGE_ALLOC_COSTLY_ORDER
        self._retry = ReclaimRetry()
        self._compact = CompactRetry(order)
        self._compacted = CompactResult.SKIPPED

    async def run(self) -> int:
        """Do what the request may to get a block; say in the log if it gets none."""
        wake_all_kswapds(self._current, self._context, self._order)
        pfn = await self._try()
        if not pfn and self._compacts_first:
            pfn = await self._direct_compact(COMPACT_PRIO_ASYNC)
            is_only_try = self._is_costly and Gfp.NORETRY in self._context.gfp
            if is_only_try:
                self._compact.priority = COMPACT_PRIO_ASYNC
            if is_only_try and self._compacted in (CompactResult.SKIPPED, CompactResult.DEFERRED):
                return pfn or self._fail()
        return pfn or await self._reclaim_and_compact() or self._fail()

    def _fail(self) -> int:
        warn_alloc(self._current, self._context, self._order)
        return 0

    @property
    def _compacts_first(self) -> bool:
        """Whether the request is one for which enough single pages are likely to be free."""
        context, task = self._context, self._current.task
        is_unmovable = context.migratetype != MIGRATE_MOVABLE
        may_wait = Gfp.DIRECT_RECLAIM in context.gfp and not task.memalloc
        return may_wait and (self._is_costly or is_unmovable)

    async def _reclaim_and_compact(self) -> int:
        """Try again and again, for as long as there is hope."""
        context, task = self._context, self._current.task
        while True:
            wake_all_kswapds(self._current, context, self._order)
            if Gfp.DIRECT_RECLAIM in context.gfp:
                await task.cond_resched()
            pfn = await self._try()
            if pfn or task.memalloc or task.killed or Gfp.DIRECT_RECLAIM not in context.gfp:
                return pfn
            nr_reclaimed, pfn = await self._direct_reclaim()
            pfn = pfn or await self._direct_compact(self._compact.priority)
            if pfn or not await self._goes_on(nr_reclaimed):
                return pfn

    async def _direct_compact(self, priority: int) -> int:
        """Make a block, and take it if nobody else has; return its first frame, or 0.

        Source: Linux 6.1 mm/page_alloc.c:__alloc_pages_direct_compact
        """
        (kernel, task), order = self._current, self._order
        alloc_flags = self._alloc_flags
        with task.memstall():
            task.memalloc = True
            try:
                self._compacted = await try_to_compact_pages(
                    self._current, self._context, order, priority, alloc_flags
                )
            finally:
                task.memalloc = False
        if self._compacted is CompactResult.SKIPPED:
            return 0
        kernel.mem.vm_event[COMPACT_STALL] += 1
        pfn = await self._try()
        if pfn:
            known = kernel.compaction.zones[zone_of(kernel.mem, pfn)]
            known.blockskip_flush = False
            known.defer_reset(order, has_block=True)
            kernel.mem.vm_event[COMPACT_SUCCESS] += 1
            return pfn
        kernel.mem.vm_event[COMPACT_FAIL] += 1
        await task.cond_resched()
        return 0

    def _should_compact_retry(self) -> bool:
        """Tell whether to compact once more.

        Source: Linux 6.1 mm/page_alloc.c:should_compact_retry
        """
        current, retry = self._current, self._compact
        helps = zonelist_suitable(current, self._context, self._order, self._alloc_flags)
        again = retry.should_retry(self._compacted, reclaim_helps=helps)
        point = compact_retry(
            self._order, retry.priority, int(self._compacted), retry.retries, retry.max_retries,
            again,
        )  # fmt: skip
        trace(current.task, point)
        return again

    @property
    def _alloc_flags(self) -> int:
        return slowpath_flags(self._current.task, self._context.gfp)

    async def _try(self) -> int:
        """Take a block down to the min mark, or as far as the task may."""
        return await get_block_from_freelist(
            self._current, self._context, self._order,
            mark=Z_WMARK_MIN, alloc_flags=self._alloc_flags,
        )  # fmt: skip

    async def _direct_reclaim(self) -> tuple[int, int]:
        """Reclaim, then look for a block; if it hides in the CPUs' lists, empty them first.

        Returns:
            How many pages were reclaimed, and the block's first frame or 0.

        Source: Linux 6.1 mm/page_alloc.c:__alloc_pages_direct_reclaim
        """
        (kernel, task), context = self._current, self._context
        with task.memstall():
            began_ns = kernel.engine.now_ns
            nr_reclaimed = await try_to_free_pages(
                self._current, context.gfp, context.zonelist, self._order
            )
            task.waits.reclaim_ns += kernel.engine.now_ns - began_ns
            pfn = await self._try() if nr_reclaimed else 0
            if nr_reclaimed and not pfn:
                for zone in context.zonelist:
                    await drain_all_pages(self._current, zone)
                pfn = await self._try()
        return nr_reclaimed, pfn

    async def _goes_on(self, nr_reclaimed: int) -> bool:
        """Tell whether to begin again; kill a process for a small block if nothing else is left."""
        kernel, gfp = self._current.kernel, self._context.gfp
        if Gfp.NORETRY in gfp or (self._is_costly and Gfp.RETRY_MAYFAIL not in gfp):
            return False
        if self._retry.should_retry(
            kernel.mem,
            kernel.swap,
            list(self._context.zonelist),
            order=self._order,
            highest_zoneidx=self._context.highest_zoneidx,
            alloc_flags=self._alloc_flags,
            did_some_progress=nr_reclaimed > 0,
        ):
            await self._current.task.cond_resched()
            return True
        if nr_reclaimed and not self._current.task.killed and self._should_compact_retry():
            return True
        if self._is_costly or int(gfp) & GFP_MAY_FAIL:
            return False
        self._retry = ReclaimRetry()
        await out_of_memory(self._current, self._context, self._order)
        return True
