"""What is evicted follows from what comes back, against the same rule in fractions."""

from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from kernelsim.mm.core.lru_gen import (
    LG_AVG_REFAULTED,
    LG_AVG_TOTAL,
    LG_EVICTED,
    LG_PROTECTED,
    LG_REFAULTED,
    MAX_NR_TIERS,
    MIN_LRU_BATCH,
    new_lru_gen,
)
from kernelsim.mm.reclaim.lru_gen_control import get_tier_idx, get_type_to_scan, reset_ctrl_pos

COLUMNS = (LG_AVG_REFAULTED, LG_AVG_TOTAL, LG_REFAULTED, LG_EVICTED, LG_PROTECTED)
COUNTS = st.lists(
    st.sampled_from([0, 1, 30, 63, 64, 200, 5000]),
    min_size=2 * MAX_NR_TIERS * len(COLUMNS),
    max_size=2 * MAX_NR_TIERS * len(COLUMNS),
)


def state_of(counts):
    """Return a node's counts; tier 0 has none protected."""
    state = new_lru_gen(1)[0]
    for number, first in enumerate(COLUMNS):
        state[first : first + 8] = counts[8 * number : 8 * number + 8]
    state[[LG_PROTECTED, LG_PROTECTED + MAX_NR_TIERS]] = 0
    return state


class Position:
    """Refaults of a tier and what they are of, as one reads them in the counts."""

    def __init__(self, state, file, tier):
        at = file * MAX_NR_TIERS + tier
        self.refaulted = int(state[LG_AVG_REFAULTED + at] + state[LG_REFAULTED + at])
        self.total = sum(int(state[c + at]) for c in (LG_AVG_TOTAL, LG_EVICTED, LG_PROTECTED))

    def is_no_worse(self, set_point, gain, own_gain):
        """Compare rates of refaults, weighed; the set point gets the benefit of the doubt."""
        if self.refaulted < MIN_LRU_BATCH:
            return True
        if not self.total or not own_gain:
            return not gain
        rate = Fraction(self.refaulted, self.total * own_gain)
        allowed = set_point.refaulted + 1, (set_point.total + MIN_LRU_BATCH) * gain
        return not allowed[1] or rate <= Fraction(*allowed)


def last(state, file, gain, of, own_gain):
    """Return the last tier of a type before one that is worse than the set point."""
    set_point, tier = Position(state, file, 0), 0
    while tier + 1 < MAX_NR_TIERS:
        if not Position(state, of, tier + 1).is_no_worse(set_point, gain, own_gain):
            break
        tier += 1
    return tier


@given(COUNTS, st.integers(min_value=1, max_value=199))
def test_type_and_tier_are_chosen_by_rates_of_refaults(counts, swappiness):
    """Files are taken unless they refault more than anonymous pages, weighed by swappiness."""
    state = state_of(counts)
    gains = (swappiness, 200 - swappiness)
    file = int(Position(state, 1, 0).is_no_worse(Position(state, 0, 0), *gains))
    tier = last(state, 1 - file, gains[1 - file], file, gains[file])
    assert get_type_to_scan(state, swappiness) == (file, tier)


@given(COUNTS, st.integers(min_value=0, max_value=1))
def test_tiers_of_a_type_are_held_against_its_first(counts, file):
    """A tier is spared that refaults more than twice as often as the first."""
    state = state_of(counts)
    assert get_tier_idx(state, file) == last(state, file, 1, file, 2)


@given(COUNTS, st.integers(min_value=0, max_value=1))
def test_half_of_the_sums_carries_over(counts, file):
    """The other type's counts stay as they are."""
    state = state_of(counts)
    before = [Position(state, file, tier) for tier in range(MAX_NR_TIERS)]
    other = [vars(Position(state, 1 - file, tier)) for tier in range(MAX_NR_TIERS)]
    reset_ctrl_pos(state, file)
    for tier, was in enumerate(before):
        now = Position(state, file, tier)
        assert (now.refaulted, now.total) == (was.refaulted // 2, was.total // 2)
    assert [vars(Position(state, 1 - file, tier)) for tier in range(MAX_NR_TIERS)] == other
