"""The free lists of a zone: blocks of 1 to 1024 pages, one list an order and migratetype.

Linux: struct free_area, include/linux/mmzone.h; mm/page_alloc.c (6.1).
Differs: Memory that was never touched is a range of the zone instead of entries of free lists, and
counts as the end of the movable list of the highest order.
Interface: the steps the allocator is made of; they do not count Z_FREE, as blocks only change
their place. `free_range` fills a zone at boot and does; `free_area_counts` is for reports.
Units: pages; a block is named by its first pfn.
"""

from typing import Final

import numpy as np

from kernelsim.hw.leaf import leaf
from kernelsim.mm.core.list import list_add, list_add_tail, list_del
from kernelsim.mm.core.mem import (
    I64,
    L_COUNT,
    L_HEAD,
    MAX_ORDER,
    MAX_ORDER_NR_PAGES,
    MIGRATE_MOVABLE,
    MIGRATE_TYPES,
    Z_FREE,
    Z_FRESH_END,
    Z_FRESH_START,
    Mem,
    PG_buddy,
    free_list,
    zone_of,
)

BUDDY_ORDER_BITS: Final = 4  # Pages.private of a free block: migratetype << 4 | order


@leaf
def buddy_order(mem: Mem, pfn: int) -> int:
    """Return the order of a free block (PG_buddy)."""
    return int(mem.pages.private[pfn]) & ((1 << BUDDY_ORDER_BITS) - 1)


@leaf
def buddy_migratetype(mem: Mem, pfn: int) -> int:
    """Return the migratetype of the list a free block is on; its pageblock may have another."""
    return int(mem.pages.private[pfn]) >> BUDDY_ORDER_BITS


@leaf
def add_to_free_list(
    mem: Mem, zone: int, pfn: int, order: int, migratetype: int, to_tail: bool
) -> None:
    """Enter a block in a free list; Z_FREE is the caller's.

    Source: Linux 6.1 mm/page_alloc.c:add_to_free_list
    """
    mem.pages.flags[pfn] = PG_buddy
    mem.pages.private[pfn] = migratetype << BUDDY_ORDER_BITS | order
    if to_tail:
        list_add_tail(mem, free_list(zone, order, migratetype), pfn)
    else:
        list_add(mem, free_list(zone, order, migratetype), pfn)


@leaf
def del_page_from_free_list(mem: Mem, zone: int, pfn: int) -> None:
    """Take a free block off its list; Z_FREE is the caller's.

    Source: Linux 6.1 mm/page_alloc.c:del_page_from_free_list
    """
    list_del(mem, free_list(zone, buddy_order(mem, pfn), buddy_migratetype(mem, pfn)), pfn)
    mem.pages.flags[pfn] = 0
    mem.pages.private[pfn] = 0


@leaf
def page_is_buddy(mem: Mem, zone: int, pfn: int, order: int) -> bool:
    """Tell whether a free block of this order starts at a pfn, in this zone.

    Source: Linux 6.1 mm/internal.h:page_is_buddy
    """
    if not mem.pages.flags[pfn] & PG_buddy or buddy_order(mem, pfn) != order:
        return False
    return zone_of(mem, pfn) == zone


@leaf
def get_page_from_free_area(mem: Mem, zone: int, order: int, migratetype: int) -> int:
    """Return the first block of a free list, 0 when there is none.

    Memory that was never touched becomes a list entry here, one block at a time.

    Source: Linux 6.1 mm/page_alloc.c:get_page_from_free_area
    """
    head = int(mem.lists[free_list(zone, order, migratetype), L_HEAD])
    if head or order != MAX_ORDER - 1 or migratetype != MIGRATE_MOVABLE:
        return head
    pfn = int(mem.zone[zone, Z_FRESH_START])
    if pfn == mem.zone[zone, Z_FRESH_END]:
        return 0
    mem.zone[zone, Z_FRESH_START] += MAX_ORDER_NR_PAGES
    add_to_free_list(mem, zone, pfn, order, migratetype, True)
    return pfn


@leaf
def free_area_empty(mem: Mem, zone: int, order: int, migratetype: int) -> bool:
    """Tell whether a free list has no block, untouched memory included."""
    if mem.lists[free_list(zone, order, migratetype), L_COUNT]:
        return False
    if order != MAX_ORDER - 1 or migratetype != MIGRATE_MOVABLE:
        return True
    return bool(mem.zone[zone, Z_FRESH_START] == mem.zone[zone, Z_FRESH_END])


@leaf
def move_to_free_list(mem: Mem, zone: int, pfn: int, migratetype: int) -> None:
    """Move a free block to the end of another migratetype's list.

    Source: Linux 6.1 mm/page_alloc.c:move_to_free_list
    """
    order = buddy_order(mem, pfn)
    del_page_from_free_list(mem, zone, pfn)
    add_to_free_list(mem, zone, pfn, order, migratetype, True)


def free_range(mem: Mem, zone: int, start: int, end: int) -> None:
    """Free untouched memory in the largest aligned blocks, in rising order, as boot does.

    The whole MAX_ORDER blocks become the zone's untouched range if it has none yet.

    Source: Linux 6.1 mm/memblock.c:__free_pages_memory
    """
    fresh = -(-start // MAX_ORDER_NR_PAGES) * MAX_ORDER_NR_PAGES
    fresh_end = end // MAX_ORDER_NR_PAGES * MAX_ORDER_NR_PAGES
    row = mem.zone[zone]
    row[Z_FREE] += end - start
    skips = fresh < fresh_end and row[Z_FRESH_START] == row[Z_FRESH_END]
    if skips:
        row[Z_FRESH_START] = fresh
        row[Z_FRESH_END] = fresh_end
    pfn = start
    while pfn < end:
        if skips and pfn == fresh:
            pfn = fresh_end
            continue
        order = MAX_ORDER - 1
        while pfn & ((1 << order) - 1) or pfn + (1 << order) > end:
            order -= 1
        add_to_free_list(mem, zone, pfn, order, MIGRATE_MOVABLE, True)
        pfn += 1 << order


def free_area_counts(mem: Mem, zone: int) -> I64:
    """Count the free blocks of a zone: int64[order, migratetype], untouched memory included."""
    first = free_list(zone, 0, 0)
    rows = mem.lists[first : first + MAX_ORDER * MIGRATE_TYPES, L_COUNT]
    counts: I64 = np.array(rows.reshape(MAX_ORDER, MIGRATE_TYPES))
    untouched = mem.zone[zone, Z_FRESH_END] - mem.zone[zone, Z_FRESH_START]
    counts[MAX_ORDER - 1, MIGRATE_MOVABLE] += untouched // MAX_ORDER_NR_PAGES
    return counts
