"""Shares of recent events."""

from hypothesis import given
from hypothesis import strategies as st

from kernelsim.mm.file.flex_proportions import FPROP_FRAC_BASE, FpropGlobal, FpropLocal


def test_nothing_yet_is_no_share():
    """Without events every source has 0 of 1: no division by zero, no share."""
    assert FpropGlobal().fraction(FpropLocal()) == (0, 1)


def test_events_count_half_after_a_period():
    """Two sources with 64 and 64 events; one goes on with 96 after a period: 128 of 160."""
    whole, one, other = FpropGlobal(events=0), FpropLocal(), FpropLocal()
    whole.add(one, 64)
    whole.add(other, 64)
    assert whole.new_period(1)
    whole.add(one, 96)
    assert whole.fraction(one) == (128, 160)
    assert whole.fraction(other) == (32, 160)


def test_aging_ends():
    """When all events have been halved away there is nothing to age any more."""
    whole, one = FpropGlobal(), FpropLocal()
    whole.add(one, 1000)
    assert whole.new_period(9)
    assert not whole.new_period(1)


def test_a_source_may_be_held_below_a_share():
    """A source that may have a quarter of the events gets no further than that."""
    whole, capped, free = FpropGlobal(), FpropLocal(), FpropLocal()
    whole.add(free, 300)
    for _ in range(50):
        whole.add(capped, 10, FPROP_FRAC_BASE // 4)
    numerator, denominator = whole.fraction(capped)
    assert 98 <= numerator <= 104
    assert 4 * numerator <= denominator + 4


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 5000), st.integers(0, 3)), max_size=40))
def test_shares_follow_the_series(steps):
    """A source's share is its events, each halved once a period since, over the sum of all."""
    whole, sources = FpropGlobal(events=0), [FpropLocal() for _ in range(3)]
    model = [0.0] * 3
    for source, nr, periods in steps:
        whole.add(sources[source], nr)
        model[source] += nr
        if periods and whole.new_period(periods):
            model = [value / 2**periods for value in model]
    for source, value in zip(sources, model, strict=True):
        numerator, denominator = whole.fraction(source)
        assert 0 <= numerator <= denominator
        assert abs(numerator - value) <= len(steps) + 1  # what is halved is rounded down
