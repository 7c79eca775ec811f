"""The migrate scanner of compaction: takes pages of a pageblock off their lists, to be moved.

Linux: mm/compaction.c:isolate_migratepages_block, 6.1.
Interface: `isolate_migratepages_block`, under the node's lru_lock.
Units: pages, pfn.
"""

from typing import Final

import numpy as np

from kernelsim.hw.leaf import leaf
from kernelsim.mm.core.mem import (
    I64,
    Z_FRESH_END,
    Z_FRESH_START,
    Mem,
    PG_buddy,
    PG_lru,
    PG_unevictable,
    nid_of,
)
from kernelsim.mm.file.migrate_folio import BUSY, isolate_lru_page, putback_movable_pages
from kernelsim.mm.page.free_area import buddy_order

# What a request for pages to be moved says, and is answered
MS_PFN: Final = 0  # first frame; then the one to go on from
MS_END: Final = 1
MS_SKIP_ORDER: Final = 2  # a block of this order in which a page cannot be moved is left; 0: not
MS_UNEVICTABLE: Final = 3  # those that are locked in memory may be moved
MS_ZONE: Final = 4
MS_NR_SCANNED: Final = 5


@leaf
def isolate_migratepages_block(mem: Mem, scan: I64, out: I64, kinds: I64) -> int:
    """Take the movable pages of a pageblock off their lists, as many as `out` holds.

    Args:
        mem: Physical memory.
        scan: What is asked, MS_*; is told how far it came.
        out: Gets the pages.
        kinds: Gets as what each counts until it is put back.

    Returns:
        How many there are.

    Source: Linux 6.1 mm/compaction.c:isolate_migratepages_block
    """
    pfn, end = int(scan[MS_PFN]), int(scan[MS_END])
    size = 1 << scan[MS_SKIP_ORDER] if scan[MS_SKIP_ORDER] else 0
    next_skip = (pfn | (size - 1)) + 1 if size else end
    nid, nr = nid_of(mem, pfn), 0
    while pfn < end and nr < len(out):
        if pfn >= next_skip:
            if nr:  # they may make a block
                break
            next_skip = (pfn | (size - 1)) + 1
        scan[MS_NR_SCANNED] += 1
        free = free_pages_at(mem, int(scan[MS_ZONE]), pfn)
        if free:
            pfn += free
            continue
        if can_isolate(mem, pfn, scan[MS_UNEVICTABLE] != 0):
            kinds[nr] = isolate_lru_page(mem, pfn, nid)
            out[nr] = pfn
            nr += 1
        elif size:
            nr_free = putback_movable_pages(mem, out[:nr], kinds[:nr], out)
            assert nr_free == 0, "a page that was taken off its list just now has no user"
            nr = 0
            pfn = next_skip - 1
        pfn += 1
    scan[MS_PFN] = min(pfn, end)
    return nr


@leaf
def free_pages_at(mem: Mem, zone: int, pfn: int) -> int:
    """Return how many free pages to go past at a frame, 0 if it is in use."""
    if mem.pages.flags[pfn] & np.uint32(PG_buddy):
        return 1 << buddy_order(mem, pfn)
    if mem.zone[zone, Z_FRESH_START] <= pfn < mem.zone[zone, Z_FRESH_END]:
        return int(mem.zone[zone, Z_FRESH_END]) - pfn
    return 0


@leaf
def can_isolate(mem: Mem, pfn: int, unevictable: bool) -> bool:
    """Tell whether a page that is in use may be taken off its list to be moved."""
    flags = mem.pages.flags[pfn]
    if not flags & np.uint32(PG_lru) or flags & np.uint32(BUSY):
        return False
    return unevictable or not flags & np.uint32(PG_unevictable)
