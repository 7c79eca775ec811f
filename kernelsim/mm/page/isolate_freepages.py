"""The free scanner of compaction: takes free pages of a pageblock, for others to be moved there.

Linux: mm/compaction.c:isolate_freepages_block, mm/page_alloc.c:__isolate_free_page, 6.1.
Interface: `isolate_freepages_block`, under the zone's lock.
Units: pages, pfn.
"""

from typing import Final

import numpy as np

from kernelsim.hw.leaf import leaf
from kernelsim.mm.core.mem import (
    I64,
    MIGRATE_ISOLATE,
    MIGRATE_MOVABLE,
    PAGEBLOCK_ORDER,
    Z_FREE,
    Z_FRESH_END,
    Z_FRESH_START,
    Z_WMARK_MIN,
    Mem,
    PG_buddy,
)
from kernelsim.mm.page.free_area import buddy_order, del_page_from_free_list
from kernelsim.mm.page.page_alloc import prep_new_pages, zone_watermark_ok

# What a request for free pages says, and is answered
FS_PFN: Final = 0  # first frame; then the one to go on from
FS_END: Final = 1
FS_WANTED: Final = 2  # pages
FS_ZONE: Final = 3
FS_NR_SCANNED: Final = 4
FS_NR_BLOCKS: Final = 5  # that were taken


@leaf
def isolate_freepages_block(mem: Mem, scan: I64, out: I64) -> int:
    """Take free pages of a pageblock until there are enough of them.

    Args:
        mem: Physical memory.
        scan: What is asked, FS_*; is told how far it came.
        out: Gets the pages; has room for those wanted and MAX_ORDER_NR_PAGES: a free block may
            reach out of its pageblock.

    Returns:
        How many there are.

    Source: Linux 6.1 mm/compaction.c:isolate_freepages_block
    """
    pfn, end, zone = int(scan[FS_PFN]), int(scan[FS_END]), int(scan[FS_ZONE])
    nr = 0
    while pfn < end:
        scan[FS_NR_SCANNED] += 1
        if not mem.pages.flags[pfn] & np.uint32(PG_buddy):
            pfn += 1
            continue
        order = isolate_free_page(mem, zone, pfn)
        if order < 0:
            break
        for i in range(1 << order):
            out[nr + i] = pfn + i
        nr += 1 << order
        pfn += 1 << order
        scan[FS_NR_BLOCKS] += 1
        if nr >= scan[FS_WANTED]:
            break
    scan[FS_PFN] = min(pfn, end)
    return nr


@leaf
def isolate_free_page(mem: Mem, zone: int, pfn: int) -> int:
    """Take a free block away; return its order, -1 if the zone would have too little left.

    Source: Linux 6.1 mm/page_alloc.c:__isolate_free_page
    """
    order = buddy_order(mem, pfn)
    block = pfn >> PAGEBLOCK_ORDER
    if mem.block_mt[block] != MIGRATE_ISOLATE:
        mark = int(mem.zone[zone, Z_WMARK_MIN]) + (1 << order)
        if not zone_watermark_ok(mem, zone, 0, mark, 0, 0):
            return -1
        mem.zone[zone, Z_FREE] -= 1 << order
    del_page_from_free_list(mem, zone, pfn)
    if order >= PAGEBLOCK_ORDER - 1 and mem.block_mt[block] != MIGRATE_ISOLATE:
        for at in range(block, ((pfn + (1 << order) - 1) >> PAGEBLOCK_ORDER) + 1):
            mem.block_mt[at] = MIGRATE_MOVABLE
    prep_new_pages(mem, pfn, 1 << order)
    return order


@leaf
def is_free_pageblock(mem: Mem, zone: int, pfn: int) -> bool:
    """Tell whether a whole pageblock is free, which begins at a frame.

    Source: Linux 6.1 mm/compaction.c:suitable_migration_target
    """
    if mem.zone[zone, Z_FRESH_START] <= pfn < mem.zone[zone, Z_FRESH_END]:
        return True
    if not mem.pages.flags[pfn] & np.uint32(PG_buddy):
        return False
    return buddy_order(mem, pfn) >= PAGEBLOCK_ORDER
