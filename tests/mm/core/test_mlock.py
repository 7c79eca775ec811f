"""Tests of pages locked in memory: the mark, the count, the list."""

import numpy as np
import pytest

from kernelsim.mm.core import mem as mem_module
from kernelsim.mm.core.mem import (
    LRU_INACTIVE_ANON,
    LRU_UNEVICTABLE,
    MLOCK_COUNT_MASK,
    PG_isolated,
    PG_mlocked,
)
from kernelsim.mm.core.mlock import (
    mlock_count,
    mlock_folio,
    mlock_folios,
    mlock_new_folio,
    munlock_folios,
)
from kernelsim.mm.core.swap import folio_add_lru, lruvec_del_folio
from kernelsim.mm.core.vmstat import (
    NR_MLOCK,
    NR_UNEVICTABLE,
    UNEVICTABLE_PGS_CULLED,
    UNEVICTABLE_PGS_MUNLOCKED,
    UNEVICTABLE_PGS_RESCUED,
    UNEVICTABLE_PGS_STRANDED,
)
from tests.reclaim_box import ReclaimBox


@pytest.fixture
def box():
    """Return a box with four anonymous pages on their list."""
    box = ReclaimBox()
    box.pages = box.fault(0x1000, 4)
    return box


def lock(box, pfns):
    """Mark pages and move them."""
    for pfn in pfns.tolist():
        mlock_folio(box.mem, pfn)
    mlock_folios(box.mem, pfns, len(pfns))


def test_a_marked_page_moves_to_the_unevictable_list(box):
    """Under lru_lock, not before; it is counted once however often it is locked."""
    mem, pages = box.mem, box.pages
    mlock_folio(mem, int(pages[0]))
    assert box.pages_of(LRU_UNEVICTABLE) == []
    lock(box, pages[:2])
    lock(box, pages[:1])
    assert sorted(box.pages_of(LRU_UNEVICTABLE)) == sorted(pages[:2].tolist())
    assert [mlock_count(mem, int(pfn)) for pfn in pages[:3]] == [2, 1, 0]
    assert mem.zone_stat[0, NR_MLOCK] == 2
    assert mem.node_stat[0, NR_UNEVICTABLE] == 2
    assert mem.vm_event[UNEVICTABLE_PGS_CULLED] == 2


def test_a_page_stays_until_its_last_lock_is_off(box):
    """Then it goes back in front of the inactive list."""
    mem, page = box.mem, box.pages[:1]
    lock(box, page)
    lock(box, page)
    munlock_folios(mem, page, 1)
    assert box.pages_of(LRU_UNEVICTABLE) == page.tolist()
    munlock_folios(mem, page, 1)
    assert box.pages_of(LRU_INACTIVE_ANON)[0] == page[0]
    assert mem.zone_stat[0, NR_MLOCK] == 0
    assert mem.vm_event[UNEVICTABLE_PGS_MUNLOCKED] == mem.vm_event[UNEVICTABLE_PGS_RESCUED] == 1


def test_a_page_off_its_list_comes_to_the_unevictable_when_it_is_put_back(box):
    """Its count is not known then; it is unlocked by one munlock, wherever it is."""
    mem, pfn = box.mem, int(box.pages[0])
    lruvec_del_folio(mem, pfn)
    mem.pages.flags[pfn] |= np.uint32(PG_isolated)
    lock(box, box.pages[:1])
    assert box.pages_of(LRU_UNEVICTABLE) == []
    mem.pages.flags[pfn] &= ~np.uint32(PG_isolated)
    folio_add_lru(mem, pfn)
    assert box.pages_of(LRU_UNEVICTABLE) == [pfn]
    assert mlock_count(mem, pfn) == 0
    lruvec_del_folio(mem, pfn)
    munlock_folios(mem, box.pages[:1], 1)
    assert mem.vm_event[UNEVICTABLE_PGS_STRANDED] == 1
    assert not mem.pages.flags[pfn] & np.uint32(PG_mlocked)
    folio_add_lru(mem, pfn)
    assert mem.vm_event[UNEVICTABLE_PGS_RESCUED] == 1


def test_more_locks_than_can_be_counted_leave_the_flags_alone(box):
    """The count ends at 15; the lock that takes it to 0 is the last one known."""
    mem, page = box.mem, box.pages[:1]
    pfn = int(page[0])
    lock(box, page)
    flags = int(mem.pages.flags[pfn]) & ~MLOCK_COUNT_MASK
    for _ in range(70):
        lock(box, page)
    assert mlock_count(mem, pfn) == 15
    assert int(mem.pages.flags[pfn]) & ~MLOCK_COUNT_MASK == flags
    for _ in range(14):
        munlock_folios(mem, page, 1)
    assert box.pages_of(LRU_UNEVICTABLE) == [pfn]
    munlock_folios(mem, page, 1)
    assert box.pages_of(LRU_UNEVICTABLE) == []
    assert mem.pages.flags[pfn] & np.uint32(PG_mlocked | MLOCK_COUNT_MASK) == 0


def test_no_flag_lies_among_the_bits_of_the_count():
    """Flags and mlock_count share a column."""
    flags = {name: flag for name, flag in vars(mem_module).items() if name.startswith("PG_")}
    assert len(flags) > 20
    assert [name for name, flag in flags.items() if flag & MLOCK_COUNT_MASK] == []


def test_a_new_page_has_its_lock_from_the_start(box):
    """It goes from the folio_batch to the unevictable list with a count of one."""
    mem = box.mem
    pfn = int(box.pages[0])
    lruvec_del_folio(mem, pfn)
    mlock_new_folio(mem, pfn)
    folio_add_lru(mem, pfn)
    assert box.pages_of(LRU_UNEVICTABLE) == [pfn]
    assert mlock_count(mem, pfn) == 1
