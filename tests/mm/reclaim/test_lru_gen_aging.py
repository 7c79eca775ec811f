"""When a node ages, and what becomes of its generations then."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernelsim.check.lru import check_lru
from kernelsim.mm.core.lru_gen import (
    LG_MAX_SEQ,
    LG_MIN_SEQ,
    LG_NR_PAGES,
    LG_TIMESTAMPS,
    new_lru_gen,
    pages_column,
)
from kernelsim.mm.core.mem import (
    LRU_ACTIVE_ANON,
    LRU_ACTIVE_FILE,
    LRU_INACTIVE_ANON,
    LRU_INACTIVE_FILE,
    NR_GEN_LISTS,
    PG_active,
)
from kernelsim.mm.core.vmstat import NR_ACTIVE_FILE, NR_INACTIVE_FILE
from kernelsim.mm.reclaim.lru_gen_aging import (
    lru_gen_change_state,
    should_run_aging,
    try_to_inc_min_seq,
)
from tests.lru_gen_box import CAPS, LruGenBox

ANON, FILE = 0, 1


@pytest.fixture
def box():
    """A node with generations 0 to 3."""
    return LruGenBox()


@given(
    st.lists(st.integers(min_value=-2, max_value=9), min_size=NR_GEN_LISTS, max_size=NR_GEN_LISTS),
    st.integers(min_value=0, max_value=2),
    st.integers(min_value=0, max_value=2),
    st.integers(min_value=0, max_value=3),
    st.booleans(),
)
def test_aging_is_due_when_cold_pages_run_out(sizes, anon_gone, file_gone, priority, can_swap):
    """With three generations left: more than half is young, or less than a quarter is old."""
    state = new_lru_gen(1)[0]
    state[LG_NR_PAGES:] = sizes
    state[LG_MIN_SEQ : LG_MIN_SEQ + 2] = anon_gone, file_gone
    max_seq = int(state[LG_MAX_SEQ])

    def pages(seq, file):
        counts = (state[pages_column(seq % 4, file, zone)] for zone in range(5))
        return sum(max(int(count), 0) for count in counts)

    gone = (anon_gone, file_gone)
    types = (ANON, FILE) if can_swap else (FILE,)
    total = sum(pages(seq, t) for t in types for seq in range(gone[t], max_seq + 1))
    young = sum(pages(max_seq, t) for t in types)
    old = sum(pages(max_seq - 2, t) for t in types if gone[t] <= max_seq - 2)
    nr_left = max_seq - gone[types[0]] + 1
    is_due = nr_left < 3 or (nr_left == 3 and (2 * young > total or 4 * old < total))
    assert should_run_aging(state, priority, can_swap) == (is_due, total >> priority)


def test_a_new_generation_makes_the_second_youngest_inactive(box):
    """Pages stay in theirs; what counts as active moves on."""
    pfns = box.cache(0, 5, PG_active)
    stat = box.mem.node_stat[0]
    for expected in ((0, 5), (5, 0)):
        box.age(now_ns=77)
        assert (stat[NR_INACTIVE_FILE], stat[NR_ACTIVE_FILE]) == expected
        assert check_lru(box.mem) == []
    assert {box.seq_of(int(pfn)) for pfn in pfns} == {3}
    assert box.state[LG_TIMESTAMPS + int(box.state[LG_MAX_SEQ]) % 4] == 77


def test_the_oldest_generation_makes_room_without_becoming_younger(box):
    """Its pages come to the old end of the next, one by one, so that the last is the oldest now."""
    oldest = box.cache(0, 3).tolist()
    next_oldest = box.fault(100, 2).tolist()  # anonymous, of the second oldest
    box.age()
    assert box.pages_of_seq(1, FILE) == oldest
    assert box.pages_of_seq(1, ANON) == next_oldest[::-1]
    assert (box.nr_gens(ANON), box.nr_gens(FILE)) == (4, 4)
    assert check_lru(box.mem) == []


def test_what_cannot_be_swapped_lands_in_the_youngest(box):
    """Its generation's place is used again: cold pages become hot."""
    pfns = box.fault(100, 1)
    box.age(can_swap=False)
    assert box.seq_of(int(pfns[0])) == 1
    box.age(can_swap=False)
    assert box.seq_of(int(pfns[0])) == box.state[LG_MAX_SEQ]
    assert check_lru(box.mem) == []


def test_empty_generations_go(box):
    """All but two; those of files no further than those of anonymous pages that can be evicted."""
    box.fault(100, 1)
    box.cache(0, 1, PG_active)
    assert try_to_inc_min_seq(box.mem, 0, True)
    assert (box.nr_gens(ANON), box.nr_gens(FILE)) == (3, 3)
    assert not try_to_inc_min_seq(box.mem, 0, True)
    assert try_to_inc_min_seq(box.mem, 0, False)
    assert (box.nr_gens(ANON), box.nr_gens(FILE)) == (3, 2)


def test_switching_moves_all_pages_and_keeps_their_order(box):
    """Active ones come to the youngest generation and back; the oldest stays the first to go."""
    lru_gen_change_state(box.mem, 0)
    cold, hot = box.cache(0, 4).tolist(), box.cache(4, 3, PG_active).tolist()
    anon = box.fault(100, 2).tolist()
    lru_gen_change_state(box.mem, CAPS)
    assert box.pages_of_seq(0, FILE) == cold[::-1]
    assert box.pages_of_seq(3, FILE) == hot[::-1]
    assert box.pages_of_seq(1, ANON) == anon[::-1]
    assert [box.pages_of(lru) for lru in range(4)] == [[], [], [], []]
    assert check_lru(box.mem) == []
    lru_gen_change_state(box.mem, 0)
    lists = (LRU_INACTIVE_FILE, LRU_ACTIVE_FILE, LRU_INACTIVE_ANON, LRU_ACTIVE_ANON)
    assert [box.pages_of(lru) for lru in lists] == [cold[::-1], hot[::-1], anon[::-1], []]
    assert not box.state[LG_NR_PAGES:].any()
    assert check_lru(box.mem) == []
