"""What the swap areas of a machine are: their slots, in one array, and their clusters.

Linux: struct swap_info_struct of include/linux/swap.h, mm/swapfile.c:swapon (6.1).

Interface: `swapon` builds all areas of a machine at once; swapfile.py gives slots out. Slots of all
areas are numbered in one array: an area starts at a multiple of the cluster size, its first slot is
the header and never used, so slot 0 means "none".
Units: slots of one page.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np

from kernelsim.hw.leaf import leaf
from kernelsim.mm.core.mem import I32, I32_2D, I64, I64_2D, I64_3D, U8, U64, Slabs
from kernelsim.mm.core.slab_cache import new_slabs

SWAPFILE_CLUSTER: Final = 256  # slots; mm/swapfile.c
SWAP_SLOTS_CACHE_SIZE: Final = 64  # slots a CPU takes at a time; include/linux/swap_slots.h

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
SA_USED: Final = 9  # 1 = switched on, or being switched off; SWP_USED
SA_WRITEOK: Final = 10  # 1 = slots may be taken; SWP_WRITEOK
NR_AREA_FIELDS: Final = 11

# Columns of SwapArea.cluster
CL_COUNT: Final = 0  # slots in use
CL_NEXT: Final = 1  # next free cluster + 1
CL_FREE: Final = 2  # 1 = on the list of free clusters
CL_AREA: Final = 3
NR_CLUSTER_FIELDS: Final = 4

# Columns of SwapArea.node
TN_COUNT: Final = 0  # entries, or nodes below, that are not empty
TN_SLAB: Final = 1  # slab it lies in
TN_NID: Final = 2  # node whose memory was asked for
NR_TREE_NODE_FIELDS: Final = 3

# Entries of SwapArea.state
SS_TOTAL: Final = 0  # total_swap_pages: usable slots of all areas
SS_FREE: Final = 1  # nr_swap_pages: slots that are not in use
SS_TURN: Final = 2  # slots the first area gave since areas of equal priority took turns
SS_SLOT_CACHE: Final = 3  # 1 = CPUs take slots ahead; swap_slot_cache_active
SS_LEAST_PRIORITY: Final = 4  # the lowest priority given to an area that asked for none
SS_ORDER: Final = 5  # from here on: areas in the order they are asked


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
    stored: U8  # [slot] 1 = a zram disk holds something for it
    freed: I64  # [1 + n] freed slots that zram disks still hold something for; [0] = n
    node: I64_2D  # [node, TN_*] nodes of the trees that the swap cache is; see swap_slab.py
    bio: I32  # [slot] slab + 1 of the bio that reads or writes it, 0 = none
    slabs: Slabs  # what nodes and bios lie in


def swapon(
    sizes_pages: Sequence[int],
    priorities: Sequence[int],
    nr_cpus: int,
    rotational: Sequence[bool] = (),
    on: Sequence[bool] = (),
    slabs: Slabs | None = None,
) -> SwapArea:
    """Build the swap areas of a machine; no areas make a machine without swap.

    Args:
        sizes_pages: Size of each device in pages, header included (at least 2).
        priorities: As /proc/swaps prints them; the highest is used first, equal ones in turn.
        nr_cpus: CPUs of the machine.
        rotational: Whether each lies on a rotating disk; none does if left out.
        on: Whether each is switched on; all are if left out.
        slabs: What kernel objects of swap lie in; on no page if left out.

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
        stored=np.zeros(nr_clusters * SWAPFILE_CLUSTER, np.uint8),
        freed=np.zeros(nr_clusters * SWAPFILE_CLUSTER, np.int64),
        node=np.zeros((nr_clusters * SWAPFILE_CLUSTER >> 5, NR_TREE_NODE_FIELDS), np.int64),
        bio=np.zeros(nr_clusters * SWAPFILE_CLUSTER, np.int32),
        slabs=new_slabs(1, 8, nr_cpus) if slabs is None else slabs,
    )
    first = 0
    for number, size in enumerate(sizes_pages):
        area[number, SA_ROTATIONAL] = int(number < len(rotational) and rotational[number])
        setup_area(swap, number, first, first + clusters[number], size)
        area[number, SA_PRIO] = priorities[number]
        is_on = number >= len(on) or on[number]
        area[number, [SA_USED, SA_WRITEOK]] = int(is_on)
        swap.state[[SS_TOTAL, SS_FREE]] += (size - 1) * int(is_on)
        first += clusters[number]
    swap.state[SS_LEAST_PRIORITY] = min([-1, *area[area[:, SA_USED] != 0, SA_PRIO].tolist()])
    order_areas(swap)
    return swap


def order_areas(swap: SwapArea) -> None:
    """Put the areas in the order they are asked for slots: by priority, equal ones by number."""
    swap.state[SS_ORDER:] = np.argsort(-swap.area[:, SA_PRIO], kind="stable")


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
