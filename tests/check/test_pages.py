"""The page checker is silent on a sound machine and names each thing that is broken."""

from collections.abc import Callable

import numpy as np
import pytest

from kernelsim.check.pages import check_pages
from kernelsim.config.machine_file import load_machine
from kernelsim.mm.boot.mm_init import build
from kernelsim.mm.core.list import list_add, list_del
from kernelsim.mm.core.mem import (
    L_COUNT,
    L_HEAD,
    L_TAIL,
    LRU_ACTIVE_ANON,
    LRU_INACTIVE_ANON,
    MAX_ORDER,
    MIGRATE_MOVABLE,
    MIGRATE_UNMOVABLE,
    Z_FREE,
    Z_FRESH_START,
    Z_MANAGED,
    Z_WMARK_HIGH,
    Mem,
    PG_buddy,
    PG_isolated,
    PG_kernel,
    PG_lru,
    PG_pcp,
    PG_reserved,
    PG_table,
    free_list,
    lru_list,
    pcp_list,
)
from kernelsim.mm.page.page_alloc import rmqueue
from kernelsim.mm.page.pcp import alloc_pages_bulk
from tests.free_pages import free_unref_pages
from tests.free_zone import free_block
from tests.small_machine import small_machine

ZONE = 1  # DMA32 of tiny-64m
HELD = 500  # pages the machine below holds in flight


def busy_machine() -> tuple[Mem, list[int]]:
    """Build 64 MiB with pages on per-cpu and LRU lists, in page tables, and 500 in flight."""
    mem = build(load_machine("tiny-64m")).mem
    out = np.zeros(1000, np.int64)
    got, _ = alloc_pages_bulk(mem, ZONE, 0, 0, 0, MIGRATE_MOVABLE, -1, 1000, out, 0)
    assert got == 1000
    free_unref_pages(mem, 0, out[0:600:2].copy(), 300)
    for pfn in out[1:200:2].tolist():
        mem.pages.flags[pfn] = PG_lru
        list_add(mem, lru_list(mem, 0, LRU_INACTIVE_ANON), pfn)
    mem.pages.flags[out[201:400:2]] = PG_table
    return mem, [*out[600:].tolist(), *out[401:600:2].tolist()]


def columns_of(mem: Mem) -> list[bytes]:
    """Copy all of memory."""
    arrays = (*mem.pages, *(part for part in mem if isinstance(part, np.ndarray)))
    return [np.asarray(array).tobytes() for array in arrays]


def test_a_sound_machine_has_no_findings() -> None:
    """Whatever is free, listed, in tables or in flight is accounted for; nothing is written."""
    mem, held = busy_machine()
    assert len(held) == HELD
    before = columns_of(mem)
    assert check_pages(mem, in_flight=HELD) == []
    assert columns_of(mem) == before


def test_a_lost_page_is_missed() -> None:
    """One page fewer in flight than expected is a finding; without an expectation it is not."""
    mem, _ = busy_machine()
    assert check_pages(mem, in_flight=HELD - 1) == ["500 pages are in no place, not 499"]
    assert check_pages(mem) == []


def test_mapped_and_isolated_pages_are_not_in_flight() -> None:
    """A page with a mapping, or taken off its list by a reclaimer, has a place."""
    mem, held = busy_machine()
    mem.pages.mapcount[held[0]] = 1
    mem.pages.flags[held[1]] = PG_isolated
    assert check_pages(mem, in_flight=HELD - 2) == []


def some_free_block(mem: Mem) -> int:
    """Return a free block of the zone, of two pages or more, not the largest."""
    heads = np.flatnonzero(mem.pages.flags & PG_buddy)
    orders = mem.pages.private[heads] & 15
    return int(heads[(orders > 0) & (orders < 9) & (heads >= 4096)][0])


def break_prev(mem: Mem, held: list[int]) -> None:
    """Bend the prev link of the second page of an LRU list."""
    head = mem.lists[lru_list(mem, 0, LRU_INACTIVE_ANON), L_HEAD]
    mem.pages.prev[mem.pages.next[head]] = held[0]


def break_cycle(mem: Mem, held: list[int]) -> None:
    """Let the last page of an LRU list point to the first."""
    row = mem.lists[lru_list(mem, 0, LRU_INACTIVE_ANON)]
    mem.pages.next[row[L_TAIL]] = row[L_HEAD]


def break_link(mem: Mem, held: list[int]) -> None:
    """Let the last page of an LRU list point behind the end of memory."""
    row = mem.lists[lru_list(mem, 0, LRU_INACTIVE_ANON)]
    mem.pages.next[row[L_TAIL]] = len(mem.pages.flags)


def break_tail(mem: Mem, held: list[int]) -> None:
    """Name another page as the tail of an LRU list."""
    mem.lists[lru_list(mem, 0, LRU_INACTIVE_ANON), L_TAIL] = held[0]


def break_count(mem: Mem, held: list[int]) -> None:
    """Count a page too many on an LRU list."""
    mem.lists[lru_list(mem, 0, LRU_INACTIVE_ANON), L_COUNT] += 1


def break_pcp_count(mem: Mem, held: list[int]) -> None:
    """Count a page too few on the per-cpu lists."""
    mem.pcp_count[ZONE, 0] -= 1


def break_free_count(mem: Mem, held: list[int]) -> None:
    """Count a free page too many."""
    mem.zone[ZONE, Z_FREE] += 1


def break_managed(mem: Mem, held: list[int]) -> None:
    """Count a managed page too many."""
    mem.zone[ZONE, Z_MANAGED] += 1


def break_marks(mem: Mem, held: list[int]) -> None:
    """Put the high watermark below the low one."""
    mem.zone[ZONE, Z_WMARK_HIGH] = 1


def break_fresh(mem: Mem, held: list[int]) -> None:
    """Let the untouched range start inside a chunk."""
    mem.zone[ZONE, Z_FRESH_START] += 512


def break_fresh_type(mem: Mem, held: list[int]) -> None:
    """Give an untouched pageblock another type."""
    mem.block_mt[mem.zone[ZONE, Z_FRESH_START] >> 9] = MIGRATE_UNMOVABLE


def break_used_and_free(mem: Mem, held: list[int]) -> None:
    """Give a page inside a free block to the kernel."""
    mem.pages.flags[some_free_block(mem) + 1] = PG_kernel


def break_mapped_and_free(mem: Mem, held: list[int]) -> None:
    """Map a free page."""
    mem.pages.mapcount[some_free_block(mem)] = 1


def break_mapcount(mem: Mem, held: list[int]) -> None:
    """Unmap a page once too often."""
    mem.pages.mapcount[held[0]] = -1


def break_two_flags(mem: Mem, held: list[int]) -> None:
    """Make a page on an LRU list a page table as well."""
    mem.pages.flags[mem.lists[lru_list(mem, 0, LRU_INACTIVE_ANON), L_HEAD]] |= PG_table


def break_no_list(mem: Mem, held: list[int]) -> None:
    """Mark a page as on a per-cpu list it is not on."""
    mem.pages.flags[held[0]] = PG_pcp


def break_no_flag(mem: Mem, held: list[int]) -> None:
    """Take the mark off a page that is on a per-cpu list."""
    mem.pages.flags[mem.lists[pcp_list(mem, ZONE, 0, MIGRATE_MOVABLE), L_HEAD]] = 0


def break_order(mem: Mem, held: list[int]) -> None:
    """Make a free block smaller where it is."""
    pfn = some_free_block(mem)
    mem.pages.private[pfn] -= 1


def break_alignment(mem: Mem, held: list[int]) -> None:
    """Make a free block larger than its place allows."""
    pfn = some_free_block(mem)
    mem.pages.private[pfn] += 3


def break_unknown_order(mem: Mem, held: list[int]) -> None:
    """Give a free block the order 15."""
    mem.pages.private[some_free_block(mem)] |= 15


def break_foreign_zone(mem: Mem, held: list[int]) -> None:
    """Put a page of the zone on the per-cpu list of the zone below."""
    mem.pages.flags[held[0]] = PG_pcp
    list_add(mem, pcp_list(mem, 0, 0, MIGRATE_MOVABLE), held[0])
    mem.pcp_count[0, 0] += 1


def break_merge(mem: Mem, held: list[int]) -> None:
    """Split a free block in two and leave the halves."""
    pfn = some_free_block(mem)
    order = int(mem.pages.private[pfn]) & 15
    list_del(mem, free_list(ZONE, order, MIGRATE_MOVABLE), pfn)
    for half in (pfn, pfn + (1 << (order - 1))):
        mem.pages.flags[half] = PG_buddy
        mem.pages.private[half] = MIGRATE_MOVABLE << 4 | order - 1
        list_add(mem, free_list(ZONE, order - 1, MIGRATE_MOVABLE), half)


def break_overlap(mem: Mem, held: list[int]) -> None:
    """Enter a page inside a free block as a block of its own."""
    pfn = some_free_block(mem) + 1
    mem.pages.flags[pfn] = PG_buddy
    mem.pages.private[pfn] = MIGRATE_MOVABLE << 4
    list_add(mem, free_list(ZONE, 0, MIGRATE_MOVABLE), pfn)
    mem.zone[ZONE, Z_FREE] += 1


def break_hole(mem: Mem, held: list[int]) -> None:
    """Give a frame outside all zones to the kernel."""
    mem.pages.flags[0] = PG_kernel


BREAKS = [
    (break_prev, "wrong prev link"),
    (break_cycle, "on a list already"),
    (break_link, "out of memory"),
    (break_tail, "not at its tail"),
    (break_count, "not its count"),
    (break_pcp_count, "pages on its lists, counted"),
    (break_free_count, "pages are free, counted"),
    (break_managed, "not reserved, managed are"),
    (break_marks, "do not rise"),
    (break_fresh, "untouched range"),
    (break_fresh_type, "not all movable"),
    (break_used_and_free, "pages in two places"),
    (break_mapped_and_free, "that are mapped"),
    (break_mapcount, "below 0"),
    (break_two_flags, "pages in two places"),
    (break_no_list, "per-cpu list and page flag disagree"),
    (break_no_flag, "per-cpu list and page flag disagree"),
    (break_order, "wrong free list"),
    (break_alignment, "not aligned"),
    (break_unknown_order, "no known order"),
    (break_foreign_zone, "of another zone"),
    (break_merge, "did not merge"),
    (break_overlap, "two free blocks"),
    (break_hole, "pages in no zone"),
]


@pytest.mark.mission("P13")
@pytest.mark.parametrize(
    ("breaks", "text"), BREAKS, ids=lambda value: getattr(value, "__name__", "")
)
def test_each_kind_of_damage_is_named(breaks: Callable[[Mem, list[int]], None], text: str) -> None:
    """One damaged entry in the columns gives a finding that says what is wrong."""
    mem, held = busy_machine()
    breaks(mem, held)
    findings = check_pages(mem, in_flight=None)
    assert any(text in finding for finding in findings), findings


def test_a_page_on_the_lru_of_another_node_is_named() -> None:
    """LRU lists belong to the node the page lies in."""
    mem = build(load_machine("numa-2x4g")).mem
    pfn = rmqueue(mem, 1, 0, MIGRATE_MOVABLE)
    mem.pages.flags[pfn] = PG_lru
    list_add(mem, lru_list(mem, 1, LRU_ACTIVE_ANON), pfn)
    assert any("another node" in finding for finding in check_pages(mem))


def test_reserved_pages_are_no_managed_ones() -> None:
    """A page that is freed though boot kept it shows in the count of the zone."""
    mem, held = busy_machine()
    mem.pages.flags[held[0]] = PG_reserved
    assert any("not reserved" in finding for finding in check_pages(mem))


def test_many_findings_are_cut_to_a_few_examples() -> None:
    """A text names how many pages break a rule and the first three."""
    mem, held = busy_machine()
    mem.pages.mapcount[sorted(held)[:10]] = -5
    first = " ".join(map(str, sorted(held)[:3]))
    assert check_pages(mem) == [f"pages with a mapcount below 0: 10 pages, first {first}"]


def test_freeing_twice_shows() -> None:
    """A page freed twice lies in two free blocks or on two lists."""
    mem, held = busy_machine()
    free_block(mem, held[0], 0)
    free_block(mem, held[0], 0)
    assert check_pages(mem) != []


def test_a_last_block_of_the_largest_size_needs_no_buddy() -> None:
    """Memory that ends with an odd block of the highest order is checked to its end."""
    mem = build(small_machine(memory="100M")).mem
    blocks = []
    while (pfn := rmqueue(mem, ZONE, MAX_ORDER - 1, MIGRATE_MOVABLE)) > 0:
        blocks.append(pfn)
    for pfn in blocks:
        free_block(mem, pfn, MAX_ORDER - 1)

    assert max(blocks) + (1 << MAX_ORDER - 1) == len(mem.pages.flags)
    assert max(blocks) >> MAX_ORDER - 1 & 1 == 0  # its buddy would lie behind the end
    assert check_pages(mem) == []
