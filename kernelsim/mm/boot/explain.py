"""Say what a recorded kernel computed its watermarks and reserves from.

Linux: mm/page_alloc.c:__setup_per_zone_wmarks, :setup_per_zone_lowmem_reserve and mm/khugepaged.c,
6.1. They run while the kernel boots, again when khugepaged starts, after a write to a sysctl and
after hotplug. What was freed between then and now (init sections, the initramfs, a crash kernel's
reservation) is in the managed pages of now, not in the figures.
Interface: `held_for_marks` and `held_for_reserve` find how many pages were still held.
Units: pages of 4 KiB; KiB where the name says kbytes.
"""

from __future__ import annotations

from itertools import groupby, pairwise
from typing import TYPE_CHECKING, Final

import attrs

from kernelsim.config.era import LINUX_6_1, Era
from kernelsim.mm.page.watermark import (
    ZoneManaged,
    ZoneWatermarks,
    setup_per_zone_lowmem_reserve,
    setup_per_zone_wmarks,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = [
    "HeldForMarks",
    "held_for_marks",
    "held_for_reserve",
]

HELD_PAGES_MAX: Final = 1 << 16  # pages a zone; 256 MiB: a crash kernel's reservation at most
HELD_STEP: Final = 4  # pages; figures stay the same over many more

Marks = tuple[int, int, int]  # min, low, high


@attrs.frozen
class HeldForMarks:
    """How many pages of one zone were held when the watermarks were computed."""

    zone: int
    """Index of the zone."""
    least: int
    """The fewest that give the figures."""
    most: int
    """The most."""
    watermarks: tuple[ZoneWatermarks, ...]
    """What is computed with them, one a zone."""


def held_for_marks(
    zones: Sequence[ZoneManaged],
    marks: Mapping[int, Marks],
    *,
    candidates: Sequence[int],
    min_free_kbytes: int,
    watermark_scale_factor: int,
    era: Era = LINUX_6_1,
) -> HeldForMarks | None:
    """Return how many pages of one zone must have been held to give all watermarks, None if none.

    Args:
        zones: all zones with the managed pages of now.
        marks: recorded min, low and high of the populated zones, by index.
        candidates: indices of the zones to try, the likeliest first.
        min_free_kbytes: vm.min_free_kbytes.
        watermark_scale_factor: vm.watermark_scale_factor.
        era: decides the formulas.
    """
    for index in candidates:
        found: list[tuple[int, tuple[ZoneWatermarks, ...]]] = []
        for held in range(0, min(HELD_PAGES_MAX, zones[index].managed_pages), HELD_STEP):
            early = list(zones)
            left = zones[index].managed_pages - held
            early[index] = attrs.evolve(early[index], managed_pages=left)
            computed = setup_per_zone_wmarks(
                early,
                min_free_kbytes=min_free_kbytes,
                watermark_scale_factor=watermark_scale_factor,
                era=era,
            )
            if all(_as_marks(computed[zone]) == wanted for zone, wanted in marks.items()):
                found.append((held, computed))
            elif found:
                break
        if found:
            return HeldForMarks(index, found[0][0], found[-1][0], found[0][1])
    return None


def _as_marks(marks: ZoneWatermarks) -> Marks:
    return marks.wmark_min, marks.wmark_low, marks.wmark_high


def held_for_reserve(
    zones: Sequence[ZoneManaged], protection: Mapping[int, tuple[int, ...]], ratio: Sequence[int]
) -> tuple[int, ...] | None:
    """Return how many pages of each zone must have been held to give all reserves, None if none.

    A reserve is a sum of managed pages over a ratio, rounded down: it bounds that sum from both
    sides, and whether all bounds can hold at once is a matter of shortest paths.

    Args:
        zones: all zones with the managed pages of now, every node with all types in order.
        protection: recorded reserves of the populated zones, by index.
        ratio: vm.lowmem_reserve_ratio, by zone type.
    """
    early: list[ZoneManaged] = []
    for _, group in groupby(zones, key=lambda zone: zone.nid):
        node = list(group)
        rows = {index: protection.get(len(early) + index) for index in range(len(node))}
        managed = _largest_managed(node, {i: row for i, row in rows.items() if row}, ratio)
        if managed is None:
            return None
        early += [
            attrs.evolve(zone, managed_pages=left) for zone, left in zip(node, managed, strict=True)
        ]
    computed = setup_per_zone_lowmem_reserve(early, ratio)
    if any(computed[index] != row for index, row in protection.items()):
        return None
    return tuple(
        now.managed_pages - then.managed_pages for now, then in zip(zones, early, strict=True)
    )


def _largest_managed(
    node: Sequence[ZoneManaged], rows: Mapping[int, tuple[int, ...]], ratio: Sequence[int]
) -> list[int] | None:
    """Return the most pages each zone of a node can have had by its reserves, None if none fit.

    Sum j is the pages of all zones below zone j; `bounds[i, j]` is the most sum j exceeds sum i by.
    """
    nr_sums = len(node) + 1
    bounds: dict[tuple[int, int], int] = {}
    for index, zone in enumerate(node):
        bounds[index, index + 1] = zone.managed_pages
        bounds[index + 1, index] = -max(zone.managed_pages - HELD_PAGES_MAX, 0)
    for index, row in rows.items():
        divisor = ratio[index] if index < len(ratio) else 0
        for above in range(index + 1, len(node) if divisor else 0):
            reserve = row[above]
            edge, back = (index + 1, above + 1), (above + 1, index + 1)
            bounds[edge] = min(bounds.get(edge, 1 << 62), divisor * (reserve + 1) - 1)
            bounds[back] = min(bounds.get(back, 0), -divisor * reserve)
    sums = [0] + [1 << 62] * len(node)
    for _ in range(nr_sums + 1):
        for (start, end), most in bounds.items():
            sums[end] = min(sums[end], sums[start] + most)
    if any(sums[end] > sums[start] + most for (start, end), most in bounds.items()) or sums[0]:
        return None
    return [above - below for below, above in pairwise(sums)]
