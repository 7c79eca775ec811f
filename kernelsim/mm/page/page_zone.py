"""Which zone each page frame belongs to: entered at boot and as memory comes and goes.

Linux: mm/page_alloc.c: memmap_init_zone_range, init_unavailable_range; set_page_links, which has
node and zone in the flags of each page; mm/memory_hotplug.c: find_smallest_section_pfn, 6.1.
Differs: A frame that is no memory has the zone that spans it. In Linux it has that of the memory
behind it, which is another one where spans of nodes overlap.
Interface: `enter_memory` at boot, `set_page_zone` later; `mem.zone_of` tells the zone of a frame.
Units: pfn.
"""

from collections.abc import Iterable, Sequence

import numpy as np

from kernelsim.mm.core.mem import (
    I16,
    I64,
    PAGEBLOCK_NR_PAGES,
    PAGEBLOCK_ORDER,
    U8,
    Z_SPANNED,
    Z_START_PFN,
    Mem,
    PG_reserved,
    zones_of,
)


def enter_memory(mem: Mem, zone: int, ranges: Sequence[tuple[int, int]]) -> None:
    """Enter the memory of a zone, whose row has its span, and reserve the frames beside it.

    Those are what no memory is of the pageblocks that ranges begin and end in, within the span.

    Args:
        mem: The machine's memory.
        zone: Zone row.
        ranges: First frame, and the one behind the last, of what is its memory.
    """
    shared: dict[int, None] = {}
    for start, end in ranges:
        first, last = -(-start >> PAGEBLOCK_ORDER), end >> PAGEBLOCK_ORDER
        mem.block_zone[first:last] = zone + 1
        for block in sorted({start >> PAGEBLOCK_ORDER, end - 1 >> PAGEBLOCK_ORDER}):
            low = max(start, block << PAGEBLOCK_ORDER)
            high = min(end, block + 1 << PAGEBLOCK_ORDER)
            if high - low < PAGEBLOCK_NR_PAGES:
                mem.pages.flags[low:high] = 0
                set_page_zone(mem, np.arange(low, high), zone)
                shared[block] = None
    span = int(mem.zone[zone, Z_START_PFN]), int(mem.zone[zone, Z_SPANNED])
    for block in shared:
        first = block << PAGEBLOCK_ORDER
        low, high = max(first, span[0]), min(first + PAGEBLOCK_NR_PAGES, sum(span))
        reserve_unclaimed(mem, np.arange(low, high), zone)


def reserve_unclaimed(mem: Mem, frames: I64, zone: int) -> None:
    """Reserve those of some frames of a pageblock that are in no zone; they are in this one now.

    Source: Linux 6.1 mm/page_alloc.c:init_unavailable_range
    """
    frames = frames[zones_of(mem, frames) < 0]
    if len(frames):
        mem.pages.flags[frames] = PG_reserved
        set_page_zone(mem, frames, zone)


def set_page_zone(mem: Mem, frames: I64, zone: int) -> None:
    """Enter frames of one pageblock under a zone."""
    block = int(frames[0]) >> PAGEBLOCK_ORDER
    entries = page_entries(mem, block)
    entries[frames & (PAGEBLOCK_NR_PAGES - 1)] = zone + 1
    if (entries == zone + 1).all():
        mem.block_zone[block] = zone + 1
        return
    if mem.block_zone[block] >= 0:
        mem.split_zone[0, 0] += 1
        mem.block_zone[block] = -mem.split_zone[0, 0]
    mem.split_zone[-int(mem.block_zone[block])] = entries


def page_entries(mem: Mem, block: int) -> I16:
    """Return the zone row + 1 of each frame of a pageblock, 0 for none; they may be written."""
    entry = int(mem.block_zone[block])
    if entry >= 0:
        return np.full(PAGEBLOCK_NR_PAGES, entry, np.int16)
    return mem.split_zone[-entry].copy()


def pageblock_zone(mem: Mem, block: int) -> int:
    """Return the zone row of the first frame of a pageblock that is in one, -1 for none."""
    entries = page_entries(mem, block)
    return int(entries[np.argmax(entries > 0)]) - 1


def split_pageblocks(mem: Mem) -> Iterable[int]:
    """Return the pageblocks whose frames are not all in one zone, rising."""
    blocks: list[int] = np.flatnonzero(mem.block_zone < 0).tolist()
    return blocks


def owned_span(mem: Mem, zone: int) -> tuple[int, int]:
    """Return the first frame of a zone, and the one behind its last; 0, 0 without any.

    Source: Linux 6.1 mm/memory_hotplug.c:find_smallest_section_pfn, :find_biggest_section_pfn
    """
    own: list[int] = np.flatnonzero(mem.block_zone == zone + 1).tolist()
    frames = [own[0] << PAGEBLOCK_ORDER, own[-1] + 1 << PAGEBLOCK_ORDER] if own else []
    for block in split_pageblocks(mem):
        places = np.flatnonzero(page_entries(mem, block) == zone + 1)
        if len(places):
            first = block << PAGEBLOCK_ORDER
            frames += [first + int(places[0]), first + int(places[-1]) + 1]
    return (min(frames), max(frames)) if frames else (0, 0)


def pageblock_types(mem: Mem, zone: int) -> U8:
    """Return the migratetype of each pageblock of a zone.

    # Differs from Linux: One that zones share is the first one's alone. Linux looks at one page of
    # each, as far into it as the zone begins in its first: both have it, and one may miss its last.
    Source: Linux 6.1 mm/vmstat.c:pagetypeinfo_showblockcount_print
    """
    is_own = mem.block_zone == zone + 1
    is_own[[block for block in split_pageblocks(mem) if pageblock_zone(mem, block) == zone]] = True
    types: U8 = mem.block_mt[is_own]
    return types
