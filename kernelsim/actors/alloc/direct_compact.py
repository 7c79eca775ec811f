"""Direct compaction: the task that needs a block makes one, in its own time.

Linux: mm/compaction.c: try_to_compact_pages, compact_zone_order; mm/page_alloc.c:
__alloc_pages_direct_compact, compaction_zonelist_suitable, 6.1.
Units: pages; an order is the logarithm of a number of pages.
"""

from kernelsim.actors.core.current import Current
from kernelsim.actors.reclaim.compact_zone import compact_zone
from kernelsim.actors.reclaim.kcompactd import defer_compaction
from kernelsim.actors.tracing import trace
from kernelsim.mm.core.mem import Z_FREE
from kernelsim.mm.page.alloc_context import AllocContext
from kernelsim.mm.page.compact_suitable import compaction_suitable
from kernelsim.mm.page.compaction import (
    COMPACT_PRIO_ASYNC,
    COMPACT_PRIO_SYNC_FULL,
    MIGRATE_ASYNC,
    MIGRATE_SYNC_LIGHT,
    CompactControl,
    CompactResult,
)
from kernelsim.mm.page.gfp import Gfp
from kernelsim.mm.reclaim.vmscan import zone_reclaimable_pages
from kernelsim.trace.compaction import mm_compaction_try_to_compact_pages


async def try_to_compact_pages(
    current: Current, context: AllocContext, order: int, priority: int, alloc_flags: int
) -> CompactResult:
    """Compact the zones a request may use, one after the other, until one has a block.

    Returns:
        SKIPPED if none was worth it, else what came closest to success.

    Source: Linux 6.1 mm/compaction.c:try_to_compact_pages
    """
    kernel, task = current
    result = CompactResult.SKIPPED
    if not kernel.spec.era.compaction or Gfp.IO not in context.gfp:
        return result
    trace(task, mm_compaction_try_to_compact_pages(order, int(context.gfp), priority))
    for zone in context.zonelist:
        known = kernel.compaction.zones[zone]
        if priority > COMPACT_PRIO_SYNC_FULL and known.is_deferred(order):
            result = max(result, CompactResult.DEFERRED)
            continue
        status = await compact_zone(current, _control(context, zone, order, priority, alloc_flags))
        result = max(result, status)
        if status is CompactResult.SUCCESS:
            known.defer_reset(order, has_block=False)
            break
        has_scanned = status in (CompactResult.COMPLETE, CompactResult.PARTIAL_SKIPPED)
        if priority != COMPACT_PRIO_ASYNC and has_scanned:
            defer_compaction(current, zone, order)
        if task.killed or (priority == COMPACT_PRIO_ASYNC and task.cpu.must_give_way()):
            break
    return result


def _control(
    context: AllocContext, zone: int, order: int, priority: int, alloc_flags: int
) -> CompactControl:
    """Return how a request compacts a zone.

    Source: Linux 6.1 mm/compaction.c:compact_zone_order
    """
    is_full = priority == COMPACT_PRIO_SYNC_FULL
    return CompactControl(
        zone,
        order,
        context.migratetype,
        MIGRATE_ASYNC if priority == COMPACT_PRIO_ASYNC else MIGRATE_SYNC_LIGHT,
        context.highest_zoneidx,
        alloc_flags=alloc_flags,
        is_direct=True,
        whole_zone=is_full,
        ignore_skip_hint=is_full,
        ignore_block_suitable=is_full,
    )


def zonelist_suitable(
    current: Current, context: AllocContext, order: int, alloc_flags: int
) -> bool:
    """Tell whether compaction could go ahead if a part of what is reclaimable were free.

    Source: Linux 6.1 mm/page_alloc.c:compaction_zonelist_suitable
    """
    mem, swap = current.kernel.mem, current.kernel.swap
    for zone in context.zonelist:
        available = zone_reclaimable_pages(mem, swap, zone) // order + int(mem.zone[zone, Z_FREE])
        cc = _control(context, zone, order, COMPACT_PRIO_ASYNC, alloc_flags)
        if compaction_suitable(mem, cc, available=available) is CompactResult.CONTINUE:
            return True
    return False
