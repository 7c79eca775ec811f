"""Slots of permanent kmaps against a naive model."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernelsim.mm.space.highmem import NO_SLOT, Pkmap

SLOTS = 4
STEPS = st.lists(st.tuples(st.booleans(), st.integers(1, 7)), max_size=60)


@given(STEPS)
def test_a_slot_is_free_again_after_a_flush(steps):
    """A frame keeps its slot while it has users, no two share one, all in use means none free."""
    pkmap, users, slots = Pkmap(SLOTS), {}, {}
    for maps, pfn in steps:
        flushes = pkmap.nr_flushes
        if maps:
            slot = pkmap.kmap_high(pfn)
            is_full = len(users) == SLOTS and pfn not in users
            assert (slot == NO_SLOT) == is_full
            if not is_full:
                assert slots.get(pfn, slot) == slot or pfn not in users
                assert slot not in {slots[each] for each in users if each != pfn}
                users[pfn], slots[pfn] = users.get(pfn, 0) + 1, slot
        elif pfn in users:
            users[pfn] -= 1
            assert pkmap.kunmap_high(pfn) == (users[pfn] == 0)
            if not users[pfn]:
                del users[pfn]
        else:
            with pytest.raises(AssertionError):
                pkmap.kunmap_high(pfn)
        assert [pkmap.nr_users(each) for each in range(8)] == [users.get(e, 0) for e in range(8)]
        idle = [slot for slot, count in enumerate(pkmap.count) if count == 1]
        assert not idle or pkmap.nr_flushes in (flushes, flushes + 1)


def test_idle_slots_go_all_at_once():
    """The fourth slot is number 0: there unused ones are flushed, once."""
    pkmap = Pkmap(SLOTS)
    assert [pkmap.kmap_high(pfn) for pfn in (11, 12, 13)] == [1, 2, 3]
    assert [pkmap.kunmap_high(pfn) for pfn in (11, 12)] == [True, True]
    assert (pkmap.kmap_high(11), pkmap.nr_flushes) == (1, 0)  # it was still mapped
    assert (pkmap.kmap_high(14), pkmap.nr_flushes) == (0, 1)
    assert pkmap.count == [2, 2, 0, 2]
    assert (pkmap.kmap_high(15), pkmap.kmap_high(16)) == (2, NO_SLOT)
