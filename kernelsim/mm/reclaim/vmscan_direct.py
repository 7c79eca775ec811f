"""When a task that reclaims for itself may, goes on, and gives up.

Linux: mm/vmscan.c:allow_direct_reclaim, :do_try_to_free_pages, and
mm/page_alloc.c:should_reclaim_retry (6.1).
Units: pages.
"""

import attrs

from kernelsim.mm.core.lruvec import (
    LV_KSWAPD_FAILURES,
)
from kernelsim.mm.core.mem import (
    I64_2D,
    Z_FREE,
    Z_MANAGED,
    Z_WATERMARK_BOOST,
    Z_WMARK_MIN,
    Mem,
)
from kernelsim.mm.page.compaction import PAGE_ALLOC_COSTLY_ORDER
from kernelsim.mm.page.page_alloc import reduced_mark, zone_watermark_ok
from kernelsim.mm.reclaim.scan_control import DEF_PRIORITY, MAX_RECLAIM_RETRIES, ScanControl
from kernelsim.mm.reclaim.vmscan import (
    zone_reclaimable_pages,
    zones_upto,
)
from kernelsim.mm.swap.swap_area import SwapArea


def allow_direct_reclaim(
    mem: Mem, swap: SwapArea, lruvec: I64_2D, nid: int, *, normal_zoneidx: int
) -> bool:
    """Tell whether an allocator may go into direct reclaim, or must wait for kswapd first.

    It must wait while the zones up to `normal_zoneidx` (the place of Normal among the zone
    types) have not even half of their min watermarks free.

    Source: Linux 6.1 mm/vmscan.c:allow_direct_reclaim
    """
    if lruvec[nid, LV_KSWAPD_FAILURES] >= MAX_RECLAIM_RETRIES:
        return True
    reserve, free = 0, 0
    for row in zones_upto(mem, nid, normal_zoneidx):
        if zone_reclaimable_pages(mem, swap, row):
            reserve += int(mem.zone[row, Z_WMARK_MIN] + mem.zone[row, Z_WATERMARK_BOOST])
            free += int(mem.zone[row, Z_FREE])
    return not reserve or free > reserve // 2


def direct_reclaim_goes_on(sc: ScanControl) -> bool:
    """Raise the priority after direct reclaim went over all zones; False when it is to end.

    A run that found nothing but spared active lists starts once more and takes them too.

    Source: Linux 6.1 mm/vmscan.c:do_try_to_free_pages
    """
    if sc.nr_reclaimed >= sc.nr_to_reclaim or sc.compaction_ready:
        return False
    sc.nr_scanned = 0
    sc.priority -= 1
    if sc.priority >= 0:
        return True
    if sc.nr_reclaimed or not sc.skipped_deactivate:
        return False
    sc.priority = DEF_PRIORITY
    sc.force_deactivate = True
    sc.skipped_deactivate = False
    return True


@attrs.define
class ReclaimRetry:
    """Whether an allocation that reclaim did not satisfy tries again, or the OOM killer comes."""

    no_progress_loops: int = 0

    def should_retry(
        self,
        mem: Mem,
        swap: SwapArea,
        zones: list[int],
        *,
        order: int,
        highest_zoneidx: int,
        alloc_flags: int,
        did_some_progress: bool,
    ) -> bool:
        """Tell whether reclaiming all there is in one of the request's zones would satisfy it.

        Source: Linux 6.1 mm/page_alloc.c:should_reclaim_retry
        """
        if did_some_progress and order <= PAGE_ALLOC_COSTLY_ORDER:
            self.no_progress_loops = 0
        else:
            self.no_progress_loops += 1
        if self.no_progress_loops > MAX_RECLAIM_RETRIES:
            return False
        for row in zones:
            reclaimable = zone_reclaimable_pages(mem, swap, row)
            min_wmark = int(mem.zone[row, Z_WMARK_MIN] + mem.zone[row, Z_WATERMARK_BOOST])
            mark = reduced_mark(min_wmark, alloc_flags) - reclaimable
            if mem.zone[row, Z_MANAGED] and zone_watermark_ok(
                mem, row, order, mark, highest_zoneidx, 0
            ):
                return True
        return False
