"""Which swap slot a page goes to, and how many users a slot has.

Linux: mm/swapfile.c, mm/swap_slots.c (6.1).
Differs: Swap areas know no discard, and no continuation pages for a slot with more than 62 users.

Interface: `get_swap_slots` takes slots, `folio_alloc_swap` one through the CPU's cache of 64 taken
ahead, `swap_duplicate` and `swap_free` count the page-table entries that name one, `put_swap_slot`
drops the swap cache's hold. What the areas are made of is in swap_area.py.
Units: slots of one page.

How slots are chosen. An area on a disk without seek cost is cut into clusters of 256 slots. Each
CPU writes into a cluster of its own, slot after slot, so that what one CPU evicts together lies
together; a new cluster comes from the front of the list of wholly free ones, and goes to its tail
when its last slot is freed. Only when no cluster is wholly free are single free slots searched for,
from where the last search ended. On a rotating disk all CPUs write into one run of 256 free slots,
the first from the start of the area, so that the arm moves little.
"""

from typing import Final

from kernelsim.hw.leaf import leaf
from kernelsim.mm.core.mem import I64
from kernelsim.mm.swap.swap_area import (
    CL_AREA,
    CL_COUNT,
    CL_FREE,
    CL_NEXT,
    SA_CLUSTER_NEXT,
    SA_CLUSTER_NR,
    SA_FREE_HEAD,
    SA_FREE_TAIL,
    SA_INUSE,
    SA_MAX,
    SA_PRIO,
    SA_ROTATIONAL,
    SA_START,
    SA_WRITEOK,
    SS_FREE,
    SS_ORDER,
    SS_SLOT_CACHE,
    SS_TURN,
    SWAP_HAS_CACHE,
    SWAP_MAP_COUNT,
    SWAP_MAP_MAX,
    SWAP_SLOTS_CACHE_SIZE,
    SWAPFILE_CLUSTER,
    SwapArea,
    swap_count,
)
from kernelsim.mm.swap.swap_slab import swap_node_put

SLOT_CACHE_OFF: Final = 0  # values of SS_SLOT_CACHE; lower ones: switched off by swapoff
SLOT_CACHE_ACTIVE: Final = 1
SLOT_CACHE_HOLD: Final = 4
THRESHOLD_ACTIVATE_SWAP_SLOTS_CACHE: Final = 5 * SWAP_SLOTS_CACHE_SIZE  # free slots for each CPU
THRESHOLD_DEACTIVATE_SWAP_SLOTS_CACHE: Final = 2 * SWAP_SLOTS_CACHE_SIZE


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
    if swap.state[SS_SLOT_CACHE] == SLOT_CACHE_OFF:
        if free > nr_cpus * THRESHOLD_ACTIVATE_SWAP_SLOTS_CACHE:
            swap.state[SS_SLOT_CACHE] = SLOT_CACHE_ACTIVE
    elif free < nr_cpus * THRESHOLD_DEACTIVATE_SWAP_SLOTS_CACHE:
        if swap.state[SS_SLOT_CACHE] == SLOT_CACHE_ACTIVE:
            drain_slots_cache(swap)
            swap.state[SS_SLOT_CACHE] = SLOT_CACHE_OFF
    return swap.state[SS_SLOT_CACHE] == SLOT_CACHE_ACTIVE


@leaf
def drain_slots_cache(swap: SwapArea) -> None:
    """Give back the slots that CPUs took ahead.

    Source: Linux 6.1 mm/swap_slots.c:__drain_swap_slots_cache
    """
    for cpu in range(swap.cpu_slots.shape[0]):
        while swap.cpu_slots_left[cpu] > 0:
            place = SWAP_SLOTS_CACHE_SIZE - swap.cpu_slots_left[cpu]
            put_swap_slot(swap, swap.cpu_slots[cpu, place])
            swap.cpu_slots_left[cpu] -= 1


def disable_swap_slots_cache(swap: SwapArea) -> None:
    """Let CPUs take no slots ahead, and give back those they have, while an area is emptied.

    Source: Linux 6.1 mm/swap_slots.c:disable_swap_slots_cache_lock
    """
    swap.state[SS_SLOT_CACHE] -= SLOT_CACHE_HOLD
    drain_slots_cache(swap)


def enable_swap_slots_cache(swap: SwapArea) -> None:
    """Let CPUs take slots ahead again, unless another area is being emptied.

    Source: Linux 6.1 mm/swap_slots.c:reenable_swap_slots_cache_unlock
    """
    swap.state[SS_SLOT_CACHE] += SLOT_CACHE_HOLD


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
    if not swap.area[number, SA_WRITEOK] or swap.area[number, SA_INUSE] >= area_max - 1:
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
    for _ in range(end - start):
        if slot != end and swap.map[slot] == 0:
            break
        slot = start + 1 if slot >= end - 1 else slot + 1
    assert swap.map[slot] == 0, "an area that is counted as not full has no free slot"
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
    if swap.shadow[slot]:
        swap_node_put(swap, slot)
    swap.shadow[slot] = 0
    swap.token[slot] = 0
    if swap.stored[slot]:
        swap.stored[slot] = 0
        swap.freed[0] += 1
        swap.freed[swap.freed[0]] = slot
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
