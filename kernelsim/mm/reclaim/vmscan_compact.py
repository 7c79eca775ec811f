"""How reclaim for a block of pages knows that it has freed enough for compaction to make one.

Linux: mm/vmscan.c: in_reclaim_compaction, should_continue_reclaim, compaction_ready, 6.1.
Units: pages; an order is the logarithm of a number of pages.
"""

from kernelsim.mm.core.mem import MIGRATE_UNMOVABLE, Mem
from kernelsim.mm.core.vmstat import NR_INACTIVE_ANON, NR_INACTIVE_FILE
from kernelsim.mm.page.compact_suitable import compaction_suitable
from kernelsim.mm.page.compaction import (
    MIGRATE_ASYNC,
    PAGE_ALLOC_COSTLY_ORDER,
    CompactControl,
    CompactResult,
    compact_gap,
)
from kernelsim.mm.page.page_alloc import zone_watermark_ok
from kernelsim.mm.reclaim.scan_control import DEF_PRIORITY, ScanControl
from kernelsim.mm.reclaim.vmscan import can_reclaim_anon_pages, high_wmark_pages, zones_upto
from kernelsim.mm.swap.swap_area import SwapArea


def should_continue_reclaim(
    mem: Mem, swap: SwapArea, nid: int, sc: ScanControl, *, nr_reclaimed: int
) -> bool:
    """Tell whether a pass over a node that has reclaimed some pages is to be done once more.

    Source: Linux 6.1 mm/vmscan.c:should_continue_reclaim
    """
    is_costly = sc.order > PAGE_ALLOC_COSTLY_ORDER
    if not sc.order or not (is_costly or sc.priority < DEF_PRIORITY - 2) or not nr_reclaimed:
        return False
    for zone in zones_upto(mem, nid, sc.reclaim_idx):
        if suitable(mem, zone, sc) is not CompactResult.SKIPPED:
            return False
    inactive = int(mem.node_stat[nid, NR_INACTIVE_FILE])
    if can_reclaim_anon_pages(swap):
        inactive += int(mem.node_stat[nid, NR_INACTIVE_ANON])
    return inactive > compact_gap(sc.order)


def compaction_ready(mem: Mem, zone: int, sc: ScanControl) -> bool:
    """Tell whether a zone has so much free that a costly request is better served by compaction.

    Source: Linux 6.1 mm/vmscan.c:compaction_ready
    """
    if sc.order <= PAGE_ALLOC_COSTLY_ORDER:
        return False
    result = suitable(mem, zone, sc)
    if result is not CompactResult.CONTINUE:
        return result is CompactResult.SUCCESS
    mark = high_wmark_pages(mem, zone) + compact_gap(sc.order)
    return bool(zone_watermark_ok(mem, zone, 0, mark, sc.reclaim_idx, 0))


def suitable(mem: Mem, zone: int, sc: ScanControl) -> CompactResult:
    """Tell whether compaction of a zone would serve the request that reclaims."""
    cc = CompactControl(zone, sc.order, MIGRATE_UNMOVABLE, MIGRATE_ASYNC, sc.reclaim_idx)
    return compaction_suitable(mem, cc)
