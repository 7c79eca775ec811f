"""When compaction is worth it, put off, and done; and what its scanners take."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernelsim.mm.core.mem import (
    MAX_ORDER_NR_PAGES,
    MIGRATE_MOVABLE,
    MIGRATE_UNMOVABLE,
    PAGEBLOCK_NR_PAGES,
    Z_FREE,
    Z_WMARK_MIN,
    PG_isolated,
    PG_locked,
    PG_lru,
)
from kernelsim.mm.core.vmstat import NR_ISOLATED_ANON
from kernelsim.mm.file.isolate_migratepages import (
    MS_NR_SCANNED,
    MS_PFN,
    isolate_migratepages_block,
)
from kernelsim.mm.page.compact_suitable import (
    CompactRetry,
    compact_finished,
    fragmentation_index,
    unusable_free_index,
)
from kernelsim.mm.page.compaction import (
    COMPACT_PRIO_SYNC_FULL,
    MIGRATE_ASYNC,
    MIGRATE_SYNC_LIGHT,
    CompactControl,
    CompactResult,
    ZoneCompaction,
)
from kernelsim.mm.page.free_area import free_area_counts
from kernelsim.mm.page.isolate_freepages import FS_PFN, isolate_freepages_block
from tests.free_zone import free_block
from tests.reclaim_box import ReclaimBox

NR_ORDERS = 11


@pytest.mark.parametrize("nr_failed", [1, 2, 3, 6, 7, 20])
def test_each_failure_doubles_how_long_it_is_put_off(nr_failed):
    """After n failures 2**n - 1 requests do without, never more than 63; smaller ones do not."""
    known = ZoneCompaction(order_failed=9)
    for _ in range(nr_failed):
        known.defer(4)
    assert not known.is_deferred(3)
    limit = 1 << min(nr_failed, 6)
    assert [known.is_deferred(4) for _ in range(limit)] == [True] * (limit - 1) + [False]
    assert known.is_restarting(4) == (nr_failed >= 6)
    known.defer_reset(5, has_block=True)
    assert (known.defer_shift, known.order_failed) == (0, 6)
    assert not known.is_deferred(6)


counts = st.lists(st.integers(0, 40), min_size=NR_ORDERS, max_size=NR_ORDERS)


@settings(max_examples=50, deadline=None)
@given(counts, st.integers(0, NR_ORDERS - 1))
def test_the_indexes_are_what_the_pages_say(nr_free, order):
    """The share of pages in smaller blocks; and by how much the blocks are too many."""
    pages = [nr << each for each, nr in enumerate(nr_free)]
    unusable, index = unusable_free_index(nr_free, order), fragmentation_index(nr_free, order)
    if not sum(pages):
        assert (unusable, index) == (1000, 0)
        return
    assert unusable == int(sum(pages[:order]) / sum(pages) * 1000)
    if sum(nr_free[order:]):
        assert index == -1000
        return
    exact = 1000 - (1000 + sum(pages) * 1000 / 2**order) / sum(nr_free)
    assert index == pytest.approx(exact, abs=1.01)


def test_pieces_and_want_of_memory():
    """1000 single pages are pieces for a block of 512; one page is want of memory."""
    assert fragmentation_index([1000, *[0] * 10], 9) == 998
    assert fragmentation_index([1, *[0] * 10], 9) < 0


def test_who_compacts_tries_harder_and_harder():
    """When all was scanned in vain a small request has one more try, a costly one none."""
    failed = CompactRetry(9)
    assert not failed.should_retry(CompactResult.COMPLETE, reclaim_helps=True)
    small = CompactRetry(2)
    tries = [small.should_retry(CompactResult.COMPLETE, reclaim_helps=True) for _ in range(2)]
    assert (tries, small.priority) == ([True, False], COMPACT_PRIO_SYNC_FULL)
    assert CompactRetry(2).should_retry(CompactResult.SKIPPED, reclaim_helps=True)
    assert not CompactRetry(2).should_retry(CompactResult.SKIPPED, reclaim_helps=False)
    in_vain = CompactRetry(9)
    nr = 0
    while in_vain.should_retry(CompactResult.SUCCESS, reclaim_helps=True):
        nr += 1
    assert nr == 4


def control(order=9, mode=MIGRATE_SYNC_LIGHT, **rest):
    """Return a run over zone 0."""
    return CompactControl(0, order, MIGRATE_UNMOVABLE, mode, 0, **rest)


def test_the_scanners_begin_where_the_last_ones_were():
    """Unless those have met, or all of the zone is wanted."""
    mem, known, cc = ReclaimBox(4096).mem, ZoneCompaction(), control()
    cc.start(mem, known)
    assert cc.whole_zone
    cc.update_cached_migrate(known, 4 * PAGEBLOCK_NR_PAGES)
    again = control(mode=MIGRATE_ASYNC)
    again.start(mem, known)
    assert (again.migrate_pfn, again.whole_zone) == (4 * PAGEBLOCK_NR_PAGES, False)
    again.free_pfn = again.migrate_pfn
    found = compact_finished(mem, again, known, is_killed=False)
    assert found is CompactResult.PARTIAL_SKIPPED
    assert not known.blockskip_flush
    last = control(is_direct=True)
    last.start(mem, known)
    assert last.migrate_pfn == 2 * PAGEBLOCK_NR_PAGES  # where the zone begins
    last.free_pfn = 0
    assert compact_finished(mem, last, known, is_killed=False) is CompactResult.COMPLETE
    assert known.blockskip_flush


def test_who_may_not_wait_looks_at_pageblocks_of_its_type():
    """A request in its first try leaves movable pageblocks alone; others scan them all."""
    mem = ReclaimBox(4096).mem
    mem.block_mt[:] = MIGRATE_MOVABLE
    mem.block_mt[5] = MIGRATE_UNMOVABLE
    ends = {}
    for mode in (MIGRATE_ASYNC, MIGRATE_SYNC_LIGHT):
        cc, known = control(mode=mode, is_direct=True), ZoneCompaction()
        cc.start(mem, known)
        ends[mode] = cc.next_migrate_block(mem, known)
    assert ends[MIGRATE_ASYNC] == 6 * PAGEBLOCK_NR_PAGES
    assert ends[MIGRATE_SYNC_LIGHT] == (cc.migrate_pfn | (PAGEBLOCK_NR_PAGES - 1)) + 1


def test_pageblocks_of_other_zones_and_holes_are_passed_over():
    """A span may have holes after hotplug, and hold a part of another zone."""
    mem, known, cc = ReclaimBox(4096).mem, ZoneCompaction(), control()
    mem.block_mt[:] = MIGRATE_MOVABLE
    cc.start(mem, known)
    first = cc.migrate_pfn // PAGEBLOCK_NR_PAGES
    mem.block_zone[first] = 0  # a hole
    mem.block_zone[first + 1] = 2  # row 1
    assert cc.next_migrate_block(mem, known) == (first + 3) * PAGEBLOCK_NR_PAGES
    cc.ignore_skip_hint = True
    wanted = [cc.is_target(full_box().mem, known, at * PAGEBLOCK_NR_PAGES) for at in range(4, 6)]
    mem = full_box().mem
    mem.block_zone[4] = 2
    assert wanted == [True, True]
    assert not cc.is_target(mem, known, 4 * PAGEBLOCK_NR_PAGES)


def test_a_free_block_that_reaches_out_of_its_pageblock_is_taken_whole():
    """Of the largest order: two pageblocks, movable from now on."""
    mem = full_box().mem
    mem.block_mt[:] = MIGRATE_UNMOVABLE
    start = MAX_ORDER_NR_PAGES * 2
    free_block(mem, 1024, 3)  # elsewhere: no zone is emptied
    free_block(mem, start, 10)
    scan = np.array((start, start + PAGEBLOCK_NR_PAGES, 32, 0, 0, 0), np.int64)
    out = np.zeros(32 + MAX_ORDER_NR_PAGES, np.int64)
    assert isolate_freepages_block(mem, scan, out) == MAX_ORDER_NR_PAGES
    assert out[:MAX_ORDER_NR_PAGES].tolist() == list(range(start, start + MAX_ORDER_NR_PAGES))
    block = start // PAGEBLOCK_NR_PAGES
    assert mem.block_mt[block : block + 2].tolist() == [MIGRATE_MOVABLE] * 2


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, 511), max_size=200, unique=True), st.integers(1, 32))
def test_free_pages_are_taken_in_order_and_counted(offsets, wanted):
    """Until there are enough: blocks whole, from the first frame on; the zone counts them off."""
    mem = full_box().mem
    start = 2048
    free_block(mem, 1024, 3)  # elsewhere: no zone is emptied
    for offset in offsets:
        free_block(mem, start + offset, 0)
    is_free = sorted(start + offset for offset in offsets)
    scan = np.array((start, start + PAGEBLOCK_NR_PAGES, wanted, 0, 0, 0), np.int64)
    out = np.zeros(wanted + PAGEBLOCK_NR_PAGES, np.int64)
    nr = isolate_freepages_block(mem, scan, out)
    assert out[:nr].tolist() == is_free[:nr]
    assert nr >= min(wanted, len(offsets))
    assert int(mem.zone[0, Z_FREE]) == len(offsets) + 8 - nr
    blocks = free_area_counts(mem, 0).sum(axis=1)
    assert int((blocks << np.arange(NR_ORDERS)).sum()) == len(offsets) + 8 - nr
    assert int(scan[FS_PFN]) == (out[nr - 1] + 1 if nr >= wanted else start + PAGEBLOCK_NR_PAGES)


def full_box():
    """Return a box of 2048 pages, all of them in use."""
    box = ReclaimBox(2048)
    box.mem.zone[0, Z_WMARK_MIN] = 0
    box.take(int(box.mem.zone[0, Z_FREE]) + int(box.mem.pcp_count[0, 0]))
    return box


def test_a_zone_keeps_what_it_must():
    """No free page is taken below the min mark."""
    mem = full_box().mem
    for pfn in range(2048, 2148, 2):
        free_block(mem, pfn, 0)
    mem.zone[0, Z_WMARK_MIN] = 40
    scan = np.array((2048, 2048 + PAGEBLOCK_NR_PAGES, 32, 0, 0, 0), np.int64)
    out = np.zeros(32 + PAGEBLOCK_NR_PAGES, np.int64)
    nr = isolate_freepages_block(mem, scan, out)
    assert nr == 9  # each is to leave more than min and itself
    assert int(mem.zone[0, Z_FREE]) == 41
    assert scan[FS_PFN] < 2048 + PAGEBLOCK_NR_PAGES


@pytest.mark.parametrize("skip_order", [0, 4])
def test_movable_pages_are_taken_off_their_lists(skip_order):
    """All there are, up to 32; a request in its first try leaves blocks that cannot become free."""
    box = ReclaimBox(2048)
    mem, pfns = box.mem, np.sort(box.fault(0, 100))
    start = int(pfns[0]) & -16
    stays = int(pfns[20])
    mem.pages.flags[stays] |= np.uint32(PG_locked)
    scan = np.array((start, start + PAGEBLOCK_NR_PAGES, skip_order, 1, 0, 0), np.int64)
    taken = []
    while scan[MS_PFN] < start + PAGEBLOCK_NR_PAGES:
        out, kinds = np.zeros(32, np.int64), np.zeros(32, np.int64)
        nr = isolate_migratepages_block(mem, scan, out, kinds)
        assert not skip_order or len({pfn >> skip_order for pfn in out[:nr].tolist()}) <= 1
        assert not kinds.any()
        taken += out[:nr].tolist()
    skipped = {stays} if not skip_order else {pfn for pfn in pfns if pfn >> 4 == stays >> 4}
    if skip_order:  # as far as nothing that cannot be moved lies in them
        others = {pfn >> 4 for pfn in range(start, start + 512) if not mem.pages.flags[pfn]}
        skipped |= {pfn for pfn in pfns if pfn >> 4 in others - {stays >> 4} and pfn not in taken}
    assert set(taken) == set(pfns.tolist()) - skipped
    flags = mem.pages.flags[np.array(taken)]
    assert ((flags & np.uint32(PG_isolated | PG_lru)) == PG_isolated).all()
    assert mem.node_stat[0, NR_ISOLATED_ANON] == len(taken)
    assert len(taken) <= scan[MS_NR_SCANNED] <= PAGEBLOCK_NR_PAGES
