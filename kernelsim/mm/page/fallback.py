"""Steal free memory from another migratetype, as much as pays, when a zone's own is used up.

Linux: mm/page_alloc.c (6.1), grouping of pages by mobility.
Differs: There is no ALLOC_NOFRAGMENT: a request steals a pageblock of another migratetype before it
tries the next zone.
Interface: `rmqueue_fallback` moves blocks between the lists of one zone; the caller then looks
again. What happened is kept in Mem.extfrag; raised watermarks are flagged in Z_BOOSTED_WATERMARK.
Units: pages; a block is named by its first pfn.
"""

from kernelsim.hw.leaf import leaf
from kernelsim.mm.core.mem import (
    MAX_ORDER,
    MIGRATE_MOVABLE,
    MIGRATE_RECLAIMABLE,
    MIGRATE_UNMOVABLE,
    NR_EXTFRAG_ROWS,
    PAGEBLOCK_NR_PAGES,
    PAGEBLOCK_ORDER,
    X_ALLOC_MIGRATETYPE,
    X_ALLOC_ORDER,
    X_CHANGE_OWNERSHIP,
    X_FALLBACK_MIGRATETYPE,
    X_FALLBACK_ORDER,
    X_PFN,
    Z_BOOSTED_WATERMARK,
    Z_MANAGED,
    Z_SPANNED,
    Z_START_PFN,
    Z_WATERMARK_BOOST,
    Z_WATERMARK_BOOST_FACTOR,
    Z_WMARK_HIGH,
    Mem,
    PG_buddy,
    PG_lru,
    zone_of,
)
from kernelsim.mm.page.free_area import (
    buddy_order,
    free_area_empty,
    get_page_from_free_area,
    move_to_free_list,
)


@leaf
def fallback_type(migratetype: int, i: int) -> int:
    """Return the i-th (0, 1) migratetype to steal from, nearest in mobility first.

    Source: Linux 6.1 mm/page_alloc.c:fallbacks
    """
    if migratetype == MIGRATE_RECLAIMABLE:
        return MIGRATE_UNMOVABLE if i == 0 else MIGRATE_MOVABLE
    if i == 0:
        return MIGRATE_RECLAIMABLE
    return MIGRATE_MOVABLE if migratetype == MIGRATE_UNMOVABLE else MIGRATE_UNMOVABLE


@leaf
def find_suitable_fallback(mem: Mem, zone: int, order: int, migratetype: int) -> int:
    """Return the migratetype whose list of this order can be stolen from, -1 when all are empty.

    Source: Linux 6.1 mm/page_alloc.c:find_suitable_fallback
    """
    for i in range(2):
        fallback = fallback_type(migratetype, i)
        if not free_area_empty(mem, zone, order, fallback):
            return fallback
    return -1


@leaf
def can_steal_fallback(order: int, start_type: int) -> bool:
    """Tell whether a steal of this order may take the rest of its pageblock along.

    Source: Linux 6.1 mm/page_alloc.c:can_steal_fallback
    """
    return order >= PAGEBLOCK_ORDER // 2 or start_type != MIGRATE_MOVABLE


@leaf
def boost_watermark(mem: Mem, zone: int) -> None:
    """Raise the watermarks by a pageblock for a while: a mixed pageblock should cost reclaim.

    Source: Linux 6.1 mm/page_alloc.c:boost_watermark
    """
    factor = mem.zone[zone, Z_WATERMARK_BOOST_FACTOR]
    if not factor or mem.zone[zone, Z_MANAGED] < 4 * PAGEBLOCK_NR_PAGES:
        return
    max_boost = mem.zone[zone, Z_WMARK_HIGH] * factor // 10000
    if not max_boost:
        return
    max_boost = max(PAGEBLOCK_NR_PAGES, max_boost)
    boost = mem.zone[zone, Z_WATERMARK_BOOST] + PAGEBLOCK_NR_PAGES
    mem.zone[zone, Z_WATERMARK_BOOST] = min(boost, max_boost)
    mem.zone[zone, Z_BOOSTED_WATERMARK] = 1


@leaf
def move_freepages_block(mem: Mem, zone: int, pfn: int, migratetype: int) -> tuple[int, int]:
    """Move all free blocks of a pageblock to a migratetype: (pages moved, movable pages seen).

    Nothing moves when the pageblock reaches beyond the end of the zone.

    Source: Linux 6.1 mm/page_alloc.c:move_freepages_block
    """
    is_split = mem.block_zone[pfn >> PAGEBLOCK_ORDER] < 0
    start = pfn & ~(PAGEBLOCK_NR_PAGES - 1)
    end = start + PAGEBLOCK_NR_PAGES
    if start < mem.zone[zone, Z_START_PFN]:
        start = pfn
    if end > mem.zone[zone, Z_START_PFN] + mem.zone[zone, Z_SPANNED]:
        return 0, 0
    moved = 0
    movable = 0
    while start < end:
        flags = mem.pages.flags[start]
        if is_split and zone_of(mem, start) != zone:  # a zone that spans others has parts of them
            start += 1
        elif flags & PG_buddy:
            nr_pages = 1 << buddy_order(mem, start)
            move_to_free_list(mem, zone, start, migratetype)
            moved += nr_pages
            start += nr_pages
        else:
            movable += 1 if flags & PG_lru else 0
            start += 1
    return moved, movable


@leaf
def steal_suitable_fallback(
    mem: Mem, zone: int, pfn: int, start_type: int, whole_block: bool
) -> None:
    """Move a free block of another migratetype, maybe with its whole pageblock, to `start_type`.

    The pageblock itself changes type when half of it is free or used in a compatible way.

    Source: Linux 6.1 mm/page_alloc.c:steal_suitable_fallback
    """
    order = buddy_order(mem, pfn)
    block = pfn >> PAGEBLOCK_ORDER
    if order >= PAGEBLOCK_ORDER:
        mem.block_mt[block : block + (1 << (order - PAGEBLOCK_ORDER))] = start_type
        move_to_free_list(mem, zone, pfn, start_type)
        return
    old_type = mem.block_mt[block]
    boost_watermark(mem, zone)
    if whole_block:
        moved, movable = move_freepages_block(mem, zone, pfn, start_type)
        alike = 0
        if start_type == MIGRATE_MOVABLE:
            alike = movable
        elif old_type == MIGRATE_MOVABLE:
            # Neither free nor movable: what a request that is not movable may live beside.
            alike = PAGEBLOCK_NR_PAGES - moved - movable
        if moved:
            if moved + alike >= PAGEBLOCK_NR_PAGES // 2:
                mem.block_mt[block] = start_type
            return
    move_to_free_list(mem, zone, pfn, start_type)


@leaf
def rmqueue_fallback(mem: Mem, zone: int, order: int, start_type: int) -> bool:
    """Steal free memory of another migratetype for `start_type`; False when there is none.

    The largest block is taken, to mix as few pageblocks as possible; but a movable request that
    cannot have the whole pageblock takes the smallest. The steal is noted in Mem.extfrag.

    Source: Linux 6.1 mm/page_alloc.c:__rmqueue_fallback
    """
    fallback = -1
    current_order = MAX_ORDER
    while fallback < 0 and current_order > order:
        current_order -= 1
        fallback = find_suitable_fallback(mem, zone, current_order, start_type)
    if fallback < 0:
        return False
    can_steal = can_steal_fallback(current_order, start_type)
    if not can_steal and current_order > order:
        current_order = order
        fallback = find_suitable_fallback(mem, zone, current_order, start_type)
        while fallback < 0:
            current_order += 1
            assert current_order < MAX_ORDER, "a free block of another type is gone again"
            fallback = find_suitable_fallback(mem, zone, current_order, start_type)
    pfn = get_page_from_free_area(mem, zone, current_order, fallback)
    steal_suitable_fallback(mem, zone, pfn, start_type, can_steal)
    note_extfrag(mem, pfn, order, current_order, start_type, fallback)
    return True


@leaf
def note_extfrag(
    mem: Mem, pfn: int, order: int, fallback_order: int, start_type: int, fallback: int
) -> None:
    """Keep what the tracepoint mm_page_alloc_extfrag says, until it is read."""
    mem.extfrag[0, 0] += 1
    row = mem.extfrag[0, 0]
    if row < NR_EXTFRAG_ROWS:
        mem.extfrag[row, X_PFN] = pfn
        mem.extfrag[row, X_ALLOC_ORDER] = order
        mem.extfrag[row, X_FALLBACK_ORDER] = fallback_order
        mem.extfrag[row, X_ALLOC_MIGRATETYPE] = start_type
        mem.extfrag[row, X_FALLBACK_MIGRATETYPE] = fallback
        changed = mem.block_mt[pfn >> PAGEBLOCK_ORDER] == start_type
        mem.extfrag[row, X_CHANGE_OWNERSHIP] = 1 if changed else 0
