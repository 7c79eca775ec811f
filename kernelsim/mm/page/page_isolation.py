"""Keeping free pages of a range from being used: pageblocks that are isolated.

Linux: mm/page_isolation.c; mm/memory_hotplug.c: scan_movable_pages; mm/page_alloc.c:
__offline_isolated_pages, 6.1.
Interface: for ranges of whole MAX_ORDER blocks of one zone, under its zone->lock.
Units: pages, pfn.
"""

from typing import Final

import numpy as np

from kernelsim.hw.leaf import leaf
from kernelsim.mm.core.mem import (
    MAX_ORDER,
    MAX_ORDER_NR_PAGES,
    MIGRATE_ISOLATE,
    MIGRATE_MOVABLE,
    PAGEBLOCK_NR_PAGES,
    PAGEBLOCK_ORDER,
    Z_FREE,
    Z_FRESH_END,
    Z_FRESH_START,
    Mem,
    PG_activating,
    PG_batched,
    PG_buddy,
    PG_lru,
    PG_pcp,
    PG_reserved,
)
from kernelsim.mm.page.fallback import move_freepages_block
from kernelsim.mm.page.free_area import add_to_free_list, buddy_order, del_page_from_free_list

ISOLATED: Final = -1
ALREADY_ISOLATED: Final = -2
# Pages on their way to a list count as those on it: Linux has no folio_batches meanwhile.
LISTED: Final = PG_lru | PG_batched | PG_activating


@leaf
def enter_untouched(mem: Mem, zone: int, start: int, end: int) -> None:
    """Make blocks of a range that were never touched entries of the free lists.

    So are those before it, unless it lies at the end of what was never touched.
    """
    fresh_start, fresh_end = int(mem.zone[zone, Z_FRESH_START]), int(mem.zone[zone, Z_FRESH_END])
    low, high = max(start, fresh_start), min(end, fresh_end)
    if low >= high:
        return
    if high == fresh_end:
        mem.zone[zone, Z_FRESH_END] = low
    else:
        low = fresh_start
        mem.zone[zone, Z_FRESH_START] = high
    for pfn in range(low, high, MAX_ORDER_NR_PAGES):
        add_to_free_list(mem, zone, pfn, MAX_ORDER - 1, MIGRATE_MOVABLE, True)


@leaf
def has_unmovable_pages(mem: Mem, start: int, end: int, in_movable_zone: bool) -> int:
    """Return the first page of a range that cannot be moved away; -1 for none.

    Source: Linux 6.1 mm/page_isolation.c:has_unmovable_pages
    """
    pfn = start
    while pfn < end:
        flags = mem.pages.flags[pfn]
        if flags & np.uint32(PG_reserved):
            return pfn
        if flags & np.uint32(PG_buddy):
            pfn += 1 << buddy_order(mem, pfn)
            continue
        if not in_movable_zone and not flags & np.uint32(LISTED | PG_pcp):
            return pfn
        pfn += 1
    return -1


@leaf
def start_isolate_page_range(
    mem: Mem, zone: int, start: int, end: int, in_movable_zone: bool
) -> int:
    """Isolate the pageblocks of a range; their free pages are not used from now on.

    Returns:
        ISOLATED; else all is as it was, and it is the first page that cannot be moved, or
        ALREADY_ISOLATED.

    Source: Linux 6.1 mm/page_isolation.c:start_isolate_page_range, :set_migratetype_isolate
    """
    enter_untouched(mem, zone, start, end)
    for pfn in range(start, end, PAGEBLOCK_NR_PAGES):
        if mem.block_mt[pfn >> PAGEBLOCK_ORDER] == MIGRATE_ISOLATE:
            return ALREADY_ISOLATED
    found = has_unmovable_pages(mem, start, end, in_movable_zone)
    if found >= 0:
        return found
    for pfn in range(start, end, PAGEBLOCK_NR_PAGES):
        mem.block_mt[pfn >> PAGEBLOCK_ORDER] = MIGRATE_ISOLATE
        mem.zone[zone, Z_FREE] -= move_freepages_block(mem, zone, pfn, MIGRATE_ISOLATE)[0]
    return ISOLATED


@leaf
def undo_isolate_page_range(mem: Mem, zone: int, start: int, end: int) -> None:
    """Let isolated pageblocks be used again; they are movable ones.

    Source: Linux 6.1 mm/page_isolation.c:undo_isolate_page_range, :unset_migratetype_isolate
    """
    for pfn in range(start, end, PAGEBLOCK_NR_PAGES):
        mem.block_mt[pfn >> PAGEBLOCK_ORDER] = MIGRATE_MOVABLE
    for pfn in range(start, end, PAGEBLOCK_NR_PAGES):
        mem.zone[zone, Z_FREE] += move_freepages_block(mem, zone, pfn, MIGRATE_MOVABLE)[0]
    merge_pageblocks(mem, zone, start, end)


@leaf
def merge_pageblocks(mem: Mem, zone: int, start: int, end: int) -> None:
    """Join free pageblocks that were kept apart while one of the two was isolated."""
    for order in range(PAGEBLOCK_ORDER, MAX_ORDER - 1):
        size = 1 << order
        for pfn in range(start & -(2 * size), end, 2 * size):
            buddy = pfn + size
            if not (mem.pages.flags[pfn] & mem.pages.flags[buddy] & np.uint32(PG_buddy)):
                continue
            if buddy_order(mem, pfn) != order or buddy_order(mem, buddy) != order:
                continue
            migratetype = int(mem.block_mt[pfn >> PAGEBLOCK_ORDER])
            if mem.block_mt[buddy >> PAGEBLOCK_ORDER] != migratetype:
                continue
            del_page_from_free_list(mem, zone, pfn)
            del_page_from_free_list(mem, zone, buddy)
            add_to_free_list(mem, zone, pfn, order + 1, migratetype, True)


@leaf
def scan_movable_pages(mem: Mem, pfn: int, end: int) -> int:
    """Return the first page of a range that is to be moved away; -1 for none.

    Source: Linux 6.1 mm/memory_hotplug.c:scan_movable_pages
    """
    while pfn < end:
        flags = mem.pages.flags[pfn]
        if flags & np.uint32(LISTED):
            return pfn
        pfn += 1 << buddy_order(mem, pfn) if flags & np.uint32(PG_buddy) else 1
    return -1


@leaf
def test_pages_isolated(mem: Mem, start: int, end: int) -> int:
    """Return the first page of a range that is not free; -1 when all are.

    Source: Linux 6.1 mm/page_isolation.c:test_pages_isolated
    """
    pfn = start
    while pfn < end:
        if not mem.pages.flags[pfn] & np.uint32(PG_buddy):
            return pfn
        pfn += 1 << buddy_order(mem, pfn)
    return -1


@leaf
def offline_isolated_pages(mem: Mem, zone: int, start: int, end: int) -> None:
    """Take the free blocks of an isolated range off the free lists.

    Source: Linux 6.1 mm/page_alloc.c:__offline_isolated_pages
    """
    pfn = start
    while pfn < end:
        order = buddy_order(mem, pfn)
        del_page_from_free_list(mem, zone, pfn)
        pfn += 1 << order
