"""Whether compaction can help a request, and whether it has.

Linux: mm/compaction.c: compaction_suitable, compact_finished; mm/vmstat.c: fragmentation_index;
mm/page_alloc.c: should_compact_retry, 6.1.
Units: pages; an order is the logarithm of a number of pages. An index is in thousandths.
"""

from collections.abc import Sequence
from typing import Final

import attrs

from kernelsim.mm.core.mem import (
    MAX_ORDER,
    PAGEBLOCK_NR_PAGES,
    Z_FREE,
    Z_WATERMARK_BOOST,
    Z_WMARK_LOW,
    Z_WMARK_MIN,
    Mem,
)
from kernelsim.mm.page.compaction import (
    COMPACT_PRIO_SYNC_FULL,
    COMPACT_PRIO_SYNC_LIGHT,
    MAX_COMPACT_RETRIES,
    PAGE_ALLOC_COSTLY_ORDER,
    WHOLE_ZONE,
    CompactControl,
    CompactResult,
    ZoneCompaction,
    compact_gap,
)
from kernelsim.mm.page.fallback import can_steal_fallback, find_suitable_fallback
from kernelsim.mm.page.fragmentation_score import (
    fragmentation_score_wmark,
    fragmentation_score_zone,
)
from kernelsim.mm.page.free_area import free_area_counts, free_area_empty
from kernelsim.mm.page.page_alloc import zone_watermark_ok

NOT_FRAGMENTED: Final = -1000  # there is a block: it is the watermarks that a request fails for


def fragmentation_index(nr_free: Sequence[int], order: int) -> int:
    """Return why a block is not there: towards 0 for want of memory, towards 1000 by its pieces.

    Args:
        nr_free: Free blocks of the zone by order.
        order: Of the block.

    Source: Linux 6.1 mm/vmstat.c:__fragmentation_index
    """
    total = sum(nr_free)
    if not total:
        return 0
    if any(nr_free[order:]):
        return NOT_FRAGMENTED
    free_pages = sum(nr << each for each, nr in enumerate(nr_free))
    return 1000 - (1000 + free_pages * 1000 // (1 << order)) // total


def unusable_free_index(nr_free: Sequence[int], order: int) -> int:
    """Return the part of the free pages that lies in smaller blocks than an order.

    Args:
        nr_free: Free blocks of the zone by order.
        order: Of the block.

    Source: Linux 6.1 mm/vmstat.c:unusable_free_index
    """
    pages = [nr << each for each, nr in enumerate(nr_free)]
    return sum(pages[:order]) * 1000 // sum(pages) if any(pages) else 1000


def compaction_suitable(
    mem: Mem, cc: CompactControl, *, available: int | None = None
) -> CompactResult:
    """Tell whether a zone is worth it: SUCCESS if it has a block, SKIPPED if it has too little.

    Args:
        mem: Physical memory.
        cc: What for.
        available: Pages to reckon with; None for those that are free.

    Source: Linux 6.1 mm/compaction.c:__compaction_suitable
    """
    zone, order = cc.zone, cc.order
    if order == WHOLE_ZONE:
        return CompactResult.CONTINUE
    boost = int(mem.zone[zone, Z_WATERMARK_BOOST])
    mark = int(mem.zone[zone, cc.mark]) + boost
    if zone_watermark_ok(mem, zone, order, mark, cc.highest_zoneidx, cc.alloc_flags):
        return CompactResult.SUCCESS
    is_costly = order > PAGE_ALLOC_COSTLY_ORDER
    mark = int(mem.zone[zone, Z_WMARK_LOW if is_costly else Z_WMARK_MIN]) + boost
    if available is not None:
        mark += int(mem.zone[zone, Z_FREE]) - available
    if not zone_watermark_ok(mem, zone, 0, mark + compact_gap(order), cc.highest_zoneidx, 0):
        return CompactResult.SKIPPED
    return CompactResult.CONTINUE


def is_fragmented(mem: Mem, cc: CompactControl, threshold: int) -> bool:
    """Tell whether it is pieces that a costly request fails for, rather than want of memory.

    Source: Linux 6.1 mm/compaction.c:compaction_suitable
    """
    if cc.order <= PAGE_ALLOC_COSTLY_ORDER:
        return True
    nr_free: list[int] = free_area_counts(mem, cc.zone).sum(axis=1).tolist()
    return not 0 <= fragmentation_index(nr_free, cc.order) <= threshold


def compact_finished(
    mem: Mem, cc: CompactControl, state: ZoneCompaction, *, is_killed: bool
) -> CompactResult:
    """Tell whether a run is over: a block is there, the scanners have met, or it must not wait.

    Source: Linux 6.1 mm/compaction.c:__compact_finished
    """
    if cc.have_met:
        state.reset_cached_positions(mem, cc.zone)
        if cc.is_direct:
            state.blockskip_flush = True
        return CompactResult.COMPLETE if cc.whole_zone else CompactResult.PARTIAL_SKIPPED
    if cc.order == WHOLE_ZONE:
        return CompactResult.CONTENDED if is_killed else CompactResult.CONTINUE
    if cc.migrate_pfn % PAGEBLOCK_NR_PAGES:  # a pageblock is gone through to its end
        return CompactResult.CONTINUE
    if any(has_block(mem, cc, order) for order in range(cc.order, MAX_ORDER)):
        return CompactResult.SUCCESS
    if cc.is_contended or is_killed:
        return CompactResult.CONTENDED
    return CompactResult.NO_SUITABLE_PAGE


def proactive_finished(
    mem: Mem, zone: int, proactiveness: int, *, kswapd_runs: bool
) -> CompactResult:
    """Tell whether a run that nobody asked for is over: kswapd has work, or the score is low.

    Source: Linux 6.1 mm/compaction.c:__compact_finished
    """
    if kswapd_runs:
        return CompactResult.PARTIAL_SKIPPED
    score = fragmentation_score_zone(mem, zone)
    if score > fragmentation_score_wmark(proactiveness, low=True):
        return CompactResult.CONTINUE
    return CompactResult.SUCCESS


def has_block(mem: Mem, cc: CompactControl, order: int) -> bool:
    """Tell whether a free block of an order serves the request, or may be stolen for it.

    Source: Linux 6.1 mm/compaction.c:__compact_finished, mm/page_alloc.c:find_suitable_fallback
    """
    if not free_area_empty(mem, cc.zone, order, cc.migratetype):
        return True
    fallback: int = find_suitable_fallback(mem, cc.zone, order, cc.migratetype)
    return fallback >= 0 and can_steal_fallback(order, cc.migratetype)


@attrs.define
class CompactRetry:
    """Whether a request that compaction did not serve tries again, and how hard.

    Attributes:
        order: Of the request.
        priority: COMPACT_PRIO_*.
        retries: Times it worked and the request had no block.
        max_retries: At most.
    """

    order: int
    priority: int = COMPACT_PRIO_SYNC_LIGHT
    retries: int = 0
    max_retries: int = MAX_COMPACT_RETRIES

    def should_retry(self, result: CompactResult, *, reclaim_helps: bool) -> bool:
        """Tell whether to try again.

        Args:
            result: How it ended.
            reclaim_helps: Enough memory could be reclaimed for it, if it was skipped.

        Source: Linux 6.1 mm/page_alloc.c:should_compact_retry
        """
        is_costly = self.order > PAGE_ALLOC_COSTLY_ORDER
        self.max_retries = MAX_COMPACT_RETRIES
        if result is CompactResult.SUCCESS:
            self.retries += 1
        if result is CompactResult.SKIPPED:
            return reclaim_helps
        has_failed = result in (
            CompactResult.COMPLETE,
            CompactResult.DEFERRED,
            CompactResult.CONTENDED,
            CompactResult.PARTIAL_SKIPPED,
        )
        if not has_failed:
            self.max_retries = MAX_COMPACT_RETRIES // 4 if is_costly else MAX_COMPACT_RETRIES
            if self.retries <= self.max_retries:
                return True
        if self.priority > (COMPACT_PRIO_SYNC_LIGHT if is_costly else COMPACT_PRIO_SYNC_FULL):
            self.priority -= 1
            self.retries = 0
            return True
        return False
