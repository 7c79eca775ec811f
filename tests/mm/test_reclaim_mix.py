"""Any mix of faults, reclaim, swap and unmapping keeps contents and every invariant."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kernelsim.check.lru import check_lru
from kernelsim.check.swap import check_swap, check_swap_entries
from kernelsim.mm.core.mem import (
    LRU_ACTIVE_ANON,
    LRU_INACTIVE_ANON,
    Z_FREE,
    PG_swapbacked,
    PG_uptodate,
)
from kernelsim.mm.core.vmstat import NR_ANON_PAGES, NR_FILE_PAGES, NR_SWAPCACHED
from kernelsim.mm.reclaim.reclaim_batch import STAT_NR_PUTBACK
from kernelsim.mm.reclaim.vmscan_list import isolate_lru_folios
from kernelsim.mm.space.pgtable import _PAGE_PRESENT, _PAGE_RW, pte_pfn, pte_swap_slot
from kernelsim.mm.space.wp_page import wp_page_reuse
from kernelsim.mm.space.zap import unmap_range
from kernelsim.mm.swap.free_swap import free_swap_and_cache, free_swap_cache, release_pages
from kernelsim.mm.swap.swap_area import SS_FREE, SS_TOTAL
from tests.free_pages import free_unref_pages
from tests.table_box import NO_MARKS, none_cleared

BASE = 512
NR_VPNS = 48
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["write", "read", "scan", "age", "done", "unmap", "held", "idle"]),
        st.integers(0, NR_VPNS - 1),
        st.integers(1, 12),
    ),
    min_size=5,
    max_size=60,
)


class Mix:
    """The machine, and what each page must hold."""

    def __init__(self, box):
        self.box = box
        self.contents = {}
        self.token = 1000

    def bring_in(self, vpn, *, write, token):
        """Fault one page in that is on swap, reading its slot if it is not cached."""
        box = self.box
        if box.swap_in(vpn, 1, write=write, token=token)[0] == 0:
            box.read([int(pte_swap_slot(box.pte(vpn)))])
            assert box.swap_in(vpn, 1, write=write, token=token)[0] == 1

    def write(self, vpn, nr):
        """Write to pages, whatever state they are in."""
        box = self.box
        for page in range(vpn, min(vpn + nr, BASE + NR_VPNS)):
            self.token += 1
            pte = box.pte(page)
            if pte == 0:
                box.fault(page, 1, token=self.token)
            elif not pte & _PAGE_PRESENT:
                self.bring_in(page, write=True, token=self.token)
            else:
                if not pte & _PAGE_RW:
                    assert wp_page_reuse(box.mem, box.pool.pt, box.mms, 1, page, 1, 1) == 1
                box.use(page)
                box.mem.pages.token[pte_pfn(box.pte(page))] = self.token
            self.contents[page] = self.token

    def read(self, vpn, nr):
        """Read pages that were written and compare."""
        for page in range(vpn, min(vpn + nr, BASE + NR_VPNS)):
            if page in self.contents:
                if not self.box.pte(page) & _PAGE_PRESENT:
                    self.bring_in(page, write=False, token=0)
                self.box.use(page)
                self.compare(page)

    def compare(self, vpn):
        """Hold a resident page against the model."""
        pfn = int(pte_pfn(self.box.pte(vpn)))
        assert self.box.mem.pages.flags[pfn] & PG_uptodate
        assert self.box.mem.pages.token[pfn] == self.contents[vpn]

    def unmap(self, vpn, nr):
        """Unmap pages and free what is theirs."""
        box = self.box
        nr = min(nr, BASE + NR_VPNS - vpn)
        pfns, slots, out = np.zeros(64, np.int64), np.zeros(64, np.int64), np.zeros(64, np.int64)
        space = (box.mem, box.pool.pt, box.mms)
        n_pfns, n_slots, _, _ = unmap_range(
            *space, 1, vpn, nr, *NO_MARKS, pfns, slots, none_cleared()
        )
        for unused, nr_unused in (
            (out, free_swap_and_cache(box.mem, box.swap, slots, n_slots, out)),
            (pfns, free_swap_cache(box.mem, box.swap, pfns, n_pfns, pfns)),
        ):
            free_unref_pages(box.mem, 0, unused, release_pages(box.mem, unused, nr_unused, unused))
        for page in range(vpn, vpn + nr):
            self.contents.pop(page, None)

    def held(self, vpn, nr):
        """Let a reclaimer hold a batch while pages are written, read and unmapped."""
        box = self.box
        isolate_lru_folios(box.mem, 0, LRU_INACTIVE_ANON, nr, 0, 2, box.batch)
        box.batch.stat[STAT_NR_PUTBACK] = 0
        self.write(vpn, 1)
        self.read(BASE + (vpn * 7) % NR_VPNS, 2)
        self.unmap(BASE + (vpn * 5) % NR_VPNS, 2)
        assert check_lru(box.mem) == []
        box.shrink()
        self.unmap(BASE + (vpn * 3) % NR_VPNS, 2)
        box.putback()

    def step(self, name, vpn, nr):
        """Do one step."""
        if name == "scan":
            self.box.scan(nr)
        elif name == "age":
            self.box.scan_active(nr)
        elif name == "idle":
            self.box.forget_use(nr)
        elif name == "done":
            self.box.end_writes()
        else:
            getattr(self, name)(BASE + vpn, nr)
        box = self.box
        assert check_lru(box.mem) == []
        assert check_swap(box.mem, box.swap) == []
        assert check_swap_entries(box.mem, box.pool.pt, box.mms, box.swap) == []


@pytest.mark.mission("R4")
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS, swap_pages=st.sampled_from([0, 20, 60, 600]))
def test_contents_survive_any_mix(reclaim_box, steps, swap_pages):
    """Every page holds what was last written to it, and at the end nothing is lost."""
    mix = Mix(reclaim_box(swap_pages=swap_pages))
    box = mix.box
    free = box.mem.zone[0, Z_FREE] + box.mem.pcp_count[0, 0]
    for name, vpn, nr in steps:
        mix.step(name, vpn, nr)
    box.end_writes()
    mix.read(BASE, NR_VPNS)
    mix.unmap(BASE, NR_VPNS)
    while box.pages_of(LRU_INACTIVE_ANON) or box.pages_of(LRU_ACTIVE_ANON):
        box.scan(32)
        box.end_writes()
        box.scan_active(32)
    taken_ahead = box.swap.cpu_slots_left.sum()
    assert box.swap.state[SS_FREE] + taken_ahead == box.swap.state[SS_TOTAL]
    assert not (box.mem.pages.flags & np.uint32(PG_swapbacked)).any()
    assert box.mem.node_stat[0, [NR_ANON_PAGES, NR_SWAPCACHED, NR_FILE_PAGES]].tolist() == [0, 0, 0]
    assert box.mms.rss[1].tolist() == [0, 0, 0, 0]
    assert box.mem.zone[0, Z_FREE] + box.mem.pcp_count[0, 0] == free - box.mms.nr_ptes[1]
