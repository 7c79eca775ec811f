"""Find places for the free blocks a recorded kernel had, and give the rest of the zone to it.

Linux: nothing; a kernel prints how many free blocks it has (buddyinfo, pagetypeinfo), not where.
Differs: A recording does not say where the used pages of a zone lie, so the places are ours: whole
free chunks lie at the top of the zone, the memory in use at the bottom.
Interface: `place_boot_pages` fills one zone whose rows and pageblocks are set up.
Units: pages; order k is 2^k pages.

Two free buddies would have merged, so beside a free block of order k lies a region of order k in
which something is used. Blocks are placed from the largest to the smallest: a region of order
k + 1 that must keep a used page gives one half to a block of order k and stays such a region with
the other half. A block that finds no region is split, which only happens when the recorded
figures were not read at one moment.
"""

from collections.abc import Sequence

import attrs
import numpy as np

from kernelsim.config.boot import ZoneBoot
from kernelsim.mm.core.list import list_add_tail
from kernelsim.mm.core.mem import (
    MAX_ORDER,
    MAX_ORDER_NR_PAGES,
    MIGRATE_MOVABLE,
    MIGRATE_TYPES,
    PAGEBLOCK_NR_PAGES,
    PAGEBLOCK_ORDER,
    Z_FREE,
    Z_FRESH_END,
    Z_FRESH_START,
    Mem,
    PG_kernel,
    PG_pcp,
    PG_reserved,
    pcp_list,
)
from kernelsim.mm.page.free_area import add_to_free_list, free_range
from kernelsim.mm.page.page_zone import pageblock_zone

Range = tuple[int, int]  # first pfn, pfn behind the last


@attrs.define
class Regions:
    """Regions that must keep a used page, by order; the last entered is used first.

    Attributes:
        ranges: Memory of the zone; the rest of it are holes.
        stacks: First pfns, one stack an order.
    """

    ranges: Sequence[Range]
    stacks: list[list[int]] = attrs.field(factory=lambda: [[] for _ in range(MAX_ORDER)])

    def is_memory(self, pfn: int, order: int) -> bool:
        """Tell whether a block has no hole."""
        return any(low <= pfn and pfn + (1 << order) <= high for low, high in self.ranges)

    def take_half(self, order: int) -> int:
        """Return half of a region of order + 1 as a free block; 0 when there is no region left."""
        while True:
            above = order + 1
            while above < MAX_ORDER and not self.stacks[above]:
                above += 1
            if above == MAX_ORDER:
                return 0
            start = self.stacks[above].pop()
            middle = start + (1 << (above - 1))
            if above > order + 1:
                self.stacks[above - 1] += [start, middle]
            elif self.is_memory(middle, order):
                self.stacks[order].append(start)
                return middle
            elif self.is_memory(start, order):
                self.stacks[order].append(middle)
                return start
            else:
                self.stacks[order] += [start, middle]


def place_boot_pages(
    mem: Mem, zone: int, ranges: Sequence[Range], boot: ZoneBoot, nr_reserved: int
) -> None:
    """Fill a zone: free blocks, per-cpu lists, the boot's reserved pages, and kernel pages.

    Args:
        mem: The machine's memory; the zone's pages are untouched.
        zone: Zone row.
        ranges: Memory of the zone, in rising order.
        boot: What was recorded.
        nr_reserved: Pages the buddy system never had (present - managed).
    """
    for low, high in ranges:
        mem.pages.flags[low:high] = PG_kernel
    if not boot.free:
        free_top(mem, zone, ranges, boot.stats.get("nr_free_pages", 0))
        place_used(mem, zone, ranges, boot, nr_reserved)
        return
    free = [list(row) + [0] * (MAX_ORDER - len(row)) for row in boot.free]
    if len(free) == 1:  # types unknown: all movable
        free.insert(0, [0] * MAX_ORDER)
    quotas = list(boot.pageblocks) + [0] * (MIGRATE_TYPES - len(boot.pageblocks))
    chunks = place_chunks(mem, zone, ranges, free, quotas)
    pools = [Regions(ranges) for _ in range(MIGRATE_TYPES)]
    place_pageblocks(mem, zone, chunks, free, quotas, pools)
    for order in range(PAGEBLOCK_ORDER - 1, -1, -1):
        for migratetype, row in enumerate(free):
            others = [pool for i, pool in enumerate(pools) if i != migratetype]
            for _ in range(row[order]):
                pfn = first_half([pools[migratetype], *others], order)
                if pfn:
                    add_free_block(mem, zone, pfn, order, migratetype)
                elif order:
                    row[order - 1] += 2
    place_used(mem, zone, ranges, boot, nr_reserved)


def free_top(mem: Mem, zone: int, ranges: Sequence[Range], nr_free: int) -> None:
    """Free the uppermost pages of a zone, when only their number was recorded."""
    for low, high in reversed(ranges):
        start = max(low, high - nr_free)
        mem.pages.flags[start:high] = 0
        free_range(mem, zone, start, high)
        nr_free -= high - start


def first_half(pools: Sequence[Regions], order: int) -> int:
    """Return a place for a block from the first pool that has one, 0 when none has."""
    for pool in pools:
        pfn = pool.take_half(order)
        if pfn:
            return pfn
    return 0


def add_free_block(mem: Mem, zone: int, pfn: int, order: int, migratetype: int) -> None:
    """Enter a block at the end of its free list and count it."""
    mem.pages.flags[pfn : pfn + (1 << order)] = 0
    add_to_free_list(mem, zone, pfn, order, migratetype, True)
    mem.zone[zone, Z_FREE] += 1 << order


def place_chunks(
    mem: Mem, zone: int, ranges: Sequence[Range], free: list[list[int]], quotas: list[int]
) -> list[int]:
    """Place the blocks of the highest order; return the chunks left, in rising order.

    Movable ones lie together at the top and stay untouched.
    """
    top = MAX_ORDER - 1
    check = Regions(ranges)
    bounds = range(ranges[0][0] & ~(MAX_ORDER_NR_PAGES - 1), ranges[-1][1], MAX_ORDER_NR_PAGES)
    left = [
        pfn for pfn in bounds if any(a < pfn + MAX_ORDER_NR_PAGES and pfn < b for a, b in ranges)
    ]
    whole = [pfn for pfn in left if check.is_memory(pfn, top)]
    taken: set[int] = set()
    order_of_types = [MIGRATE_MOVABLE, *(t for t in range(len(free)) if t != MIGRATE_MOVABLE)]
    for migratetype in order_of_types:
        nr_blocks = min(free[migratetype][top], len(whole))
        if not nr_blocks:
            continue
        mine = whole[-nr_blocks:]
        del whole[-nr_blocks:]
        taken.update(mine)
        quotas[migratetype] -= 2 * nr_blocks
        for pfn in mine:
            mem.block_mt[pfn >> PAGEBLOCK_ORDER : (pfn >> PAGEBLOCK_ORDER) + 2] = migratetype
            mem.pages.flags[pfn : pfn + MAX_ORDER_NR_PAGES] = 0
        mem.zone[zone, Z_FREE] += nr_blocks * MAX_ORDER_NR_PAGES
        if migratetype == MIGRATE_MOVABLE:
            mine = keep_untouched(mem, zone, mine)
        for pfn in mine:
            add_to_free_list(mem, zone, pfn, top, migratetype, True)
    return [pfn for pfn in left if pfn not in taken]


def keep_untouched(mem: Mem, zone: int, chunks: list[int]) -> list[int]:
    """Make the uppermost chunks without a gap the zone's untouched range; return the others."""
    first = len(chunks) - 1
    while first and chunks[first - 1] + MAX_ORDER_NR_PAGES == chunks[first]:
        first -= 1
    mem.zone[zone, Z_FRESH_START] = chunks[first]
    mem.zone[zone, Z_FRESH_END] = chunks[-1] + MAX_ORDER_NR_PAGES
    return chunks[:first]


def place_pageblocks(
    mem: Mem,
    zone: int,
    chunks: Sequence[int],
    free: list[list[int]],
    quotas: list[int],
    pools: Sequence[Regions],
) -> None:
    """Place the blocks of pageblock size; share the other pageblocks out among the types."""
    wanted = [t for t, row in enumerate(free) for _ in range(row[PAGEBLOCK_ORDER])]
    check = pools[0]
    mixed: list[int] = []
    for chunk in reversed(chunks):
        low, high = chunk, chunk + PAGEBLOCK_NR_PAGES
        for pfn, buddy in ((high, low), (low, high)):
            if wanted and check.is_memory(pfn, PAGEBLOCK_ORDER):
                migratetype = wanted.pop(0)
                quotas[migratetype] -= 1
                mem.block_mt[pfn >> PAGEBLOCK_ORDER] = migratetype
                add_free_block(mem, zone, pfn, PAGEBLOCK_ORDER, migratetype)
                mixed.append(buddy)
                break
        else:
            mixed += [high, low]
    for migratetype in wanted:
        free[migratetype][PAGEBLOCK_ORDER - 1] += 2
    types = [t for t, quota in enumerate(quotas) for _ in range(quota) if t != MIGRATE_MOVABLE]
    for pfn in reversed(mixed):
        if pageblock_zone(mem, pfn >> PAGEBLOCK_ORDER) != zone:
            continue  # a hole, or shared with the zone below, which has typed it
        migratetype = types.pop(0) if types else MIGRATE_MOVABLE
        mem.block_mt[pfn >> PAGEBLOCK_ORDER] = migratetype
        pools[migratetype].stacks[PAGEBLOCK_ORDER].append(pfn)


def place_used(
    mem: Mem, zone: int, ranges: Sequence[Range], boot: ZoneBoot, nr_reserved: int
) -> None:
    """Turn used pages into reserved ones, from the bottom, and per-cpu ones, from the top."""
    parts = [low + np.flatnonzero(mem.pages.flags[low:high] == PG_kernel) for low, high in ranges]
    used = np.concatenate(parts)
    mem.pages.flags[used[:nr_reserved]] = PG_reserved
    rest = used[nr_reserved:]
    movable = mem.block_mt[rest >> PAGEBLOCK_ORDER] == MIGRATE_MOVABLE
    # Movable ones last: they are what the first process to run would have left behind.
    candidates = np.concatenate((rest[~movable], rest[movable]))
    for pcp in boot.pcp:
        nr_pages = min(pcp.count, len(candidates))
        for pfn in candidates[len(candidates) - nr_pages :].tolist():
            migratetype = int(mem.block_mt[pfn >> PAGEBLOCK_ORDER])
            list_add_tail(mem, pcp_list(mem, zone, pcp.cpu, migratetype), pfn)
            mem.pages.flags[pfn] = PG_pcp
        candidates = candidates[: len(candidates) - nr_pages]
        mem.pcp_count[zone, pcp.cpu] = nr_pages
