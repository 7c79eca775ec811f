"""The page-table checker finds each kind of damage, and nothing in a healthy machine."""

from collections.abc import Callable

import numpy as np
import pytest

from kernelsim.check.page_tables import LINES_MAX, check_page_tables
from kernelsim.mm.core.mem import (
    PG_anon,
    PG_buddy,
    PG_swapcache,
    PG_table,
)
from kernelsim.mm.core.vmstat import NR_ANON_PAGES, NR_PAGE_TABLE_PAGES
from kernelsim.mm.space.memory import map_zero
from kernelsim.mm.space.pgtable import (
    MM_ANONPAGES,
    MM_SWAPENTS,
    pte_at,
)
from kernelsim.mm.space.rmap import try_to_unmap
from tests.table_box import TableBox

RW = 0x2
VPN = 700


@pytest.fixture
def box() -> TableBox:
    """Return a healthy machine: one mm with eight pages, a zero page and a swapped page."""
    box = TableBox()
    mm = box.new_mm()
    pfns = box.map(mm, VPN, 8)
    map_zero(*box.state, mm, VPN + 8, 1, 1, 1)
    box.mem.pages.flags[pfns[7]] |= PG_swapcache
    box.mem.pages.private[pfns[7]] = 3
    try_to_unmap(*box.state, pfns[7])
    return box


def test_healthy_machine_has_no_faults(box: TableBox) -> None:
    """All is well, also with other counters at boot."""
    assert box.faults() == []
    boot = np.zeros_like(box.mem.node_stat)
    boot[0, [NR_ANON_PAGES, NR_PAGE_TABLE_PAGES]] = 50, 60
    box.mem.node_stat[:] += boot
    assert check_page_tables(*box.state, [1], boot) == []
    assert len(box.faults()) == 2


def page(box: TableBox) -> int:
    """Return the frame of the first page."""
    return int(pte_at(*box.state, 1, VPN)) >> 12 & 0xFFFFFFF


def edit_pte(box: TableBox, vpn: int, change: Callable[[int], int]) -> None:
    """Change an entry behind everybody's back."""
    box.set_pte(1, vpn, change(pte_at(*box.state, 1, vpn)))


DAMAGE: dict[str, Callable[[TableBox], object]] = {
    "MM_ANONPAGES": lambda b: b.registry.mms.rss.__setitem__((1, MM_ANONPAGES), 6),
    "MM_SWAPENTS": lambda b: b.registry.mms.rss.__setitem__((1, MM_SWAPENTS), 0),
    "MM_FILEPAGES": lambda b: b.registry.mms.rss.__setitem__((1, 0), 1),
    "nr_ptes": lambda b: b.registry.mms.nr_ptes.__setitem__(1, 4),
    "nr_page_table_pages": lambda b: b.mem.node_stat.__setitem__((1, NR_PAGE_TABLE_PAGES), 1),
    "nr_anon_pages": lambda b: b.mem.node_stat.__setitem__((0, NR_ANON_PAGES), 6),
    "mapcount is 2": lambda b: b.mem.pages.mapcount.__setitem__(page(b), 2),
    "have a mapcount": lambda b: b.mem.pages.mapcount.__setitem__(3000, 1),
    "has index": lambda b: b.mem.pages.index.__setitem__(page(b), 5),
    "owner 9": lambda b: b.mem.pages.mapping.__setitem__(page(b), 9),
    "nr_mapped is 0, counted 1": lambda b: b.mem.pages.flags.__setitem__(page(b), 0),
    "has flags": lambda b: b.mem.pages.flags.__setitem__(page(b), PG_anon | PG_buddy),
    "zero page is writable": lambda b: edit_pte(b, VPN + 8, lambda pte: pte | RW),
    "writable, but mapped": lambda b: b.mem.pages.mapcount.__setitem__(page(b), 2),
    "PG_table": lambda b: b.mem.pages.flags.__setitem__(3000, PG_table),
    "of table row": lambda b: b.mem.pages.flags.__setitem__(1024, 0),
    "no table": lambda b: b.mem.pages.flags.__setitem__(1025, 0),
    "belongs to no mm": lambda b: b.pool.pt.row_pfn.__setitem__(50, 3000),
    "both free and used": lambda b: b.pool.pt.state.__isub__(np.array([1, 0, 0])),
    "is not empty": lambda b: b.pool.pt.entry.__setitem__((50, 7), 1),
    "does not live": lambda b: b.registry.by_number.pop(1),
    "has no PGD": lambda b: b.registry.mm_alloc(2),
}


@pytest.mark.parametrize("text", DAMAGE)
def test_damage_is_found(box: TableBox, text: str) -> None:
    """One damaged place gives a line that names it."""
    DAMAGE[text](box)
    lines = box.faults()
    assert any(text in line for line in lines), lines


def test_table_used_by_two_is_found(box: TableBox) -> None:
    """Two address spaces may not share a table."""
    other = box.new_mm()
    box.pool.pt.entry[box.registry.mms.pgd_row[other]] = box.pool.pt.entry[
        box.registry.mms.pgd_row[1]
    ]
    assert any("used twice" in line for line in box.faults())


def test_many_faults_of_a_kind_are_cut_short(box: TableBox) -> None:
    """Not every page of a broken range gets its line."""
    mm = box.new_mm()
    pfns = box.map(mm, 0, 100)
    box.mem.pages.index[pfns] = 9999
    lines = box.faults()
    assert len(lines) == LINES_MAX + 1
    assert lines[-1].startswith(f"… and {100 - LINES_MAX} more")
