"""Areas of vmalloc against a naive model, and the tables they need."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernelsim.mm.space.vmalloc import KernelTables, VmapAreas, lazy_max_pages

PAGE = 4096
START, PAGES, LAZY = 0x10000, 40, 12
STEPS = st.lists(st.tuples(st.sampled_from("afp"), st.integers(1, 9)), max_size=40)


@given(STEPS)
def test_areas_are_the_lowest_holes_of_what_is_not_flushed(steps):
    """A model that marks pages one by one gives the same addresses, and says when to flush."""
    areas, pages, used, freed = VmapAreas(START, START + PAGES * PAGE, LAZY), [0] * PAGES, [], []
    for step, number in steps:
        if step == "a":
            align = 1 << number % 3
            fits = [
                at for at in range(0, PAGES - number + 1, align) if not any(pages[at : at + number])
            ]
            address = areas.alloc(number * PAGE, align * PAGE)
            assert address == (START + fits[0] * PAGE if fits else 0)
            if fits:
                pages[fits[0] : fits[0] + number] = [1] * number
                used.append((fits[0], number))
        elif step == "f" and used:
            at, size = used.pop(number % len(used))
            freed.append((at, size))
            is_due = areas.free(START + at * PAGE)
            assert is_due == (sum(size for _, size in freed) > LAZY)
        elif step == "p":
            span = max(a + s for a, s in freed) - min(a for a, _ in freed) if freed else 0
            assert areas.purge() == span
            for at, size in freed:
                pages[at : at + size] = [0] * size
            freed.clear()
        assert areas.nr_lazy == sum(size for _, size in freed)
        assert areas.unpurged() == tuple(
            (START + at * PAGE, START + (at + size) * PAGE) for at, size in freed
        )


def test_tables_come_when_they_are_missing():
    """On 64 bits a PMD and a PTE table, another PTE table behind 2 MiB; they stay."""
    tables = KernelTables(9, 4, 2)
    assert list(tables.missing(510, 4)) == [(2, 0), (1, 0), (1, 1)]
    tables.tables.update({(2, 0): 5, (1, 0): 6, (1, 1): 7})
    tables.map(510, np.array([9, 3, 8, 1]))
    assert tables.ptes == {510: 9, 511: 3, 512: 8, 513: 1}
    with pytest.raises(AssertionError):
        tables.map(513, np.array([4]))
    tables.unmap(510, 4)
    assert (tables.ptes, list(tables.missing(510, 4))) == ({}, [])
    assert list(KernelTables(10, 2, 1).missing(1023, 2)) == [(1, 0), (1, 1)]


def test_more_cpus_flush_less_often():
    """32 MiB times the bits of their number."""
    assert [lazy_max_pages(nr) for nr in (1, 2, 4, 8)] == [8192, 16384, 24576, 32768]
