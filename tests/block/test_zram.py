"""Tests of what a zram disk holds, and in how many pages."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from kernelsim.block.zram import ZramStore, size_class
from kernelsim.units import PAGE_SIZE


def test_classes_and_zspages_are_those_of_zsmalloc():
    """Sizes go up by 16; a zspage has as many pages as waste least."""
    assert size_class(1) == (32, 1)
    assert size_class(2056) == (2064, 4)  # seven objects in four pages
    assert size_class(2048)[0] == 2048
    assert size_class(PAGE_SIZE) == (PAGE_SIZE, 1)


def test_pages_of_zeros_take_no_memory_and_large_ones_a_whole_page():
    """Both are told in mm_stat."""
    store = ZramStore(900)
    store.put(1, 0, ())
    assert store.room(0) == 0
    assert store.room(7) == 1
    store.put(2, 7, (50,))
    assert store.mm_stat() == (2 * PAGE_SIZE, PAGE_SIZE, PAGE_SIZE, 0, PAGE_SIZE, 1, 0, 1, 1)
    assert store.drop(2) == (50,)
    assert store.drop(1) == ()
    assert store.mm_stat()[:3] == (0, 0, 0)


@given(st.integers(1, 1000), st.lists(st.tuples(st.booleans(), st.integers(0, 30)), max_size=120))
def test_pages_are_never_lost_and_never_shared_by_too_many(permille, steps):
    """As many as are given come back when all is dropped; no zspage holds more than it can."""
    store, numbers, given_pages, back = ZramStore(permille), itertools.count(1), set(), set()
    for puts, slot in steps:
        if puts and slot not in store.objects:
            pfns = tuple(next(numbers) for _ in range(store.room(1)))
            given_pages |= set(pfns)
            store.put(slot, 1, pfns)
        elif not puts and slot in store.objects:
            back |= set(store.drop(slot))
        size = size_class(store.object_size)[0]
        assert len(store.objects) * size <= max(1, store.pages) * PAGE_SIZE
        assert store.pages == len(given_pages) - len(back)
    for slot in list(store.objects):
        back |= set(store.drop(slot))
    assert back == given_pages
