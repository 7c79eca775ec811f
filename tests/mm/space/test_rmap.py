"""Reverse mapping and copy on write: who maps a page, and what reclaim and fork do to it."""

import numpy as np
import pytest

from kernelsim.mm.core.mem import (
    PG_anon_exclusive,
    PG_dirty,
    PG_swapcache,
)
from kernelsim.mm.core.vmstat import NR_ANON_PAGES, PGREUSE
from kernelsim.mm.space.memory import FAULT_WP, fault_run
from kernelsim.mm.space.pgtable import (
    MM_ANONPAGES,
    MM_SWAPENTS,
    is_swap_pte,
    pte_at,
    pte_pfn,
    pte_swap_slot,
)
from kernelsim.mm.space.rmap import folio_referenced, try_to_unmap
from kernelsim.mm.space.wp_page import wp_page_copy, wp_page_reuse
from kernelsim.mm.space.zap import unmap_range
from tests.table_box import NO_MARKS, TableBox, none_cleared

ACCESSED, DIRTY, RW = 0x20, 0x40, 0x2


class Box(TableBox):
    """Page tables that are shared, swapped out and unmapped."""

    def swap_cache(self, pfn: int, slot: int) -> None:
        """Give a page a slot."""
        self.mem.pages.flags[pfn] |= PG_swapcache
        self.mem.pages.private[pfn] = slot

    def unmap(self, mm: int, vpn: int, nr: int) -> list[int]:
        """Unmap a range; return the pages nobody maps any more."""
        out = np.zeros(64, np.int64)
        args = (*self.state, mm, vpn, nr, *NO_MARKS, out, out.copy(), none_cleared())
        n, _, _, behind = unmap_range(*args)
        assert behind == vpn + nr
        return out[:n].tolist()


@pytest.fixture
def box() -> Box:
    """Return an empty machine."""
    return Box()


def test_referenced_counts_and_forgets(box: Box) -> None:
    """A touched page is referenced once; looked at again it is not."""
    mm = box.new_mm()
    pfn = box.map(mm, 600, 1)[0]
    assert folio_referenced(*box.state, pfn) == (1, False)
    assert pte_at(*box.state, mm, 600) & ACCESSED == 0
    assert folio_referenced(*box.state, pfn) == (0, False)
    assert folio_referenced(*box.state, box.take(1)[0]) == (0, False)


def test_unmap_leaves_the_swap_slot_and_the_dirty_flag(box: Box) -> None:
    """try_to_unmap writes the slot into the entry, keeps dirt on the page, and moves the counts."""
    mm = box.new_mm()
    pfn = box.map(mm, 600, 1)[0]
    box.swap_cache(pfn, 17)
    assert try_to_unmap(*box.state, pfn)
    pte = pte_at(*box.state, mm, 600)
    assert is_swap_pte(pte)
    assert pte_swap_slot(pte) == 17
    assert box.mem.pages.flags[pfn] & PG_dirty
    assert box.mem.pages.mapcount[pfn] == 0
    mms = box.registry.mms
    assert (mms.rss[mm, MM_ANONPAGES], mms.rss[mm, MM_SWAPENTS]) == (0, 1)
    assert (mms.hiwater_rss[mm], mms.tlb_flush_batched[mm]) == (1, 1)
    assert box.mem.node_stat[0, NR_ANON_PAGES] == 0
    assert box.faults() == []


def test_clean_page_stays_clean_when_unmapped(box: Box) -> None:
    """Without a dirty entry the page need not be written again."""
    mm = box.new_mm()
    pfn = box.map(mm, 600, 1)[0]
    box.set_pte(mm, 600, pte_at(*box.state, mm, 600) & ~DIRTY)
    box.swap_cache(pfn, 17)
    assert try_to_unmap(*box.state, pfn)
    assert not box.mem.pages.flags[pfn] & PG_dirty


def test_page_without_a_slot_is_not_unmapped(box: Box) -> None:
    """There is nowhere to find it again, so nothing happens."""
    mm = box.new_mm()
    pfn = box.map(mm, 600, 1)[0]
    assert not try_to_unmap(*box.state, pfn)
    assert pte_pfn(pte_at(*box.state, mm, 600)) == pfn
    assert box.faults() == []


def test_write_to_a_shared_page_copies_and_the_last_one_reuses(box: Box) -> None:
    """The first writer copies; then the page is the other's alone and is made writable again."""
    parent = box.new_mm()
    old = box.map(parent, 0, 3)
    child = box.share(parent, 0, 3)
    assert fault_run(*box.state, child, 0, 3, 1, True) == (FAULT_WP, 3)
    assert wp_page_reuse(*box.state, child, 0, 3, 1) == 0
    new, out = box.take(3), np.zeros(3, np.int64)
    assert wp_page_copy(*box.state, child, 0, 3, 1, new, 3, 99, out) == (3, 0)
    assert box.mem.pages.token[new].tolist() == [99] * 3
    assert box.mem.pages.token[old].tolist() == [7] * 3
    assert box.mem.node_stat[0, NR_ANON_PAGES] == 6
    assert fault_run(*box.state, parent, 0, 3, 1, True) == (FAULT_WP, 3)
    assert wp_page_reuse(*box.state, parent, 0, 3, 1) == 3
    assert box.mem.vm_event[PGREUSE] == 3
    assert pte_at(*box.state, parent, 0) & RW
    assert box.faults() == []


def test_reuse_of_a_page_whose_owner_is_gone(box: Box) -> None:
    """When the parent leaves, the child becomes the owner and may write without a copy."""
    parent = box.new_mm()
    pfns = box.map(parent, 0, 2)
    child = box.share(parent, 0, 2)
    assert box.unmap(parent, 0, 2) == []
    assert box.mem.pages.mapping[pfns].tolist() == [child] * 2
    assert wp_page_reuse(*box.state, child, 0, 2, 1) == 2
    assert box.faults() == []
    assert box.unmap(child, 0, 2) == pfns.tolist()


def test_copy_of_a_page_only_the_swap_cache_shares_gives_it_back(box: Box) -> None:
    """Copying the last mapping returns the old page to the caller."""
    mm = box.new_mm()
    pfn = box.map(mm, 0, 1)[0]
    box.mem.pages.flags[pfn] &= np.uint32(~PG_anon_exclusive & 0xFFFFFFFF)
    box.swap_cache(pfn, 5)
    box.set_pte(mm, 0, pte_at(*box.state, mm, 0) & ~RW)
    assert wp_page_reuse(*box.state, mm, 0, 1, 1) == 0
    out = np.zeros(1, np.int64)
    assert wp_page_copy(*box.state, mm, 0, 1, 1, box.take(1), 1, 8, out) == (1, 1)
    assert out[0] == pfn
    assert box.mem.pages.mapping[pfn] == 0
    assert box.faults() == []


def test_shared_page_is_found_in_the_whole_family(box: Box) -> None:
    """References of parent, child and grandchild count; reclaim unmaps all three."""
    parent = box.new_mm()
    pfn = box.map(parent, 70, 1)[0]
    child = box.share(parent, 70, 1)
    grandchild = box.share(child, 70, 1)
    for mm in (child, grandchild):
        box.set_pte(mm, 70, pte_at(*box.state, mm, 70) | ACCESSED)
    assert folio_referenced(*box.state, pfn) == (3, False)
    box.swap_cache(pfn, 9)
    assert try_to_unmap(*box.state, pfn)
    for mm in (parent, child, grandchild):
        assert pte_swap_slot(pte_at(*box.state, mm, 70)) == 9
        assert box.registry.mms.rss[mm].tolist() == [0, 0, 1, 0]
    assert box.faults() == []


def test_stranger_at_the_same_address_is_left_alone(box: Box) -> None:
    """A family member that maps another page there is not counted and not unmapped."""
    parent = box.new_mm()
    pfn = box.map(parent, 70, 1)[0]
    child = box.share(parent, 70, 1)
    new, out = box.take(1), np.zeros(1, np.int64)
    wp_page_copy(*box.state, child, 70, 1, 1, new, 1, 99, out)
    assert folio_referenced(*box.state, pfn) == (1, False)
    assert pte_at(*box.state, child, 70) & ACCESSED
