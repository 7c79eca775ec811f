"""The swap cache: reading pages back, keeping or freeing their slots, and readahead."""

import numpy as np
import pytest

from kernelsim.check.lru import check_lru
from kernelsim.check.swap import check_swap, check_swap_entries
from kernelsim.mm.core.mem import (
    LRU_INACTIVE_ANON,
    PG_dirty,
    PG_isolated,
    PG_locked,
    PG_readahead,
    PG_reclaim,
    PG_swapcache,
    PG_writeback,
)
from kernelsim.mm.core.vmstat import (
    NR_ANON_PAGES,
    NR_FILE_PAGES,
    NR_SWAPCACHED,
    PGPGIN,
    PSWPIN,
    SWAP_RA,
    SWAP_RA_HIT,
    WORKINGSET_REFAULT_ANON,
)
from kernelsim.mm.reclaim.reclaim_batch import STAT_NR_RECLAIMED, STAT_NR_TO_FREE, STAT_NR_TO_WRITE
from kernelsim.mm.reclaim.vmscan_list import isolate_lru_folios
from kernelsim.mm.space.pgtable import (
    _PAGE_DIRTY,
    _PAGE_RW,
    MM_ANONPAGES,
    MM_SWAPENTS,
    pte_swap_slot,
)
from kernelsim.mm.space.zap import unmap_range
from kernelsim.mm.swap.do_swap_page import (
    SWAP_RUN_DONE,
    SWAP_RUN_LOCKED,
    SWAP_RUN_NOT_CACHED,
    SWAP_RUN_NOT_SWAP,
    SWAP_RUN_SHARED,
)
from kernelsim.mm.swap.free_swap import free_swap_and_cache, free_swap_cache, release_pages
from kernelsim.mm.swap.swap_area import SS_FREE, swap_count
from kernelsim.mm.swap.swap_readahead import (
    swap_ra_hit,
    swap_ra_info,
    swapin_nr_pages,
    swapin_slots,
    unpack_ra,
)
from kernelsim.mm.swap.swap_state import begin_swap_read
from kernelsim.mm.swap.swapfile import get_swap_slots, put_swap_slot, swap_duplicate
from tests.table_box import NO_MARKS, none_cleared

BASE = 512


@pytest.fixture
def box(reclaim_box):
    """A machine whose first 8 anonymous pages, with contents 100 …, were swapped out."""
    made = reclaim_box()
    for i in range(8):
        made.fault(BASE + i, 1, token=100 + i)
    made.fault(BASE + 8, 24)
    made.swap_out(8)
    return made


def problems(box):
    """Return what the checkers find."""
    return [
        *check_lru(box.mem),
        *check_swap(box.mem, box.swap),
        *check_swap_entries(box.mem, box.pool.pt, box.mms, box.swap),
    ]


def slots_of(box, vpn, nr):
    """Return the slots that the entries of pages name."""
    return [int(pte_swap_slot(box.pte(vpn + i))) for i in range(nr)]


@pytest.mark.mission("R4")
def test_content_survives_swap(box):
    """Pages read back from swap hold what was written to them before they went out."""
    assert box.swap_in(BASE, 8, write=False)[:2] == (0, SWAP_RUN_NOT_CACHED)
    pfns = box.read(slots_of(box, BASE, 8))
    assert box.swap_in(BASE, 8, write=False)[:2] == (8, SWAP_RUN_DONE)
    assert box.mem.pages.token[pfns].tolist() == [100, 101, 102, 103, 104, 105, 106, 107]
    assert box.mem.vm_event[PSWPIN] == 8
    assert box.mem.vm_event[PGPGIN] == 32
    assert problems(box) == []


def test_read_fault_keeps_the_slot(box):
    """After a read the page is mapped read-only and stays in the swap cache, clean."""
    (slot,) = slots_of(box, BASE, 1)
    (pfn,) = box.read([slot])
    free = box.swap.state[SS_FREE]
    box.swap_in(BASE, 1, write=False)
    assert not box.pte(BASE) & (_PAGE_RW | _PAGE_DIRTY)
    assert box.mem.pages.flags[pfn] & PG_swapcache
    assert not box.mem.pages.flags[pfn] & PG_dirty
    assert swap_count(box.swap, slot) == 0
    assert box.swap.state[SS_FREE] == free
    assert problems(box) == []


def test_page_that_was_only_read_is_freed_without_a_write(box):
    """The second scan of a clean page that still has its slot frees it; nothing is written."""
    (slot,) = slots_of(box, BASE, 1)
    box.read([slot])
    box.swap_in(BASE, 1, write=False)
    for _ in range(24):  # let the others go round first
        box.scan(1)
    assert box.scan(1)[STAT_NR_RECLAIMED] == 0
    for _ in range(24):
        box.scan(1)
    box.writing.clear()
    stat = box.scan(1)
    assert stat[STAT_NR_RECLAIMED] == 1
    assert stat[STAT_NR_TO_WRITE] == 0
    assert slots_of(box, BASE, 1) == [slot]
    assert box.swap.token[slot] == 100


def test_write_fault_frees_the_slot(box):
    """After a write the page is dirty, writable, out of the swap cache and its slot is free."""
    (slot,) = slots_of(box, BASE, 1)
    (pfn,) = box.read([slot])
    free = box.swap.state[SS_FREE]
    box.swap_in(BASE, 1, write=True, token=55)
    assert box.pte(BASE) & (_PAGE_RW | _PAGE_DIRTY) == _PAGE_RW | _PAGE_DIRTY
    assert not box.mem.pages.flags[pfn] & PG_swapcache
    assert box.mem.pages.token[pfn] == 55
    assert box.swap.state[SS_FREE] == free + 1
    assert box.mem.node_stat[0, NR_SWAPCACHED] == 0
    assert problems(box) == []


def test_read_fault_frees_the_slot_when_swap_is_short(box):
    """With less than half of swap free, slots are not kept for clean pages."""
    out = np.zeros(600, np.int64)
    taken = get_swap_slots(box.swap, 0, 600, out)
    (slot,) = slots_of(box, BASE, 1)
    (pfn,) = box.read([slot])
    box.swap_in(BASE, 1, write=False)
    assert not box.mem.pages.flags[pfn] & PG_swapcache
    assert box.mem.pages.flags[pfn] & PG_dirty
    for other in out[:taken]:
        put_swap_slot(box.swap, int(other))
    assert problems(box) == []


def test_write_while_being_written_keeps_the_slot(box):
    """A page under writeback is mapped at once on a write fault but cannot leave the cache yet."""
    pfns = box.fault(BASE + 64, 1)
    box.scan(32)
    for _ in range(3):
        box.scan(32)
    pfn = int(pfns[0])
    assert box.mem.pages.flags[pfn] & PG_writeback
    done, _, hits = box.swap_in(BASE + 64, 1, write=True, token=66)
    assert (done, hits) == (1, 1)  # PG_reclaim is the same bit as PG_readahead
    assert box.mem.pages.flags[pfn] & PG_swapcache
    assert not box.mem.pages.flags[pfn] & PG_reclaim
    box.end_writes()
    assert box.mem.pages.token[pfn] == 66
    assert box.pages_of(LRU_INACTIVE_ANON)[-1] != pfn
    assert problems(box) == []


def test_shared_slot_maps_read_only_for_a_writer(box):
    """While another entry names the slot, a write fault maps the page read-only and stops."""
    (slot,) = slots_of(box, BASE, 1)
    swap_duplicate(box.swap, slot, 1)
    box.read([slot])
    assert box.swap_in(BASE, 1, write=True)[:2] == (1, SWAP_RUN_SHARED)
    assert not box.pte(BASE) & _PAGE_RW
    assert swap_count(box.swap, slot) == 1


def test_run_stops_at_a_page_that_is_being_read(box):
    """A locked page ends the run: the fault waits for the device."""
    pfns = box.take(2)
    slots = np.array(slots_of(box, BASE, 2), np.int64)
    begin_swap_read(box.mem, box.swap, box.lruvec, slots, pfns, 2, int(slots[0]), False)
    assert box.mem.pages.flags[pfns[0]] & PG_locked
    assert box.swap_in(BASE, 2, write=False) == (0, SWAP_RUN_LOCKED, 0)


def test_run_stops_behind_the_swap_entries(box):
    """A run ends at the first page that is not on swap."""
    box.read(slots_of(box, BASE, 8))
    assert box.swap_in(BASE, 16, write=False)[:2] == (8, SWAP_RUN_NOT_SWAP)


def test_counters_follow_pages_in_and_out_of_the_cache(box):
    """nr_swapcached and nr_file_pages count the cache; rss and swap entries move with a fault."""
    anon = int(box.mem.node_stat[0, NR_ANON_PAGES])
    rss, entries = box.mms.rss[1, MM_ANONPAGES], box.mms.rss[1, MM_SWAPENTS]
    box.read(slots_of(box, BASE, 3))
    assert box.mem.node_stat[0, NR_SWAPCACHED] == box.mem.node_stat[0, NR_FILE_PAGES] == 3
    assert box.mem.node_stat[0, NR_ANON_PAGES] == anon
    box.swap_in(BASE, 2, write=True)
    assert box.mem.node_stat[0, NR_SWAPCACHED] == box.mem.node_stat[0, NR_FILE_PAGES] == 1
    assert box.mem.node_stat[0, NR_ANON_PAGES] == anon + 2
    assert box.mms.rss[1, MM_ANONPAGES] == rss + 2
    assert box.mms.rss[1, MM_SWAPENTS] == entries - 2


def test_every_page_read_back_is_a_refault(box):
    """A slot remembers its page's eviction until it is read again."""
    box.read(slots_of(box, BASE, 5))
    assert box.mem.node_stat[0, WORKINGSET_REFAULT_ANON] == 5


def test_readahead_is_counted_and_its_hits_too(box):
    """All pages read but the one asked for are readahead; mapping them are its hits."""
    pfns = box.read(slots_of(box, BASE, 4))
    assert [bool(box.mem.pages.flags[pfn] & PG_readahead) for pfn in pfns] == [False] + [True] * 3
    assert box.mem.vm_event[SWAP_RA] == 3
    assert box.swap_in(BASE, 4, write=False) == (4, SWAP_RUN_DONE, 3)
    assert box.mem.vm_event[SWAP_RA_HIT] == 3
    assert not any(box.mem.pages.flags[pfns] & PG_readahead)


def test_swapin_slots_skips_what_is_cached_or_present(box):
    """Only entries whose pages are not in memory are worth reading."""
    slots = slots_of(box, BASE, 8)
    box.read([slots[2]])
    out = np.zeros(16, np.int64)
    found = swapin_slots(box.mem, box.pool.pt, box.mms, box.swap, 1, BASE, BASE + 12, out)
    assert out[:found].tolist() == slots[:2] + slots[3:]


def test_unmapping_frees_slots_and_cached_pages(box):
    """An exiting process gives back its slots, and the pages only the swap cache holds."""
    slots = slots_of(box, BASE, 8)
    cached = box.read(slots[:3])
    box.swap_in(BASE, 1, write=False)  # mapped and cached
    pfns, gone = np.zeros(64, np.int64), np.zeros(64, np.int64)
    space = (box.mem, box.pool.pt, box.mms)
    n_pfns, n_slots, _, _ = unmap_range(*space, 1, BASE, 32, *NO_MARKS, pfns, gone, none_cleared())
    assert n_slots == 7
    out = np.zeros(64, np.int64)
    assert free_swap_and_cache(box.mem, box.swap, gone, n_slots, out) == 2
    assert out[:2].tolist() == cached[1:].tolist()
    assert free_swap_cache(box.mem, box.swap, pfns, n_pfns, pfns) == 25
    assert release_pages(box.mem, out, 2, out) == 2
    assert release_pages(box.mem, pfns, 25, pfns) == 25
    assert box.swap.state[SS_FREE] + box.swap.cpu_slots_left.sum() == 1023
    assert box.pages_of(LRU_INACTIVE_ANON) == []
    assert problems(box) == []


def test_mapped_page_loses_its_slot_only_when_swap_is_short(box):
    """When the last entry of a mapped page's slot goes, the page stays; a scarce slot is freed."""
    slots = np.array(slots_of(box, BASE, 2), np.int64)
    pfns = box.read(slots.tolist())
    for slot in slots:
        swap_duplicate(box.swap, int(slot), 1)  # as a forked mm would
    box.swap_in(BASE, 2, write=False)
    out = np.zeros(600, np.int64)
    assert free_swap_and_cache(box.mem, box.swap, slots[:1], 1, out) == 0
    assert box.mem.pages.flags[pfns[0]] & PG_swapcache
    get_swap_slots(box.swap, 0, 600, np.zeros(600, np.int64))
    assert free_swap_and_cache(box.mem, box.swap, slots[1:], 1, out) == 0
    assert not box.mem.pages.flags[pfns[1]] & PG_swapcache
    assert box.mem.pages.flags[pfns[1]] & PG_dirty
    assert pfns[1] in box.pages_of(LRU_INACTIVE_ANON)
    assert check_lru(box.mem) == []


def test_page_freed_while_a_reclaimer_has_it(box):
    """A page freed off its list is given to the allocator by the reclaimer that holds it."""
    isolate_lru_folios(box.mem, 0, LRU_INACTIVE_ANON, 4, 0, 2, box.batch)
    held = box.batch.folios[:4].copy()
    pfns, gone = np.zeros(64, np.int64), np.zeros(64, np.int64)
    space = (box.mem, box.pool.pt, box.mms)
    n_pfns, _, _, _ = unmap_range(*space, 1, BASE + 8, 24, *NO_MARKS, pfns, gone, none_cleared())
    assert free_swap_cache(box.mem, box.swap, pfns, n_pfns, pfns) == 20
    assert release_pages(box.mem, pfns, 20, pfns) == 20
    assert box.mem.pages.flags[held].tolist() == [PG_isolated] * 4
    box.shrink()
    assert box.putback() == sorted(held.tolist())
    assert box.batch.stat[STAT_NR_TO_FREE] == 4
    assert problems(box) == []


def test_a_page_in_a_gather_is_not_freed_under_it(box):
    """Clean in the swap cache it could go at once, but for the task that has just unmapped it."""
    (slot,) = slots_of(box, BASE, 1)
    (pfn,) = box.read([slot])
    swap_duplicate(box.swap, slot, 1)  # another process wants the slot, too
    box.swap_in(BASE, 1, write=False)
    pfns, gone = np.zeros(64, np.int64), np.zeros(64, np.int64)
    state = (box.mem, box.pool.pt, box.mms)
    args = (*state, 1, BASE, 1, *NO_MARKS, pfns, gone, none_cleared())
    assert unmap_range(*args) == (1, 0, 0, BASE + 1)
    isolate_lru_folios(box.mem, 0, LRU_INACTIVE_ANON, 32, 0, 2, box.batch)
    box.shrink()
    assert pfn not in box.putback()
    assert free_swap_cache(box.mem, box.swap, pfns, 1, pfns) == 0
    freed = []
    for _ in range(4):  # once round the list
        isolate_lru_folios(box.mem, 0, LRU_INACTIVE_ANON, 32, 0, 2, box.batch)
        box.shrink()
        freed += box.putback()
    assert pfn in freed
    assert check_lru(box.mem) == []


def test_a_page_that_is_about_to_be_freed_gets_no_slot(box):
    """A reclaimer may meet a page whose slot's last user has gone, but not yet its frame."""
    box.forget_use(1)
    pfn = box.pages_of(LRU_INACTIVE_ANON)[-1]
    vpn = int(box.mem.pages.index[pfn])
    box.scan(1)
    box.end_writes()
    assert box.pages_of(LRU_INACTIVE_ANON)[-1] == pfn  # written, and in the swap cache only
    slots, out = np.array(slots_of(box, vpn, 1), np.int64), np.zeros(1, np.int64)
    assert free_swap_and_cache(box.mem, box.swap, slots, 1, out) == 1
    box.scan(1)
    assert box.writing == []
    assert not box.mem.pages.flags[pfn] & PG_swapcache
    assert release_pages(box.mem, out, 1, out) == 1
    assert out.tolist() == [pfn]


def walk(ra_val, vpns, *, page_cluster=3):
    """Fault at each page that no window read before; return the windows."""
    cached, windows = set(), []
    for vpn in vpns:
        if vpn in cached:
            ra_val = swap_ra_hit(ra_val, vpn, hits=1)
            continue
        ra_val, start, end = swap_ra_info(
            ra_val, vpn, vma_start_vpn=1000, vma_end_vpn=3000, page_cluster=page_cluster
        )
        windows.append((start, end))
        cached |= set(range(start, end))
    return windows


def test_sequential_faults_read_forward_in_windows_of_eight():
    """In a sequential pass every window starts at the fault and holds 2**page_cluster pages."""
    assert walk(0, range(1500, 1540)) == [
        (1497, 1505),
        (1505, 1513),
        (1513, 1521),
        (1521, 1529),
        (1529, 1536),
        (1536, 1544),
    ]


def test_backward_faults_read_backward():
    """Faults in falling order are followed downwards."""
    windows = walk(0, range(1500, 1480, -1))
    assert windows[1] == (1489, 1497)
    assert all(end - start == 8 for start, end in windows)


def test_random_faults_shrink_the_window():
    """Without hits the window falls by half each time, down to the faulting page alone."""
    sizes = [end - start for start, end in walk(0, [1100, 1900, 1300, 2400, 1200])]
    assert sizes == [8, 4, 2, 1, 1]


def test_window_stays_in_the_vma_and_the_table():
    """A window never leaves the VMA nor the 512 pages of one table of PTEs."""
    assert walk(0, [1000])[0] == (1000, 1005)
    assert walk(0, [1536])[0] == (1536, 1541)


def test_page_cluster_zero_reads_one_page():
    """With vm.page-cluster 0 there is no readahead."""
    assert walk(0, [1500, 1501], page_cluster=0) == [(1500, 1501), (1501, 1502)]


def test_window_follows_hits():
    """The window is the next power of two above the hits, at least 4, within the limits."""
    assert [swapin_nr_pages(0, 9, hits, 32, 0) for hits in (0, 1, 2, 3, 7, 15, 40)] == [
        1, 4, 4, 8, 16, 32, 32,
    ]  # fmt: skip
    assert swapin_nr_pages(8, 9, 0, 32, 0) == 2
    assert swapin_nr_pages(0, 9, 0, 32, 16) == 8


def test_hits_are_capped():
    """The count of hits has 6 bits."""
    assert unpack_ra(swap_ra_hit(0, 5, hits=200)) == (5, 0, 63)
