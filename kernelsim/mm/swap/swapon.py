"""Switching swap areas on and off: their priorities, and what is counted of them.

Linux: mm/swapfile.c:swapon, :swapoff, :enable_swap_info, :reinsert_swap_info, 6.1.
Interface: `enable_area` makes an area usable; `begin_swapoff` takes it out of use, `cancel_swapoff`
puts it back, `end_swapoff` forgets it when none of its slots is in use any more.
Units: slots of one page.
"""

from kernelsim.mm.swap.swap_area import (
    CL_COUNT,
    CL_FREE,
    CL_NEXT,
    SA_CLUSTER_NR,
    SA_FREE_HEAD,
    SA_FREE_TAIL,
    SA_INUSE,
    SA_MAX,
    SA_PRIO,
    SA_START,
    SA_USED,
    SA_WRITEOK,
    SS_FREE,
    SS_LEAST_PRIORITY,
    SS_TOTAL,
    SWAPFILE_CLUSTER,
    SwapArea,
    order_areas,
    setup_area,
)


def enable_area(swap: SwapArea, number: int, prio: int | None) -> int:
    """Let slots of an area be taken; return its priority, the next below 0 unless one is given."""
    if prio is None:
        swap.state[SS_LEAST_PRIORITY] -= 1
        prio = int(swap.state[SS_LEAST_PRIORITY])
    area = swap.area[number]
    area[SA_PRIO], area[SA_USED], area[SA_WRITEOK] = prio, 1, 1
    swap.state[SS_TOTAL] += area[SA_MAX] - 1
    swap.state[SS_FREE] += area[SA_MAX] - 1
    order_areas(swap)
    return prio


def begin_swapoff(swap: SwapArea, number: int) -> None:
    """Let no more slots of an area be taken; those in use count as if they lay nowhere.

    Areas without a priority of their own that came after it move up by one.
    """
    area, nr_slots = swap.area[number], int(swap.area[number, SA_MAX]) - 1
    area[SA_WRITEOK] = 0
    if area[SA_PRIO] < 0:
        behind = (swap.area[:, SA_WRITEOK] != 0) & (swap.area[:, SA_PRIO] < area[SA_PRIO])
        swap.area[behind, SA_PRIO] += 1
        swap.state[SS_LEAST_PRIORITY] += 1
    swap.state[SS_FREE] -= nr_slots
    swap.state[SS_TOTAL] -= nr_slots
    order_areas(swap)


def cancel_swapoff(swap: SwapArea, number: int) -> None:
    """Let slots of an area be taken again that could not be emptied."""
    enable_area(swap, number, int(swap.area[number, SA_PRIO]))


def end_swapoff(swap: SwapArea, number: int) -> None:
    """Forget an area that is empty; it is laid out afresh for the next time."""
    area = swap.area[number]
    start, size = int(area[SA_START]), int(area[SA_MAX])
    first, end = start // SWAPFILE_CLUSTER, -(-(start + size) // SWAPFILE_CLUSTER)
    area[[SA_USED, SA_FREE_HEAD, SA_FREE_TAIL, SA_CLUSTER_NR]] = 0
    swap.cpu_cluster[number] = 0
    swap.cluster[first:end, [CL_COUNT, CL_NEXT, CL_FREE]] = 0
    swap.shadow[start : end * SWAPFILE_CLUSTER] = 0
    setup_area(swap, number, first, end, size)


def si_swapinfo(swap: SwapArea) -> tuple[int, int]:
    """Return SwapTotal and SwapFree; what an area that is being emptied still holds counts as used.

    Source: Linux 6.1 mm/swapfile.c:si_swapinfo
    """
    nr_left = sum(
        area[SA_INUSE] for area in swap.area.tolist() if area[SA_USED] and not area[SA_WRITEOK]
    )
    return int(swap.state[SS_TOTAL]) + nr_left, int(swap.state[SS_FREE]) + nr_left
