"""kswapd's decisions: when it wakes, goes on and sleeps, and what tasks and it tell each other.

Linux: mm/vmscan.c:wakeup_kswapd, :balance_pgdat, :prepare_kswapd_sleep, pg_data_t's kswapd_wait,
kswapd_order and kswapd_highest_zoneidx (6.1).
Differs: kswapd knows no memory cgroups, no laptop mode and no freezing.

Interface: a node has one `KswapdState`. It is shared and read without a lock, as in Linux: a task
that allocates raises `highest_zoneidx` and `order` and ends `asleep`; kswapd takes the former and
sets the latter.
For each run kswapd makes a `BalanceRun` and asks it before and after each pass over its node. A run
marks the zones it reclaims in zone->flags, without a lock, and takes off the boosts it has worked
off, which Linux does under zone->lock.
Units: pages; indices of zone types.
"""

import attrs
import numpy as np

from kernelsim.mm.core.lruvec import (
    LV_KSWAPD_FAILURES,
    LV_LRUVEC_CONGESTED,
    LV_PGDAT_DIRTY,
    LV_PGDAT_WRITEBACK,
)
from kernelsim.mm.core.mem import (
    I64,
    I64_2D,
    SWAP_CLUSTER_MAX,
    Z_RECLAIM_ACTIVE,
    Z_WATERMARK_BOOST,
    Mem,
)
from kernelsim.mm.page.compaction import compact_gap
from kernelsim.mm.page.page_alloc import zone_watermark_ok
from kernelsim.mm.reclaim.scan_control import DEF_PRIORITY, MAX_RECLAIM_RETRIES, ScanControl
from kernelsim.mm.reclaim.vmscan import high_wmark_pages, zones_upto


@attrs.define
class KswapdState:
    """What the kswapd of a node is asked for.

    Attributes:
        highest_zoneidx: Highest zone index of the requests since it last looked; None for none.
        order: The largest block they wanted.
    """

    highest_zoneidx: int | None = None
    order: int = 0
    _asleep: I64 = attrs.field(factory=lambda: np.zeros(1, np.int64))  # bursts read it too

    @property
    def asleep(self) -> bool:
        """Whether it sleeps and a wake-up has to be told."""
        return bool(self._asleep[0])

    @asleep.setter
    def asleep(self, value: bool) -> None:
        self._asleep[0] = value

    def wants(self, highest_zoneidx: int, order: int = 0) -> None:
        """Note that a request may use zones up to an index; kswapd at work will see it."""
        self.order = max(self.order, order)
        if self.highest_zoneidx is None or self.highest_zoneidx < highest_zoneidx:
            self.highest_zoneidx = highest_zoneidx

    def take(self) -> tuple[int | None, int]:
        """Return the highest zone index and order asked for, and forget them."""
        wanted = self.highest_zoneidx, self.order
        self.highest_zoneidx, self.order = None, 0
        return wanted


def should_wake_kswapd(
    mem: Mem, lruvec: I64_2D, state: KswapdState, nid: int, order: int, highest_zoneidx: int
) -> bool:
    """Note a request for free pages; return whether kswapd sleeps and should wake up for it.

    Not when its node is in balance, nor when it has failed too often: then direct reclaim is to
    find out whether anything can be freed.

    Source: Linux 6.1 mm/vmscan.c:wakeup_kswapd
    """
    state.wants(highest_zoneidx, order)
    if not state.asleep:
        return False
    if lruvec[nid, LV_KSWAPD_FAILURES] >= MAX_RECLAIM_RETRIES:
        return False
    balanced = pgdat_balanced(mem, nid, order, highest_zoneidx)
    return not balanced or pgdat_watermark_boosted(mem, nid, highest_zoneidx)


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
