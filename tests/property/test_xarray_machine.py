"""Random stores, erasures and marks in the trees of a page cache, held against dictionaries."""

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from kernelsim.mm.core.xarray import (
    NR_MARKS,
    SN_COUNT,
    SN_HEAD,
    SN_TAIL,
    XN_COUNT,
    XN_NEXT,
    XN_NID,
    XN_OFFSET,
    XN_PARENT,
    XN_SHIFT,
    XN_VALUES,
    xa_clear_mark,
    xa_get_mark,
    xa_load,
    xa_next,
    xa_next_marked,
    xa_set_mark,
    xa_store,
)
from kernelsim.mm.core.xarray_pool import XArrayPool

INDEXES = st.one_of(
    st.integers(0, 5), st.integers(60, 70), st.integers(4090, 4100), st.integers(0, 1 << 35)
)
TREES = st.integers(1, 2)
MARKS = st.integers(0, NR_MARKS - 1)


class XArrayMachine(RuleBasedStateMachine):
    """Two trees beside two dictionaries."""

    def __init__(self):
        super().__init__()
        self.pool = XArrayPool(nr_nodes=2)
        self.entries = {1: {}, 2: {}}
        self.marks = {1: set(), 2: set()}  # (index, mark)

    @rule(tree=TREES, index=INDEXES, pfn=st.integers(1, 1 << 31))
    def store_page(self, tree, index, pfn):
        """A page takes the place of what was there, and keeps the marks of a page before it."""
        self.pool.reserve(1)
        old = xa_store(self.pool.xa, tree, index, pfn, index & 1)
        assert old == self.entries[tree].get(index, 0)
        self.entries[tree][index] = pfn

    @rule(tree=TREES, index=INDEXES, shadow=st.one_of(st.just(0), st.integers(-(1 << 60), -1)))
    def evict(self, tree, index, shadow):
        """Nothing or a shadow takes the place of what was there, and has no marks."""
        self.pool.reserve(1)
        old = xa_store(self.pool.xa, tree, index, shadow, 0)
        assert old == self.entries[tree].pop(index, 0)
        if shadow:
            self.entries[tree][index] = shadow
        self.marks[tree] -= {(index, mark) for mark in range(NR_MARKS)}

    @rule(tree=TREES, data=st.data(), mark=MARKS, on=st.booleans())
    def mark_page(self, tree, data, mark, on):
        """Pages get and lose marks."""
        pages = sorted(index for index, entry in self.entries[tree].items() if entry > 0)
        if not pages:
            return
        index = data.draw(st.sampled_from(pages))
        if on:
            xa_set_mark(self.pool.xa, tree, index, mark)
            self.marks[tree].add((index, mark))
        else:
            xa_clear_mark(self.pool.xa, tree, index, mark)
            self.marks[tree].discard((index, mark))

    @rule(tree=TREES, index=INDEXES, length=st.integers(0, 1 << 35), mark=MARKS)
    def look(self, tree, index, length, mark):
        """Searches find the first page, and the first with a mark."""
        last = index + length
        pages = [i for i, e in self.entries[tree].items() if e > 0 and index <= i <= last]
        assert xa_next(self.pool.xa, tree, index, last) == min(pages, default=-1)
        marked = [i for i in pages if (i, mark) in self.marks[tree]]
        assert xa_next_marked(self.pool.xa, tree, index, last, mark) == min(marked, default=-1)

    @invariant()
    def holds_what_was_stored(self):
        """Loads give what was stored; an empty tree has no nodes."""
        xa = self.pool.xa
        for tree, entries in self.entries.items():
            for index, entry in entries.items():
                assert xa_load(xa, tree, index) == entry
                for mark in range(NR_MARKS):
                    assert xa_get_mark(xa, tree, index, mark) == ((index, mark) in self.marks[tree])
            assert bool(xa.root[tree]) == bool(entries)
        if not any(self.entries.values()):
            assert self.pool.nr_in_use() == 0

    @invariant()
    def nodes_agree(self):
        """Counts, parents and the list of nodes with nothing but shadows are as the slots say."""
        xa = self.pool.xa
        in_use = np.flatnonzero(xa.node[:, XN_COUNT])
        assert len(in_use) == self.pool.nr_in_use()
        shadows = {0: set(), 1: set()}
        for row in in_use.tolist():
            node, slots = xa.node[row], xa.slots[row]
            assert node[XN_COUNT] == np.count_nonzero(slots)
            assert node[XN_VALUES] == (slots < 0).sum()
            if node[XN_PARENT]:
                assert xa.slots[node[XN_PARENT], node[XN_OFFSET]] == row
            if node[XN_SHIFT] == 0 and node[XN_COUNT] == node[XN_VALUES]:
                shadows[int(node[XN_NID])].add(row)
        for nid, wanted in shadows.items():
            listed, row = [], int(xa.shadow_nodes[nid, SN_HEAD])
            while row:
                listed.append(row)
                row = int(xa.node[row, XN_NEXT])
            assert set(listed) == wanted
            assert len(listed) == xa.shadow_nodes[nid, SN_COUNT]
            assert xa.shadow_nodes[nid, SN_TAIL] == (listed[-1] if listed else 0)


TestXArray = XArrayMachine.TestCase
TestXArray.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
