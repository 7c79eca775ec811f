"""How much of which list to scan: the balance between anonymous and file pages.

Linux: mm/vmscan.c (6.1): scan_control, prepare_scan_count, get_scan_count, shrink_lruvec,
shrink_node and the decisions around them.
Differs: Reclaim knows no memory cgroups, no multi-generational LRU and no demotion to slower nodes.
Its loops wait for locks and devices, so they live with the actors that run them, and vmscan has
their steps.

Interface: a reclaimer makes a `ScanControl`, and for each pass over a node:
    prepare_scan_count(…)   sets the costs and flags of the pass
    get_scan_count(…)       pages to scan of each of the four lists
    ShrinkPlan              hands these out in batches and stops when enough was reclaimed
    finish_shrink_node(…)   what the pass said about the node
Priorities of a run, when kswapd is in balance, and when to give up are in vmscan_balance.py.
Units: pages. A priority p scans 1/2**p of a list in one pass.
"""

from math import isqrt
from typing import Final

import attrs

from kernelsim.mm.core.lruvec import (
    LV_ANON_COST,
    LV_FILE_COST,
    LV_KSWAPD_FAILURES,
    LV_LRUVEC_CONGESTED,
    LV_PGDAT_DIRTY,
    LV_PGDAT_WRITEBACK,
    LV_REFAULTS_ANON,
    LV_REFAULTS_FILE,
)
from kernelsim.mm.core.mem import (
    I64_2D,
    LRU_ACTIVE_ANON,
    LRU_ACTIVE_FILE,
    LRU_INACTIVE_ANON,
    LRU_INACTIVE_FILE,
    SWAP_CLUSTER_MAX,
    Z_FREE,
    Z_MANAGED,
    Z_WATERMARK_BOOST,
    Z_WMARK_HIGH,
    Mem,
)
from kernelsim.mm.core.vmstat import (
    NR_ACTIVE_FILE,
    NR_INACTIVE_ANON,
    NR_INACTIVE_FILE,
    NR_ISOLATED_ANON,
    NR_ZONE_INACTIVE_ANON,
    WORKINGSET_ACTIVATE_ANON,
    WORKINGSET_ACTIVATE_FILE,
)
from kernelsim.mm.page.gfp import GFP_KERNEL, Gfp
from kernelsim.mm.reclaim.reclaim_batch import (
    SHRINK_IO,
    SHRINK_KSWAPD,
    SHRINK_MAY_UNMAP,
    SHRINK_MAY_WRITEPAGE,
    STAT_NR_CONGESTED,
    STAT_NR_DIRTY,
    STAT_NR_IMMEDIATE,
    STAT_NR_RECLAIMED,
    STAT_NR_SCANNED,
    STAT_NR_TAKEN,
    STAT_NR_UNQUEUED_DIRTY,
    STAT_NR_WRITEBACK,
    ReclaimBatch,
)
from kernelsim.mm.reclaim.throttle_reason import CONGESTED, WRITEBACK, ThrottleReason
from kernelsim.mm.swap.swapfile import SS_FREE, SS_TOTAL, SwapArea

GFP_IO: Final = int(Gfp.IO)  # as plain integers: operators of flags take a microsecond each
GFP_IO_FS: Final = int(Gfp.IO | Gfp.FS)
DEF_PRIORITY: Final = 12  # include/linux/mmzone.h
MAX_SWAPPINESS: Final = 200
DEACTIVATE_ANON: Final = 1
DEACTIVATE_FILE: Final = 2
_EVICTABLE: Final = (LRU_INACTIVE_ANON, LRU_ACTIVE_ANON, LRU_INACTIVE_FILE, LRU_ACTIVE_FILE)
_GB_SHIFT: Final = 18  # pages to GB


@attrs.define
class ScanControl:
    """What one reclaimer is after and how far it got; as Linux's `struct scan_control`."""

    nr_to_reclaim: int = SWAP_CLUSTER_MAX
    is_kswapd: bool = False
    order: int = 0
    reclaim_idx: int = 0  # highest zone type to reclaim from
    gfp_mask: Gfp = GFP_KERNEL
    may_writepage: bool = True
    may_unmap: bool = True
    may_swap: bool = True
    swappiness: int = 60  # 0 … 200
    priority: int = DEF_PRIORITY

    # Set by prepare_scan_count for one pass over a node
    anon_cost: int = 0
    file_cost: int = 0
    may_deactivate: int = 0  # DEACTIVATE_ANON | DEACTIVATE_FILE
    cache_trim_mode: bool = False  # plenty of idle file pages: spare the anonymous ones
    file_is_tiny: bool = False  # file pages ran out: anonymous ones only
    force_deactivate: bool = False
    skipped_deactivate: bool = False  # an active list was spared

    # Results
    nr_scanned: int = 0
    nr_reclaimed: int = 0
    compaction_ready: bool = False

    # Seen in the current pass over a node
    dirty: int = 0
    unqueued_dirty: int = 0
    congested: int = 0
    writeback: int = 0
    immediate: int = 0
    file_taken: int = 0
    taken: int = 0

    def how(self) -> int:
        """Return the bits that isolate_lru_folios and shrink_folio_list are told."""
        bits = SHRINK_KSWAPD if self.is_kswapd else 0
        bits |= SHRINK_MAY_UNMAP if self.may_unmap else 0
        bits |= SHRINK_MAY_WRITEPAGE if self.may_writepage else 0
        return bits | (SHRINK_IO if int(self.gfp_mask) & GFP_IO else 0)

    def add_batch(self, batch: ReclaimBatch, *, lru: int) -> int:
        """Add what shrink_folio_list saw in a batch of an inactive list; return its reclaimed.

        Source: Linux 6.1 mm/vmscan.c:shrink_inactive_list
        """
        stat = batch.stat
        self.nr_scanned += int(stat[STAT_NR_SCANNED])
        self.dirty += int(stat[STAT_NR_DIRTY])
        self.congested += int(stat[STAT_NR_CONGESTED])
        self.unqueued_dirty += int(stat[STAT_NR_UNQUEUED_DIRTY])
        self.writeback += int(stat[STAT_NR_WRITEBACK])
        self.immediate += int(stat[STAT_NR_IMMEDIATE])
        self.taken += int(stat[STAT_NR_TAKEN])
        if lru >= LRU_INACTIVE_FILE:
            self.file_taken += int(stat[STAT_NR_TAKEN])
        return int(stat[STAT_NR_RECLAIMED])


@attrs.define
class ShrinkPlan:
    """The pages to scan of each list in one pass over a node, handed out in batches.

    Call `next_round` until it returns nothing; scan what it names; then tell `end_round`.
    """

    nr: list[int]  # [lru] pages still to scan
    nr_to_reclaim: int
    proportional_reclaim: bool  # scan everything, however much was reclaimed
    targets: list[int] = attrs.field(init=False)
    nr_reclaimed: int = 0

    def __attrs_post_init__(self) -> None:
        """Remember the targets that the proportions are kept by."""
        self.targets = list(self.nr)

    def next_round(self) -> list[tuple[int, int]]:
        """Take a batch of each list that has pages left: pairs of list and pages to scan."""
        nr = self.nr
        if not (nr[LRU_INACTIVE_ANON] or nr[LRU_ACTIVE_FILE] or nr[LRU_INACTIVE_FILE]):
            return []
        batches = []
        for lru in _EVICTABLE:
            if nr[lru]:
                nr_to_scan = min(nr[lru], SWAP_CLUSTER_MAX)
                nr[lru] -= nr_to_scan
                batches.append((lru, nr_to_scan))
        return batches

    def end_round(self, nr_reclaimed: int) -> None:
        """Add what a round reclaimed; when it is enough, cut the rest in proportion.

        The list type with less left to scan stops. The other goes on until it was scanned to
        the same percentage of its target.

        Source: Linux 6.1 mm/vmscan.c:shrink_lruvec
        """
        self.nr_reclaimed += nr_reclaimed
        if self.nr_reclaimed < self.nr_to_reclaim or self.proportional_reclaim:
            return
        nr, targets = self.nr, self.targets
        nr_anon = nr[LRU_INACTIVE_ANON] + nr[LRU_ACTIVE_ANON]
        nr_file = nr[LRU_INACTIVE_FILE] + nr[LRU_ACTIVE_FILE]
        if not nr_file or not nr_anon:
            nr[:] = [0] * len(nr)
            return
        smaller, larger, left = LRU_INACTIVE_FILE, LRU_INACTIVE_ANON, nr_file
        if nr_file > nr_anon:
            smaller, larger, left = LRU_INACTIVE_ANON, LRU_INACTIVE_FILE, nr_anon
        percentage = left * 100 // (targets[smaller] + targets[smaller + 1] + 1)
        nr[smaller] = nr[smaller + 1] = 0
        for lru in (larger, larger + 1):
            nr_scanned = targets[lru] - nr[lru]
            nr[lru] = max(0, targets[lru] * (100 - percentage) // 100 - nr_scanned)


def plan_shrink(sc: ScanControl, nr: list[int]) -> ShrinkPlan:
    """Start a pass over a node with the scan counts of `get_scan_count`."""
    proportional = not sc.is_kswapd and sc.priority == DEF_PRIORITY
    return ShrinkPlan(nr, sc.nr_to_reclaim, proportional)


def may_shrink_active(sc: ScanControl, *, lru: int) -> bool:
    """Tell whether an active list may be shrunk now; if not, the control remembers it.

    Source: Linux 6.1 mm/vmscan.c:shrink_list
    """
    if sc.may_deactivate & (DEACTIVATE_FILE if lru == LRU_ACTIVE_FILE else DEACTIVATE_ANON):
        return True
    sc.skipped_deactivate = True
    return False


def node_zones(mem: Mem, nid: int) -> range:
    """Return the zone rows of a node."""
    per_node = mem.lowmem_reserve.shape[1]
    return range(nid * per_node, (nid + 1) * per_node)


def zones_upto(mem: Mem, nid: int, highest_zoneidx: int) -> list[int]:
    """Return the rows of a node's zones that have pages and are not above a zone type."""
    rows = node_zones(mem, nid)[: highest_zoneidx + 1]
    return [row for row in rows if mem.zone[row, Z_MANAGED]]


def high_wmark_pages(mem: Mem, zone: int) -> int:
    """Return the high watermark of a zone, boost included."""
    return int(mem.zone[zone, Z_WMARK_HIGH] + mem.zone[zone, Z_WATERMARK_BOOST])


def inactive_is_low(mem: Mem, nid: int, inactive_lru: int) -> bool:
    """Tell whether an inactive list is too short against its active list.

    The larger memory is, the smaller the inactive share may be: the ratio is the square root of
    ten times the GB on both lists, at least 1.

    Source: Linux 6.1 mm/vmscan.c:inactive_is_low
    """
    inactive = int(mem.node_stat[nid, inactive_lru])
    active = int(mem.node_stat[nid, inactive_lru + 1])
    gb = (inactive + active) >> _GB_SHIFT
    return inactive * (isqrt(10 * gb) if gb else 1) < active


def can_reclaim_anon_pages(swap: SwapArea) -> bool:
    """Tell whether there is a free swap slot."""
    return bool(swap.state[SS_FREE] > 0)


def can_age_anon_pages(swap: SwapArea) -> bool:
    """Tell whether the machine has swap, so that active anonymous pages are worth ageing."""
    return bool(swap.state[SS_TOTAL] > 0)


def prepare_scan_count(mem: Mem, lruvec: I64_2D, nid: int, sc: ScanControl) -> None:
    """Set what the coming pass over a node depends on, and forget what the last one saw.

    Source: Linux 6.1 mm/vmscan.c:shrink_node, :prepare_scan_count
    """
    sc.dirty = sc.unqueued_dirty = sc.congested = sc.writeback = sc.immediate = 0
    sc.file_taken = sc.taken = 0
    stat = mem.node_stat[nid]
    sc.anon_cost = int(lruvec[nid, LV_ANON_COST])
    sc.file_cost = int(lruvec[nid, LV_FILE_COST])
    sc.may_deactivate = DEACTIVATE_ANON | DEACTIVATE_FILE
    if not sc.force_deactivate:
        anon = stat[WORKINGSET_ACTIVATE_ANON] != lruvec[nid, LV_REFAULTS_ANON]
        if not anon and not inactive_is_low(mem, nid, LRU_INACTIVE_ANON):
            sc.may_deactivate &= ~DEACTIVATE_ANON
        file = stat[WORKINGSET_ACTIVATE_FILE] != lruvec[nid, LV_REFAULTS_FILE]
        if not file and not inactive_is_low(mem, nid, LRU_INACTIVE_FILE):
            sc.may_deactivate &= ~DEACTIVATE_FILE
    idle_file = int(stat[NR_INACTIVE_FILE]) >> sc.priority
    sc.cache_trim_mode = bool(idle_file and not sc.may_deactivate & DEACTIVATE_FILE)
    file_pages = int(stat[NR_ACTIVE_FILE] + stat[NR_INACTIVE_FILE])
    zones = [row for row in node_zones(mem, nid) if mem.zone[row, Z_MANAGED]]
    free = sum(int(mem.zone[row, Z_FREE]) for row in zones)
    high = sum(high_wmark_pages(mem, row) for row in zones)
    sc.file_is_tiny = (
        file_pages + free <= high
        and not sc.may_deactivate & DEACTIVATE_ANON
        and int(stat[NR_INACTIVE_ANON]) >> sc.priority > 0
    )


def get_scan_count(mem: Mem, swap: SwapArea, nid: int, sc: ScanControl) -> list[int]:
    """Return how many pages of each of the four lists to scan in this pass.

    The pressure on a type of pages is inversely proportional to what its reclaim has cost in
    I/O lately, times the share that swappiness gives it; each type gets a third at least before
    swappiness.

    Source: Linux 6.1 mm/vmscan.c:get_scan_count
    """
    fraction, denominator = scan_balance(swap, sc)
    nr = []
    for lru in _EVICTABLE:
        scan = lruvec_lru_size(mem, nid, lru, sc.reclaim_idx) >> sc.priority
        nr.append(scan * fraction[lru >> 1] // denominator)
    return nr


def scan_balance(swap: SwapArea, sc: ScanControl) -> tuple[tuple[int, int], int]:
    """Return the shares of anonymous and file pages, and what they are shares of.

    Source: Linux 6.1 mm/vmscan.c:get_scan_count (SCAN_FILE, SCAN_EQUAL, SCAN_ANON, SCAN_FRACT)
    """
    if not sc.may_swap or not can_reclaim_anon_pages(swap):
        return (0, 1), 1
    if not sc.priority and sc.swappiness:
        return (1, 1), 1
    if sc.file_is_tiny:
        return (1, 0), 1
    if sc.cache_trim_mode:
        return (0, 1), 1
    total_cost = sc.anon_cost + sc.file_cost
    anon_cost = total_cost + sc.anon_cost
    file_cost = total_cost + sc.file_cost
    total_cost = anon_cost + file_cost
    anon = sc.swappiness * (total_cost + 1) // (anon_cost + 1)
    file = (MAX_SWAPPINESS - sc.swappiness) * (total_cost + 1) // (file_cost + 1)
    return (anon, file), anon + file


def lruvec_lru_size(mem: Mem, nid: int, lru: int, highest_zoneidx: int) -> int:
    """Return the pages of a list that lie in zones up to a zone type."""
    column = NR_ZONE_INACTIVE_ANON + lru
    return sum(int(mem.zone_stat[row, column]) for row in zones_upto(mem, nid, highest_zoneidx))


def should_age_active_anon(mem: Mem, swap: SwapArea, nid: int) -> bool:
    """Tell whether a batch of active anonymous pages should be moved to the inactive list.

    Asked after each pass over a node, and by kswapd before it.

    Source: Linux 6.1 mm/vmscan.c:shrink_lruvec, :age_active_anon
    """
    return can_age_anon_pages(swap) and inactive_is_low(mem, nid, LRU_INACTIVE_ANON)


def too_many_isolated(mem: Mem, nid: int, sc: ScanControl, *, lru: int) -> bool:
    """Tell whether so many pages are off their lists that a direct reclaimer should wait.

    Source: Linux 6.1 mm/vmscan.c:too_many_isolated
    """
    if sc.is_kswapd:
        return False
    inactive = int(mem.node_stat[nid, lru])
    isolated = int(mem.node_stat[nid, NR_ISOLATED_ANON + (lru >> 1)])
    if int(sc.gfp_mask) & GFP_IO_FS == GFP_IO_FS:
        inactive >>= 3
    return isolated > inactive


def finish_shrink_node(
    lruvec: I64_2D, nid: int, sc: ScanControl, *, nr_reclaimed_before: int
) -> ThrottleReason | None:
    """Draw the conclusions of a pass over a node; return the reason to throttle for, if any.

    Source: Linux 6.1 mm/vmscan.c:shrink_node
    """
    throttle = None
    if sc.is_kswapd:
        if sc.writeback and sc.writeback == sc.taken:
            lruvec[nid, LV_PGDAT_WRITEBACK] = 1
        if sc.unqueued_dirty == sc.file_taken:
            lruvec[nid, LV_PGDAT_DIRTY] = 1
        if sc.immediate:
            throttle = WRITEBACK
        if sc.dirty and sc.dirty == sc.congested:
            lruvec[nid, LV_LRUVEC_CONGESTED] = 1
    elif lruvec[nid, LV_LRUVEC_CONGESTED]:
        throttle = CONGESTED
    if sc.nr_reclaimed > nr_reclaimed_before:
        lruvec[nid, LV_KSWAPD_FAILURES] = 0
    return throttle


def snapshot_refaults(mem: Mem, lruvec: I64_2D, nid: int) -> None:
    """Remember the activations so far, when a reclaim run ends.

    Source: Linux 6.1 mm/vmscan.c:snapshot_refaults
    """
    lruvec[nid, LV_REFAULTS_ANON] = mem.node_stat[nid, WORKINGSET_ACTIVATE_ANON]
    lruvec[nid, LV_REFAULTS_FILE] = mem.node_stat[nid, WORKINGSET_ACTIVATE_FILE]
