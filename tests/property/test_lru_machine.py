"""The LRU lists against plain Python lists: two nodes, every operation, in any order."""

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from kernelsim.check.lru import check_lru
from kernelsim.config.machine import ZoneSpec
from kernelsim.config.zones import ZoneType
from kernelsim.mm.boot.mm_init import init_zone, new_mem
from kernelsim.mm.core.lruvec import new_lruvec
from kernelsim.mm.core.mem import (
    L_HEAD,
    NR_LRU_LISTS,
    PG_active,
    PG_dirty,
    PG_mlocked,
    PG_referenced,
    PG_swapbacked,
    PG_uptodate,
    lru_list,
    zone_of,
)
from kernelsim.mm.core.swap import (
    folio_rotate_reclaimable,
    lru_add,
)
from kernelsim.mm.core.vmstat import NR_MLOCK, PGACTIVATE, PGDEACTIVATE, PGROTATED
from kernelsim.mm.reclaim.reclaim_batch import SHRINK_MAY_UNMAP, STAT_NR_PUTBACK, new_reclaim_batch
from kernelsim.mm.reclaim.vmscan_list import isolate_lru_folios, putback_inactive

PAGES_PER_ZONE = 12  # in the first pages of each zone
STARTS = (1024, 2048, 3072)  # node 0 type 0, node 0 type 1, node 1 type 0
ALL_PFNS = [start + i for start in STARTS for i in range(PAGES_PER_ZONE)]
SOME_PFNS = st.lists(st.sampled_from(ALL_PFNS), min_size=1, max_size=6, unique=True)
START_FLAGS = st.sampled_from(
    [0, PG_swapbacked, PG_active, PG_swapbacked | PG_active, PG_swapbacked | PG_mlocked, PG_dirty]
)


class LruMachine(RuleBasedStateMachine):
    """Model: for each node five lists of pfns, front first, and the set of marked pages."""

    @initialize()
    def build(self):
        """Make two nodes: one with two zone types, one with the lower type only."""
        self.mem = new_mem(nr_pfns=4096, nr_nodes=2, nr_zone_types=2, nr_cpus=1)
        for row, start in zip((0, 1, 2), STARTS, strict=True):
            kind = ZoneType.ZONE_NORMAL if row == 1 else ZoneType.ZONE_DMA32
            spec = ZoneSpec(
                type=kind,
                start_pfn=start,
                spanned_pages=1024,
                present_pages=1024,
                managed_pages=1024,
            )
            init_zone(self.mem, row, spec, row // 2, [(start, start + 1024)])
        self.lruvec = new_lruvec(2)
        self.batch = new_reclaim_batch()
        self.lists = [[[] for _ in range(NR_LRU_LISTS)] for _ in range(2)]
        self.referenced = set()
        self.events = {PGACTIVATE: 0, PGDEACTIVATE: 0, PGROTATED: 0}

    def find(self, pfn):
        """Return node, list number of a page, or None."""
        for nid, lists in enumerate(self.lists):
            for lru, pfns in enumerate(lists):
                if pfn in pfns:
                    return nid, lru
        return None

    def on_lists(self, pfns):
        """Keep the pages that are on a list."""
        return [pfn for pfn in pfns if self.find(pfn)]

    def move(self, pfn, lru, *, tail=False):
        """Move a page to another list of its node."""
        nid, old = self.find(pfn)
        self.lists[nid][old].remove(pfn)
        self.lists[nid][lru].insert(len(self.lists[nid][lru]) if tail else 0, pfn)

    @rule(pfns=SOME_PFNS, flags=START_FLAGS)
    def add(self, pfns, flags):
        """Add pages that are on no list."""
        new = [pfn for pfn in pfns if not self.find(pfn)]
        self.mem.pages.flags[new] = flags | PG_uptodate
        if flags & PG_mlocked:
            for pfn in new:
                self.mem.zone_stat[zone_of(self.mem, pfn), NR_MLOCK] += 1
        lru_add(self.mem, np.array(new, np.int64), len(new))
        lru = 4
        if not flags & PG_mlocked:
            lru = (0 if flags & PG_swapbacked else 2) + bool(flags & PG_active)
        for pfn in new:
            self.lists[pfn >= STARTS[2]][lru].insert(0, pfn)
            self.referenced.discard(pfn)

    @rule(pfns=SOME_PFNS)
    def rotate(self, pfns):
        """Rotate clean evictable pages to the inactive tail."""
        for pfn in self.on_lists(pfns):
            folio_rotate_reclaimable(self.mem, pfn)
            _, lru = self.find(pfn)
            if lru != 4 and not self.mem.pages.flags[pfn] & PG_dirty:
                self.move(pfn, lru & ~1, tail=True)
                self.events[PGROTATED] += 1

    @rule(
        nid=st.integers(0, 1),
        lru=st.sampled_from([0, 2]),
        nr=st.integers(1, 8),
        highest=st.integers(0, 1),
    )
    def isolate_and_put_back(self, nid, lru, nr, highest):
        """Isolate from the tail up to a zone type; all go back to the front, skipped ones too."""
        pfns = self.lists[nid][lru]
        taken, skipped, left = [], [], list(pfns)
        while left and len(taken) < nr:
            pfn = left.pop()
            too_high = highest == 0 and STARTS[1] <= pfn < STARTS[2]
            (skipped if too_high else taken).append(pfn)
        result = isolate_lru_folios(self.mem, nid, lru, nr, highest, SHRINK_MAY_UNMAP, self.batch)
        assert result == (len(taken), len(taken) + len(skipped), len(skipped))
        assert self.batch.folios[: len(taken)].tolist() == taken
        assert check_lru(self.mem) == []
        self.batch.stat[STAT_NR_PUTBACK] = len(taken)
        assert putback_inactive(self.mem, self.lruvec, nid, lru, 0, self.batch) == 0
        self.lists[nid][lru] = taken[::-1] + skipped[::-1] + left

    @invariant()
    def lists_agree(self):
        """Every list has the model's pages in the model's order, and all counters agree."""
        for nid in range(2):
            for lru in range(NR_LRU_LISTS):
                found = []
                pfn = int(self.mem.lists[lru_list(self.mem, nid, lru), L_HEAD])
                while pfn:
                    found.append(pfn)
                    pfn = int(self.mem.pages.next[pfn])
                assert found == self.lists[nid][lru]
        for pfn in self.on_lists(ALL_PFNS):
            assert bool(self.mem.pages.flags[pfn] & PG_referenced) == (pfn in self.referenced)
        for event, count in self.events.items():
            assert self.mem.vm_event[event] == count
        assert check_lru(self.mem) == []


TestLru = LruMachine.TestCase
TestLru.settings = settings(max_examples=25, stateful_step_count=30)
