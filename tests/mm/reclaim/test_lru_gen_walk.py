"""What walks of page tables and looks around a page find out."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernelsim.check.lru import check_lru
from kernelsim.mm.core.lru_gen import LG_MAX_SEQ, LG_MIN_SEQ, LG_NR_BATCHED
from kernelsim.mm.core.mem import PG_referenced
from kernelsim.mm.reclaim.lru_gen_walk import (
    W_BATCHED,
    W_CAN_SWAP,
    W_FORCE_SCAN,
    W_MAX_SEQ,
    look_around_batch,
    new_bloom_filters,
    reset_batch_size,
    reset_bloom_filter,
    update_bloom_filter,
    walk_ptes,
)
from kernelsim.mm.reclaim.lru_gen_walk import (
    test_bloom_filter as is_in_filter,
)
from kernelsim.mm.reclaim.reclaim_batch import STAT_NR_TAKEN
from kernelsim.mm.space.pgtable import _PAGE_ACCESSED
from tests.lru_gen_box import LruGenBox
from tests.reclaim_box import MM

ANON = 0
VPN = 512 * 3


@pytest.fixture
def box():
    """A node with generations 0 to 3."""
    return LruGenBox()


def walk(box, vpn, nr, *, force=True, can_swap=True, tables=99):
    """Walk the tables of pages for the next generation."""
    state = box.walk.state
    state[W_MAX_SEQ], state[W_CAN_SWAP] = box.state[LG_MAX_SEQ], can_swap
    state[W_FORCE_SCAN] = force
    space = (box.mem, box.pool.pt, box.mms)
    return walk_ptes(*space, 0, box.bloom, box.walk, MM, vpn, vpn + nr, tables)


def is_used(box, vpn):
    """Tell whether a page's entry says that it was used."""
    return bool(box.pte(vpn) & _PAGE_ACCESSED)


def test_a_walk_promotes_what_was_used_and_forgets_it(box):
    """Used pages are the youngest, others stay; counters follow when the lock is taken."""
    pfns = box.fault(VPN, 20)
    for vpn in range(VPN, VPN + 10):
        box.forget_accessed(vpn)
    assert walk(box, VPN, 20) == VPN + 20
    assert [box.seq_of(int(pfn)) for pfn in pfns] == [1] * 10 + [3] * 10
    assert not any(is_used(box, vpn) for vpn in range(VPN, VPN + 20))
    assert box.walk.state[W_BATCHED] == box.state[LG_NR_BATCHED] == 10
    assert check_lru(box.mem) == []
    reset_batch_size(box.mem, 0, box.walk)
    assert box.state[LG_NR_BATCHED] == 0
    assert not box.walk.nr_pages.any()
    assert check_lru(box.mem) == []


def test_without_swap_a_walk_leaves_anonymous_pages_alone(box):
    """They cannot be evicted, so that they are used is nobody's concern."""
    pfns = box.fault(VPN, 4)
    walk(box, VPN, 4, can_swap=False)
    assert box.seq_of(int(pfns[0])) == 1
    assert is_used(box, VPN)


@pytest.mark.parametrize(("nr_used", "is_suitable"), [(63, False), (64, True)])
def test_a_walk_goes_on_into_tables_of_which_one_page_in_eight_was_used(box, nr_used, is_suitable):
    """It remembers them for the next; others are passed over then."""
    box.fault(VPN, 512)
    for vpn in range(VPN + nr_used, VPN + 512):
        box.forget_accessed(vpn)
    walk(box, VPN, 512)
    reset_batch_size(box.mem, 0, box.walk)
    box.age()
    box.use(VPN)
    walk(box, VPN, 512, force=False)
    assert is_used(box, VPN) != is_suitable


def test_a_walk_takes_a_few_tables_at_a_time(box):
    """Missing ones count, too, and are passed over in one go."""
    box.fault(VPN, 1)
    box.fault(VPN + 512, 1)
    box.fault(VPN + 5 * 512, 1)
    assert walk(box, VPN, 6 * 512, tables=1) == VPN + 512
    assert walk(box, VPN, 6 * 512, tables=99) == VPN + 6 * 512


@given(st.sets(st.integers(min_value=1, max_value=(1 << 31) - 1), max_size=40))
def test_a_bloom_filter_forgets_nothing(pfns):
    """Each that was entered is found, in its own generation's filter, until that is emptied."""
    bloom = new_bloom_filters()
    for pfn in pfns:
        update_bloom_filter(bloom, 7, pfn)
    assert all(is_in_filter(bloom, 7, pfn) and is_in_filter(bloom, 9, pfn) for pfn in pfns)
    assert not any(is_in_filter(bloom, 8, pfn) for pfn in pfns)
    reset_bloom_filter(bloom, 7)
    assert not bloom.any()


@pytest.mark.parametrize(
    ("own", "first", "last"),
    [(0, 0, 63), (31, 0, 63), (32, 0, 63), (100, 68, 131), (511, 448, 511)],
)
def test_a_look_around_a_used_page_promotes_its_neighbours(box, own, first, last):
    """Sixty-four entries of its table, half of them on each side where there is room."""
    pfns = box.fault(VPN, 512)
    box.batch.folios[0] = pfns[own]
    box.batch.stat[STAT_NR_TAKEN] = 1
    space = (box.mem, box.pool.pt, box.mms)
    look_around_batch(*space, 0, box.bloom, box.walk, box.batch, 0, 1)
    promoted = np.flatnonzero([box.seq_of(int(pfn)) == 3 for pfn in pfns]).tolist()
    assert promoted == [at for at in range(first, last + 1) if at != own]
    assert is_used(box, VPN + own)
    assert walk(box, VPN, 512, force=False) == VPN + 512
    assert not is_used(box, VPN + own)  # the walk of this generation goes there, too


def test_an_isolated_neighbour_is_marked(box):
    """It is in no generation; that it was used is not forgotten."""
    pfns = box.fault(VPN, 3)
    box.age()
    box.state[LG_MIN_SEQ : LG_MIN_SEQ + 2] = 1
    assert box.isolate(200) == pfns.tolist()
    space = (box.mem, box.pool.pt, box.mms)
    look_around_batch(*space, 0, box.bloom, box.walk, box.batch, 0, 3)
    flags = box.mem.pages.flags[pfns] & np.uint32(PG_referenced) != 0
    assert flags.tolist() == [False, True, True]
    box.shrink()
    assert box.putback_oldest(ANON) == []
    assert {box.seq_of(int(pfn)) for pfn in pfns} == {4}
