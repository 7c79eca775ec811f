"""Slots of permanent kmaps against a naive model."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernelsim.mm.space.highmem import NO_SLOT, Pkmap

SLOTS = 4
STEPS = st.lists(st.tuples(st.booleans(), st.integers(1, 7)), max_size=60)


class NaiveSlots:
    """The rules, written down without a count: who has each slot, its users, where one looked."""

    def __init__(self):
        self.pfn, self.users = [None] * SLOTS, [0] * SLOTS
        self.last = self.nr_flushes = 0

    def map(self, pfn):
        """Return the slot; NO_SLOT for none."""
        if pfn not in self.pfn:
            behind = range(self.last + 1, SLOTS)
            if all(self.pfn[slot] is not None for slot in behind):
                behind = range(SLOTS)
                self.flush()
            free = [slot for slot in behind if self.pfn[slot] is None]
            self.last = free[0] if free else SLOTS - 1
            if not free:
                return NO_SLOT
            self.pfn[free[0]] = pfn
        self.users[self.pfn.index(pfn)] += 1
        return self.pfn.index(pfn)

    def flush(self):
        """Empty all slots without users."""
        idle = [
            slot for slot in range(SLOTS) if self.pfn[slot] is not None and not self.users[slot]
        ]
        for slot in idle:
            self.pfn[slot] = None
        self.nr_flushes += idle != []

    def nr_users(self, pfn):
        """Return the users of a frame."""
        return self.users[self.pfn.index(pfn)] if pfn in self.pfn else 0


@given(STEPS)
def test_slots_are_those_of_a_naive_model(steps):
    """Same slot, same users, same number of flushes after each step."""
    pkmap, model = Pkmap(SLOTS), NaiveSlots()
    for maps, pfn in steps:
        if maps:
            assert pkmap.kmap_high(pfn) == model.map(pfn)
        elif model.nr_users(pfn):
            model.users[model.pfn.index(pfn)] -= 1
            assert pkmap.kunmap_high(pfn) == (not model.nr_users(pfn))
        else:
            with pytest.raises(AssertionError):
                pkmap.kunmap_high(pfn)
        assert [pkmap.nr_users(each) for each in range(8)] == list(map(model.nr_users, range(8)))
        assert pkmap.nr_flushes == model.nr_flushes
        held = [pfn is not None for pfn in model.pfn]
        assert pkmap.count == [is_held + n for is_held, n in zip(held, model.users, strict=True)]


def test_idle_slots_go_all_at_once():
    """The fourth slot is number 0: there unused ones are flushed, once."""
    pkmap = Pkmap(SLOTS)
    assert [pkmap.kmap_high(pfn) for pfn in (11, 12, 13)] == [1, 2, 3]
    assert [pkmap.kunmap_high(pfn) for pfn in (11, 12)] == [True, True]
    assert (pkmap.kmap_high(11), pkmap.nr_flushes) == (1, 0)  # it was still mapped
    assert (pkmap.kmap_high(14), pkmap.nr_flushes) == (0, 1)
    assert pkmap.count == [2, 2, 0, 2]
    assert (pkmap.kmap_high(15), pkmap.kmap_high(16)) == (2, NO_SLOT)
