"""What recorded watermarks and reserves come from: found again after it was hidden."""

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernelsim.config.zones import ZoneType
from kernelsim.mm.boot.explain import held_for_marks, held_for_reserve
from kernelsim.mm.page.watermark import (
    ZoneManaged,
    inferred_min_free_kbytes,
    khugepaged_min_free_kbytes,
    setup_per_zone_lowmem_reserve,
    setup_per_zone_wmarks,
)

KINDS = (ZoneType.ZONE_DMA, ZoneType.ZONE_DMA32, ZoneType.ZONE_NORMAL, ZoneType.ZONE_MOVABLE)
RATIO = (256, 256, 32, 0)


def zones_of(*managed):
    """Return the zones of one node."""
    pairs = zip(KINDS, managed, strict=True)
    return tuple(ZoneManaged(nid=0, type=kind, managed_pages=pages) for kind, pages in pairs)


def without(zones, index, held):
    """Return zones while some pages of one were held."""
    early = list(zones)
    left = zones[index].managed_pages - held
    early[index] = attrs.evolve(zones[index], managed_pages=left)
    return tuple(early)


def marks_of(zones, kbytes):
    """Return min, low and high of the populated zones, by index."""
    computed = setup_per_zone_wmarks(zones, min_free_kbytes=kbytes)
    return {
        index: (mark.wmark_min, mark.wmark_low, mark.wmark_high)
        for index, mark in enumerate(computed)
        if zones[index].managed_pages
    }


machines = st.tuples(
    st.integers(3800, 4000), st.integers(200_000, 1_040_000), st.integers(0, 4_000_000)
).map(lambda sizes: zones_of(*sizes, 0))


@given(zones=machines, held=st.integers(0, 60_000))
def test_what_khugepaged_set_is_found(zones, held):
    """The minima add up to less than it; it is told all the same, whatever was held."""
    kbytes = khugepaged_min_free_kbytes(zones, [0] * 4)
    minima = {i: row[0] for i, row in marks_of(without(zones, 1, held), kbytes).items()}
    assert inferred_min_free_kbytes(zones, minima) == kbytes


@given(zones=machines, kbytes=st.integers(2000, 400_000))
def test_what_is_inferred_gives_the_minima_but_for_rounding(zones, kbytes):
    """A page a zone at most."""
    marks = marks_of(zones, kbytes)
    found = inferred_min_free_kbytes(zones, {i: row[0] for i, row in marks.items()})
    again = marks_of(zones, found)
    assert all(abs(again[i][0] - marks[i][0]) <= len(marks) for i in marks)


@pytest.mark.parametrize(("kbytes", "found"), [(65536, 65536), (65539, 65536), (70_000, 69_996)])
def test_a_round_number_is_likelier(kbytes, found):
    """Where khugepaged's does not fit: a multiple of 1024 within rounding, else the least."""
    zones = zones_of(3977, 995_127, 1_042_033, 0)
    minima = {i: row[0] for i, row in marks_of(zones, kbytes).items()}
    assert inferred_min_free_kbytes(zones, minima) == found


@given(zones=machines, held=st.integers(0, 16_000))
def test_pages_that_were_held_are_found(zones, held):
    """The watermarks of a zone that had fewer pages are explained by about so many."""
    kbytes = khugepaged_min_free_kbytes(zones, [0] * 4)
    marks = marks_of(without(zones, 1, held), kbytes)
    found = held_for_marks(
        zones, marks, candidates=[1], min_free_kbytes=kbytes, watermark_scale_factor=10
    )
    assert found is not None
    assert marks_of(without(zones, found.zone, found.least), kbytes) == marks
    assert found.least - 4 <= held <= found.most + 4


def test_a_page_too_much_is_not_explained():
    """Figures that no number of held pages gives stay open."""
    zones = zones_of(3977, 995_127, 1_042_033, 0)
    marks = marks_of(without(zones, 1, 5000), 67_584)
    marks[2] = (marks[2][0] + 1, *marks[2][1:])
    options = {"candidates": [0, 1, 2], "min_free_kbytes": 67_584, "watermark_scale_factor": 10}
    assert held_for_marks(zones, marks, **options) is None


@given(zones=machines, held=st.tuples(st.integers(0, 60_000), st.integers(0, 60_000)))
def test_reserves_are_explained(zones, held):
    """What was held of two zones: fewer pages than that give the same reserves."""
    held = (held[0], min(held[1], zones[2].managed_pages // 2))
    early = without(without(zones, 1, held[0]), 2, held[1])
    rows = setup_per_zone_lowmem_reserve(early, RATIO)
    wanted = {i: rows[i] for i in range(4) if zones[i].managed_pages}
    found = held_for_reserve(zones, wanted, RATIO)
    assert found is not None
    assert found[1] <= held[0]
    assert sum(found) <= sum(held)


def test_reserves_that_contradict_each_other_are_not_explained():
    """A zone cannot be smaller below DMA32 than below DMA."""
    zones = zones_of(3977, 995_127, 1_042_033, 0)
    rows = dict(enumerate(setup_per_zone_lowmem_reserve(zones, RATIO)))
    rows[1] = (0, 0, rows[1][2] - 100, rows[1][3] - 100)
    assert held_for_reserve(zones, rows, RATIO) is None
