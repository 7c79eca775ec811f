"""The whole of physical memory as arrays: page columns, lists, zones, counters.

Linux: `struct page` (include/linux/mm_types.h), `struct zone` and `struct per_cpu_pages`
(include/linux/mmzone.h), 6.1.
Differs: A page is one entry in every column of `Pages` instead of a struct, a list is a row of
`Mem.lists` and the two link columns, and every list of the machine has a number.

Interface: leaf functions take one `Mem` and plain integers. Zero means "unset" everywhere, so
memory that was never touched costs nothing; page frame number 0 is never handed out and ends
every list. actors/parts/node.py says which code writes which part under which lock.
"""

from typing import Annotated, Final, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from kernelsim.hw.leaf import inlined_leaf, leaf

I64: TypeAlias = NDArray[np.int64]
I32: TypeAlias = NDArray[np.int32]
I16: TypeAlias = NDArray[np.int16]
U64: TypeAlias = NDArray[np.uint64]
U32: TypeAlias = NDArray[np.uint32]
U8: TypeAlias = NDArray[np.uint8]
I64_2D: TypeAlias = Annotated[NDArray[np.int64], 2]  # of two dimensions, for the compiler
I64_3D: TypeAlias = Annotated[NDArray[np.int64], 3]
I32_2D: TypeAlias = Annotated[NDArray[np.int32], 2]
I16_2D: TypeAlias = Annotated[NDArray[np.int16], 2]
U64_2D: TypeAlias = Annotated[NDArray[np.uint64], 2]

MAX_ORDER: Final = 11  # orders 0..10; include/linux/mmzone.h of 6.1 (later: MAX_PAGE_ORDER 10)
# Differs from Linux: A pageblock is of order 9 on every architecture; those of i386 without PAE are
# of order 10, 4 MiB, in Linux.
PAGEBLOCK_ORDER: Final = 9  # 2 MiB, a huge page of x86_64
PAGEBLOCK_NR_PAGES: Final = 1 << PAGEBLOCK_ORDER
MAX_ORDER_NR_PAGES: Final = 1 << (MAX_ORDER - 1)
SWAP_CLUSTER_MAX: Final = 32  # pages; include/linux/swap.h
PAGEVEC_SIZE: Final = 15  # pages of a folio_batch; include/linux/pagevec.h
MAX_NR_ZONES: Final = 5  # types of zones a node may have; include/linux/mmzone.h
MAX_NR_GENS: Final = 4  # generations of the multi-generational LRU; include/linux/mmzone.h
ANON_AND_FILE: Final = 2  # types of pages
NR_GEN_LISTS: Final = MAX_NR_GENS * ANON_AND_FILE * MAX_NR_ZONES  # of a node

# enum migratetype, include/linux/mmzone.h
MIGRATE_UNMOVABLE: Final = 0
MIGRATE_MOVABLE: Final = 1
MIGRATE_RECLAIMABLE: Final = 2
MIGRATE_PCPTYPES: Final = 3  # the first three have per-cpu lists
MIGRATE_HIGHATOMIC: Final = 3
MIGRATE_ISOLATE: Final = 4
MIGRATE_TYPES: Final = 5  # no CMA: its lists are not printed by the recorded kernels

# enum lru_list, include/linux/mmzone.h
LRU_INACTIVE_ANON: Final = 0
LRU_ACTIVE_ANON: Final = 1
LRU_INACTIVE_FILE: Final = 2
LRU_ACTIVE_FILE: Final = 3
LRU_UNEVICTABLE: Final = 4
NR_LRU_LISTS: Final = 5

# Page flags, bit values in Pages.flags; include/linux/page-flags.h
PG_locked: Final = 1 << 0
PG_writeback: Final = 1 << 1
PG_referenced: Final = 1 << 2
PG_uptodate: Final = 1 << 3
PG_dirty: Final = 1 << 4
PG_lru: Final = 1 << 5
PG_active: Final = 1 << 6
PG_workingset: Final = 1 << 7
PG_reserved: Final = 1 << 8
PG_reclaim: Final = 1 << 9
PG_swapbacked: Final = 1 << 10
PG_unevictable: Final = 1 << 11
PG_mlocked: Final = 1 << 12
PG_swapcache: Final = 1 << 13
PG_anon_exclusive: Final = 1 << 14
PG_buddy: Final = 1 << 15  # head of a free block; its order and list are in Pages.private
PG_table: Final = 1 << 16  # a page-table page; its row in the pool is in Pages.private
PG_kernel: Final = 1 << 17  # belongs to the kernel (boot, slab, kernel stack); never on an LRU
PG_pcp: Final = 1 << 18  # on a per-cpu list, not counted free
PG_isolated: Final = 1 << 19  # taken off its LRU by a reclaimer
PG_anon: Final = 1 << 20  # PAGE_MAPPING_ANON: Pages.mapping is an mm number
PG_readahead: Final = 1 << 21
PG_batched: Final = 1 << 22  # in a CPU's folio_batch, which holds a reference; on no list yet
PG_activating: Final = 1 << 23  # in a CPU's batch of pages to activate, which holds a reference
PG_gathered: Final = 1 << 24  # held by the task that unmapped it, or took it from a file
PG_error: Final = 1 << 25  # it could not be read, or written: the device holds something else
PG_young: Final = 1 << 26  # used, but something else than reclaim took its accessed bit
PG_idle: Final = 1 << 27  # no use was seen since that
# Differs from Linux: The mlock_count of a page lies in the highest bits of its flags and ends at
# 15; Linux links no pages of the unevictable list, and has it in place of a link.
MLOCK_COUNT_SHIFT: Final = 28
MLOCK_COUNT_MAX: Final = 15
MLOCK_COUNT_MASK: Final = MLOCK_COUNT_MAX << MLOCK_COUNT_SHIFT


class Pages(NamedTuple):
    """Columns of `struct page`; every array has one entry for each pfn of the machine.

    41 bytes a page. `flags` has mlock_count in its highest bits (see mlock.py). `private` holds
    order and migratetype of a free block (PG_buddy, read with `buddy_order` and
    `buddy_migratetype`), the swap slot of a page in the swap cache (PG_swapcache), or the pool row
    of a page-table page (PG_table).
    """

    flags: U32
    next: I32  # pfn of the list neighbour, 0 at the end
    prev: I32
    mapcount: I32  # PTEs that map this page
    mapping: I32  # number of the mm that owns an anonymous page (PG_anon), or of the file; 0 = none
    index: I64  # type: ignore[assignment]  # virtual page number in that mm, or page of the file
    private: I32
    token: U64  # what the page holds, as a number; writing changes it
    gen: U8  # bits of page->flags that the multi-generational LRU uses; see lru_gen.py


# Columns of Mem.zone; actors/parts/node.py says who writes them.
Z_NID: Final = 0
Z_TYPE_INDEX: Final = 1  # position in the machine's zone_types, Linux's zone_idx()
Z_START_PFN: Final = 2
Z_SPANNED: Final = 3  # pages, holes included
Z_PRESENT: Final = 4  # spanned - holes
Z_MANAGED: Final = 5  # present - reserved at boot
Z_FREE: Final = 6  # NR_FREE_PAGES: in free lists or untouched, not on per-cpu lists
Z_WMARK_MIN: Final = 7  # without boost
Z_WMARK_LOW: Final = 8
Z_WMARK_HIGH: Final = 9
Z_WMARK_PROMO: Final = 10
Z_WATERMARK_BOOST: Final = 11
Z_PCP_BATCH: Final = 12
Z_PCP_HIGH: Final = 13
Z_FRESH_START: Final = 14  # [fresh start, fresh end): MAX_ORDER blocks never yet allocated. They
Z_FRESH_END: Final = 15  # count as the tail of the movable MAX_ORDER-1 list, in rising order
Z_NR_RESERVED_HIGHATOMIC: Final = 16
Z_WATERMARK_BOOST_FACTOR: Final = 17  # sysctl vm.watermark_boost_factor, of 10000; 0 = never boost
Z_BOOSTED_WATERMARK: Final = 18  # 1 = boosted since kswapd was last woken (ZONE_BOOSTED_WATERMARK)
Z_RECLAIM_ACTIVE: Final = 19  # 1 = kswapd works on it, keep per-cpu lists short (same bit in Linux)
Z_NUMA_STAT_OFF: Final = 20  # 1 = numa_hit and its like are not counted (vm.numa_stat is 0)
# Of the node of a zone, for node reclaim; 0 where it is off
Z_NODE_RECLAIM_MODE: Final = 21  # bits of vm.zone_reclaim_mode
Z_MIN_UNMAPPED: Final = 22  # pages of files that are left alone
Z_MIN_SLAB: Final = 23  # and of slabs
Z_HAS_CPUS: Final = 24  # 1 = N_CPU: others do not reclaim here
Z_PCP_FREES_BATCH: Final = 25  # 1 = a per-cpu list that is full gives one batch back; until 5.13
NR_ZONE_FIELDS: Final = 26

# Columns of Mem.extfrag, the fields of the tracepoint mm_page_alloc_extfrag
X_PFN: Final = 0
X_ALLOC_ORDER: Final = 1
X_FALLBACK_ORDER: Final = 2
X_ALLOC_MIGRATETYPE: Final = 3
X_FALLBACK_MIGRATETYPE: Final = 4
X_CHANGE_OWNERSHIP: Final = 5
NR_EXTFRAG_FIELDS: Final = 6
NR_EXTFRAG_ROWS: Final = 1025  # row 0 is the head; later steals are counted but not kept

# Columns of Mem.lists
L_HEAD: Final = 0  # pfn
L_TAIL: Final = 1
L_COUNT: Final = 2  # entries: blocks of a free list, pages of the others


class Slabs(NamedTuple):
    """Slabs of kernel objects; see slab.py."""

    row: I64_2D  # [row, SB_*] slabs; row 0 stands for those of boot
    cache: I64_2D  # [nid * NR_KMEM_CACHES + cache, SC_*]
    state: I64  # [SLAB_*]


class Mem(NamedTuple):
    """All of physical memory. Built by `mm_init`, passed whole to every leaf.

    A zone's row number is `nid * len(zone_types) + type index`, empty zones included.
    """

    pages: Pages
    lists: I64_2D  # [list number, L_*]
    zone: I64_2D  # [zone row, Z_*]
    lowmem_reserve: I64_2D  # [zone row, highest zone index of the request], pages
    block_mt: U8  # [pfn >> PAGEBLOCK_ORDER] migratetype of a pageblock
    block_zone: I16  # [pfn >> PAGEBLOCK_ORDER] zone row + 1, 0 = no zone; < 0: -row of split_zone
    split_zone: I16_2D  # [1 + n, page of the block] zone row + 1 of each page; [0, 0] = n
    pcp_count: I64_2D  # [zone row, cpu] pages on that CPU's three lists
    pcp_free_factor: I64_2D  # [zone row, cpu] doubles what is given back while nothing is taken
    zone_stat: I64_2D  # [zone row, vmstat.NR_* of a zone]
    node_stat: I64_2D  # [nid, vmstat.NR_* of a node]
    numa_stat: I64_2D  # [zone row, vmstat.NUMA_*]
    vm_event: I64  # [vmstat.VmEvent]
    lru_batch: I64_2D  # [cpu, 1 + PAGEVEC_SIZE] new pages on their way to the LRU; [cpu, 0] = n
    activate_batch: I64_2D  # [cpu, 1 + PAGEVEC_SIZE] pages to be activated; [cpu, 0] = n
    extfrag: I64_2D  # [1 + n, X_*] steals from other migratetypes; [0, 0] = n, reset by the reader
    lru_gen: I64_2D  # [nid, LG_*] state of the multi-generational LRU; see lru_gen.py
    slabs: Slabs


@leaf
def free_list(zone: int, order: int, migratetype: int) -> int:
    """Return the list number of `zone.free_area[order].free_list[migratetype]`."""
    return (zone * MAX_ORDER + order) * MIGRATE_TYPES + migratetype


@leaf
def pcp_list(mem: Mem, zone: int, cpu: int, migratetype: int) -> int:
    """Return the list number of one CPU's free pages of a zone and migratetype."""
    zones = mem.zone.shape[0]
    base = zones * MAX_ORDER * MIGRATE_TYPES
    return base + (zone * mem.pcp_count.shape[1] + cpu) * MIGRATE_PCPTYPES + migratetype


@leaf
def lru_list(mem: Mem, nid: int, lru: int) -> int:
    """Return the list number of a node's LRU list."""
    zones = mem.zone.shape[0]
    base = zones * (MAX_ORDER * MIGRATE_TYPES + mem.pcp_count.shape[1] * MIGRATE_PCPTYPES)
    return base + nid * NR_LRU_LISTS + lru


@leaf
def gen_list(mem: Mem, nid: int, gen: int, file: int, zone_type: int) -> int:
    """Return the list number of the pages of a generation, of a type (1: files), in a zone."""
    base = lru_list(mem, mem.node_stat.shape[0], 0)
    return base + ((nid * MAX_NR_GENS + gen) * ANON_AND_FILE + file) * MAX_NR_ZONES + zone_type


def nr_lists(nr_zones: int, nr_cpus: int, nr_nodes: int) -> int:
    """Return how many rows `Mem.lists` needs."""
    per_zone = MAX_ORDER * MIGRATE_TYPES + nr_cpus * MIGRATE_PCPTYPES
    return nr_zones * per_zone + nr_nodes * (NR_LRU_LISTS + NR_GEN_LISTS)


@leaf
def zone_of(mem: Mem, pfn: int) -> int:
    """Return the zone row of a pfn, -1 when it lies in no zone.

    Linux has the zone and the node in the flags of each page; here a pageblock has one entry, and
    those that zones share, or that no zone fills, have one a page.
    """
    entry = int(mem.block_zone[pfn >> PAGEBLOCK_ORDER])
    if entry < 0:
        entry = int(mem.split_zone[-entry, pfn & (PAGEBLOCK_NR_PAGES - 1)])
    return entry - 1


@leaf
def pageblock_part(mem: Mem, pfn: int) -> tuple[int, int]:
    """Return the ends of the frames of a zone in a pageblock that lie around one of them."""
    start = pfn & ~(PAGEBLOCK_NR_PAGES - 1)
    split = -int(mem.block_zone[pfn >> PAGEBLOCK_ORDER])
    low, high = 0, PAGEBLOCK_NR_PAGES
    if split > 0:
        low, high = pfn - start, pfn - start
        entry = mem.split_zone[split, low]
        while low > 0 and mem.split_zone[split, low - 1] == entry:
            low -= 1
        while high < PAGEBLOCK_NR_PAGES and mem.split_zone[split, high] == entry:
            high += 1
    return start + low, start + high


@inlined_leaf
def node_at(block_zone: I16, split_zone: I16_2D, zone: I64_2D, pfn: int) -> int:
    """Return the node of a pfn that lies in a zone, as `nid_of`, but cheap in a loop.

    A pfn that lies in none, as the zero page of a test may, has the node of the last zone.
    """
    entry = int(block_zone[pfn >> PAGEBLOCK_ORDER])
    if entry < 0:
        entry = int(split_zone[-entry, pfn & (PAGEBLOCK_NR_PAGES - 1)])
    return int(zone[entry - 1, Z_NID])


def nids_of(mem: Mem, pfns: I64) -> I64:
    """Return the nodes of pfns that all lie in zones."""
    return mem.zone[zones_of(mem, pfns), Z_NID]


def zones_of(mem: Mem, pfns: I64) -> I64:
    """Return the zone rows of pfns, -1 for those in no zone."""
    rows = np.empty(len(pfns), np.int64)
    look_up_zones(mem, np.ascontiguousarray(pfns), rows)
    return rows


@leaf
def look_up_zones(mem: Mem, pfns: I64, out: I64) -> None:
    """Write the zone row of each pfn, -1 for one in no zone."""
    for i in range(len(pfns)):
        out[i] = zone_of(mem, pfns[i])


@leaf
def nid_of(mem: Mem, pfn: int) -> int:
    """Return the node of a pfn that lies in a zone."""
    return int(mem.zone[zone_of(mem, pfn), Z_NID])
