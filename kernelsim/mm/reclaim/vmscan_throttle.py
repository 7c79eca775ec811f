"""When a task that reclaims sleeps, and when those that sleep may go on.

Linux: mm/vmscan.c:reclaim_throttle, :consider_reclaim_throttle, :__acct_reclaim_writeback (6.1).
Units: pages; a timeout is ns.
"""

from kernelsim.mm.core.lruvec import (
    LV_KSWAPD_FAILURES,
    LV_NR_RECLAIM_START,
    LV_NR_WRITEBACK_THROTTLED,
)
from kernelsim.mm.core.mem import I64_2D, SWAP_CLUSTER_MAX, Z_MANAGED, Mem
from kernelsim.mm.core.vmstat import NR_THROTTLED_WRITTEN, NR_ZONE_WRITE_PENDING
from kernelsim.mm.reclaim.scan_control import MAX_RECLAIM_RETRIES, ScanControl
from kernelsim.mm.reclaim.throttle_reason import (
    CONGESTED,
    NOPROGRESS,
    THROTTLE_TIMEOUT_NS,
    WRITEBACK,
    ThrottleReason,
)
from kernelsim.mm.reclaim.vmscan import node_zones, zone_reclaimable_pages
from kernelsim.mm.swap.swap_area import SwapArea


def skip_throttle_noprogress(mem: Mem, swap: SwapArea, lruvec: I64_2D, nid: int) -> bool:
    """Tell whether sleeping would not help a reclaimer that gets nowhere.

    Source: Linux 6.1 mm/vmscan.c:skip_throttle_noprogress
    """
    if lruvec[nid, LV_KSWAPD_FAILURES] >= MAX_RECLAIM_RETRIES:
        return True
    reclaimable, write_pending = 0, 0
    for row in node_zones(mem, nid):
        if mem.zone[row, Z_MANAGED]:
            reclaimable += zone_reclaimable_pages(mem, swap, row)
            write_pending += int(mem.zone_stat[row, NR_ZONE_WRITE_PENDING])
    return 2 * write_pending <= reclaimable


def reclaim_throttle(
    mem: Mem, swap: SwapArea, lruvec: I64_2D, nid: int, *, reason: ThrottleReason
) -> int:
    """Return how long to sleep at most for a reason, in ns; 0 is not at all.

    For VMSCAN_THROTTLE_WRITEBACK the sleeper is counted until `end_writeback_throttle`.

    Source: Linux 6.1 mm/vmscan.c:reclaim_throttle
    """
    if reason in (CONGESTED, NOPROGRESS):
        if skip_throttle_noprogress(mem, swap, lruvec, nid):
            return 0
    elif reason is WRITEBACK:
        lruvec[nid, LV_NR_WRITEBACK_THROTTLED] += 1
        if lruvec[nid, LV_NR_WRITEBACK_THROTTLED] == 1:
            lruvec[nid, LV_NR_RECLAIM_START] = mem.node_stat[nid, NR_THROTTLED_WRITTEN]
    return THROTTLE_TIMEOUT_NS[reason]


def end_writeback_throttle(lruvec: I64_2D, nid: int) -> None:
    """Note that a task throttled for writeback woke up."""
    lruvec[nid, LV_NR_WRITEBACK_THROTTLED] -= 1


def wakes_writeback_throttled(mem: Mem, lruvec: I64_2D, nid: int) -> bool:
    """Tell, after pages were written, whether those throttled for writeback should wake.

    Source: Linux 6.1 mm/vmscan.c:__acct_reclaim_writeback
    """
    throttled = int(lruvec[nid, LV_NR_WRITEBACK_THROTTLED])
    written = int(mem.node_stat[nid, NR_THROTTLED_WRITTEN] - lruvec[nid, LV_NR_RECLAIM_START])
    return throttled > 0 and written > SWAP_CLUSTER_MAX * throttled


def made_progress(sc: ScanControl) -> bool:
    """Tell whether a reclaimer got so far that tasks throttled for want of progress may go on.

    Source: Linux 6.1 mm/vmscan.c:consider_reclaim_throttle
    """
    return sc.nr_reclaimed > sc.nr_scanned >> 3


def should_throttle_noprogress(sc: ScanControl) -> bool:
    """Tell whether a direct reclaimer is to sleep since it gets nowhere at its last priorities.

    Source: Linux 6.1 mm/vmscan.c:consider_reclaim_throttle
    """
    return not sc.is_kswapd and sc.priority == 1 and not sc.nr_reclaimed
