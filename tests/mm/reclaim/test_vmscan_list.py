"""What reclaim does with the pages of a list, batch by batch."""

import numpy as np
import pytest

from kernelsim.check.lru import check_lru
from kernelsim.check.swap import check_swap, check_swap_entries
from kernelsim.mm.core.lruvec import (
    LV_ANON_COST,
    LV_PGDAT_WRITEBACK,
)
from kernelsim.mm.core.mem import (
    LRU_ACTIVE_ANON,
    LRU_ACTIVE_FILE,
    LRU_INACTIVE_ANON,
    LRU_INACTIVE_FILE,
    LRU_UNEVICTABLE,
    Z_FREE,
    PG_active,
    PG_dirty,
    PG_locked,
    PG_mlocked,
    PG_reclaim,
    PG_referenced,
    PG_swapcache,
    PG_workingset,
    PG_writeback,
    zone_of,
)
from kernelsim.mm.core.vmstat import (
    NR_ACTIVE_ANON,
    NR_FILE_PAGES,
    NR_INACTIVE_ANON,
    NR_ISOLATED_ANON,
    NR_MLOCK,
    NR_VMSCAN_IMMEDIATE_RECLAIM,
    NR_VMSCAN_WRITE,
    NR_WRITEBACK,
    NR_WRITTEN,
    PGACTIVATE,
    PGDEACTIVATE,
    PGPGOUT,
    PGREFILL,
    PGROTATED,
    PGSCAN_ANON,
    PGSCAN_DIRECT,
    PGSCAN_KSWAPD,
    PGSTEAL_ANON,
    PGSTEAL_DIRECT,
    PGSTEAL_KSWAPD,
    PSWPOUT,
)
from kernelsim.mm.core.xarray import xa_load
from kernelsim.mm.reclaim.reclaim_batch import (
    SHRINK_IO,
    SHRINK_MAY_UNMAP,
    SHRINK_MAY_WRITEPAGE,
    STAT_NR_ACTIVATE_ANON,
    STAT_NR_ACTIVATE_FILE,
    STAT_NR_DIRTY,
    STAT_NR_IMMEDIATE,
    STAT_NR_PAGEOUT,
    STAT_NR_RECLAIMED,
    STAT_NR_REF_KEEP,
    STAT_NR_SCANNED,
    STAT_NR_TAKEN,
    STAT_NR_TO_WRITE,
    STAT_NR_UNMAPPED,
    STAT_NR_UNQUEUED_DIRTY,
    STAT_NR_WRITEBACK,
)
from kernelsim.mm.reclaim.vmscan_list import isolate_lru_folios
from kernelsim.mm.swap.swap_area import SS_FREE
from tests.reclaim_box import FILE

BASE = 512
DIRECT = SHRINK_MAY_UNMAP | SHRINK_MAY_WRITEPAGE | SHRINK_IO


@pytest.fixture
def box(reclaim_box):
    """A machine with nothing on its lists."""
    return reclaim_box()


def problems(box):
    """Return what the checkers find."""
    return [
        *check_lru(box.mem),
        *check_swap(box.mem, box.swap),
        *check_swap_entries(box.mem, box.pool.pt, box.mms, box.swap),
    ]


def put_file(box, nr, flags=0):
    """Put more pages of a file on their list."""
    return box.cache(box.spaces.nrpages(FILE), nr, flags)


def test_three_scans_free_an_anonymous_page(box):
    """Kept while it was used, then written, then freed: three scans, one write, one free."""
    pfns = box.fault(BASE, 10)
    free = box.mem.zone[0, Z_FREE]
    assert box.scan(10)[STAT_NR_REF_KEEP] == 10
    assert box.pages_of(LRU_INACTIVE_ANON) == pfns[::-1].tolist()
    stat = box.scan(10)
    assert stat[STAT_NR_TO_WRITE] == stat[STAT_NR_PAGEOUT] == stat[STAT_NR_UNMAPPED] == 10
    assert box.mem.node_stat[0, NR_WRITEBACK] == 10
    assert box.end_writes() == 10
    assert box.scan(10)[STAT_NR_RECLAIMED] == 10
    event = box.mem.vm_event
    assert event[PGSCAN_KSWAPD] == event[PGSCAN_ANON] == 30
    assert event[PGSTEAL_KSWAPD] == event[PGSTEAL_ANON] == event[PSWPOUT] == event[PGROTATED] == 10
    assert event[PGPGOUT] == 40
    assert box.mem.node_stat[0, [NR_VMSCAN_WRITE, NR_WRITTEN, NR_WRITEBACK]].tolist() == [10, 10, 0]
    assert box.mem.pcp_count[0, 0] + box.mem.zone[0, Z_FREE] >= free + 10
    assert problems(box) == []


def test_direct_reclaim_counts_apart(box):
    """A direct reclaimer counts pgscan_direct and pgsteal_direct."""
    box.fault(BASE, 4)
    box.forget_use(4)
    box.scan(4, how=DIRECT)
    box.end_writes()
    box.scan(4, how=DIRECT)
    assert box.mem.vm_event[[PGSCAN_DIRECT, PGSTEAL_DIRECT]].tolist() == [8, 4]
    assert box.mem.vm_event[[PGSCAN_KSWAPD, PGSTEAL_KSWAPD]].tolist() == [0, 0]


@pytest.mark.mission("R6")
def test_page_used_between_two_scans_is_promoted(box):
    """A page used since the first scan goes to the active list at the second; idle ones do not."""
    pfns = box.fault(BASE, 4)
    box.scan(4)
    box.use(BASE + 1)
    stat = box.scan(4)
    assert stat[STAT_NR_ACTIVATE_ANON] == 1
    assert stat[STAT_NR_TO_WRITE] == 3
    assert box.pages_of(LRU_ACTIVE_ANON) == [pfns[1]]
    assert box.mem.vm_event[PGACTIVATE] == 1
    assert problems(box) == []


@pytest.mark.mission("R6")
def test_active_tail_is_demoted(box):
    """Ageing takes the oldest active pages to the inactive front, used or not."""
    pfns = box.fault(BASE, 4)
    box.scan(4)
    for i in range(4):
        box.use(BASE + i)
    box.scan(4)
    assert box.pages_of(LRU_ACTIVE_ANON) == pfns[::-1].tolist()
    assert box.scan_active(2) == 2
    assert box.pages_of(LRU_ACTIVE_ANON) == pfns[:1:-1].tolist()
    assert box.pages_of(LRU_INACTIVE_ANON) == [pfns[1], pfns[0]]
    assert box.mem.pages.flags[pfns[0]] & PG_workingset
    assert box.mem.vm_event[[PGREFILL, PGDEACTIVATE]].tolist() == [2, 2]
    assert box.mem.node_stat[0, [NR_INACTIVE_ANON, NR_ACTIVE_ANON]].tolist() == [2, 2]
    assert problems(box) == []


def test_page_under_writeback_waits_on_the_active_list(box):
    """A page met while it is being written is activated, and rotated back when the write ends."""
    pfns = box.fault(BASE, 2)
    box.forget_use(2)
    box.scan(2)
    stat = box.scan(2)
    assert stat[STAT_NR_WRITEBACK] == stat[STAT_NR_ACTIVATE_ANON] == 2
    assert box.pages_of(LRU_ACTIVE_ANON) == pfns[::-1].tolist()
    assert box.end_writes() == 2
    assert box.pages_of(LRU_INACTIVE_ANON) == pfns.tolist()
    assert problems(box) == []


def test_kswapd_counts_immediate_only_on_a_node_full_of_writeback(box):
    """Once the node is marked, a page under writeback makes kswapd stop for a while."""
    box.fault(BASE, 1)
    box.forget_use(1)
    box.scan(1)
    box.lruvec[0, LV_PGDAT_WRITEBACK] = 1
    assert box.scan(1)[STAT_NR_IMMEDIATE] == 1


def test_write_that_ends_before_putback_is_not_rotated(box):
    """A page still off its list when its write ends stays in the swap cache at the young end."""
    pfns = box.fault(BASE, 2)
    box.forget_use(1)
    isolate_lru_folios(box.mem, 0, LRU_INACTIVE_ANON, 1, 0, DIRECT | 1, box.batch)
    box.shrink()
    assert box.end_writes() == 0
    box.putback()
    assert box.pages_of(LRU_INACTIVE_ANON) == [pfns[0], pfns[1]]
    flags = box.mem.pages.flags[pfns[0]]
    assert flags & PG_swapcache
    assert not flags & (PG_writeback | PG_reclaim)
    assert box.mem.vm_event[PGROTATED] == 0
    assert problems(box) == []


def test_full_swap_activates(box, reclaim_box):
    """Without a free slot an idle anonymous page goes to the active list."""
    small = reclaim_box(swap_pages=3)
    small.fault(BASE, 5)
    small.forget_use(5)
    stat = small.scan(5)
    assert stat[STAT_NR_TO_WRITE] == 2
    assert stat[STAT_NR_ACTIVATE_ANON] == 3
    assert small.swap.state[SS_FREE] == 0
    assert problems(small) == []


def test_no_io_keeps_anonymous_pages(box):
    """A reclaimer that may not start I/O takes no swap slots."""
    box.fault(BASE, 4)
    box.forget_use(4)
    stat = box.scan(4, how=SHRINK_MAY_UNMAP | SHRINK_MAY_WRITEPAGE)
    assert stat[STAT_NR_TO_WRITE] == stat[STAT_NR_UNMAPPED] == 0
    assert box.swap.state[SS_FREE] == 1023


def test_mlocked_page_leaves_for_the_unevictable_list(box):
    """A locked page met by reclaim ends on the unevictable list, not counted as activated."""
    pfns = box.fault(BASE, 2)
    box.forget_use(2)
    box.mem.pages.flags[pfns[0]] |= PG_mlocked
    box.mem.zone_stat[zone_of(box.mem, int(pfns[0])), NR_MLOCK] += 1
    stat = box.scan(2)
    assert stat[STAT_NR_ACTIVATE_ANON] == 0
    assert box.pages_of(LRU_UNEVICTABLE) == [pfns[0]]
    assert problems(box) == []


def test_locked_page_is_kept_and_not_counted_as_scanned(box):
    """A page that is being read stays; sc.nr_scanned counts only pages that could be locked."""
    pfns = box.fault(BASE, 2)
    box.mem.pages.flags[pfns[0]] |= PG_locked
    stat = box.scan(2)
    assert stat[STAT_NR_TAKEN] == 2
    assert stat[STAT_NR_SCANNED] == 1


def test_clean_file_pages_go_at_once_dirty_ones_never(box):
    """An unused clean file page is freed by the first scan; a dirty one waits for the flusher."""
    clean = put_file(box, 3)
    dirty = put_file(box, 2, PG_dirty)
    stat = box.scan(5, lru=LRU_INACTIVE_FILE)
    assert stat[STAT_NR_RECLAIMED] == 3
    assert stat[[STAT_NR_DIRTY, STAT_NR_UNQUEUED_DIRTY, STAT_NR_ACTIVATE_FILE]].tolist() == [2] * 3
    assert box.batch.to_free[:3].tolist() == clean.tolist()
    entries = [xa_load(box.spaces.pool.xa, FILE, index) for index in range(5)]
    assert all(entry < 0 for entry in entries[:3])
    assert entries[3:] == dirty.tolist()
    assert box.spaces.nrpages(FILE) == box.mem.node_stat[0, NR_FILE_PAGES] == 2
    assert box.pages_of(LRU_ACTIVE_FILE) == dirty[::-1].tolist()
    assert all(box.mem.pages.flags[dirty] & PG_reclaim)
    assert box.mem.node_stat[0, NR_VMSCAN_IMMEDIATE_RECLAIM] == 2
    assert check_lru(box.mem) == []


def test_referenced_clean_file_page_is_reclaimed(box):
    """PG_referenced alone saves no clean file page, and keeps a dirty one from being written."""
    put_file(box, 1, PG_referenced)
    assert box.scan(1, lru=LRU_INACTIVE_FILE)[STAT_NR_RECLAIMED] == 1


def test_isolation_may_leave_mapped_pages(box):
    """Without may_unmap mapped pages are looked at but stay."""
    pfns = box.fault(BASE, 3)
    stat = box.scan(3, how=SHRINK_IO)
    assert stat[STAT_NR_TAKEN] == 0
    assert box.mem.vm_event[PGSCAN_DIRECT] == 3
    assert box.pages_of(LRU_INACTIVE_ANON) == pfns[::-1].tolist()
    assert problems(box) == []


def test_isolated_pages_are_counted_until_they_are_put_back(box):
    """nr_isolated_anon is the batch in flight, and the list counters leave it out."""
    box.fault(BASE, 5)
    assert isolate_lru_folios(box.mem, 0, LRU_INACTIVE_ANON, 3, 0, DIRECT, box.batch) == (3, 3, 0)
    assert box.mem.node_stat[0, [NR_ISOLATED_ANON, NR_INACTIVE_ANON]].tolist() == [3, 2]
    assert check_lru(box.mem) == []
    box.shrink()
    box.putback()
    assert box.mem.node_stat[0, [NR_ISOLATED_ANON, NR_INACTIVE_ANON]].tolist() == [0, 5]


def test_io_cost_is_noted_and_decays(box):
    """Each page written costs its type one; above a quarter of the LRU costs are halved."""
    box.fault(BASE, 40)
    box.forget_use(40)
    box.scan(8)
    assert box.lruvec[0, LV_ANON_COST] == 8
    box.scan(4)
    assert box.lruvec[0, LV_ANON_COST] == 6


def test_skipped_pages_go_to_the_front(box):
    """Pages of too high a zone are not scanned but counted, and trade places with the young end."""
    pfns = box.fault(BASE, 3)
    result = isolate_lru_folios(box.mem, 0, LRU_INACTIVE_ANON, 2, -1, DIRECT, box.batch)
    assert result == (0, 3, 3)
    assert box.pages_of(LRU_INACTIVE_ANON) == pfns[::-1].tolist()
    assert check_lru(box.mem) == []


def test_active_flag_of_a_page_survives_a_batch(box):
    """A page that others activated while it was isolated goes back to the active list."""
    pfns = box.fault(BASE, 1)
    isolate_lru_folios(box.mem, 0, LRU_INACTIVE_ANON, 1, 0, DIRECT, box.batch)
    box.mem.pages.flags[pfns[0]] |= PG_active | PG_locked
    box.shrink()
    box.putback()
    assert box.pages_of(LRU_ACTIVE_ANON) == np.asarray(pfns).tolist()
