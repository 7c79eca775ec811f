"""DAMON's regions: which addresses are watched by one sample, and how that adapts.

Linux: mm/damon/core.c: damon_set_regions, damon_merge_regions_of, damon_split_regions_of;
mm/damon/vaddr.c: __damon_va_three_regions, __damon_va_init_regions, 6.1.
A region is believed to be used alike everywhere, so one page of it is looked at. Neighbours that
were used about as often become one; each is cut in two or three at random, so that what differs
inside comes out.
# Differs from Linux: In a region of more than 4 GiB DAMON samples all addresses; 6.1 draws an
# offset of 32 bits.
Interface: pure, but for the numbers drawn from a stream. Units: addresses in bytes.
"""

from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from typing import Final

import attrs

from kernelsim.units import PAGE_SIZE

DAMON_MIN_REGION: Final = PAGE_SIZE
Range = tuple[int, int]  # first address, first behind
Draw = Callable[[int, int], int]
"""Draws a number of low … high - 1, as damon_rand does."""


@attrs.define
class DamonRegion:
    """Addresses `start` … `end` - 1, and how often they were seen used.

    Attributes:
        sampling_addr: What this sampling interval looks at.
        nr_accesses: Samples of this aggregation interval that saw a use.
        last_nr_accesses: Those of the interval before.
        age: Intervals for which they were about as many.
    """

    start: int
    end: int
    sampling_addr: int = 0
    nr_accesses: int = 0
    last_nr_accesses: int = 0
    age: int = 0

    @property
    def size(self) -> int:
        """Its bytes."""
        return self.end - self.start

    def meets(self, other: Range) -> bool:
        """Tell whether it has an address of a range.

        Source: Linux 6.1 mm/damon/core.c:damon_intersect
        """
        return self.start < other[1] and other[0] < self.end


Regions = list[DamonRegion]


def three_regions(mappings: Iterable[Range]) -> tuple[Range, Range, Range] | None:
    """Return what lies before, between and behind the two largest holes; None with fewer holes.

    Args:
        mappings: By rising address.

    Source: Linux 6.1 mm/damon/vaddr.c:__damon_va_three_regions
    """
    first, second = (0, 0), (0, 0)
    lowest = end = -1
    for start, behind in mappings:
        if end < 0:
            lowest = start
        elif start - end > first[1] - first[0]:
            first, second = (end, start), first
        elif start - end > second[1] - second[0]:
            second = (end, start)
        end = behind
    if second[0] == second[1]:
        return None
    below, above = sorted((first, second))
    return (lowest, below[0]), (below[1], above[0]), (above[1], end)


def init_regions(ranges: Sequence[Range], min_nr_regions: int) -> Regions:
    """Divide ranges evenly into `min_nr_regions` regions or a few more.

    Source: Linux 6.1 mm/damon/vaddr.c:__damon_va_init_regions, :damon_va_evenly_split_region
    """
    piece = max(sum(end - start for start, end in ranges) // min_nr_regions, DAMON_MIN_REGION)
    regions: Regions = []
    for start, end in ranges:
        nr_pieces = max((end - start) // piece, 1)
        size = _align_down((end - start) // nr_pieces)
        starts = range(start, end - size + 1, size)
        regions += map(DamonRegion, starts, [*starts[1:], end])
    return regions


def set_regions(regions: Regions, ranges: Sequence[Range]) -> Regions:
    """Return regions fitted to what is mapped now.

    Those outside go, those at an edge grow or shrink, holes between them and ranges that have none
    get new ones.

    Source: Linux 6.1 mm/damon/core.c:damon_set_regions, :damon_fill_regions_holes
    """
    fitted: Regions = []
    for each in ranges:
        inside = [region for region in regions if region.meets(each)]
        if not inside:
            fitted.append(DamonRegion(*each))
            continue
        inside[0].start, inside[-1].end = each  # so no region lies in two ranges
        for region, following in pairwise(inside):
            fitted.append(region)
            if region.end != following.start:
                fitted.append(DamonRegion(region.end, following.start))
        fitted.append(inside[-1])
    return fitted


def merge_regions(regions: Regions, threshold: int, size_limit: int) -> Regions:
    """Return regions with neighbours as one that were used about as often; all get older.

    Args:
        regions: By rising address.
        threshold: The most that accesses may differ.
        size_limit: The most bytes that one may get.

    Source: Linux 6.1 mm/damon/core.c:damon_merge_regions_of, :damon_merge_two_regions
    """
    merged: Regions = []
    for region in regions:
        is_new = abs(region.nr_accesses - region.last_nr_accesses) > threshold
        region.age = 0 if is_new else region.age + 1
        before = merged[-1] if merged else None
        if (
            before is not None
            and before.end == region.start
            and abs(before.nr_accesses - region.nr_accesses) <= threshold
            and before.size + region.size <= size_limit
        ):
            left, right = before.size, region.size
            both = left + right
            uses = before.nr_accesses * left + region.nr_accesses * right
            before.nr_accesses = uses // both
            before.age = (before.age * left + region.age * right) // both
            before.end = region.end
        else:
            merged.append(region)
    return merged


def split_regions(regions: Regions, nr_subs: int, draw: Draw) -> Regions:
    """Return each region cut into up to `nr_subs`, at tenths of it that are drawn.

    Source: Linux 6.1 mm/damon/core.c:damon_split_regions_of, :damon_split_region_at
    """
    split: Regions = []
    for region in regions:
        size, behind = region.size, []
        for _ in range(nr_subs - 1):
            if size <= 2 * DAMON_MIN_REGION:
                break
            left = _align_down(draw(1, 10) * size // 10)
            if not 0 < left < size:
                continue
            cut = region.start + left
            behind.append(attrs.evolve(region, start=cut, sampling_addr=0))
            region.end = cut
            size = left
        split += [region, *reversed(behind)]
    return split


def _align_down(size: int) -> int:
    return size // DAMON_MIN_REGION * DAMON_MIN_REGION
