"""Tests of what is wrong with a disk."""

from hypothesis import given
from hypothesis import strategies as st

from kernelsim.block.device_faults import DeviceFaults

SECTORS = st.integers(0, 20)


@given(st.lists(st.tuples(SECTORS, SECTORS, st.booleans())), SECTORS, st.booleans())
def test_pages_fail_that_touch_a_bad_sector_in_their_direction(bad, sector, is_write):
    """As a set of single sectors says."""
    faults = DeviceFaults()
    for first, length, of_writes in bad:
        faults.fail(first, first + length, is_write=of_writes)
    broken = {
        each
        for first, length, of_writes in bad
        if of_writes == is_write
        for each in range(first, first + length)
    }
    expected = tuple(
        page for page in range(3) if broken & set(range(sector + 8 * page, sector + 8 * page + 8))
    )
    assert faults.failed_pages(is_write=is_write, sector=sector, nr_pages=3) == expected


def test_a_shorter_stall_does_not_end_a_longer_one():
    """Nothing completes before the latest end."""
    faults = DeviceFaults()
    faults.stall(100)
    faults.stall(50)
    assert faults.stalled_until_ns == 100
