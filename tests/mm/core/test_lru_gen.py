"""Into which generation a page comes, and what its uses count for."""

import math

import pytest

from kernelsim.check.lru import check_lru
from kernelsim.mm.core.folio_batch import folio_mark_accessed, lru_gen_in_fault
from kernelsim.mm.core.lru_gen import (
    LG_EVICTED,
    LG_MAX_SEQ,
    LG_MIN_SEQ,
    LG_REFAULTED,
    MAX_NR_TIERS,
    folio_lru_refs,
    lru_tier_from_refs,
)
from kernelsim.mm.core.lruvec import LV_NONRESIDENT_AGE
from kernelsim.mm.core.mem import (
    PG_active,
    PG_dirty,
    PG_reclaim,
    PG_referenced,
    PG_swapbacked,
    PG_swapcache,
    PG_workingset,
    PG_writeback,
)
from kernelsim.mm.core.swap import folio_rotate_reclaimable, lru_add, lruvec_del_folio
from kernelsim.mm.core.vmstat import (
    NR_ACTIVE_FILE,
    NR_INACTIVE_FILE,
    WORKINGSET_REFAULT_FILE,
    WORKINGSET_RESTORE_FILE,
)
from kernelsim.mm.core.workingset import workingset_eviction, workingset_refault
from tests.lru_gen_box import LruGenBox

FILE = 1


@pytest.fixture
def box():
    """A node with generations 0 to 3."""
    return LruGenBox()


@pytest.mark.parametrize(
    ("flags", "seq"),
    [
        (PG_active | PG_swapbacked, 3),
        (PG_active, 3),
        (PG_swapbacked, 1),
        (PG_swapbacked | PG_swapcache, 0),
        (0, 0),
        (PG_dirty, 0),
        (PG_reclaim | PG_dirty, 1),
        (PG_reclaim | PG_writeback | PG_swapbacked | PG_swapcache, 1),
    ],
)
def test_a_page_comes_to_the_generation_of_its_heat(box, flags, seq):
    """Active: the youngest; not to be evicted at once: the second oldest; the rest: the oldest."""
    pfns = box.take(1)
    box.mem.pages.flags[pfns] = flags
    lru_add(box.mem, pfns, 1)
    assert box.seq_of(int(pfns[0])) == seq
    assert not box.mem.pages.flags[pfns[0]] & PG_active
    assert check_lru(box.mem) == []


def test_a_page_that_is_faulted_in_is_the_youngest(box):
    """A fault marks it on its way to the lists."""
    pfns = box.take(1)
    box.mem.pages.flags[pfns] = PG_swapbacked
    lru_gen_in_fault(box.mem, int(pfns[0]))
    lru_add(box.mem, pfns, 1)
    assert box.seq_of(int(pfns[0])) == box.state[LG_MAX_SEQ]


def test_the_two_youngest_generations_count_as_active(box):
    """Pages of the others are inactive; one that leaves a young generation is active."""
    cold, hot = box.cache(0, 3), box.cache(3, 2, PG_active)
    stat = box.mem.node_stat[0]
    assert (stat[NR_INACTIVE_FILE], stat[NR_ACTIVE_FILE]) == (3, 2)
    for pfn in (int(cold[0]), int(hot[0])):
        lruvec_del_folio(box.mem, pfn)
    assert (stat[NR_INACTIVE_FILE], stat[NR_ACTIVE_FILE]) == (2, 1)
    assert box.mem.pages.flags[hot[0]] & PG_active
    assert not box.mem.pages.flags[cold[0]] & PG_active


def test_a_page_that_was_written_for_reclaim_goes_to_the_oldest_end(box):
    """It is the first to be taken now."""
    pfns = box.cache(0, 3)
    box.cache(3, 1, PG_active)
    box.mem.pages.flags[pfns[2]] |= PG_active
    assert folio_rotate_reclaimable(box.mem, int(pfns[2]))
    assert box.pages_of_seq(0, FILE)[-1] == pfns[2]
    assert check_lru(box.mem) == []


def test_each_use_by_a_system_call_counts_up_to_the_last_tier(box):
    """The first sets PG_referenced, the second PG_workingset, then they are counted to four."""
    (pfn,) = box.cache(0, 1).tolist()
    seen = []
    for _ in range(7):
        folio_mark_accessed(box.mem, box.lruvec, 0, pfn)
        flags = int(box.mem.pages.flags[pfn])
        refs = folio_lru_refs(box.mem, pfn)
        seen.append((bool(flags & PG_referenced), bool(flags & PG_workingset), refs))
    assert seen[:3] == [(True, False, 0), (True, True, 1), (True, True, 2)]
    assert seen[3:] == [(True, True, 3), *[(True, True, 4)] * 3]
    assert box.lruvec[0, LV_NONRESIDENT_AGE] == 0
    assert box.mem.activate_batch[0, 0] == 0


def test_tiers_are_logarithms_of_uses():
    """Tier n ends at 2**n uses, one of which is not counted."""
    rounded_up = [math.ceil(math.log2(refs + 1)) for refs in range(5)]
    assert [lru_tier_from_refs(refs) for refs in range(5)] == rounded_up == [0, 1, 2, 2, 3]


@pytest.mark.parametrize("uses", [0, 1, 2, 3, 5, 9])
@pytest.mark.parametrize("aged", [0, 1])
def test_a_refault_counts_as_long_as_the_generation_is_the_oldest(box, uses, aged):
    """It counts in the tier that the page was evicted from; later it does not count at all."""
    (pfn,) = box.cache(0, 1).tolist()
    for _ in range(uses):
        folio_mark_accessed(box.mem, box.lruvec, 0, pfn)
    tier = int(lru_tier_from_refs(folio_lru_refs(box.mem, pfn)))
    shadow = workingset_eviction(box.mem, box.lruvec, pfn)
    assert box.state[LG_EVICTED + FILE * MAX_NR_TIERS + tier] == 1
    box.state[LG_MIN_SEQ + FILE] += aged
    box.mem.pages.flags[pfn] = 0
    assert not workingset_refault(box.mem, box.lruvec, pfn, shadow, 1, False)
    counted = box.state[LG_REFAULTED + FILE * MAX_NR_TIERS :][:MAX_NR_TIERS].tolist()
    assert counted == [int(not aged and each == tier) for each in range(MAX_NR_TIERS)]
    stat = box.mem.node_stat[0]
    assert stat[WORKINGSET_REFAULT_FILE] == 1 - aged
    is_beyond = uses >= 5 and not aged
    assert stat[WORKINGSET_RESTORE_FILE] == is_beyond
    assert bool(box.mem.pages.flags[pfn] & PG_workingset) == is_beyond


def test_a_refault_that_a_program_waits_for_marks_the_working_set(box):
    """That is a stall: workingset_restore counts it."""
    (pfn,) = box.cache(0, 1).tolist()
    shadow = workingset_eviction(box.mem, box.lruvec, pfn)
    box.mem.pages.flags[pfn] = 0
    workingset_refault(box.mem, box.lruvec, pfn, shadow, 1, True)
    assert box.mem.pages.flags[pfn] & PG_workingset
    assert box.mem.node_stat[0, WORKINGSET_RESTORE_FILE] == 1
