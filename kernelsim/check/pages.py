"""Check that every page is in one place and that the buddy system, lists and counts agree.

Interface: `check_pages(mem)` returns what is wrong, one text each; an empty list is good. It
writes nothing and shares no code with what it checks: it reads the columns as a whole.
Cost: a few passes over the columns, some 20 ms for 4 GiB.

Places of a page: a free block, the zone's untouched range, a per-cpu list, an LRU list, a page
table, the kernel, taken off its LRU list, mapped, or held by the task that allocated it.
"""

from typing import Final, TypeAlias

import attrs
import numpy as np
from numpy.typing import NDArray

from kernelsim.mm.core.list import (
    WALK_COUNT,
    WALK_OUTSIDE,
    WALK_PREV,
    WALK_TAIL,
    WALK_TWICE,
    walk_list,
)
from kernelsim.mm.core.mem import (
    I32,
    I64,
    L_COUNT,
    MAX_ORDER,
    MAX_ORDER_NR_PAGES,
    MIGRATE_ISOLATE,
    MIGRATE_MOVABLE,
    MIGRATE_PCPTYPES,
    MIGRATE_TYPES,
    NR_GEN_LISTS,
    NR_LRU_LISTS,
    PAGEBLOCK_NR_PAGES,
    PAGEBLOCK_ORDER,
    Z_FREE,
    Z_FRESH_END,
    Z_FRESH_START,
    Z_MANAGED,
    Z_NID,
    Z_SPANNED,
    Z_START_PFN,
    Z_WATERMARK_BOOST,
    Z_WMARK_HIGH,
    Z_WMARK_LOW,
    Z_WMARK_MIN,
    Z_WMARK_PROMO,
    Mem,
    PG_activating,
    PG_batched,
    PG_buddy,
    PG_isolated,
    PG_kernel,
    PG_locked,
    PG_lru,
    PG_pcp,
    PG_reserved,
    PG_swapcache,
    PG_table,
    PG_writeback,
)
from kernelsim.mm.page.page_zone import page_entries, split_pageblocks

Mask: TypeAlias = NDArray[np.bool_]

EXAMPLES_MAX: Final = 3  # pfns named in one text
WALK_TEXTS: Final = {
    WALK_OUTSIDE: "leads out of memory at pfn {}",
    WALK_TWICE: "meets pfn {} that is on a list already",
    WALK_PREV: "has a wrong prev link at pfn {}",
    WALK_TAIL: "ends at pfn {}, not at its tail",
    WALK_COUNT: "has {} entries, not its count",
}
HELD_FLAGS: Final = (
    PG_isolated | PG_locked | PG_writeback | PG_swapcache | PG_batched | PG_activating
)  # a page that a truncate dropped may still be in a CPU's batch of those to activate


@attrs.define
class Findings:
    """What is wrong so far."""

    texts: list[str] = attrs.field(factory=list)

    def expect(self, good: bool, text: str) -> None:
        """Note a rule that does not hold."""
        if not good:
            self.texts.append(text)

    def none_of(self, bad: Mask | I64, text: str) -> None:
        """Note the pages of a mask or the pfns of an array that break a rule."""
        pfns = np.flatnonzero(bad) if bad.dtype == np.bool_ else bad
        if len(pfns):
            shown = " ".join(str(pfn) for pfn in pfns[:EXAMPLES_MAX].tolist())
            self.texts.append(f"{text}: {len(pfns)} pages, first {shown}")


@attrs.frozen
class View:
    """Columns derived from Mem, one entry a pfn.

    Attributes:
        zone: Zone row, -1 for holes.
        owner: Number of the list the page is on + 1, 0 for none.
        free: Whether it lies in a free block.
        fresh: Whether it lies in a zone's untouched range.
    """

    zone: I32
    owner: I32
    free: Mask
    fresh: Mask


def check_pages(mem: Mem, *, in_flight: int | None = None) -> list[str]:
    """Return the rules that do not hold, as texts; an empty list when all do.

    Args:
        mem: The machine's memory; not changed.
        in_flight: Pages that were allocated and have no other place yet; None when unknown.
    """
    found = Findings()
    flags = mem.pages.flags
    heads = np.flatnonzero(flags & PG_buddy)
    view = View(
        zone=zone_of_pages(mem),
        owner=check_lists(mem, found),
        free=check_free_blocks(mem, heads, found),
        fresh=untouched(mem, found),
    )
    if found.texts:
        return found.texts  # lists or blocks are broken: what follows would only repeat it
    check_places(mem, view, in_flight, found)
    check_owners(mem, view, found)
    check_buddies(mem, heads, view, found)
    check_zones(mem, heads, view, found)
    return found.texts


def zone_of_pages(mem: Mem) -> I32:
    """Return the zone row of each pfn, -1 for holes and frames outside."""
    zone = np.repeat(mem.block_zone.astype(np.int32) - 1, PAGEBLOCK_NR_PAGES)
    for block in split_pageblocks(mem):
        first = block << PAGEBLOCK_ORDER
        zone[first : first + PAGEBLOCK_NR_PAGES] = page_entries(mem, block) - 1
    return zone


def check_lists(mem: Mem, found: Findings) -> I32:
    """Walk all lists; return the list of each page."""
    owner = np.zeros(len(mem.pages.flags), np.int32)
    for number in np.flatnonzero(mem.lists.any(axis=1)).tolist():
        code, value = walk_list(mem, number, owner)
        if code:
            found.texts.append(f"{list_name(mem, number)} {WALK_TEXTS[code].format(value)}")
    return owner


def nr_list_parts(mem: Mem) -> tuple[int, int]:
    """Return the first list number behind the free lists and behind the per-cpu lists."""
    nr_zones, nr_cpus = mem.pcp_count.shape
    free_end = nr_zones * MAX_ORDER * MIGRATE_TYPES
    return free_end, free_end + nr_zones * nr_cpus * MIGRATE_PCPTYPES


def list_name(mem: Mem, number: int) -> str:
    """Name a list for people."""
    free_end, pcp_end = nr_list_parts(mem)
    if number < free_end:
        area, migratetype = divmod(number, MIGRATE_TYPES)
        zone, order = divmod(area, MAX_ORDER)
        return f"free list of zone {zone} order {order} migratetype {migratetype}"
    if number < pcp_end:
        place, migratetype = divmod(number - free_end, MIGRATE_PCPTYPES)
        zone, cpu = divmod(place, mem.pcp_count.shape[1])
        return f"per-cpu list of zone {zone} cpu {cpu} migratetype {migratetype}"
    gen_first = pcp_end + len(mem.node_stat) * NR_LRU_LISTS
    if number < gen_first:
        nid, lru = divmod(number - pcp_end, NR_LRU_LISTS)
        return f"LRU list {lru} of node {nid}"
    nid, place = divmod(number - gen_first, NR_GEN_LISTS)
    return f"list {place} of the generations of node {nid}"


def orders_of(mem: Mem, heads: I64) -> I64:
    """Return the order of each free block."""
    return mem.pages.private[heads].astype(np.int64) & 0xF


def check_free_blocks(mem: Mem, heads: I64, found: Findings) -> Mask:
    """Check order and alignment of free blocks; return which pages lie in one."""
    orders = orders_of(mem, heads)
    found.none_of(heads[orders >= MAX_ORDER], "free blocks of no known order")
    sizes = np.left_shift(1, np.minimum(orders, MAX_ORDER - 1))
    found.none_of(heads[heads & (sizes - 1) != 0], "free blocks not aligned to their size")
    depth = np.zeros(len(mem.pages.flags) + MAX_ORDER_NR_PAGES + 1, np.int32)
    np.add.at(depth, heads, 1)
    np.add.at(depth, heads + sizes, -1)
    cover = np.cumsum(depth[: len(mem.pages.flags)])
    found.none_of(cover > 1, "pages in two free blocks")
    result: Mask = cover > 0
    return result


def untouched(mem: Mem, found: Findings) -> Mask:
    """Check the untouched ranges of the zones; return which pages lie in one."""
    fresh = np.zeros(len(mem.pages.flags), np.bool_)
    for number, row in enumerate(mem.zone):
        start, end = int(row[Z_FRESH_START]), int(row[Z_FRESH_END])
        aligned = not (start | end) & (MAX_ORDER_NR_PAGES - 1)
        inside = row[Z_START_PFN] <= start and end <= row[Z_START_PFN] + row[Z_SPANNED]
        good = start == end or (aligned and inside and start < end)
        found.expect(bool(good), f"zone {number}: untouched range {start}..{end} cannot be")
        if good:
            fresh[start:end] = True
            blocks = mem.block_mt[start >> PAGEBLOCK_ORDER : end >> PAGEBLOCK_ORDER]
            movable = bool((blocks == MIGRATE_MOVABLE).all())
            found.expect(movable, f"zone {number}: untouched pageblocks are not all movable")
    return fresh


def check_places(mem: Mem, view: View, in_flight: int | None, found: Findings) -> None:
    """Check that no page is in two places, and none in no place but those in flight."""
    flags = mem.pages.flags
    kinds = (
        view.free,
        view.fresh,
        *((flags & bits) != 0 for bits in (PG_pcp, PG_lru, PG_table, PG_kernel, PG_reserved)),
        (flags & (PG_isolated | PG_batched)) != 0,
    )
    batches = [batch[1 : 1 + batch[0]] for batch in mem.lru_batch]
    batched = np.bincount(np.concatenate(batches), minlength=len(flags))
    found.none_of(batched != ((flags & PG_batched) != 0), "pages wrongly in a folio_batch")
    places = np.zeros(len(flags), np.int8)
    for kind in kinds:
        places += kind
    found.none_of(places > 1, "pages in two places")
    unused = view.free | view.fresh
    found.none_of(unused & ((flags & ~np.uint32(PG_buddy)) != 0), "free pages with flags")
    idle = unused | ((flags & (PG_pcp | PG_table)) != 0)
    found.none_of(idle & (mem.pages.mapcount != 0), "free or kernel pages that are mapped")
    found.none_of(mem.pages.mapcount < 0, "pages with a mapcount below 0")
    found.none_of((view.zone < 0) & (places > 0) & ((flags & PG_reserved) == 0), "pages in no zone")
    held = (mem.pages.mapcount > 0) | ((flags & HELD_FLAGS) != 0)
    nowhere = int(((view.zone >= 0) & (places == 0) & ~held).sum())
    if in_flight is not None:
        found.expect(nowhere == in_flight, f"{nowhere} pages are in no place, not {in_flight}")


def check_owners(mem: Mem, view: View, found: Findings) -> None:
    """Check that flags, zone and node of a page fit the list it is on."""
    flags = mem.pages.flags
    free_end, pcp_end = nr_list_parts(mem)
    number = view.owner - 1
    listed = number >= 0
    kinds = (
        (PG_buddy, listed & (number < free_end), "free"),
        (PG_pcp, (number >= free_end) & (number < pcp_end), "per-cpu"),
        (PG_lru, number >= pcp_end, "LRU"),
    )
    for bit, on_list, name in kinds:
        found.none_of(((flags & bit) != 0) != on_list, f"{name} list and page flag disagree")
    heads = np.flatnonzero(kinds[0][1])
    private = mem.pages.private[heads].astype(np.int64)
    area = view.zone[heads] * MAX_ORDER + (private & 0xF)
    found.none_of(
        heads[area * MIGRATE_TYPES + (private >> 4) != number[heads]], "blocks on a wrong free list"
    )
    pcp = np.flatnonzero(kinds[1][1])
    pcp_zone = (number[pcp] - free_end) // (mem.pcp_count.shape[1] * MIGRATE_PCPTYPES)
    found.none_of(pcp[pcp_zone != view.zone[pcp]], "pages on a per-cpu list of another zone")
    lru = np.flatnonzero(kinds[2][1])
    nid = mem.zone[view.zone[lru], Z_NID]
    gen_first = pcp_end + len(mem.node_stat) * NR_LRU_LISTS
    of_node = (number[lru] - pcp_end) // NR_LRU_LISTS
    of_generation = number[lru] >= gen_first
    of_node[of_generation] = (number[lru][of_generation] - gen_first) // NR_GEN_LISTS
    found.none_of(lru[of_node != nid], "pages on another node's LRU list")


def check_buddies(mem: Mem, heads: I64, view: View, found: Findings) -> None:
    """Check that no free block leaves its zone, and no two free buddies are unmerged."""
    orders = orders_of(mem, heads)
    sizes = np.left_shift(1, orders)
    found.none_of(heads[view.zone[heads] != view.zone[heads + sizes - 1]], "blocks over two zones")
    small = orders < MAX_ORDER - 1  # above, the buddy may lie behind the end of memory
    heads, orders, sizes = heads[small], orders[small], sizes[small]
    buddies = heads ^ sizes
    both = mem.pages.flags[buddies] & PG_buddy != 0
    both &= (orders_of(mem, buddies) == orders) & (view.zone[heads] == view.zone[buddies])
    mine, other = mem.block_mt[heads >> PAGEBLOCK_ORDER], mem.block_mt[buddies >> PAGEBLOCK_ORDER]
    ordinary = (mine < MIGRATE_PCPTYPES) & (other < MIGRATE_PCPTYPES)
    both &= (orders < PAGEBLOCK_ORDER) | (mine == other) | ordinary
    found.none_of(heads[both], "free buddies that did not merge")


def check_zones(mem: Mem, heads: I64, view: View, found: Findings) -> None:
    """Check the counts and marks of each zone."""
    sizes = np.left_shift(1, orders_of(mem, heads))
    counted = mem.pages.private[heads] >> 4 != MIGRATE_ISOLATE
    nr_zones, nr_cpus = mem.pcp_count.shape
    in_blocks = np.bincount(
        view.zone[heads[counted]], weights=sizes[counted], minlength=nr_zones
    ).astype(np.int64)
    managed = np.bincount(
        view.zone[(view.zone >= 0) & ((mem.pages.flags & PG_reserved) == 0)], minlength=nr_zones
    )
    free_end, pcp_end = nr_list_parts(mem)
    on_lists = mem.lists[free_end:pcp_end, L_COUNT].reshape(nr_zones, nr_cpus, MIGRATE_PCPTYPES)
    for number, row in enumerate(mem.zone):
        name = f"zone {number}"
        free = int(in_blocks[number] + row[Z_FRESH_END] - row[Z_FRESH_START])
        found.expect(free == row[Z_FREE], f"{name}: {free} pages are free, counted {row[Z_FREE]}")
        real = int(managed[number])
        text = f"{name}: {real} pages are not reserved, managed are {row[Z_MANAGED]}"
        found.expect(real == row[Z_MANAGED], text)
        marks = [int(row[z]) for z in (Z_WMARK_MIN, Z_WMARK_LOW, Z_WMARK_HIGH, Z_WMARK_PROMO)]
        rising = marks == sorted(marks) and marks[0] >= 0 and row[Z_WATERMARK_BOOST] >= 0
        found.expect(bool(rising), f"{name}: watermarks {marks} do not rise")
    listed = on_lists.sum(axis=2)
    for number, cpu in np.argwhere(listed != mem.pcp_count).tolist():
        count = mem.pcp_count[number, cpu]
        text = f"zone {number}: cpu {cpu} has {listed[number, cpu]} pages on its lists"
        found.texts.append(f"{text}, counted {count}")
