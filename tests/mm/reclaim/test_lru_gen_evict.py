"""Which pages eviction takes, which it moves instead, and where the rest comes back."""

import pytest

from kernelsim.check.lru import check_lru
from kernelsim.mm.core.folio_batch import folio_mark_accessed
from kernelsim.mm.core.lru_gen import (
    LG_EVICTED,
    LG_MAX_SEQ,
    LG_MIN_SEQ,
    LG_NR_ISOLATED,
    LG_PROTECTED,
    LG_REFAULTED,
    MAX_NR_TIERS,
    folio_update_gen,
)
from kernelsim.mm.core.mem import (
    PG_active,
    PG_dirty,
    PG_mlocked,
    PG_reclaim,
    PG_referenced,
    PG_unevictable,
    PG_workingset,
    PG_writeback,
)
from kernelsim.mm.core.vmstat import (
    NR_ISOLATED_FILE,
    NR_MLOCK,
    PGREFILL,
    PGSCAN_ANON,
    PGSCAN_FILE,
    PGSCAN_KSWAPD,
    PGSKIP_DMA,
    PGSTEAL_FILE,
    PGSTEAL_KSWAPD,
    WORKINGSET_ACTIVATE_FILE,
)
from kernelsim.mm.reclaim.lru_gen_walk import reset_batch_size
from kernelsim.mm.reclaim.reclaim_batch import SHRINK_KSWAPD
from tests.lru_gen_box import LruGenBox

ANON, FILE = 0, 1


@pytest.fixture
def box():
    """A node with generations 0 to 3."""
    return LruGenBox()


def test_the_oldest_are_taken_first_sixty_four_at_a_time(box):
    """Those that were read first."""
    pfns = box.cache(0, 70).tolist()
    assert box.isolate() == pfns[:64]
    assert box.state[LG_NR_ISOLATED] == 64
    assert box.mem.node_stat[0, NR_ISOLATED_FILE] == 0
    box.shrink()
    assert box.putback_oldest(FILE) == sorted(pfns[:64])
    events = box.mem.vm_event
    assert (events[PGSCAN_KSWAPD], events[PGSCAN_FILE], events[PGSCAN_ANON]) == (64, 64, 0)
    assert (events[PGSTEAL_KSWAPD], events[PGSTEAL_FILE]) == (64, 64)
    assert box.state[LG_EVICTED + FILE * MAX_NR_TIERS] == 64
    assert check_lru(box.mem) == []


@pytest.mark.parametrize(("swappiness", "file"), [(0, FILE), (1, FILE), (200, ANON)])
def test_swappiness_decides_between_equally_old_ones(box, swappiness, file):
    """0 and 1 take files, 200 anonymous pages; the older type goes first in any case."""
    anon = box.fault(100, 2).tolist()
    box.age()  # the oldest of files is empty now, and has made room
    box.state[LG_MIN_SEQ : LG_MIN_SEQ + 2] = 1
    files = box.cache(0, 2).tolist()
    assert box.isolate(swappiness) == (files if file else anon)


def test_the_type_with_the_older_generation_goes_first(box):
    """Whatever swappiness says, unless it is 0."""
    anon = box.fault(100, 2).tolist()
    box.age()
    box.state[LG_MIN_SEQ : LG_MIN_SEQ + 2] = 1, 2
    box.cache(0, 2)
    assert box.isolate(1) == anon


def test_a_promoted_page_is_sorted(box):
    """Eviction puts it where it belongs; until then it waits on its old list."""
    (pfn, other) = box.cache(0, 2).tolist()
    folio_update_gen(box.mem, pfn, int(box.state[LG_MAX_SEQ]) % 4)
    assert box.pages_of_seq(0, FILE) == [other, pfn]
    assert box.isolate() == [other]
    assert box.pages_of_seq(3, FILE) == [pfn]
    assert box.mem.vm_event[PGREFILL] == 1


@pytest.mark.parametrize(("refaults", "is_spared"), [(0, False), (500, True)])
def test_pages_used_by_system_calls_are_spared_when_such_pages_come_back(box, refaults, is_spared):
    """Without refaults all tiers go; with many, theirs goes on to the next generation."""
    (pfn,) = box.cache(0, 1).tolist()
    for _ in range(2):
        folio_mark_accessed(box.mem, box.lruvec, 0, pfn)
    box.state[LG_REFAULTED + FILE * MAX_NR_TIERS + 1] = refaults
    assert (pfn in box.isolate()) != is_spared
    assert box.mem.node_stat[0, WORKINGSET_ACTIVATE_FILE] == is_spared
    if is_spared:
        assert box.seq_of(pfn) == 1
        assert not box.mem.pages.flags[pfn] & (PG_referenced | PG_workingset)
    assert check_lru(box.mem) == []


def test_what_was_spared_is_counted_in_its_tier(box):
    """The rate of refaults of a tier is of those evicted and those spared."""
    pfns = box.cache(0, 66)
    for _ in range(3):
        folio_mark_accessed(box.mem, box.lruvec, 0, int(pfns[0]))
    box.state[LG_REFAULTED + FILE * MAX_NR_TIERS + 2] = 500
    assert box.isolate() == pfns[1:65].tolist()
    assert box.state[LG_PROTECTED + FILE * MAX_NR_TIERS + 2] == 1


@pytest.mark.parametrize("flags", [PG_dirty, PG_writeback])
def test_a_page_that_has_to_be_written_waits_in_the_next_generation(box, flags):
    """It goes to the oldest end when that is done."""
    pfns = box.cache(0, 2)
    box.mem.pages.flags[pfns[0]] |= flags
    assert box.isolate() == [pfns[1]]
    assert box.seq_of(int(pfns[0])) == 1
    assert box.mem.pages.flags[pfns[0]] & PG_reclaim


def test_a_locked_page_comes_to_the_unevictable_list(box):
    """It is met, and moved."""
    pfns = box.cache(0, 2)
    box.mem.pages.flags[pfns[0]] |= PG_mlocked
    box.mem.zone_stat[0, NR_MLOCK] = 1
    assert box.isolate() == [pfns[1]]
    assert box.mem.pages.flags[pfns[0]] & PG_unevictable
    assert not box.mem.pages.gen[pfns[0]]


def test_what_may_not_be_taken_goes_to_the_young_end(box):
    """Mapped pages when nothing may be unmapped, unwritten ones when nothing may be written."""
    box.cache(0, 1)
    anon = box.fault(100, 3).tolist()
    box.age()
    box.state[LG_MIN_SEQ : LG_MIN_SEQ + 2] = 1
    assert box.isolate(200, how=SHRINK_KSWAPD) != anon
    assert box.pages_of_seq(1, ANON) == anon[::-1]
    assert box.mem.vm_event[PGSKIP_DMA] == 3


def test_nothing_is_taken_of_the_last_two_generations(box):
    """The node has to age first."""
    box.cache(0, 3, PG_active)
    assert box.isolate(0) == []
    assert box.nr_gens(FILE) == 2
    assert box.isolate(0) == []


def test_a_rejected_page_becomes_the_youngest_one_under_io_waits(box):
    """Anonymous pages: one was used meanwhile, one is written."""
    pfns = box.fault(100, 65).tolist()  # one stays, so that the generation does
    box.age()
    box.state[LG_MIN_SEQ : LG_MIN_SEQ + 2] = 1
    box.forget_accessed(101)
    assert box.isolate(200) == pfns[:64]
    box.shrink()
    assert box.writing == [pfns[1]]
    assert box.putback_oldest(ANON) == []
    assert [box.seq_of(pfn) for pfn in pfns[:2]] == [4, 2]
    assert not box.mem.pages.flags[pfns[0]] & PG_active
    box.end_writes()
    assert box.seq_of(pfns[1]) == 1
    reset_batch_size(box.mem, 0, box.walk)
    assert check_lru(box.mem) == []
