"""The page cache as leaves: entering pages, removing them, what is remembered, what reads do."""

import numpy as np
import pytest

from kernelsim.mm.core.folio_batch import (
    activate_batch_move,
    activate_batch_run,
    folio_batch_add,
    folio_batch_move_lru,
)
from kernelsim.mm.core.mem import (
    LRU_ACTIVE_FILE,
    LRU_INACTIVE_FILE,
    PAGEVEC_SIZE,
    Z_PRESENT,
    PG_activating,
    PG_active,
    PG_batched,
    PG_dirty,
    PG_gathered,
    PG_isolated,
    PG_locked,
    PG_lru,
    PG_readahead,
    PG_referenced,
    PG_swapcache,
    PG_uptodate,
    PG_workingset,
)
from kernelsim.mm.core.swap import lruvec_del_folio
from kernelsim.mm.core.vmstat import (
    NR_ACTIVE_FILE,
    NR_FILE_PAGES,
    PGACTIVATE,
    WORKINGSET_ACTIVATE_FILE,
    WORKINGSET_NODERECLAIM,
    WORKINGSET_NODES,
    WORKINGSET_REFAULT_FILE,
    WORKINGSET_RESTORE_FILE,
)
from kernelsim.mm.core.xarray import SN_COUNT, xa_load
from kernelsim.mm.file.dirty_pages import LAST_INDEX
from kernelsim.mm.file.filemap import (
    end_page_read,
    filemap_add_folio,
    filemap_add_run,
    filemap_remove_folio,
    incore_pages,
)
from kernelsim.mm.file.filemap_read import (
    R_BLOCK,
    R_CALL_END,
    R_CALL_NS,
    R_COPY_NS,
    R_END,
    R_INDEX,
    R_LIMIT_NS,
    R_NR_OUT,
    R_NS,
    R_POS,
    R_PREV,
    READ_ACTIVATE,
    READ_DONE,
    READ_FAILED,
    READ_LOCKED,
    READ_MARKED,
    READ_MISSING,
    READ_TIME,
    filemap_read_run,
    new_read,
)
from kernelsim.mm.file.shadow_nodes import free_shadow_nodes, nr_shadow_nodes_to_free
from kernelsim.mm.file.truncate import invalidate_mapping_pages, truncate_pages
from kernelsim.mm.swap.free_swap import release_pages
from tests.reclaim_box import FILE

PAGE = 4096
NOTHING = np.zeros(0, np.uint64)


@pytest.fixture
def box(reclaim_box):
    """A machine of one node, with one file of which nothing is cached."""
    made = reclaim_box()
    made.spaces.add(FILE)
    return made


def start_read(pos, end, *, block=1 << 40, limit_ns=1 << 40):
    """Return the state of a read of bytes [pos, end)."""
    io = new_read()
    io[[R_POS, R_END, R_BLOCK, R_CALL_END, R_PREV]] = (pos, end, block, pos, -1)
    io[[R_LIMIT_NS, R_COPY_NS, R_CALL_NS]] = (limit_ns, 10, 100)
    return io


def go_on(box, io, out=NOTHING):
    """Go on with a read; return why it stopped."""
    return filemap_read_run(box.mem, box.spaces.mappings, box.lruvec, 0, FILE, io, out)


def test_a_page_that_is_evicted_and_comes_back_is_a_refault(box):
    """Its distance is short, so it is activated; it was active before, so it is a restore."""
    pfn = int(box.cache(5, 1)[0])
    box.mem.pages.flags[pfn] |= PG_workingset
    box.cache(6, 3)
    box.scan(1, lru=LRU_INACTIVE_FILE)
    files, stat = box.spaces.mappings, box.mem.node_stat[0]
    assert xa_load(files.xa, FILE, 5) < 0
    stat[NR_ACTIVE_FILE] += 10  # what could make room
    again = int(box.take(1)[0])
    filemap_add_folio(box.mem, files, box.lruvec, FILE, 5, again, 0, 0, False)
    assert box.mem.pages.flags[again] == PG_locked | PG_active | PG_workingset
    counted = [WORKINGSET_REFAULT_FILE, WORKINGSET_ACTIVATE_FILE, WORKINGSET_RESTORE_FILE]
    assert stat[counted].tolist() == [1, 1, 1]
    assert box.spaces.nrpages(FILE) == stat[NR_FILE_PAGES] == 4


def test_a_distance_longer_than_the_lists_is_no_activation(box):
    """The refault counts, and the page starts inactive."""
    box.cache(0, 1)
    box.scan(1, lru=LRU_INACTIVE_FILE)
    box.cache(10, 40)
    box.scan(32, lru=LRU_INACTIVE_FILE)
    again = int(box.take(1)[0])
    filemap_add_folio(box.mem, box.spaces.mappings, box.lruvec, FILE, 0, again, 0, 0, False)
    assert box.mem.pages.flags[again] == PG_locked
    stat = box.mem.node_stat[0]
    assert stat[[WORKINGSET_REFAULT_FILE, WORKINGSET_ACTIVATE_FILE]].tolist() == [1, 0]


def test_nodes_with_nothing_but_shadows_are_counted_and_can_be_freed(box):
    """workingset_nodes counts them; the oldest are forgotten when told."""
    for first in (0, 64, 128):
        box.cache(first, 2)
    box.scan(6, lru=LRU_INACTIVE_FILE)
    stat, files = box.mem.node_stat[0], box.spaces.mappings
    assert stat[WORKINGSET_NODES] == files.xa.shadow_nodes[0, SN_COUNT] == 3
    free_shadow_nodes(box.mem, files, 0, 2)
    assert stat[[WORKINGSET_NODES, WORKINGSET_NODERECLAIM]].tolist() == [1, 2]
    assert [xa_load(files.xa, FILE, index) < 0 for index in (0, 64, 128)] == [False, False, True]


def test_shadow_nodes_are_freed_beyond_one_for_each_eight_pages(box):
    """Half of what is too much, in whole batches."""
    files = box.spaces.mappings
    box.mem.zone[0, Z_PRESENT] = 800
    files.xa.shadow_nodes[0, SN_COUNT] = 100 + 255
    assert nr_shadow_nodes_to_free(box.mem, files, 0) == 0
    files.xa.shadow_nodes[0, SN_COUNT] = 100 + 256
    assert nr_shadow_nodes_to_free(box.mem, files, 0) == 128
    files.xa.shadow_nodes[0, SN_COUNT] = 100 + 2 * 300
    assert nr_shadow_nodes_to_free(box.mem, files, 0) == 256


def test_a_run_is_entered_until_the_batch_is_full_or_a_page_is_there(box):
    """Locked, in the CPU's folio_batch, the one at the mark marked."""
    box.cache(30, 1)
    pfns = box.take(25)
    box.spaces.pool.reserve(25)
    given = (box.mem, box.spaces.mappings, box.lruvec, 0, FILE, 10, pfns)
    assert filemap_add_run(*given, 0, 25, 12, 0, False) == PAGEVEC_SIZE
    folio_batch_move_lru(box.mem, 0, PAGEVEC_SIZE, np.zeros(PAGEVEC_SIZE, np.int64))
    assert filemap_add_run(*given, PAGEVEC_SIZE, 25, 12, 0, False) == 20
    flags = box.mem.pages.flags[pfns]
    assert (flags[:20] & PG_locked != 0).all()
    assert np.flatnonzero(flags & PG_readahead).tolist() == [2]
    disk = np.arange(100, 200, dtype=np.uint64)
    end_page_read(box.mem, disk, pfns, 19, 0)
    end_page_read(box.mem, disk, pfns[19:20], 1, 5)
    flags, token = box.mem.pages.flags[pfns], box.mem.pages.token[pfns]
    assert token[:19].tolist() == list(range(110, 129))
    assert flags[19] & (PG_locked | PG_uptodate) == 0
    found = np.zeros(100, np.int64)
    assert incore_pages(box.mem, box.spaces.mappings, FILE, 100, found) == 20
    assert found[:20].tolist() == [*range(10, 29), 30]


def test_a_read_stops_where_it_needs_help(box):
    """At a marked page, one being read, one that failed, one that is missing; else at its end."""
    pfns = box.cache(0, 4)
    flags = box.mem.pages.flags
    for flag, off, why in (
        (PG_readahead, 0, READ_MARKED),
        (PG_locked, PG_uptodate, READ_LOCKED),
        (0, PG_uptodate, READ_FAILED),
    ):
        before = int(flags[pfns[2]])
        flags[pfns[2]] = (before | flag) & ~np.uint32(off)
        io = start_read(0, 4 * PAGE)
        assert (go_on(box, io), io[R_INDEX], io[R_POS]) == (why, 2, 0)
        flags[pfns[2]] = before
    io = start_read(PAGE + 100, 9 * PAGE)
    assert (go_on(box, io), io[R_INDEX], io[R_POS]) == (READ_MISSING, 4, 4 * PAGE)
    io = start_read(0, 3 * PAGE + 5, block=PAGE)
    assert (go_on(box, io), io[R_POS], io[R_PREV]) == (READ_DONE, 3 * PAGE + 5, 3 * PAGE + 5)
    assert io[R_NS] == 4 * 100 + 3 * 10


def test_a_read_stops_when_its_time_is_over_or_its_notes_are_full(box):
    """After the batch of fifteen with which that happened; the notes have what each page held."""
    pfns = box.cache(0, 40)
    box.mem.pages.token[pfns] = np.arange(40)
    io, out = start_read(0, 40 * PAGE, limit_ns=1), np.zeros(29, np.uint64)
    assert (go_on(box, io), io[R_POS]) == (READ_TIME, 15 * PAGE)
    io = start_read(15 * PAGE, 40 * PAGE)
    assert (go_on(box, io, out), io[R_NR_OUT]) == (READ_TIME, 15)
    assert out[:15].tolist() == list(range(15, 30))


def test_the_second_use_activates_when_the_batch_is_full(box):
    """Pages stay where they are until then; a read goes on behind the fifteenth."""
    pfns = box.cache(0, 20)
    assert go_on(box, start_read(0, 20 * PAGE)) == READ_DONE
    assert (box.mem.pages.flags[pfns] & PG_referenced != 0).all()
    io = start_read(0, 20 * PAGE)
    assert (go_on(box, io), io[R_POS]) == (READ_ACTIVATE, 15 * PAGE)
    assert len(box.pages_of(LRU_ACTIVE_FILE)) == 0
    assert activate_batch_run(box.mem, 0) == (0, 15)
    out = np.zeros(15, np.int64)
    assert activate_batch_move(box.mem, 0, 15, out) == 0
    assert box.pages_of(LRU_ACTIVE_FILE) == pfns[14::-1].tolist()
    assert box.mem.vm_event[PGACTIVATE] == 15
    assert go_on(box, io) == READ_DONE
    assert (box.mem.pages.flags[pfns[15:]] & PG_activating != 0).all()


def test_a_shared_page_that_is_written_to_swap_stays_when_it_is_activated(box):
    """Shared memory has left it by then, and the swap cache has it; one that none has is freed."""
    pfns = box.cache(0, 2)
    for _ in range(2):
        assert go_on(box, start_read(0, 2 * PAGE)) == READ_DONE
    box.mem.pages.mapping[pfns] = 0
    box.mem.pages.flags[pfns[0]] |= PG_swapcache
    out = np.zeros(15, np.int64)
    assert activate_batch_move(box.mem, 0, 2, out) == 1
    assert out[0] == pfns[1]
    assert box.pages_of(LRU_ACTIVE_FILE) == [pfns[0]]


def test_a_page_in_the_batch_of_new_ones_is_activated_there(box):
    """It goes straight to the active list, and no event counts it."""
    pfns = box.cache(0, 2)
    fresh = box.take(1)
    box.spaces.pool.reserve(1)
    filemap_add_folio(box.mem, box.spaces.mappings, box.lruvec, FILE, 2, int(fresh[0]), 0, 0, False)
    box.mem.pages.flags[fresh] = PG_uptodate
    folio_batch_add(box.mem, 0, int(fresh[0]))
    for _ in range(2):
        assert go_on(box, start_read(2 * PAGE, 3 * PAGE)) == READ_DONE
    assert box.mem.pages.flags[fresh[0]] == PG_uptodate | PG_batched | PG_active
    folio_batch_move_lru(box.mem, 0, 1, np.zeros(15, np.int64))
    assert box.pages_of(LRU_ACTIVE_FILE) == fresh.tolist()
    assert box.mem.vm_event[PGACTIVATE] == 0
    assert len(pfns) == 2


def test_reclaim_keeps_a_page_that_waits_to_be_activated(box):
    """The batch holds a reference, so the page cannot leave its file."""
    pfns = box.cache(0, 2)
    for _ in range(2):
        go_on(box, start_read(0, PAGE))
    box.mem.pages.flags[pfns] &= ~np.uint32(PG_referenced)
    box.scan(2, lru=LRU_INACTIVE_FILE)
    assert xa_load(box.spaces.pool.xa, FILE, 0) == pfns[0]
    assert xa_load(box.spaces.pool.xa, FILE, 1) < 0


def test_invalidation_takes_clean_idle_pages_and_shadows(box):
    """Dirty and locked pages stay, and those that a batch holds; evicted ones are forgotten."""
    pfns = box.cache(0, 6)
    box.scan(1, lru=LRU_INACTIVE_FILE)
    box.mem.pages.flags[pfns[2]] |= PG_dirty
    box.mem.pages.flags[pfns[3]] |= PG_locked
    out = np.zeros(2, np.int64)
    files = box.spaces.mappings
    nr, index = invalidate_mapping_pages(box.mem, files, FILE, 0, 100, out)
    assert (out[:nr].tolist(), index) == ([pfns[1], pfns[4]], 5)
    nr, index = invalidate_mapping_pages(box.mem, files, FILE, index, 100, out)
    assert (out[:nr].tolist(), index) == ([pfns[5]], 101)
    assert [xa_load(files.xa, FILE, at) for at in range(6)] == [0, 0, pfns[2], pfns[3], 0, 0]
    assert box.spaces.nrpages(FILE) == 2


def test_a_page_dropped_from_its_file_stays_on_its_list_until_it_is_released(box):
    """Reclaim that meets it leaves it to who dropped it."""
    pfns, out = box.cache(0, 2), np.zeros(1, np.int64)
    files, flags = box.spaces.mappings, box.mem.pages.flags
    assert invalidate_mapping_pages(box.mem, files, FILE, 0, 0, out) == (1, 1)
    assert flags[pfns[0]] & (PG_gathered | PG_lru) == PG_gathered | PG_lru
    box.scan(2, lru=LRU_INACTIVE_FILE)
    assert flags[pfns[0]] & (PG_gathered | PG_lru) == PG_gathered | PG_lru
    assert xa_load(files.xa, FILE, 1) < 0
    assert release_pages(box.mem, pfns, 1, out) == 1
    assert (out[0], flags[pfns[0]]) == (pfns[0], 0)


def test_a_dropped_page_that_a_reclaimer_has_is_freed_by_it(box):
    """The reclaimer puts it back bare, which frees it."""
    pfns, out = box.cache(0, 1), np.zeros(1, np.int64)
    invalidate_mapping_pages(box.mem, box.spaces.mappings, FILE, 0, 0, out)
    lruvec_del_folio(box.mem, int(pfns[0]))
    box.mem.pages.flags[pfns[0]] |= PG_isolated
    assert release_pages(box.mem, pfns, 1, out) == 0
    assert box.mem.pages.flags[pfns[0]] == PG_isolated


def test_a_page_that_its_file_is_cut_before_stays_on_its_list_until_it_is_released(box):
    """One that is in a batch is bare at once, and freed by who empties that."""
    pfns, out = box.cache(0, 3), np.zeros(4, np.int64)
    flags, held = box.mem.pages.flags, int(pfns[2])
    lruvec_del_folio(box.mem, held)
    flags[held] |= PG_batched
    done = truncate_pages(box.mem, box.spaces.mappings, FILE, 1, LAST_INDEX, out, out.copy())
    assert (done, out[0]) == ((1, 0, 2, -1), pfns[1])
    assert flags[pfns[1]] & (PG_gathered | PG_lru) == PG_gathered | PG_lru
    assert flags[held] == PG_batched
    assert release_pages(box.mem, out[:1], 1, out) == 1
    assert flags[pfns[1]] == 0


def test_removing_a_page_twice_is_a_bug(box):
    """A page that its file has not is no page of it."""
    pfn = int(box.cache(0, 1)[0])
    filemap_remove_folio(box.mem, box.spaces.mappings, pfn, 0)
    box.mem.pages.mapping[pfn] = FILE
    with pytest.raises(AssertionError, match="not where its file has it"):
        filemap_remove_folio(box.mem, box.spaces.mappings, pfn, 0)
