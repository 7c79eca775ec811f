"""Accesses and faults: what they do to entries, pages and counters, and what they cost."""

import numpy as np
import pytest

from kernelsim.hw.tlb import AccessCost, Tlb, tlb_flush_range
from kernelsim.mm.core.mem import (
    PG_anon,
    PG_anon_exclusive,
    PG_swapbacked,
)
from kernelsim.mm.core.vmstat import NR_ANON_PAGES
from kernelsim.mm.space.memory import (
    FAULT_ANON,
    FAULT_NONE_PRESENT,
    FAULT_SWAP,
    FAULT_WP,
    FAULT_ZERO_WP,
    TOUCH_DONE,
    TOUCH_FAULT,
    TOUCH_TIME,
    fault_run,
    map_anon,
    map_zero,
    touch_present,
)
from kernelsim.mm.space.pgtable import (
    get_mm_rss,
    make_migration_pte,
    mk_swap_pte,
    pte_at,
    pte_pfn,
)
from tests.table_box import FIRST_PFN, TableBox
from tests.tlb_box import make_tlb
from tests.tlb_look import in_tlb

ACCESSED, DIRTY, RW = 0x20, 0x40, 0x2
COST = AccessCost(tlb_hit_ns=1, page_walk_step_ns=20, memory_ns=np.array([90, 150]))
FOR_EVER = 1 << 60


class Box(TableBox):
    """Page tables, and accesses to what they map."""

    def touch(
        self,
        mm: int,
        vpn: int,
        nr: int,
        *,
        tlb: Tlb | None = None,
        stride: int = 1,
        write: bool = False,
        token: int = 0,
        max_ns: int = FOR_EVER,
    ) -> tuple[int, int, int, int, int]:
        """Access pages with a fresh TLB unless one is given; return `read` apart, misses last."""
        done, reason, elapsed_ns, hits, self.read = touch_present(
            *self.state,
            make_tlb() if tlb is None else tlb,
            mm,
            mm,
            vpn,
            nr,
            stride,
            write,
            token,
            max_ns,
            COST,
        )
        return done, reason, elapsed_ns, hits, done - hits


@pytest.fixture
def box() -> Box:
    """Return an empty machine."""
    return Box()


@pytest.mark.mission("V4")
def test_tlb_miss_costs_four_walk_steps_and_the_access(box: Box) -> None:
    """A miss costs 4 steps and a local access, a hit only the access; the hit is counted."""
    mm = box.new_mm()
    box.map(mm, 100, 1)
    tlb = make_tlb()
    assert box.touch(mm, 100, 1, tlb=tlb) == (1, TOUCH_DONE, 4 * 20 + 90, 0, 1)
    assert box.touch(mm, 100, 1, tlb=tlb) == (1, TOUCH_DONE, 1 + 90, 1, 0)


@pytest.mark.mission("V4")
def test_two_level_walk_costs_two_steps() -> None:
    """On a machine with two levels a miss costs two steps."""
    box = Box(levels=2, bits=10)
    mm = box.new_mm()
    box.map(mm, 100, 1)
    assert box.touch(mm, 100, 1) == (1, TOUCH_DONE, 2 * 20 + 90, 0, 1)


def test_remote_page_costs_the_remote_access(box: Box) -> None:
    """Each page is charged by its own node, also inside one run."""
    mm = box.new_mm()
    box.install(mm, 0, 2)
    pfns = np.array([2000, 4000])
    map_anon(*box.state, mm, 0, 2, 1, pfns, 2, 7)
    assert box.touch(mm, 0, 2)[2] == 2 * 4 * 20 + 90 + 150


def test_touch_stops_at_the_first_fault(box: Box) -> None:
    """It does the pages before the hole and costs nothing for the fault itself."""
    mm = box.new_mm()
    box.map(mm, 510, 4)
    assert box.touch(mm, 510, 10) == (4, TOUCH_FAULT, 4 * 170, 0, 4)
    assert box.touch(mm, 1 << 30, 1) == (0, TOUCH_FAULT, 0, 0, 0)


def test_touch_stops_when_its_time_is_up(box: Box) -> None:
    """A run with time for two and a bit accesses does three: the last may end late."""
    mm = box.new_mm()
    box.map(mm, 0, 10)
    assert box.touch(mm, 0, 10, max_ns=2 * 170 + 1) == (3, TOUCH_TIME, 3 * 170, 0, 3)
    assert box.touch(mm, 0, 10, max_ns=0) == (0, TOUCH_TIME, 0, 0, 0)


def test_touch_with_a_stride_counts_touches(box: Box) -> None:
    """`nr` counts touches, not pages between them; untouched pages stay as they were."""
    mm = box.new_mm()
    box.map(mm, 0, 1200)
    assert box.touch(mm, 3, 3, stride=500, write=True, token=9)[0] == 3
    tokens = [
        int(box.mem.pages.token[pte_pfn(pte_at(*box.state, mm, vpn))]) for vpn in (3, 4, 503, 1003)
    ]
    assert tokens == [9, 7, 9, 9]


@pytest.mark.mission("V2")
def test_read_sets_accessed_and_write_sets_dirty_and_token(box: Box) -> None:
    """A read makes an old entry young only; a write makes it dirty and changes the content."""
    mm = box.new_mm()
    pfn = box.map(mm, 8, 1)[0]
    box.set_pte(mm, 8, pte_at(*box.state, mm, 8) & ~(ACCESSED | DIRTY))
    box.touch(mm, 8, 1, token=9)
    assert pte_at(*box.state, mm, 8) & (ACCESSED | DIRTY) == ACCESSED
    assert box.mem.pages.token[pfn] == 7
    box.touch(mm, 8, 1, write=True, token=9)
    assert pte_at(*box.state, mm, 8) & (ACCESSED | DIRTY) == ACCESSED | DIRTY
    assert box.mem.pages.token[pfn] == 9


@pytest.mark.mission("V5")
def test_an_access_that_hits_goes_to_the_frame_of_the_entry(box: Box) -> None:
    """Without a flush a load reads the old frame, and a store is lost in it; then it is right."""
    mm = box.new_mm()
    pfn, other = box.map(mm, 8, 1, token=5)[0], FIRST_PFN + 1000
    box.mem.pages.token[other] = 6
    tlb = make_tlb()
    box.touch(mm, 8, 1, tlb=tlb, write=True, token=5)
    box.set_pte(mm, 8, int(pte_at(*box.state, mm, 8)) ^ int(pfn ^ other) << 12)
    box.touch(mm, 8, 1, tlb=tlb)
    assert box.read == 5
    box.touch(mm, 8, 1, tlb=tlb, write=True, token=9)
    assert box.mem.pages.token[[pfn, other]].tolist() == [9, 6]
    tlb_flush_range(tlb, mm, 8, 1)
    box.touch(mm, 8, 1, tlb=tlb)
    assert box.read == 6


@pytest.mark.mission("V5")
def test_a_hit_leaves_the_accessed_bit_alone(box: Box) -> None:
    """Only a walk sets it, so a page that is used through the TLB alone looks old to reclaim."""
    mm = box.new_mm()
    box.map(mm, 8, 1)
    tlb = make_tlb()
    for _ in range(2):
        box.touch(mm, 8, 1, tlb=tlb)
        young = pte_at(*box.state, mm, 8) & ACCESSED
        box.set_pte(mm, 8, pte_at(*box.state, mm, 8) & ~ACCESSED)
    assert not young


@pytest.mark.mission("V5")
def test_the_first_store_through_a_clean_entry_walks_and_makes_the_page_dirty(box: Box) -> None:
    """It finds out there, too, that the page is gone or may not be written."""
    mm = box.new_mm()
    box.map(mm, 8, 2)
    for vpn in (8, 9):
        box.set_pte(mm, vpn, pte_at(*box.state, mm, vpn) & ~DIRTY)
    tlb = make_tlb()
    box.touch(mm, 8, 2, tlb=tlb)
    assert box.touch(mm, 8, 1, tlb=tlb, write=True) == (1, TOUCH_DONE, 4 * 20 + 90, 0, 1)
    assert pte_at(*box.state, mm, 8) & DIRTY
    assert box.touch(mm, 8, 1, tlb=tlb, write=True) == (1, TOUCH_DONE, 1 + 90, 1, 0)
    box.set_pte(mm, 9, mk_swap_pte(3))
    assert box.touch(mm, 9, 1, tlb=tlb)[:2] == (1, TOUCH_DONE)
    assert box.touch(mm, 9, 1, tlb=tlb, write=True) == (0, TOUCH_FAULT, 0, 0, 0)
    assert not in_tlb(tlb, mm, 9)


def test_touch_fills_the_tlb_under_its_asid(box: Box) -> None:
    """What was accessed is in that CPU's TLB afterwards."""
    mm = box.new_mm()
    box.map(mm, 8, 1)
    tlb = make_tlb()
    box.touch(mm, 8, 1, tlb=tlb)
    assert in_tlb(tlb, mm, 8)


@pytest.mark.mission("V2")
def test_kinds_of_fault(box: Box) -> None:
    """Each kind of entry is told apart, for reads and writes; a run ends where it changes."""
    mm = box.new_mm()
    box.install(mm, 0, 20)
    state = box.state
    assert fault_run(*state, mm, 0, 100, 1, True) == (FAULT_ANON, 100)
    map_zero(*state, mm, 2, 3, 1, 1)
    box.map(mm, 5, 2)
    box.set_pte(mm, 7, mk_swap_pte(11))
    assert fault_run(*state, mm, 0, 100, 1, False) == (FAULT_ANON, 2)
    assert fault_run(*state, mm, 2, 100, 1, True) == (FAULT_ZERO_WP, 3)
    assert fault_run(*state, mm, 2, 100, 1, False) == (FAULT_NONE_PRESENT, 5)
    assert fault_run(*state, mm, 5, 100, 1, True) == (FAULT_NONE_PRESENT, 2)
    assert fault_run(*state, mm, 7, 100, 1, False) == (FAULT_SWAP, 1)
    assert fault_run(*state, mm, 8, 100, 1, False) == (FAULT_ANON, 100)
    box.protect(mm, 5, 2)
    assert fault_run(*state, mm, 5, 100, 1, True) == (FAULT_WP, 2)


def test_fault_run_over_missing_tables_keeps_the_stride(box: Box) -> None:
    """Where tables are missing whole spans are skipped, and counted in touches."""
    mm = box.new_mm()
    box.map(mm, 512 * 3 + 1, 1)
    assert fault_run(*box.state, mm, 1, 1000, 512, True) == (FAULT_ANON, 3)
    assert fault_run(*box.state, mm, 2, 1000, 512, True) == (FAULT_ANON, 1000)
    assert fault_run(*box.state, mm, 0, 4, 1, True) == (FAULT_ANON, 4)
    box.map(mm, 512 * 5, 1)
    assert fault_run(*box.state, mm, 512 * 4, 1000, 512, True) == (FAULT_ANON, 1)


def test_written_page_is_young_dirty_writable_and_owned(box: Box) -> None:
    """A write fault's page is mapped once, exclusively, counted, and holds what was written."""
    mm = box.new_mm()
    pfns = box.map(mm, 510, 4, token=42)
    pages = box.mem.pages
    for vpn, pfn in zip(range(510, 514), pfns, strict=True):
        pte = pte_at(*box.state, mm, vpn)
        assert pte_pfn(pte) == pfn
        assert pte & (ACCESSED | DIRTY | RW) == ACCESSED | DIRTY | RW
        assert pte < 0, "data is not executable (NX, bit 63)"
        assert (pages.mapping[pfn], pages.index[pfn], pages.mapcount[pfn]) == (mm, vpn, 1)
        assert pages.token[pfn] == 42
        wanted = PG_anon | PG_swapbacked | PG_anon_exclusive
        assert pages.flags[pfn] & wanted == wanted
    assert box.registry.mms.rss[mm].tolist() == [0, 4, 0, 0]
    assert box.mem.node_stat[0, NR_ANON_PAGES] == 4


def test_zero_page_is_read_only_and_not_resident(box: Box) -> None:
    """Reading untouched memory maps the zero page, which is in no counter."""
    mm = box.new_mm()
    box.install(mm, 0, 8)
    assert map_zero(*box.state, mm, 0, 8, 1, 1) == 8
    assert box.touch(mm, 0, 8)[:2] == (8, TOUCH_DONE)
    assert box.touch(mm, 0, 8, write=True)[:2] == (0, TOUCH_FAULT)
    assert get_mm_rss(box.registry.mms, mm) == 0
    assert box.mem.pages.mapcount[1] == 0


def test_write_replaces_the_zero_page(box: Box) -> None:
    """Copy on write of the zero page gives a page of its own; then it is resident."""
    mm = box.new_mm()
    box.install(mm, 0, 4)
    map_zero(*box.state, mm, 0, 4, 1, 1)
    box.map(mm, 1, 2)
    assert get_mm_rss(box.registry.mms, mm) == 2
    assert box.touch(mm, 0, 4)[0] == 4
    assert fault_run(*box.state, mm, 0, 4, 1, True) == (FAULT_ZERO_WP, 1)


def test_mapping_stops_at_what_is_there_or_missing(box: Box) -> None:
    """map_anon and map_zero never replace a page and never run past the tables."""
    mm = box.new_mm()
    box.map(mm, 500, 1)
    pfns = box.take(20)
    assert map_anon(*box.state, mm, 498, 20, 1, pfns, 20, 1) == 2
    assert map_anon(*box.state, mm, 510, 20, 1, pfns[2:], 18, 1) == 2
    assert map_anon(*box.state, mm, 0, 20, 1, pfns[4:], 3, 1) == 3
    assert map_zero(*box.state, mm, 497, 9, 1, 1) == 1
    assert get_mm_rss(box.registry.mms, mm) == 8
    box.set_pte(mm, 500, make_migration_pte(pte_at(*box.state, mm, 500)))
    assert map_anon(*box.state, mm, 500, 1, 1, pfns[7:], 1, 1) == 0
