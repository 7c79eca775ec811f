"""How far a pass of eviction goes: whether it may swap, and when it has done enough.

Linux: mm/vmscan.c: get_swappiness, should_abort_scan, 6.1.
Units: pages.
"""

from kernelsim.mm.core.lru_gen import MIN_LRU_BATCH
from kernelsim.mm.core.mem import (
    Z_FREE,
    Z_WATERMARK_BOOST,
    Z_WMARK_HIGH,
    Z_WMARK_LOW,
    Mem,
)
from kernelsim.mm.reclaim.scan_control import DEF_PRIORITY, ScanControl
from kernelsim.mm.reclaim.vmscan import zones_upto
from kernelsim.mm.swap.swap_area import SS_FREE, SwapArea


def get_swappiness(swap: SwapArea, sc: ScanControl) -> int:
    """Return the swappiness of a pass: 0 without room for a batch, 1 where it may not swap.

    Source: Linux 6.1 mm/vmscan.c:get_swappiness, :lru_gen_shrink_lruvec
    """
    if swap.state[SS_FREE] < MIN_LRU_BATCH or not sc.swappiness:
        return 0
    return sc.swappiness if sc.may_swap else 1


def should_abort_scan(
    mem: Mem, nid: int, sc: ScanControl, *, nr_aged: int, need_swapping: bool, killed: bool
) -> bool:
    """Tell whether a pass ends before it has scanned all it meant to.

    A pass that ends because memory is free again, or because its task is to die, counts a batch
    more as reclaimed, so that it is not repeated.

    Args:
        mem: Physical memory.
        nid: Node.
        sc: The pass so far.
        nr_aged: Generations that were made since it began.
        need_swapping: It has taken anonymous pages.
        killed: Its task has been killed.

    Source: Linux 6.1 mm/vmscan.c:should_abort_scan
    """
    if not sc.is_kswapd:
        if nr_aged > 1:
            return True
        if sc.nr_reclaimed >= sc.nr_to_reclaim and need_swapping:
            return True
        if killed:
            sc.nr_reclaimed += MIN_LRU_BATCH
            return True
    elif sc.nr_reclaimed - sc.last_reclaimed < sc.nr_to_reclaim:
        return False
    if sc.priority > DEF_PRIORITY - 2:
        return False
    mark = Z_WMARK_HIGH if sc.is_kswapd else Z_WMARK_LOW
    for row in zones_upto(mem, nid, sc.reclaim_idx):
        if mem.zone[row, mark] + mem.zone[row, Z_WATERMARK_BOOST] > mem.zone[row, Z_FREE]:
            return False
    sc.nr_reclaimed += MIN_LRU_BATCH
    return True
