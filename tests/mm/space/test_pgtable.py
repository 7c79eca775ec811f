"""Page tables: building, walking and freeing them, and what is counted."""

import numpy as np
import pytest

from kernelsim.mm.core.mem import PG_table
from kernelsim.mm.core.vmstat import NR_PAGE_TABLE_PAGES
from kernelsim.mm.space.pgtable import (
    free_pgtables,
    install_tables,
    is_swap_pte,
    mk_swap_pte,
    pgd_free,
    pte_at,
    pte_span,
    pte_swap_slot,
    tables_needed,
)
from tests.table_box import TableBox

USER_VPNS = 1 << 35
EVERYWHERE = (0, USER_VPNS)


@pytest.mark.mission("V4")
def test_first_page_needs_a_table_of_every_level() -> None:
    """One page in an empty address space needs PUD, PMD and PTE tables; the PGD is there."""
    box = TableBox()
    mm = box.new_mm()
    assert tables_needed(*box.state, mm, 0x400, 1) == 3
    assert box.install(mm, 0x400, 1) == 3
    assert tables_needed(*box.state, mm, 0x400, 1) == 0
    assert box.registry.mms.nr_ptes[mm] == 3


@pytest.mark.mission("V3")
def test_two_level_tables_of_a_32_bit_process() -> None:
    """With two levels of 10 bits, 4 GB mapped take one top table and 1024 tables: 4 KB + 4 MB."""
    box = TableBox(levels=2, bits=10)
    mm = box.new_mm()
    assert tables_needed(*box.state, mm, 0, 1 << 20) == 1024
    assert tables_needed(*box.state, mm, 5, 1) == 1
    assert tables_needed(*box.state, mm, 1023, 2) == 2


def test_run_over_a_table_border_needs_two_tables() -> None:
    """Two pages on both sides of a 2 MB border need two tables of PTEs, one PMD, one PUD."""
    box = TableBox()
    mm = box.new_mm()
    assert tables_needed(*box.state, mm, 511, 2) == 4
    assert tables_needed(*box.state, mm, (1 << 27) - 1, 2) == 6


def test_nr_page_table_pages_counts_pte_and_pmd_tables_of_their_node() -> None:
    """PUD tables count for the process only, as 6.1 does; frames count where they lie."""
    box = TableBox()
    mm = box.new_mm()
    box.next_pfn = 3072  # the second node
    box.install(mm, 0x7FFF_F000, 1)
    assert box.mem.node_stat[:, NR_PAGE_TABLE_PAGES].tolist() == [0, 2]
    assert box.registry.mms.nr_ptes[mm] == 3


def test_table_frames_are_flagged_with_their_row() -> None:
    """Each table's frame carries PG_table and the row that holds its entries."""
    box = TableBox()
    mm = box.new_mm()
    box.install(mm, 0, 1)
    for pfn in range(1024, 1028):
        row = box.mem.pages.private[pfn]
        assert box.mem.pages.flags[pfn] & PG_table
        assert box.pool.pt.row_pfn[row] == pfn


def test_install_stops_when_frames_run_out_and_goes_on_later() -> None:
    """With too few frames it builds what it can; a second call builds the rest."""
    box = TableBox()
    mm = box.new_mm()
    box.pool.reserve(4)
    assert install_tables(*box.state, mm, 511, 2, box.take(2), 2) == 2
    assert tables_needed(*box.state, mm, 511, 2) == 2
    assert install_tables(*box.state, mm, 511, 2, box.take(4), 4) == 2


def test_install_without_reserved_rows_is_refused() -> None:
    """Forgetting to reserve rows is an error at once, not a lost table."""
    box = TableBox()
    mm = box.new_mm()
    nr = box.pool.nr_free()
    box.install(mm, 0, (nr - 2) * 512)
    assert box.pool.nr_free() == 0
    with pytest.raises(IndexError, match="reserve"):
        install_tables(*box.state, mm, USER_VPNS - 1, 1, box.take(1), 1)


def test_pool_keeps_tables_when_it_grows() -> None:
    """Doubling the pool changes no row and hands no used row out again."""
    box = TableBox()
    mm = box.new_mm()
    box.install(mm, 0, 1)
    box.set_pte(mm, 3, 0x5001)
    before = set(np.flatnonzero(box.pool.pt.row_pfn).tolist())
    box.pool.reserve(500)
    assert box.pool.nr_free() >= 500
    assert pte_at(*box.state, mm, 3) == 0x5001
    assert not before & set(box.pool.pt.free_row[: box.pool.nr_free()].tolist())


def test_span_skips_what_is_missing() -> None:
    """A walk that meets a hole says how far the hole goes: 512 GB, 1 GB, 2 MB."""
    box = TableBox()
    mm = box.new_mm()
    assert pte_span(*box.state, mm, 5) == (0, 1 << 27)
    box.install(mm, 0, 1)
    row, end = pte_span(*box.state, mm, 5)
    assert (row > 0, end) == (True, 512)
    assert pte_span(*box.state, mm, 512 + 5) == (0, 1024)
    assert pte_span(*box.state, mm, 1 << 18) == (0, 1 << 19)


def test_free_pgtables_frees_only_tables_wholly_inside() -> None:
    """A table that also serves pages outside [floor, ceiling) stays, and so do those above it."""
    box = TableBox()
    mm = box.new_mm()
    box.install(mm, 0, 1536)
    out = np.zeros(16, np.int64)
    assert free_pgtables(*box.state, mm, 1, 1535, out) == 1
    assert pte_span(*box.state, mm, 512) == (0, 1024)
    assert pte_span(*box.state, mm, 0)[0] > 0
    assert box.registry.mms.nr_ptes[mm] == 4


def test_exit_gives_every_table_frame_back() -> None:
    """Freeing everything returns each frame once, clean, in batches as small as the out array."""
    box = TableBox()
    mm = box.new_mm()
    box.install(mm, 0, 1536)
    box.install(mm, USER_VPNS - 1, 1)
    frames = set(range(1024, box.next_pfn))
    out, freed = np.zeros(3, np.int64), []
    while True:
        n = free_pgtables(*box.state, mm, *EVERYWHERE, out)
        freed += out[:n].tolist()
        if n < len(out):
            break
    freed.append(pgd_free(*box.state, mm))
    assert sorted(freed) == sorted(frames)
    assert not box.mem.pages.flags.any()
    assert not box.pool.pt.entry.any()
    assert not box.mem.node_stat.any()
    assert box.pool.nr_free() == len(box.pool.pt.row_pfn) - 1


def test_swap_entry_keeps_its_slot() -> None:
    """A swap entry is neither empty nor present and gives its slot back."""
    for slot in (1, 513, (1 << 31) - 1):
        pte = mk_swap_pte(slot)
        assert is_swap_pte(pte)
        assert pte_swap_slot(pte) == slot
