"""The buddy system of a zone: split free blocks on the way out, merge them on the way back.

Linux: mm/page_alloc.c (6.1).
Differs: The page allocator has no MIGRATE_HIGHATOMIC reserve, no CMA and no ALLOC_NOFRAGMENT.
Interface: `rmqueue` and `rmqueue_run` take pages out, `free_one_page` puts them
back; `zone_watermark_ok` and `watermark_floor` say who may take. All work on one zone row,
under its lock. Below them lie `free_area` (the lists) and `fallback` (stealing).
Units: pages; a block is named by its first pfn.
"""

from typing import Final

from kernelsim.hw.leaf import inlined_leaf, leaf
from kernelsim.mm.core.mem import (
    MAX_ORDER,
    MIGRATE_ISOLATE,
    MIGRATE_PCPTYPES,
    PAGEBLOCK_ORDER,
    Z_FREE,
    Z_MANAGED,
    Z_NID,
    Z_NR_RESERVED_HIGHATOMIC,
    Z_NUMA_STAT_OFF,
    Z_TYPE_INDEX,
    Z_WATERMARK_BOOST,
    Z_WMARK_MIN,
    Mem,
    zone_of,
)
from kernelsim.mm.core.vmstat import (
    NUMA_FOREIGN,
    NUMA_HIT,
    NUMA_INTERLEAVE,
    NUMA_LOCAL,
    NUMA_MISS,
    NUMA_OTHER,
    PGALLOC_DMA,
)
from kernelsim.mm.page.fallback import rmqueue_fallback
from kernelsim.mm.page.free_area import (
    add_to_free_list,
    del_page_from_free_list,
    free_area_counts,
    free_area_empty,
    get_page_from_free_area,
    page_is_buddy,
)

__all__ = [
    "ALLOC_CPUSET",
    "ALLOC_HARDER",
    "ALLOC_HIGH",
    "ALLOC_KSWAPD",
    "ALLOC_NO_WATERMARKS",
    "ALLOC_OOM",
    "ALLOC_WMARK_HIGH",
    "ALLOC_WMARK_LOW",
    "ALLOC_WMARK_MIN",
    "count_interleave_hit",
    "expand",
    "free_area_counts",
    "free_one_page",
    "prep_new_pages",
    "rmqueue",
    "rmqueue_run",
    "rmqueue_smallest",
    "watermark_floor",
    "zone_statistics",
    "zone_watermark_ok",
]

# Bits of alloc_flags; mm/internal.h of 6.1
ALLOC_WMARK_MIN: Final = 0
ALLOC_WMARK_LOW: Final = 1
ALLOC_WMARK_HIGH: Final = 2
ALLOC_NO_WATERMARKS: Final = 0x04
ALLOC_OOM: Final = 0x08  # an OOM victim: may use half of what is below the mark
ALLOC_HARDER: Final = 0x10  # cannot sleep: a quarter
ALLOC_HIGH: Final = 0x20  # __GFP_HIGH: half
ALLOC_CPUSET: Final = 0x40
ALLOC_KSWAPD: Final = 0x800  # may wake kswapd

NO_BUDDY_ABOVE: Final = MAX_ORDER - 2  # freed blocks of these orders always go to the head


@leaf
def free_one_page(
    mem: Mem, zone: int, pfn: int, order: int, migratetype: int, to_tail: bool
) -> None:
    """Give a block back: merge it with its free buddies and enter the result in a free list.

    The result goes to the head of the list, so that warm pages are used first; to the tail when
    `to_tail`, or when its next merge is likely soon. Counts Z_FREE, unless the type is isolated.

    Source: Linux 6.1 mm/page_alloc.c:__free_one_page
    """
    if migratetype != MIGRATE_ISOLATE:
        mem.zone[zone, Z_FREE] += 1 << order
    mem.pages.flags[pfn] = 0
    while order < MAX_ORDER - 1:
        buddy = pfn ^ (1 << order)
        if not page_is_buddy(mem, zone, buddy, order):
            break
        if order >= PAGEBLOCK_ORDER:
            other = int(mem.block_mt[buddy >> PAGEBLOCK_ORDER])
            mergeable = migratetype < MIGRATE_PCPTYPES and other < MIGRATE_PCPTYPES
            if other != migratetype and not mergeable:
                break
        del_page_from_free_list(mem, zone, buddy)
        pfn &= buddy
        order += 1
    if not to_tail and order < NO_BUDDY_ABOVE:
        above = pfn & ~(1 << order)
        to_tail = page_is_buddy(mem, zone, above ^ (1 << (order + 1)), order + 1)
    add_to_free_list(mem, zone, pfn, order, migratetype, to_tail)


@leaf
def expand(mem: Mem, zone: int, pfn: int, low: int, high: int, migratetype: int) -> None:
    """Split a block of order `high` until its first part has order `low`; free the halves.

    Source: Linux 6.1 mm/page_alloc.c:expand
    """
    while high > low:
        high -= 1
        add_to_free_list(mem, zone, pfn + (1 << high), high, migratetype, False)


@leaf
def expand_behind(
    mem: Mem, zone: int, pfn: int, nr_pages: int, order: int, migratetype: int
) -> None:
    """Free what lies behind the first pages of a block, in the blocks `expand` would leave."""
    end = pfn + nr_pages
    while end < pfn + (1 << order):
        order -= 1
        middle = pfn + (1 << order)
        if end <= middle:
            add_to_free_list(mem, zone, middle, order, migratetype, False)
        else:
            pfn = middle


@leaf
def rmqueue_smallest(mem: Mem, zone: int, order: int, migratetype: int) -> int:
    """Take a block from the smallest free one of a migratetype; 0 when there is none.

    Source: Linux 6.1 mm/page_alloc.c:__rmqueue_smallest
    """
    for current_order in range(order, MAX_ORDER):
        pfn = get_page_from_free_area(mem, zone, current_order, migratetype)
        if pfn:
            del_page_from_free_list(mem, zone, pfn)
            expand(mem, zone, pfn, order, current_order, migratetype)
            return pfn
    return 0


@inlined_leaf
def prep_new_page(mem: Mem, pfn: int) -> None:
    """Wipe the columns of a page that is handed out."""
    pages = mem.pages
    pages.flags[pfn] = 0
    pages.next[pfn] = 0
    pages.prev[pfn] = 0
    pages.mapcount[pfn] = 0
    pages.mapping[pfn] = 0
    pages.index[pfn] = 0
    pages.private[pfn] = 0
    pages.token[pfn] = 0
    pages.gen[pfn] = 0


@leaf
def prep_new_pages(mem: Mem, pfn: int, nr_pages: int) -> None:
    """Wipe the columns of pages that are handed out."""
    pages = mem.pages
    end = pfn + nr_pages
    pages.flags[pfn:end] = 0
    pages.next[pfn:end] = 0
    pages.prev[pfn:end] = 0
    pages.mapcount[pfn:end] = 0
    pages.mapping[pfn:end] = 0
    pages.index[pfn:end] = 0
    pages.private[pfn:end] = 0
    pages.token[pfn:end] = 0
    pages.gen[pfn:end] = 0


@leaf
def rmqueue(mem: Mem, zone: int, order: int, migratetype: int) -> int:
    """Allocate a block of any order from the buddy system; 0 when the zone has none.

    Watermarks are the caller's. Counts Z_FREE and PGALLOC_*.

    Source: Linux 6.1 mm/page_alloc.c:rmqueue_buddy
    """
    pfn = rmqueue_smallest(mem, zone, order, migratetype)
    if not pfn:
        if not rmqueue_fallback(mem, zone, order, migratetype):
            return 0
        pfn = rmqueue_smallest(mem, zone, order, migratetype)
        assert pfn, "a block that was stolen is on no list of its new type"
    prep_new_pages(mem, pfn, 1 << order)
    mem.zone[zone, Z_FREE] -= 1 << order
    mem.vm_event[PGALLOC_DMA + mem.zone[zone, Z_TYPE_INDEX]] += 1 << order
    return pfn


@leaf
def rmqueue_run(mem: Mem, zone: int, migratetype: int, nr_max: int) -> tuple[int, int]:
    """Take up to `nr_max` single pages at once: (first pfn, pages), (0, 0) when the zone is empty.

    The run is what as many requests of order 0 would have got one after the other: the smallest
    free block is used up from its start before the next one is touched. What is left of it is
    split as they would have left it. Counts Z_FREE, no events; the columns are not wiped.

    Source: Linux 6.1 mm/page_alloc.c:rmqueue_bulk
    """
    while True:
        for order in range(MAX_ORDER):
            pfn = get_page_from_free_area(mem, zone, order, migratetype)
            if pfn:
                nr_pages = min(1 << order, nr_max)
                del_page_from_free_list(mem, zone, pfn)
                expand_behind(mem, zone, pfn, nr_pages, order, migratetype)
                mem.zone[zone, Z_FREE] -= nr_pages
                return pfn, nr_pages
        if not rmqueue_fallback(mem, zone, 0, migratetype):
            return 0, 0


@inlined_leaf
def zone_statistics(mem: Mem, zone: int, cpu_nid: int, preferred_nid: int, nr_pages: int) -> None:
    """Count NUMA_* for pages a CPU of node `cpu_nid` got from a zone.

    Differs from Linux: NUMA_FOREIGN is counted in the highest populated zone of the preferred node,
    whatever zone the request preferred; the sum over a node is the same.
    Source: Linux 6.1 mm/page_alloc.c:zone_statistics
    """
    if mem.zone[zone, Z_NUMA_STAT_OFF]:
        return
    nid = mem.zone[zone, Z_NID]
    mem.numa_stat[zone, NUMA_LOCAL if nid == cpu_nid else NUMA_OTHER] += nr_pages
    if nid == preferred_nid:
        mem.numa_stat[zone, NUMA_HIT] += nr_pages
        return
    mem.numa_stat[zone, NUMA_MISS] += nr_pages
    zones_per_node = mem.zone.shape[0] // mem.node_stat.shape[0]
    preferred = (preferred_nid + 1) * zones_per_node - 1
    while preferred > preferred_nid * zones_per_node and not mem.zone[preferred, Z_MANAGED]:
        preferred -= 1
    mem.numa_stat[preferred, NUMA_FOREIGN] += nr_pages


@leaf
def count_interleave_hit(mem: Mem, pfn: int, nid: int, nr_pages: int) -> None:
    """Count pages of one zone that an interleaved policy wanted from a node, if they are from it.

    Source: Linux 6.1 mm/mempolicy.c:alloc_page_interleave
    """
    zone = zone_of(mem, pfn)
    if mem.zone[zone, Z_NID] == nid and not mem.zone[zone, Z_NUMA_STAT_OFF]:
        mem.numa_stat[zone, NUMA_INTERLEAVE] += nr_pages


@leaf
def zone_watermark_ok(
    mem: Mem, zone: int, order: int, mark_pages: int, highest_zoneidx: int, alloc_flags: int
) -> bool:
    """Tell whether a request leaves the zone above a mark, and for order > 0 finds a block.

    Args:
        mem: The machine's memory.
        zone: Zone row.
        order: Of the request.
        mark_pages: The watermark, boost included.
        highest_zoneidx: Highest zone type the request may use; picks the reserve to respect.
        alloc_flags: ALLOC_* bits; some may go below the mark.

    Source: Linux 6.1 mm/page_alloc.c:__zone_watermark_ok
    """
    if alloc_flags & ALLOC_NO_WATERMARKS:
        return True
    harder = alloc_flags & (ALLOC_HARDER | ALLOC_OOM)
    free_pages = mem.zone[zone, Z_FREE] - ((1 << order) - 1)
    if not harder:
        free_pages -= mem.zone[zone, Z_NR_RESERVED_HIGHATOMIC]
    mark = reduced_mark(mark_pages, alloc_flags)
    if free_pages <= mark + mem.lowmem_reserve[zone, highest_zoneidx]:
        return False
    if order == 0:
        return True
    for current_order in range(order, MAX_ORDER):
        for migratetype in range(MIGRATE_PCPTYPES):
            if not free_area_empty(mem, zone, current_order, migratetype):
                return True
    return False


@inlined_leaf
def reduced_mark(mark_pages: int, alloc_flags: int) -> int:
    """Return how much of a mark holds for a request that may go below it.

    Source: Linux 6.1 mm/page_alloc.c:__zone_watermark_ok
    """
    if alloc_flags & ALLOC_HIGH:
        mark_pages -= mark_pages // 2
    if alloc_flags & ALLOC_OOM:
        return mark_pages - mark_pages // 2
    if alloc_flags & ALLOC_HARDER:
        return mark_pages - mark_pages // 4
    return mark_pages


@inlined_leaf
def watermark_floor(
    mem: Mem, zone: int, mark_field: int, highest_zoneidx: int, alloc_flags: int
) -> int:
    """Return the free pages an order-0 request must find more than: it goes on while free > floor.

    The boost counts, but not at the min mark for requests that cannot sleep. -1 is "no limit".

    Source: Linux 6.1 mm/page_alloc.c:zone_watermark_fast
    """
    if alloc_flags & ALLOC_NO_WATERMARKS:
        return -1
    mark = int(mem.zone[zone, mark_field])
    if mark_field != Z_WMARK_MIN or not alloc_flags & ALLOC_HARDER:
        mark += int(mem.zone[zone, Z_WATERMARK_BOOST])
    floor = reduced_mark(mark, alloc_flags) + int(mem.lowmem_reserve[zone, highest_zoneidx])
    if not alloc_flags & (ALLOC_HARDER | ALLOC_OOM):
        floor += int(mem.zone[zone, Z_NR_RESERVED_HIGHATOMIC])
    return floor
