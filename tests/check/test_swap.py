"""The checker of swap finds every kind of damage."""

import numpy as np
import pytest

from kernelsim.check.swap import check_swap, check_swap_entries
from kernelsim.config.machine import ZoneSpec
from kernelsim.config.zones import ZoneType
from kernelsim.mm.boot.mm_init import init_zone, new_mem
from kernelsim.mm.core.mem import PG_dirty, PG_swapbacked, PG_swapcache, PG_uptodate
from kernelsim.mm.core.vmstat import NR_SWAPCACHED
from kernelsim.mm.space.mm_registry import make_mms
from kernelsim.mm.space.page_table_pool import PageTablePool
from kernelsim.mm.space.pgtable import (
    MM_SWAPENTS,
    install_tables,
    mk_pte,
    mk_swap_pte,
    pgd_alloc,
)
from kernelsim.mm.swap.swap_area import CL_COUNT, CL_FREE, SA_INUSE, SS_FREE, swapon
from kernelsim.mm.swap.swap_state import add_to_swap_cache
from kernelsim.mm.swap.swapfile import get_swap_slots, put_swap_slot, swap_duplicate
from tests.table_box import set_pte_at

FIRST = 1024
VPN = 4096
MM = 1


class SwapState:
    """Slots 256 and 257 with two cached pages; entries of two pages name them."""

    def __init__(self):
        self.mem = new_mem(nr_pfns=2048, nr_nodes=1, nr_zone_types=1, nr_cpus=1)
        spec = ZoneSpec(
            type=ZoneType.ZONE_NORMAL,
            start_pfn=FIRST,
            spanned_pages=1024,
            present_pages=1024,
            managed_pages=1024,
        )
        init_zone(self.mem, 0, spec, 0, [(FIRST, 2048)])
        self.swap = swapon([1024], [-2], 1)
        self.pool = PageTablePool()
        self.mms = make_mms(2)
        pgd_alloc(self.mem, self.pool.pt, self.mms, MM, FIRST + 100)
        tables = np.arange(FIRST + 101, FIRST + 104)
        install_tables(self.mem, self.pool.pt, self.mms, MM, VPN, 8, tables, 3)
        self.slots = np.zeros(2, np.int64)
        get_swap_slots(self.swap, 0, 2, self.slots)
        for i in range(2):
            slot = int(self.slots[i])
            self.mem.pages.flags[FIRST + i] = PG_swapbacked | PG_uptodate
            self.mem.pages.token[FIRST + i] = self.swap.token[slot] = 40 + i
            add_to_swap_cache(self.mem, self.swap, FIRST + i, slot)
            swap_duplicate(self.swap, slot, 1)
            self.set_pte(i, mk_swap_pte(slot))
        self.mms.rss[MM, MM_SWAPENTS] = 2

    def set_pte(self, i, pte):
        """Write an entry."""
        set_pte_at(self.mem, self.pool.pt, self.mms, MM, VPN + i, pte)

    def problems(self):
        """Return everything the checker finds."""
        found = check_swap(self.mem, self.swap)
        return found + check_swap_entries(self.mem, self.pool.pt, self.mms, self.swap)


@pytest.fixture
def state():
    """A sound state."""
    return SwapState()


def test_sound_swap_passes(state):
    """Nothing is reported of a state the kernel code made."""
    assert state.problems() == []


def test_changed_content_is_found(state):
    """A clean page must hold what its slot holds; a dirty one need not."""
    state.mem.pages.token[FIRST] = 99
    assert state.problems() == [f"clean pfn {FIRST} holds 99, its slot 256 holds 40"]
    state.mem.pages.flags[FIRST] |= PG_dirty
    assert state.problems() == []


@pytest.mark.parametrize(("dirty", "found"), [(0, 1), (0x40, 0)])
def test_changed_content_of_a_mapped_page_is_found(state, dirty, found):
    """A page mapped only clean must hold what its slot holds; a dirty entry excuses it."""
    state.mem.pages.token[FIRST] = 99
    state.mem.pages.mapcount[FIRST] = 1
    state.set_pte(0, mk_pte(FIRST, 0x25 | dirty))
    state.mms.rss[MM, MM_SWAPENTS] = 1
    state.swap.map[256] -= 1
    assert len(state.problems()) == found


def test_wrong_users_are_found(state):
    """A slot's count must be the number of entries that name it."""
    swap_duplicate(state.swap, 257, 1)
    assert state.problems() == ["slot 257 counts 2 users, 1 entries name it"]


def test_wrong_swap_entries_of_an_mm_are_found(state):
    """MM_SWAPENTS must be the number of swap entries."""
    state.mms.rss[MM, MM_SWAPENTS] = 3
    assert state.problems() == ["mm 1 counts 3 swap entries of 2"]


def test_entry_that_names_a_free_slot_is_found(state):
    """No entry may name a slot nobody took."""
    state.set_pte(3, mk_swap_pte(300))
    state.mms.rss[MM, MM_SWAPENTS] = 3
    assert state.problems() == ["slot 300 counts 0 users, 1 entries name it"]


def test_cache_and_page_must_agree(state):
    """cache_pfn, PG_swapcache, private and SWAP_HAS_CACHE belong together."""
    state.mem.pages.private[FIRST] = 257
    found = state.problems()
    assert f"slot 256 caches pfn {FIRST}, which says 257" in found
    assert f"pfn {FIRST} has PG_swapcache but is not in the cache" in found
    state.mem.pages.private[FIRST] = 256
    state.mem.pages.flags[FIRST] &= ~np.uint32(PG_swapcache)
    assert f"slot 256 caches pfn {FIRST}, which has no PG_swapcache" in state.problems()
    assert "node 0 nr_swapcached is 2, found 1" in state.problems()


def test_hold_without_a_page_is_found(state):
    """SWAP_HAS_CACHE needs a page, and a cached page needs SWAP_HAS_CACHE."""
    state.swap.cache_pfn[256] = 0
    assert "slot 256 has SWAP_HAS_CACHE but no page" in state.problems()
    state.swap.cache_pfn[256] = FIRST
    put_swap_slot(state.swap, 256)
    assert "slot 256 is cached without SWAP_HAS_CACHE" in state.problems()


def test_wrong_totals_are_found(state):
    """Slots in use are counted by area and cluster, free ones over all areas."""
    state.swap.area[0, SA_INUSE] = 5
    state.swap.state[SS_FREE] = 7
    state.swap.cluster[1, CL_COUNT] = 9
    state.mem.node_stat[0, NR_SWAPCACHED] = 4
    assert state.problems() == [
        "area 0: 5 slots in use, found 2",
        "7 of 1023 free, 2 in use",
        "cluster 1 counts 9 slots in use, found 2",
        "node 0 nr_swapcached is 4, found 2",
    ]


def test_lost_free_cluster_is_found(state):
    """Every wholly free cluster is marked and on its area's list."""
    state.swap.cluster[3, CL_FREE] = 0
    assert state.problems() == ["area 0: free clusters [2, 3], marked [2], on list [2, 3]"]


def test_overwritten_header_is_found(state):
    """The first slot of an area is never used."""
    state.swap.map[0] = 1
    assert "area 0: its header is not marked bad" in state.problems()
