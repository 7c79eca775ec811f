"""DAMON's regions against what they are to be: whole, apart, and no finer or coarser than asked."""

from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from kernelsim.mm.space.damon import (
    DamonRegion,
    init_regions,
    merge_regions,
    set_regions,
    split_regions,
    three_regions,
)

pytestmark = [pytest.mark.mission("B6")]

PAGE = 4096
SIZES = st.lists(st.integers(1, 50), min_size=6, max_size=20)


def ranges_of(sizes, nr=None):
    """Return ranges of every second size, with holes of the others between them."""
    ranges, at = [], PAGE
    for size, hole in zip(sizes[::2], sizes[1::2], strict=False):
        ranges.append((at, at + size * PAGE))
        at += (size + hole) * PAGE
    return ranges[:nr]


def spans(regions):
    """Return what regions that touch cover together."""
    found = []
    for region in regions:
        assert region.start < region.end
        assert region.start % PAGE == region.end % PAGE == 0
        if found and found[-1][1] == region.start:
            found[-1] = (found[-1][0], region.end)
        else:
            found.append((region.start, region.end))
    return found


@given(SIZES)
def test_three_regions_leave_out_the_two_largest_holes(sizes):
    """Everything mapped is in one of them; what they leave out is as much as two holes can be."""
    mappings = ranges_of(sizes)
    holes = sorted(after[0] - before[1] for before, after in pairwise(mappings))
    found = three_regions(mappings)
    assert found is not None
    assert sum(after[0] - before[1] for before, after in pairwise(found)) == sum(holes[-2:])
    assert all(any(a <= start and end <= b for a, b in found) for start, end in mappings)
    assert three_regions(mappings[:2]) is None


@given(SIZES, st.integers(3, 20))
def test_regions_to_begin_with_cover_the_ranges_evenly(sizes, at_least):
    """Of each range all are of one size but the last, which is less than twice as large."""
    ranges = ranges_of(sizes, 3)
    regions = init_regions(ranges, at_least)
    assert spans(regions) == ranges
    for start, end in ranges:
        inside = [region.size for region in regions if region.meets((start, end))]
        assert len(set(inside[:-1])) <= 1
        assert inside[0] <= inside[-1] < 2 * inside[0]


@given(SIZES, SIZES, st.integers(3, 20))
def test_regions_follow_the_mappings(before, after, at_least):
    """They cover what is mapped now, and nothing else; mappings that stay change nothing."""
    regions = init_regions(ranges_of(before, 3), at_least)
    assert set_regions(regions, ranges_of(before, 3)) == regions
    assert spans(set_regions(regions, ranges_of(after, 3))) == ranges_of(after, 3)


@example([1, 1, 1, 9, 11, 10], 1, 3)  # 11 and 10 become 10, which is like 9 by then
@given(SIZES, st.integers(0, 5), st.integers(2, 60))
def test_merging_joins_what_is_alike(counts, threshold, limit):
    """No address is lost; who began a region differed from the one before, or had no room there."""
    regions = [DamonRegion(n * PAGE, (n + 1) * PAGE, 0, seen) for n, seen in enumerate(counts)]
    merged = merge_regions(regions, threshold, limit * PAGE)
    assert spans(merged) == [(0, len(counts) * PAGE)]
    for left, right in pairwise(merged):
        alike = abs(left.nr_accesses - counts[right.start // PAGE]) <= threshold
        assert not alike or left.size + PAGE > limit * PAGE
    if not threshold:
        seen = sum(region.nr_accesses * region.size for region in merged)
        assert seen == sum(counts) * PAGE


def test_a_region_gets_older_while_it_is_used_as_before():
    """A change beyond the threshold makes it new; one of two merged weighs by its size."""
    kept = DamonRegion(0, PAGE, 0, 10, 9, 7)
    changed = DamonRegion(PAGE, 4 * PAGE, 0, 10, 3, 7)
    (both,) = merge_regions([kept, changed], 1, 4 * PAGE)
    assert (both.age, both.nr_accesses) == ((8 * 1 + 0 * 3) // 4, 10)


@given(SIZES, st.sampled_from([2, 3]), st.integers(1, 9))
def test_splitting_cuts_where_it_was_drawn(sizes, nr_subs, tenth):
    """No address is lost; each part has the counts of the whole; small ones stay whole."""
    regions = [DamonRegion(*each, 0, 3, 2, 1) for each in ranges_of(sizes)]
    whole = [(region.start, region.end) for region in regions]
    split = split_regions(regions, nr_subs, lambda _low, _high: tenth)
    assert spans(split) == whole
    assert all((r.nr_accesses, r.last_nr_accesses, r.age) == (3, 2, 1) for r in split)
    for start, end in whole:
        parts = [region for region in split if region.meets((start, end))]
        if end - start <= 2 * PAGE:
            assert len(parts) == 1
        assert len(parts) <= nr_subs
