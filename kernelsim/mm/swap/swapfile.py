"""Swap areas: which slot a page goes to, and how many users a slot has.

Linux: mm/swapfile.c, mm/swap_slots.c (6.1).
Differs: Swap areas know no discard, no swapoff, and no continuation pages for a slot with more than
62 users.

Interface: `swapon` builds all areas of a machine at once; `get_swap_slots` takes slots,
`folio_alloc_swap` one through the CPU's cache of 64 taken ahead,
`swap_duplicate` and `swap_free` count the page-table entries that name one, `put_swap_slot` drops
the swap cache's hold. Slots of all areas are numbered in one array: an area starts at a multiple
of the cluster size, its first slot is the header and never used, so slot 0 means "none".
Units: slots of one page.

How slots are chosen. An area on a disk without seek cost is cut into clusters of 256 slots. Each
CPU writes into a cluster of its own, slot after slot, so that what one CPU evicts together lies
together; a new cluster comes from the front of the list of wholly free ones, and goes to its tail
when its last slot is freed. Only when no cluster is wholly free are single free slots searched for,
from where the last search ended. On a rotating disk all CPUs write into one run of 256 free slots,
the first from the start of the area, so that the arm moves little.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np

from kernelsim.hw.leaf import leaf
from kernelsim.mm.core.mem import I32, I32_2D, I64, I64_2D, I64_3D, U8, U64

SWAPFILE_CLUSTER: Final = 256  # slots; mm/swapfile.c
SWAP_SLOTS_CACHE_SIZE: Final = 64  # slots a CPU takes at a time; include/linux/swap_slots.h
THRESHOLD_ACTIVATE_SWAP_SLOTS_CACHE: Final = 5 * SWAP_SLOTS_CACHE_SIZE  # free slots for each CPU
THRESHOLD_DEACTIVATE_SWAP_SLOTS_CACHE: Final = 2 * SWAP_SLOTS_CACHE_SIZE

# Values of SwapArea.map; include/linux/swap.h
SWAP_HAS_CACHE: Final = 0x40  # a page of the swap cache (or one on its way there) holds the slot
SWAP_MAP_COUNT: Final = 0x3F  # the rest: page-table entries that name the slot
SWAP_MAP_MAX: Final = 0x3E
SWAP_MAP_BAD: Final = 0x3F  # header, and slots past the end of an area

# Columns of SwapArea.area
SA_START: Final = 0  # first slot, a multiple of SWAPFILE_CLUSTER; the header
SA_MAX: Final = 1  # slots with the header; Linux's si->max
SA_PRIO: Final = 2
SA_INUSE: Final = 3  # Linux's inuse_pages
SA_FREE_HEAD: Final = 4  # first wholly free cluster + 1, 0 = none
SA_FREE_TAIL: Final = 5
SA_CLUSTER_NEXT: Final = 6  # where the search for a single slot goes on
SA_ROTATIONAL: Final = 7  # 1 = seeking costs: no clusters of CPUs; not SWP_SOLIDSTATE
SA_CLUSTER_NR: Final = 8  # slots left in the run that is being filled; rotating disks only
NR_AREA_FIELDS: Final = 9

# Columns of SwapArea.cluster
CL_COUNT: Final = 0  # slots in use
CL_NEXT: Final = 1  # next free cluster + 1
CL_FREE: Final = 2  # 1 = on the list of free clusters
CL_AREA: Final = 3
NR_CLUSTER_FIELDS: Final = 4

# Entries of SwapArea.state
SS_TOTAL: Final = 0  # total_swap_pages: usable slots of all areas
SS_FREE: Final = 1  # nr_swap_pages: slots that are not in use
SS_TURN: Final = 2  # slots the first area gave since areas of equal priority took turns
SS_SLOT_CACHE: Final = 3  # 1 = CPUs take slots ahead; swap_slot_cache_active
SS_ORDER: Final = 4  # from here on: areas in the order they are asked


class SwapArea(NamedTuple):
    """All swap areas of the machine."""

    map: U8  # [slot] users, and SWAP_HAS_CACHE
    cache_pfn: I32  # [slot] page of the swap cache, 0 = none
    token: U64  # [slot] what the slot holds, as a number
    shadow: I64  # [slot] when its page was evicted, 0 = unknown; see workingset.py
    cluster: I32_2D  # [slot // SWAPFILE_CLUSTER, CL_*]
    area: I64_2D  # [area, SA_*]
    cpu_cluster: I64_3D  # [area, cpu, 2] cluster + 1 the CPU writes into, and the next slot to try
    cpu_slots: I64_2D  # [cpu, slots taken ahead]
    cpu_slots_left: I64  # [cpu] how many of them are left, the last ones of the row
    state: I64  # [SS_*]


def swapon(
    sizes_pages: Sequence[int],
    priorities: Sequence[int],
    nr_cpus: int,
    rotational: Sequence[bool] = (),
) -> SwapArea:
    """Build the swap areas of a machine; no areas make a machine without swap.

    Args:
        sizes_pages: Size of each device in pages, header included (at least 2).
        priorities: As /proc/swaps prints them; the highest is used first, equal ones in turn.
        nr_cpus: CPUs of the machine.
        rotational: Whether each lies on a rotating disk; none does if left out.

    Source: Linux 6.1 mm/swapfile.c:setup_swap_map_and_extents, :enable_swap_info
    """
    nr_areas = len(sizes_pages)
    area = np.zeros((nr_areas, NR_AREA_FIELDS), np.int64)
    clusters = [-(-size // SWAPFILE_CLUSTER) for size in sizes_pages]
    nr_clusters = max(1, sum(clusters))
    swap = SwapArea(
        map=np.zeros(nr_clusters * SWAPFILE_CLUSTER, np.uint8),
        cache_pfn=np.zeros(nr_clusters * SWAPFILE_CLUSTER, np.int32),
        token=np.zeros(nr_clusters * SWAPFILE_CLUSTER, np.uint64),
        shadow=np.zeros(nr_clusters * SWAPFILE_CLUSTER, np.int64),
        cluster=np.zeros((nr_clusters, NR_CLUSTER_FIELDS), np.int32),
        area=area,
        cpu_cluster=np.zeros((nr_areas, nr_cpus, 2), np.int64),
        cpu_slots=np.zeros((nr_cpus, SWAP_SLOTS_CACHE_SIZE), np.int64),
        cpu_slots_left=np.zeros(nr_cpus, np.int64),
        state=np.zeros(SS_ORDER + nr_areas, np.int64),
    )
    first = 0
    for number, size in enumerate(sizes_pages):
        area[number, SA_ROTATIONAL] = int(number < len(rotational) and rotational[number])
        setup_area(swap, number, first, first + clusters[number], size)
        area[number, SA_PRIO] = priorities[number]
        first += clusters[number]
    swap.state[SS_TOTAL] = swap.state[SS_FREE] = sum(sizes_pages) - nr_areas
    swap.state[SS_ORDER:] = sorted(range(nr_areas), key=lambda number: -priorities[number])
    return swap


def setup_area(swap: SwapArea, number: int, first: int, end: int, size_pages: int) -> None:
    """Lay out one area over the clusters [first, end) and put its free ones on their list."""
    start = first * SWAPFILE_CLUSTER
    swap.map[start] = SWAP_MAP_BAD
    swap.map[start + size_pages : end * SWAPFILE_CLUSTER] = SWAP_MAP_BAD
    swap.cluster[first:end, CL_AREA] = number
    # A cluster with a bad slot is never wholly free, as in Linux.
    swap.cluster[first, CL_COUNT] = 1
    swap.cluster[end - 1, CL_COUNT] += end * SWAPFILE_CLUSTER - start - size_pages
    swap.area[number, SA_START] = start
    swap.area[number, SA_MAX] = size_pages
    swap.area[number, SA_CLUSTER_NEXT] = start + 1
    free_end = end - 1 if swap.cluster[end - 1, CL_COUNT] else end
    # Differs from Linux: The clusters of a new swap area are used in rising order, not every 64th.
    if free_end > first + 1 and not swap.area[number, SA_ROTATIONAL]:
        swap.cluster[first + 1 : free_end, CL_FREE] = 1
        swap.cluster[first + 1 : free_end - 1, CL_NEXT] = np.arange(first + 3, free_end + 1)
        swap.area[number, SA_FREE_HEAD] = first + 2
        swap.area[number, SA_FREE_TAIL] = free_end


@leaf
def vm_swap_full(swap: SwapArea) -> bool:
    """Tell whether more than half of swap is in use, so that slots should not be held for later.

    Source: Linux 6.1 include/linux/swap.h:vm_swap_full
    """
    return swap.state[SS_FREE] * 2 < swap.state[SS_TOTAL]


@leaf
def swap_count(swap: SwapArea, slot: int) -> int:
    """Return how many page-table entries name a slot."""
    return int(swap.map[slot]) & SWAP_MAP_COUNT


@leaf
def get_swap_slots(swap: SwapArea, cpu: int, want: int, out: I64) -> int:
    """Take free slots for one CPU, marked SWAP_HAS_CACHE and named by no entry yet.

    Returns:
        How many were taken; fewer than `want` when swap is full.

    Source: Linux 6.1 mm/swapfile.c:get_swap_pages
    """
    got = 0
    i = 0
    nr_areas = swap.area.shape[0]
    while got < want and i < nr_areas:
        number = swap.state[SS_ORDER + i]
        slot = scan_swap_map(swap, number, cpu)
        if slot == 0:
            i += 1
            continue
        out[got] = slot
        got += 1
        swap.state[SS_TURN] += 1
        if swap.state[SS_TURN] >= SWAP_SLOTS_CACHE_SIZE:
            swap.state[SS_TURN] = 0
            requeue_area(swap, i)
    return got


@leaf
def folio_alloc_swap(swap: SwapArea, cpu: int, out: I64) -> bool:
    """Take a slot, put in `out[0]`, from those the CPU took ahead; False when swap is full.

    Source: Linux 6.1 mm/swap_slots.c:folio_alloc_swap, :refill_swap_slots_cache
    """
    if not check_cache_active(swap):
        return get_swap_slots(swap, cpu, 1, out) == 1
    if swap.cpu_slots_left[cpu] == 0:
        got = get_swap_slots(swap, cpu, SWAP_SLOTS_CACHE_SIZE, swap.cpu_slots[cpu])
        for i in range(got):  # the first are used first: move them to the end of the row
            there = SWAP_SLOTS_CACHE_SIZE - 1 - i
            swap.cpu_slots[cpu, there] = swap.cpu_slots[cpu, got - 1 - i]
        swap.cpu_slots_left[cpu] = got
        if got == 0:
            return False
    out[0] = swap.cpu_slots[cpu, SWAP_SLOTS_CACHE_SIZE - swap.cpu_slots_left[cpu]]
    swap.cpu_slots_left[cpu] -= 1
    return True


@leaf
def check_cache_active(swap: SwapArea) -> bool:
    """Tell whether slots are taken ahead; when few are free, those taken ahead go back.

    Source: Linux 6.1 mm/swap_slots.c:check_cache_active
    """
    nr_cpus = swap.cpu_slots.shape[0]
    free = swap.state[SS_FREE]
    if swap.state[SS_SLOT_CACHE] == 0:
        if free > nr_cpus * THRESHOLD_ACTIVATE_SWAP_SLOTS_CACHE:
            swap.state[SS_SLOT_CACHE] = 1
    elif free < nr_cpus * THRESHOLD_DEACTIVATE_SWAP_SLOTS_CACHE:
        swap.state[SS_SLOT_CACHE] = 0
        for cpu in range(nr_cpus):
            while swap.cpu_slots_left[cpu] > 0:
                place = SWAP_SLOTS_CACHE_SIZE - swap.cpu_slots_left[cpu]
                put_swap_slot(swap, swap.cpu_slots[cpu, place])
                swap.cpu_slots_left[cpu] -= 1
    return bool(swap.state[SS_SLOT_CACHE])


@leaf
def requeue_area(swap: SwapArea, place: int) -> None:
    """Let the other areas of the same priority have their turn first."""
    number = swap.state[SS_ORDER + place]
    prio = swap.area[number, SA_PRIO]
    while place + 1 < swap.area.shape[0]:
        after = swap.state[SS_ORDER + place + 1]
        if swap.area[after, SA_PRIO] != prio:
            break
        swap.state[SS_ORDER + place] = after
        place += 1
    swap.state[SS_ORDER + place] = number


@leaf
def scan_swap_map(swap: SwapArea, number: int, cpu: int) -> int:
    """Take one slot of an area; 0 when it is full.

    Source: Linux 6.1 mm/swapfile.c:scan_swap_map_slots, :scan_swap_map_try_ssd_cluster
    """
    area_max = swap.area[number, SA_MAX]
    if swap.area[number, SA_INUSE] >= area_max - 1:
        return 0
    if swap.area[number, SA_ROTATIONAL]:
        return scan_swap_map_run(swap, number)
    while True:
        if swap.cpu_cluster[number, cpu, 0] == 0:
            head = swap.area[number, SA_FREE_HEAD]
            if head == 0:
                break
            swap.cpu_cluster[number, cpu, 0] = head
            swap.cpu_cluster[number, cpu, 1] = (head - 1) * SWAPFILE_CLUSTER
        cluster = swap.cpu_cluster[number, cpu, 0] - 1
        if swap.cluster[cluster, CL_FREE] and swap.area[number, SA_FREE_HEAD] != cluster + 1:
            # It became wholly free meanwhile and waits at the tail of the list.
            swap.cpu_cluster[number, cpu, 0] = 0
            continue
        slot = swap.cpu_cluster[number, cpu, 1]
        end = (cluster + 1) * SWAPFILE_CLUSTER
        while slot < end and swap.map[slot] != 0:
            slot += 1
        if slot < end:
            swap.cpu_cluster[number, cpu, 1] = slot + 1
            take_slot(swap, slot)
            return int(slot)
        swap.cpu_cluster[number, cpu, 0] = 0
    return take_next_slot(swap, number)


@leaf
def take_next_slot(swap: SwapArea, number: int) -> int:
    """Take the first free slot of an area from where the last search ended; there is one."""
    # Differs from Linux: A slot that only a clean page of the swap cache holds is not taken from it
    # while a free slot is searched for.
    start = swap.area[number, SA_START]
    end = start + swap.area[number, SA_MAX]
    slot = swap.area[number, SA_CLUSTER_NEXT]
    while slot == end or swap.map[slot] != 0:
        slot = start + 1 if slot >= end - 1 else slot + 1
    swap.area[number, SA_CLUSTER_NEXT] = slot + 1
    take_slot(swap, slot)
    return int(slot)


@leaf
def scan_swap_map_run(swap: SwapArea, number: int) -> int:
    """Take one slot of an area on a rotating disk, the next of the run that is being filled.

    A new run is the first 256 free slots from the start of the area; when there is no such run,
    single free slots are taken for as long.

    Source: Linux 6.1 mm/swapfile.c:scan_swap_map_slots
    """
    area = swap.area[number]
    if area[SA_CLUSTER_NR] > 0:
        area[SA_CLUSTER_NR] -= 1
        return take_next_slot(swap, number)
    area[SA_CLUSTER_NR] = SWAPFILE_CLUSTER - 1
    if area[SA_MAX] - 1 - area[SA_INUSE] >= SWAPFILE_CLUSTER:
        free = 0
        for slot in range(area[SA_START] + 1, area[SA_START] + area[SA_MAX]):
            free = free + 1 if swap.map[slot] == 0 else 0
            if free == SWAPFILE_CLUSTER:
                area[SA_CLUSTER_NEXT] = slot - SWAPFILE_CLUSTER + 1
                break
    return take_next_slot(swap, number)


@leaf
def take_slot(swap: SwapArea, slot: int) -> None:
    """Mark a free slot as taken for a page that will be added to the swap cache."""
    cluster = slot // SWAPFILE_CLUSTER
    number = swap.cluster[cluster, CL_AREA]
    if swap.cluster[cluster, CL_FREE]:
        # Only the head of the list is ever taken.
        swap.area[number, SA_FREE_HEAD] = swap.cluster[cluster, CL_NEXT]
        if swap.cluster[cluster, CL_NEXT] == 0:
            swap.area[number, SA_FREE_TAIL] = 0
        swap.cluster[cluster, CL_FREE] = 0
        swap.cluster[cluster, CL_NEXT] = 0
    swap.cluster[cluster, CL_COUNT] += 1
    swap.map[slot] = SWAP_HAS_CACHE
    swap.area[number, SA_INUSE] += 1
    swap.state[SS_FREE] -= 1


@leaf
def free_slot(swap: SwapArea, slot: int) -> None:
    """Give a slot back that is not in use any more.

    Source: Linux 6.1 mm/swapfile.c:swap_entry_free, :swap_range_free, :dec_cluster_info_page
    """
    cluster = slot // SWAPFILE_CLUSTER
    number = swap.cluster[cluster, CL_AREA]
    swap.map[slot] = 0
    swap.shadow[slot] = 0
    swap.token[slot] = 0
    swap.area[number, SA_INUSE] -= 1
    swap.state[SS_FREE] += 1
    swap.cluster[cluster, CL_COUNT] -= 1
    if swap.cluster[cluster, CL_COUNT] == 0 and not swap.area[number, SA_ROTATIONAL]:
        swap.cluster[cluster, CL_FREE] = 1
        tail = swap.area[number, SA_FREE_TAIL]
        if tail:
            swap.cluster[tail - 1, CL_NEXT] = cluster + 1
        else:
            swap.area[number, SA_FREE_HEAD] = cluster + 1
        swap.area[number, SA_FREE_TAIL] = cluster + 1


@leaf
def swap_duplicate(swap: SwapArea, slot: int, nr: int) -> bool:
    """Count `nr` more page-table entries that name a slot; False when it can hold no more.

    Source: Linux 6.1 mm/swapfile.c:swap_duplicate
    """
    if swap_count(swap, slot) + nr > SWAP_MAP_MAX:
        return False
    swap.map[slot] += nr
    return True


@leaf
def swap_free(swap: SwapArea, slot: int) -> int:
    """Count one entry less; the slot is given back when it was the last.

    Returns:
        Entries that still name it.

    Source: Linux 6.1 mm/swapfile.c:swap_free
    """
    swap.map[slot] -= 1
    if swap.map[slot] == 0:
        free_slot(swap, slot)
        return 0
    return swap_count(swap, slot)


@leaf
def put_swap_slot(swap: SwapArea, slot: int) -> None:
    """Drop the swap cache's hold on a slot.

    Source: Linux 6.1 mm/swapfile.c:put_swap_page
    """
    swap.map[slot] &= SWAP_MAP_COUNT
    if swap.map[slot] == 0:
        free_slot(swap, slot)
