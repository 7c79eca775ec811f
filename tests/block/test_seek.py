"""Tests of how long an arm moves."""

from hypothesis import given
from hypothesis import strategies as st

from kernelsim.block.seek import seek_ns

CAPACITY = 10**12
FIGURES = {"track_to_track_ns": 700_000, "average_ns": 8_500_000}


def test_the_figures_of_the_data_sheet_are_met():
    """No way takes no time, a tiny one that to the next track, a third the average."""
    assert seek_ns(0, CAPACITY, **FIGURES) == 0
    assert seek_ns(1, CAPACITY, **FIGURES) - 700_000 < 100
    assert abs(seek_ns(CAPACITY // 3, CAPACITY, **FIGURES) - 8_500_000) < 100


@given(st.integers(0, CAPACITY), st.integers(0, CAPACITY))
def test_a_longer_way_takes_no_less(one, other):
    """And the whole way less than twice the average."""
    short, long = sorted((one, other))
    assert seek_ns(short, CAPACITY, **FIGURES) <= seek_ns(long, CAPACITY, **FIGURES) < 17_000_000
