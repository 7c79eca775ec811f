"""How much of which list to scan: the balance between anonymous and file pages.

Linux: mm/vmscan.c (6.1): prepare_scan_count, get_scan_count, shrink_node and the decisions around
them.
Differs: Reclaim knows no memory cgroups and no demotion to slower nodes. Its loops wait for locks
and devices, so they live with the actors that run them, and vmscan has their steps.

Interface: a reclaimer makes a `ScanControl` (scan_control.py), and for each pass over a node:
    prepare_scan_count(…)   sets the costs and flags of the pass
    get_scan_count(…)       pages to scan of each of the four lists
    ShrinkPlan              hands these out in batches and stops when enough was reclaimed
    finish_shrink_node(…)   what the pass said about the node
vmscan_kswapd.py says when kswapd starts and stops, vmscan_direct.py when a task that needs pages
does, vmscan_throttle.py when either sleeps.
Units: pages. A priority p scans 1/2**p of a list in one pass.
"""

from typing import Final

from kernelsim.mm.core.lru_gen import lru_gen_enabled
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
    LRU_ACTIVE_FILE,
    LRU_INACTIVE_ANON,
    LRU_INACTIVE_FILE,
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
from kernelsim.mm.page.gfp import Gfp
from kernelsim.mm.reclaim.inactive_ratio import inactive_ratio
from kernelsim.mm.reclaim.scan_control import (
    _EVICTABLE,
    DEACTIVATE_ANON,
    DEACTIVATE_FILE,
    ScanControl,
)
from kernelsim.mm.reclaim.throttle_reason import CONGESTED, WRITEBACK, ThrottleReason
from kernelsim.mm.swap.swap_area import SS_FREE, SS_TOTAL, SwapArea

GFP_IO_FS: Final = int(Gfp.IO | Gfp.FS)
MAX_SWAPPINESS: Final = 200


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

    Source: Linux 6.1 mm/vmscan.c:inactive_is_low
    """
    inactive = int(mem.node_stat[nid, inactive_lru])
    active = int(mem.node_stat[nid, inactive_lru + 1])
    return inactive * inactive_ratio(inactive + active) < active


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
    if lru_gen_enabled(mem):
        return
    lruvec[nid, LV_REFAULTS_ANON] = mem.node_stat[nid, WORKINGSET_ACTIVATE_ANON]
    lruvec[nid, LV_REFAULTS_FILE] = mem.node_stat[nid, WORKINGSET_ACTIVATE_FILE]


def zone_reclaimable_pages(mem: Mem, swap: SwapArea, zone: int) -> int:
    """Return the pages of a zone that reclaim could free at best.

    Source: Linux 6.1 mm/vmscan.c:zone_reclaimable_pages
    """
    first = LRU_INACTIVE_ANON if can_reclaim_anon_pages(swap) else LRU_INACTIVE_FILE
    columns = slice(NR_ZONE_INACTIVE_ANON + first, NR_ZONE_INACTIVE_ANON + LRU_ACTIVE_FILE + 1)
    return int(mem.zone_stat[zone, columns].sum())
