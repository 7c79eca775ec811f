"""The swap map against a dictionary: slots taken, counted and freed in any order."""

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from kernelsim.check.swap import check_free_clusters, check_usage
from kernelsim.mm.swap.swap_area import (
    SS_FREE,
    SS_TOTAL,
    SWAP_HAS_CACHE,
    swap_count,
    swapon,
    vm_swap_full,
)
from kernelsim.mm.swap.swapfile import get_swap_slots, put_swap_slot, swap_duplicate, swap_free

SIZES = st.lists(st.integers(2, 900), min_size=1, max_size=3)


class SwapMapMachine(RuleBasedStateMachine):
    """Model: for each slot in use, whether the cache holds it and how many entries name it."""

    @initialize(sizes=SIZES, data=st.data())
    def build(self, sizes, data):
        """Make a few areas of any size and priority."""
        priorities = data.draw(
            st.lists(st.integers(-3, 3), min_size=len(sizes), max_size=len(sizes))
        )
        self.swap = swapon(sizes, priorities, 2)
        self.total = sum(sizes) - len(sizes)
        self.slots = {}
        first, self.area_of, self.prio = 0, {}, priorities
        for number, size in enumerate(sizes):
            self.area_of |= dict.fromkeys(range(first + 1, first + size), number)
            first += -(-size // 256) * 256

    @rule(nr=st.integers(1, 300), cpu=st.integers(0, 1))
    def take(self, nr, cpu):
        """Take slots: as many as are free, each a free one, of the highest priority there is."""
        out = np.zeros(nr, np.int64)
        free = [slot for slot in self.area_of if slot not in self.slots]
        got = get_swap_slots(self.swap, cpu, nr, out)
        assert got == min(nr, len(free))
        taken = out[:got].tolist()
        assert len(set(taken)) == got
        assert set(taken) <= set(free)
        by_prio = sorted(-self.prio[self.area_of[slot]] for slot in free)[:got]
        assert sorted(-self.prio[self.area_of[slot]] for slot in taken) == by_prio
        for slot in taken:
            self.slots[slot] = [True, 0]

    @precondition(lambda self: self.slots)
    @rule(data=st.data(), nr=st.integers(1, 40))
    def duplicate(self, data, nr):
        """Add entries to a slot, up to the limit."""
        slot = data.draw(st.sampled_from(sorted(self.slots)))
        fits = self.slots[slot][1] + nr <= 62
        assert swap_duplicate(self.swap, slot, nr) == fits
        self.slots[slot][1] += nr if fits else 0

    @precondition(lambda self: any(count for _, count in self.slots.values()))
    @rule(data=st.data())
    def free(self, data):
        """Drop an entry."""
        named = sorted(slot for slot, (_, count) in self.slots.items() if count)
        slot = data.draw(st.sampled_from(named))
        self.slots[slot][1] -= 1
        assert swap_free(self.swap, slot) == self.slots[slot][1]
        self.forget(slot)

    @precondition(lambda self: any(cached for cached, _ in self.slots.values()))
    @rule(data=st.data(), share=st.integers(1, 4))
    def put(self, data, share):
        """Drop the cache's hold on one slot, or on a whole share of them."""
        cached = sorted(slot for slot, (held, _) in self.slots.items() if held)
        some = [data.draw(st.sampled_from(cached))] if share == 1 else cached[::share]
        for slot in some:
            put_swap_slot(self.swap, slot)
            self.slots[slot][0] = False
            self.forget(slot)

    def forget(self, slot):
        """Drop a slot nobody holds from the model."""
        if self.slots[slot] == [False, 0]:
            del self.slots[slot]

    @invariant()
    def agree(self):
        """The map, the totals and the clusters agree with the model."""
        for slot, (cached, count) in self.slots.items():
            assert bool(self.swap.map[slot] & SWAP_HAS_CACHE) == cached
            assert swap_count(self.swap, slot) == count
        used = len(self.slots)
        assert self.swap.state[SS_TOTAL] == self.total
        assert self.swap.state[SS_FREE] == self.total - used
        assert vm_swap_full(self.swap) == (2 * (self.total - used) < self.total)
        assert check_usage(self.swap) == []
        assert check_free_clusters(self.swap) == []


TestSwapMap = SwapMapMachine.TestCase
TestSwapMap.settings = settings(max_examples=30, stateful_step_count=25)
