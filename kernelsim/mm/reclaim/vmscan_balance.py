"""When reclaim starts, goes on, slows down and stops: kswapd's and direct reclaim's decisions.

Linux: mm/vmscan.c:balance_pgdat, :prepare_kswapd_sleep, :allow_direct_reclaim, :reclaim_throttle,
:do_try_to_free_pages, and mm/page_alloc.c:should_reclaim_retry (6.1).
Differs: kswapd knows no memory cgroups, no laptop mode and no freezing.

Interface: kswapd makes a `BalanceRun` and asks it before and after each pass over its node.
Units: pages; a throttle timeout is ns.
"""

from typing import Final

import attrs

from kernelsim.mm.core.lruvec import (
    LV_KSWAPD_FAILURES,
    LV_LRUVEC_CONGESTED,
    LV_NR_RECLAIM_START,
    LV_NR_WRITEBACK_THROTTLED,
    LV_PGDAT_DIRTY,
    LV_PGDAT_WRITEBACK,
)
from kernelsim.mm.core.mem import (
    I64_2D,
    LRU_ACTIVE_FILE,
    LRU_INACTIVE_ANON,
    LRU_INACTIVE_FILE,
    SWAP_CLUSTER_MAX,
    Z_FREE,
    Z_MANAGED,
    Z_RECLAIM_ACTIVE,
    Z_WATERMARK_BOOST,
    Z_WMARK_MIN,
    Mem,
)
from kernelsim.mm.core.vmstat import (
    NR_THROTTLED_WRITTEN,
    NR_ZONE_INACTIVE_ANON,
    NR_ZONE_WRITE_PENDING,
)
from kernelsim.mm.page.page_alloc import reduced_mark, zone_watermark_ok
from kernelsim.mm.reclaim.throttle_reason import (
    CONGESTED,
    NOPROGRESS,
    THROTTLE_TIMEOUT_NS,
    WRITEBACK,
    ThrottleReason,
)
from kernelsim.mm.reclaim.vmscan import (
    DEF_PRIORITY,
    ScanControl,
    can_reclaim_anon_pages,
    high_wmark_pages,
    node_zones,
    zones_upto,
)
from kernelsim.mm.swap.swapfile import SwapArea

MAX_RECLAIM_RETRIES: Final = 16  # runs without progress before kswapd or the allocator gives up
PAGE_ALLOC_COSTLY_ORDER: Final = 3


def pgdat_balanced(mem: Mem, nid: int, order: int, highest_zoneidx: int) -> bool:
    """Tell whether one zone of the node is above its high watermark for a request.

    A node without pages up to that zone type is in balance.

    Source: Linux 6.1 mm/vmscan.c:pgdat_balanced
    """
    zones = zones_upto(mem, nid, highest_zoneidx)
    for row in zones:
        mark = high_wmark_pages(mem, row)
        if zone_watermark_ok(mem, row, order, mark, highest_zoneidx, 0):
            return True
    return not zones


def pgdat_watermark_boosted(mem: Mem, nid: int, highest_zoneidx: int) -> bool:
    """Tell whether a zone's watermarks are raised because its pageblocks were mixed up.

    Source: Linux 6.1 mm/vmscan.c:pgdat_watermark_boosted
    """
    zones = zones_upto(mem, nid, highest_zoneidx)
    return any(mem.zone[row, Z_WATERMARK_BOOST] > 0 for row in zones)


def prepare_kswapd_sleep(
    mem: Mem, lruvec: I64_2D, nid: int, order: int, highest_zoneidx: int
) -> bool:
    """Tell whether kswapd may sleep; a balanced node forgets its writeback troubles.

    Source: Linux 6.1 mm/vmscan.c:prepare_kswapd_sleep
    """
    if lruvec[nid, LV_KSWAPD_FAILURES] >= MAX_RECLAIM_RETRIES:
        return True
    if pgdat_balanced(mem, nid, order, highest_zoneidx):
        clear_pgdat_congested(lruvec, nid)
        return True
    return False


def clear_pgdat_congested(lruvec: I64_2D, nid: int) -> None:
    """Forget that the node's reclaim waited for writeback."""
    lruvec[nid, LV_LRUVEC_CONGESTED] = 0
    lruvec[nid, LV_PGDAT_DIRTY] = 0
    lruvec[nid, LV_PGDAT_WRITEBACK] = 0


def kswapd_nr_to_reclaim(mem: Mem, nid: int, reclaim_idx: int) -> int:
    """Return how many pages kswapd wants to scan and reclaim in one pass over its node.

    Source: Linux 6.1 mm/vmscan.c:kswapd_shrink_node
    """
    zones = zones_upto(mem, nid, reclaim_idx)
    return sum(max(high_wmark_pages(mem, row), SWAP_CLUSTER_MAX) for row in zones)


def compact_gap(order: int) -> int:
    """Return the free pages compaction needs for a block of an order."""
    return 2 << order


@attrs.define
class BalanceRun:
    """One run of kswapd, from a wake-up to the balance of its node or to giving up.

    Use: `while run.begin_pass(mem): …one pass with run.sc…; run.end_pass()`, then `finish`.
    """

    nid: int
    highest_zoneidx: int
    sc: ScanControl
    nr_boost_reclaim: int  # boost of the watermarks that this run should still reclaim
    zone_boosts: dict[int, int]  # [zone row] boost when the run began
    stopped: bool = False  # the last pass ended the run
    gave_up: bool = False  # ran through all priorities
    nr_reclaimed_before: int = 0

    @classmethod
    def start(
        cls, mem: Mem, nid: int, *, order: int, highest_zoneidx: int, swappiness: int
    ) -> "BalanceRun":
        """Begin a run: note the boosts and mark the zones as being reclaimed.

        Source: Linux 6.1 mm/vmscan.c:balance_pgdat, :set_reclaim_active
        """
        zones = zones_upto(mem, nid, highest_zoneidx)
        boosts = {row: int(mem.zone[row, Z_WATERMARK_BOOST]) for row in zones}
        for row in zones:
            mem.zone[row, Z_RECLAIM_ACTIVE] = 1
        sc = ScanControl(
            is_kswapd=True, order=order, reclaim_idx=highest_zoneidx, swappiness=swappiness
        )
        return cls(nid, highest_zoneidx, sc, sum(boosts.values()), boosts)

    def begin_pass(self, mem: Mem) -> bool:
        """Tell whether another pass is needed, and prepare the control for it.

        While watermarks are boosted kswapd goes on though the node is balanced, but neither
        writes nor swaps; a node out of balance makes it forget the boost and start afresh.

        Source: Linux 6.1 mm/vmscan.c:balance_pgdat
        """
        sc = self.sc
        if self.stopped:
            return False
        balanced = pgdat_balanced(mem, self.nid, sc.order, self.highest_zoneidx)
        if not balanced and self.nr_boost_reclaim:
            self.nr_boost_reclaim = 0
            sc.priority = DEF_PRIORITY
        if balanced and not self.nr_boost_reclaim:
            return False
        sc.may_writepage = not self.nr_boost_reclaim
        sc.may_swap = not self.nr_boost_reclaim
        if sc.priority < DEF_PRIORITY - 2:
            sc.may_writepage = True
        sc.nr_scanned = 0
        sc.nr_to_reclaim = kswapd_nr_to_reclaim(mem, self.nid, sc.reclaim_idx)
        self.nr_reclaimed_before = sc.nr_reclaimed
        return True

    def end_pass(self) -> None:
        """Raise the priority when a pass scanned too little or reclaimed nothing.

        Source: Linux 6.1 mm/vmscan.c:balance_pgdat, :kswapd_shrink_node
        """
        sc = self.sc
        raise_priority = not (self.nr_boost_reclaim and sc.priority == DEF_PRIORITY - 2)
        if sc.order and sc.nr_reclaimed >= compact_gap(sc.order):
            sc.order = 0
        if sc.nr_scanned >= sc.nr_to_reclaim:
            raise_priority = False
        nr_reclaimed = sc.nr_reclaimed - self.nr_reclaimed_before
        self.nr_boost_reclaim -= min(self.nr_boost_reclaim, nr_reclaimed)
        if self.nr_boost_reclaim and not nr_reclaimed:
            self.stopped = True
            self.gave_up = True
        elif raise_priority or not nr_reclaimed:
            sc.priority -= 1
            if sc.priority < 1:
                self.stopped = True
                self.gave_up = True

    def finish(self, mem: Mem, lruvec: I64_2D) -> bool:
        """End the run; return whether kcompactd is to be woken because a boost was worked off.

        The caller snapshots refaults. A run that gave up without reclaiming anything counts as a
        failure of kswapd.

        Source: Linux 6.1 mm/vmscan.c:balance_pgdat
        """
        if self.gave_up and not self.sc.nr_reclaimed:
            lruvec[self.nid, LV_KSWAPD_FAILURES] += 1
        boosted = False
        for row, boost in self.zone_boosts.items():
            mem.zone[row, Z_RECLAIM_ACTIVE] = 0
            if boost:
                boosted = True
                now = int(mem.zone[row, Z_WATERMARK_BOOST])
                mem.zone[row, Z_WATERMARK_BOOST] = now - min(now, boost)
        return boosted


def zone_reclaimable_pages(mem: Mem, swap: SwapArea, zone: int) -> int:
    """Return the pages of a zone that reclaim could free at best.

    Source: Linux 6.1 mm/vmscan.c:zone_reclaimable_pages
    """
    first = LRU_INACTIVE_ANON if can_reclaim_anon_pages(swap) else LRU_INACTIVE_FILE
    columns = slice(NR_ZONE_INACTIVE_ANON + first, NR_ZONE_INACTIVE_ANON + LRU_ACTIVE_FILE + 1)
    return int(mem.zone_stat[zone, columns].sum())


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
