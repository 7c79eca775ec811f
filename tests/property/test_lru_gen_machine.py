"""Generations against plain Python lists: every operation, in any order."""

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from kernelsim.check.lru import check_lru
from kernelsim.mm.core.lru_gen import LG_MAX_SEQ, LG_MIN_SEQ, LG_NR_ISOLATED, LRU_GEN_CORE
from kernelsim.mm.core.mem import PG_active, PG_swapbacked, PG_swapcache
from kernelsim.mm.core.swap import lru_add, lruvec_del_folio
from kernelsim.mm.reclaim.lru_gen_aging import lru_gen_change_state, try_to_inc_min_seq
from kernelsim.mm.reclaim.lru_gen_evict import scan_folios
from kernelsim.mm.reclaim.lru_gen_walk import new_mm_walk, promote, reset_batch_size
from kernelsim.mm.reclaim.reclaim_batch import (
    SHRINK_IO,
    SHRINK_MAY_UNMAP,
    SHRINK_MAY_WRITEPAGE,
    STAT_NR_TAKEN,
)
from tests.lru_gen_box import LruGenBox

HOW = SHRINK_IO | SHRINK_MAY_UNMAP | SHRINK_MAY_WRITEPAGE
KINDS = {"anon": PG_swapbacked | PG_swapcache, "new anon": PG_swapbacked, "file": 0}
NO_TIER_SPARED = 3


class LruGenMachine(RuleBasedStateMachine):
    """Model: by type and sequence number a list of pages, oldest first, and what was promoted."""

    @initialize()
    def build(self):
        """Begin with generations 0 to 3."""
        self.box = LruGenBox(nr_pages=1024)
        self.mem = self.box.mem
        self.walk = new_mm_walk()
        self.max_seq, self.min_seq = 3, [0, 0]
        self.lists = {}  # (type, seq) -> pages in the order they will be met
        self.promoted = {}  # page -> seq
        self.left = self.box.take(200).tolist()

    def at(self, file, seq):
        """Return the list of a generation."""
        return self.lists.setdefault((file, seq), [])

    def find(self, pfn):
        """Return type and list of a page."""
        return next(place for place, pfns in self.lists.items() if pfn in pfns)

    def some(self):
        """Return all pages that are on lists."""
        return sorted(pfn for pfns in self.lists.values() for pfn in pfns)

    @rule(kind=st.sampled_from(sorted(KINDS)), active=st.booleans(), nr=st.integers(3, 8))
    def add(self, kind, active, nr):
        """New pages come to the young end of the generation of their heat."""
        pfns, self.left = self.left[:nr], self.left[nr:]
        self.mem.pages.flags[pfns] = KINDS[kind] | (PG_active if active else 0)
        lru_add(self.mem, np.array(pfns, np.int64), len(pfns))
        file = int(kind == "file")
        seq = self.min_seq[file] + (kind == "new anon")
        self.at(file, self.max_seq if active else seq).extend(pfns)

    @precondition(lambda self: self.some())
    @rule(data=st.data())
    def use(self, data):
        """A walk promotes pages; they stay where they are."""
        for pfn in data.draw(st.lists(st.sampled_from(self.some()), max_size=6, unique=True)):
            promote(self.mem, 0, pfn, self.max_seq % 4, self.walk)
            self.promoted[pfn] = self.max_seq

    @precondition(lambda self: self.some())
    @rule(data=st.data())
    def delete(self, data):
        """A page is freed."""
        pfn = data.draw(st.sampled_from(self.some()))
        lruvec_del_folio(self.mem, pfn)
        self.mem.pages.flags[pfn] = 0
        self.lists[self.find(pfn)].remove(pfn)
        self.promoted.pop(pfn, None)
        self.left.append(pfn)

    @rule()
    def count(self):
        """What walks have promoted is counted."""
        reset_batch_size(self.mem, 0, self.walk)

    @rule(file=st.integers(0, 1))
    def evict(self, file):
        """The oldest go, but for those promoted, which come to the young end of theirs."""
        self.box.batch.stat[:] = 0
        scan_folios(self.mem, 0, file, NO_TIER_SPARED, 0, HOW, self.box.batch)
        nr = int(self.box.batch.stat[STAT_NR_TAKEN])
        taken = self.box.batch.folios[:nr].tolist()
        expected = []
        oldest = self.at(file, self.min_seq[file])
        if self.max_seq - self.min_seq[file] + 1 > 2:
            while oldest and len(expected) < 64:
                pfn = oldest[0]
                seq = self.promoted.get(pfn, self.min_seq[file])
                if seq != self.min_seq[file]:
                    oldest.pop(0)
                    del self.promoted[pfn]
                    self.at(file, seq).append(pfn)
                else:
                    oldest.pop(0)
                    expected.append(pfn)
        assert taken == expected
        for pfn in taken:
            self.mem.pages.flags[pfn] = 0
            self.promoted.pop(pfn, None)
            self.left.append(pfn)
        self.mem.lru_gen[0, LG_NR_ISOLATED] = 0

    @rule()
    def age(self):
        """A new generation; the oldest of four goes into the next, whose old end has it turned."""
        reset_batch_size(self.mem, 0, self.walk)
        self.box.age()
        for file in (0, 1):
            if self.max_seq - self.min_seq[file] + 1 == 4:
                self.merge(file)
        self.max_seq += 1

    def merge(self, file):
        """Move the oldest generation into the next, or to where pages were promoted to."""
        oldest = self.lists.pop((file, self.min_seq[file]), [])
        self.min_seq[file] += 1
        for pfn in oldest:
            seq = max(self.promoted.pop(pfn, 0), self.min_seq[file])
            self.at(file, seq).insert(0, pfn)

    @rule()
    def drop_empty(self):
        """Oldest generations without pages go, those of both types together."""
        try_to_inc_min_seq(self.mem, 0, True)
        firsts = []
        for file in (0, 1):
            seq = self.min_seq[file]
            while seq + 2 <= self.max_seq and not self.lists.get((file, seq)):
                seq += 1
            firsts.append(seq)
        anon = min(firsts)
        self.min_seq = [anon, max(anon, self.min_seq[1])]

    @rule()
    def switch_off_and_on(self):
        """All pages are still there, the active ones young."""
        reset_batch_size(self.mem, 0, self.walk)
        lru_gen_change_state(self.mem, 0)
        assert check_lru(self.mem) == []
        lru_gen_change_state(self.mem, LRU_GEN_CORE)
        self.promoted.clear()
        pfns = self.some()
        self.lists.clear()
        for seq in range(min(self.min_seq), self.max_seq + 1):
            for file in (0, 1):
                found = self.box.pages_of_seq(seq, file)[::-1]
                if found:
                    self.lists[file, seq] = found
        assert self.some() == pfns

    @invariant()
    def agrees(self):
        """Lists, numbers and counters are those of the model."""
        if not hasattr(self, "box"):
            return
        state = self.mem.lru_gen[0]
        assert state[LG_MAX_SEQ] == self.max_seq
        assert state[LG_MIN_SEQ : LG_MIN_SEQ + 2].tolist() == self.min_seq
        for (file, seq), pfns in self.lists.items():
            if seq < self.min_seq[file]:
                assert pfns == []
                continue
            assert self.box.pages_of_seq(seq, file)[::-1] == pfns
        assert check_lru(self.mem) == []


TestLruGenMachine = LruGenMachine.TestCase
TestLruGenMachine.settings = settings(max_examples=40, stateful_step_count=40, deadline=None)
