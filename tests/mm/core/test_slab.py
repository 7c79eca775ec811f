"""Tests of slabs: where objects are taken from and freed to, and which slabs come and go."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernelsim.mm.core.slab import (
    has_slab_work,
    kmem_cache_alloc,
    kmem_cache_free,
    slab_gone,
    slab_paid,
    take_empty,
    take_owed,
)
from kernelsim.mm.core.slab_cache import (
    BUFFER_HEAD,
    KMEM_CACHES,
    NR_KMEM_CACHES,
    RADIX_TREE_NODE,
    SB_INUSE,
    SB_OBJECTS,
    SB_ORDER,
    SC_COUNT,
    SC_CPU_COUNT,
    SC_CPU_MAX,
    SC_MIN_PARTIAL,
    SC_NR_INUSE,
    SC_NR_SLABS,
    calculate_order,
    get_order,
    new_slabs,
)


class Box:
    """The caches of one node, whose slabs get their pages at once."""

    def __init__(self, order=None):
        self.slabs = new_slabs(200, 1, 2)
        self.order = order
        self.pfn = 1000

    def settle(self):
        """Pay what is owed, take back what is empty."""
        while has_slab_work(self.slabs):
            if row := take_owed(self.slabs):
                cache = int(self.slabs.row[row, 1])
                usual = calculate_order(KMEM_CACHES[cache].size, 2)
                slab_paid(self.slabs, row, self.pfn, usual if self.order is None else self.order)
                self.pfn += 8
            elif row := take_empty(self.slabs):
                slab_gone(self.slabs, row)

    def alloc(self, cache):
        """Take an object."""
        row = kmem_cache_alloc(self.slabs, cache, 0)
        self.settle()
        return row

    def free(self, cache, row):
        """Give it back."""
        kmem_cache_free(self.slabs, cache, 0, row)
        self.settle()


@pytest.mark.parametrize(
    ("size", "nr_cpus", "order"),
    [(576, 2, 1), (576, 4, 2), (576, 8, 2), (104, 4, 0), (192, 4, 0), (192, 8, 0), (4096, 8, 3)],
)
def test_order_of_slabs(size, nr_cpus, order):
    """Slabs have the pages that slabinfo prints on machines of these sizes."""
    assert calculate_order(size, nr_cpus) == order


def test_least_order():
    """An object needs the fewest pages that hold it."""
    assert [get_order(size) for size in (1, 4096, 4097, 8192, 8193)] == [0, 0, 1, 1, 2]


def test_objects_fill_one_slab_after_the_other():
    """A slab of 8 KiB has room for 14 nodes; then another one is opened."""
    box = Box()
    rows = [box.alloc(RADIX_TREE_NODE) for _ in range(30)]

    assert [rows.count(row) for row in sorted(set(rows))] == [14, 14, 2]


def test_slabs_beyond_the_partial_lists_go():
    """When all objects are freed the short list and min_partial slabs stay, and no more."""
    box = Box()
    rows = [box.alloc(BUFFER_HEAD) for _ in range(39 * 40)]
    own = box.slabs.cache[BUFFER_HEAD]
    assert own[SC_NR_SLABS] == 40

    for row in rows:
        box.free(BUFFER_HEAD, row)

    assert own[SC_NR_INUSE] == 0
    assert own[SC_COUNT] == own[SC_MIN_PARTIAL] == 5
    assert 0 < own[SC_NR_SLABS] <= 1 + own[SC_CPU_MAX] + own[SC_MIN_PARTIAL]


def test_a_smaller_slab_has_fewer_objects():
    """Where there is no block of the usual order a slab of one page holds 7 nodes."""
    box = Box(order=0)

    rows = [box.alloc(RADIX_TREE_NODE) for _ in range(15)]

    assert [rows.count(row) for row in sorted(set(rows))] == [7, 7, 1]


def test_no_room_for_more_slabs():
    """Objects beyond all slabs lie on memory of boot, and come back from there."""
    slabs = new_slabs(1, 1, 1)

    assert kmem_cache_alloc(slabs, RADIX_TREE_NODE, 0) == 0
    kmem_cache_free(slabs, RADIX_TREE_NODE, 0, 0)
    assert slabs.cache[RADIX_TREE_NODE, SC_NR_INUSE] == 0


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(-60, 60), max_size=40), st.integers(0, 2**16))
def test_slabs_count_their_objects(steps, seed):
    """Whatever is taken and freed, each slab has as many objects as its owners hold."""
    box, rng = Box(), np.random.default_rng(seed)
    held = []
    for step in steps:
        for _ in range(abs(step)):
            cache = int(rng.integers(NR_KMEM_CACHES))
            if step > 0:
                held.append((cache, box.alloc(cache)))
            elif held:
                box.free(*held.pop(int(rng.integers(len(held)))))

    rows = box.slabs.row
    found = np.bincount([row for _, row in held], minlength=len(rows))
    assert found.tolist() == rows[:, SB_INUSE].tolist()
    assert (rows[:, SB_INUSE] <= rows[:, SB_OBJECTS]).all()
    live = (rows[:, SB_ORDER] >= 0) & (rows[:, SB_OBJECTS] > 0)
    assert int(live.sum()) == int(box.slabs.cache[:, SC_NR_SLABS].sum())
    assert (box.slabs.cache[:, SC_CPU_COUNT] <= box.slabs.cache[:, SC_CPU_MAX]).all()
