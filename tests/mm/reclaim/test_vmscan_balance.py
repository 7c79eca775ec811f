"""When kswapd starts and stops, when reclaimers sleep, and when the allocator gives up."""

import pytest

from kernelsim.mm.core.lruvec import (
    LV_KSWAPD_FAILURES,
    LV_NR_WRITEBACK_THROTTLED,
    LV_PGDAT_WRITEBACK,
)
from kernelsim.mm.core.mem import (
    Z_FREE,
    Z_RECLAIM_ACTIVE,
    Z_WATERMARK_BOOST,
    Z_WMARK_HIGH,
    Z_WMARK_LOW,
    Z_WMARK_MIN,
)
from kernelsim.mm.core.vmstat import (
    NR_THROTTLED_WRITTEN,
    NR_ZONE_INACTIVE_ANON,
    NR_ZONE_INACTIVE_FILE,
    NR_ZONE_WRITE_PENDING,
)
from kernelsim.mm.page.page_alloc import ALLOC_HIGH
from kernelsim.mm.reclaim.scan_control import DEF_PRIORITY, MAX_RECLAIM_RETRIES, ScanControl
from kernelsim.mm.reclaim.throttle_reason import ISOLATED, NOPROGRESS, WRITEBACK
from kernelsim.mm.reclaim.vmscan import zone_reclaimable_pages
from kernelsim.mm.reclaim.vmscan_direct import (
    ReclaimRetry,
    allow_direct_reclaim,
    direct_reclaim_goes_on,
)
from kernelsim.mm.reclaim.vmscan_kswapd import (
    BalanceRun,
    kswapd_nr_to_reclaim,
    pgdat_balanced,
    prepare_kswapd_sleep,
)
from kernelsim.mm.reclaim.vmscan_throttle import (
    end_writeback_throttle,
    made_progress,
    reclaim_throttle,
    should_throttle_noprogress,
    wakes_writeback_throttled,
)


@pytest.fixture
def box(reclaim_box):
    """A node with marks 100, 200, 300 and nothing free."""
    made = reclaim_box()
    zone = made.mem.zone[0]
    zone[Z_WMARK_MIN], zone[Z_WMARK_LOW], zone[Z_WMARK_HIGH] = 100, 200, 300
    zone[Z_FREE] = 0
    return made


def start(box, **fields):
    """Begin a run of kswapd."""
    return BalanceRun.start(box.mem, 0, order=0, highest_zoneidx=0, swappiness=60, **fields)


@pytest.mark.parametrize(("free", "balanced"), [(300, False), (301, True)])
def test_balanced_means_above_the_high_watermark(box, free, balanced):
    """Kswapd may sleep only when a zone has more free pages than its high mark."""
    box.mem.zone[0, Z_FREE] = free
    assert pgdat_balanced(box.mem, 0, 0, 0) == balanced


def test_boost_raises_the_mark(box):
    """A boosted zone is balanced only above its high mark plus the boost."""
    box.mem.zone[0, Z_FREE] = 350
    box.mem.zone[0, Z_WATERMARK_BOOST] = 50
    assert not pgdat_balanced(box.mem, 0, 0, 0)


def test_node_without_pages_is_balanced(box):
    """A node with no zone up to the wanted type needs no reclaim."""
    assert pgdat_balanced(box.mem, 0, 0, -1)


def test_sleep_forgets_writeback_troubles(box):
    """A balanced node clears its marks; one that failed too often sleeps unbalanced."""
    box.lruvec[0, LV_PGDAT_WRITEBACK] = 1
    assert not prepare_kswapd_sleep(box.mem, box.lruvec, 0, 0, 0)
    assert box.lruvec[0, LV_PGDAT_WRITEBACK] == 1
    box.mem.zone[0, Z_FREE] = 1000
    assert prepare_kswapd_sleep(box.mem, box.lruvec, 0, 0, 0)
    assert box.lruvec[0, LV_PGDAT_WRITEBACK] == 0
    box.mem.zone[0, Z_FREE] = 0
    box.lruvec[0, LV_KSWAPD_FAILURES] = MAX_RECLAIM_RETRIES
    assert prepare_kswapd_sleep(box.mem, box.lruvec, 0, 0, 0)


def test_priority_rises_to_the_end_without_progress(box):
    """A run that reclaims nothing goes through priorities 12 … 1 and counts one failure."""
    run = start(box)
    priorities = []
    while run.begin_pass(box.mem):
        priorities.append(run.sc.priority)
        assert box.mem.zone[0, Z_RECLAIM_ACTIVE] == 1
        run.end_pass()
    assert priorities == list(range(12, 0, -1))
    assert not run.finish(box.mem, box.lruvec)
    assert box.lruvec[0, LV_KSWAPD_FAILURES] == 1
    assert box.mem.zone[0, Z_RECLAIM_ACTIVE] == 0


def test_priority_stays_while_enough_is_scanned(box):
    """A pass that scanned its goal and reclaimed something is repeated at the same priority."""
    run = start(box)
    for _ in range(5):
        assert run.begin_pass(box.mem)
        assert run.sc.nr_to_reclaim == kswapd_nr_to_reclaim(box.mem, 0, 0) == 300
        run.sc.nr_scanned += 300
        run.sc.nr_reclaimed += 1
        run.end_pass()
    assert run.sc.priority == DEF_PRIORITY
    run.begin_pass(box.mem)
    run.sc.nr_scanned = 299
    run.sc.nr_reclaimed += 1
    run.end_pass()
    assert run.sc.priority == DEF_PRIORITY - 1


def test_run_ends_when_the_node_is_balanced(box):
    """No pass is made on a balanced node, and that is no failure."""
    box.mem.zone[0, Z_FREE] = 301
    run = start(box)
    assert not run.begin_pass(box.mem)
    run.finish(box.mem, box.lruvec)
    assert box.lruvec[0, LV_KSWAPD_FAILURES] == 0


def test_boosted_run_neither_writes_nor_swaps(box):
    """A balanced node with a boost is reclaimed gently until the boost is worked off."""
    box.mem.zone[0, Z_WATERMARK_BOOST] = 40
    box.mem.zone[0, Z_FREE] = 1000
    run = start(box)
    assert run.begin_pass(box.mem)
    assert (run.sc.may_writepage, run.sc.may_swap) == (False, False)
    run.sc.nr_reclaimed += 40
    run.end_pass()
    assert not run.begin_pass(box.mem)
    assert run.finish(box.mem, box.lruvec)
    assert box.mem.zone[0, Z_WATERMARK_BOOST] == 0


def test_boosted_run_stops_without_progress(box):
    """A boosted pass that reclaims nothing ends the run."""
    box.mem.zone[0, Z_WATERMARK_BOOST] = 40
    box.mem.zone[0, Z_FREE] = 1000
    run = start(box)
    run.begin_pass(box.mem)
    run.end_pass()
    assert not run.begin_pass(box.mem)
    assert box.lruvec[0, LV_KSWAPD_FAILURES] == 0


def test_unbalanced_node_forgets_the_boost(box):
    """Below the marks kswapd swaps and writes, boost or not."""
    box.mem.zone[0, Z_WATERMARK_BOOST] = 40
    run = start(box)
    assert run.begin_pass(box.mem)
    assert run.sc.may_swap
    assert run.nr_boost_reclaim == 0


def test_allocators_wait_below_half_the_min_watermark(box):
    """Direct reclaim is allowed above half of the min marks of zones that can be reclaimed."""

    def allowed():
        return allow_direct_reclaim(box.mem, box.swap, box.lruvec, 0, normal_zoneidx=0)

    assert allowed()  # nothing reclaimable: no reserve to protect
    box.mem.zone_stat[0, NR_ZONE_INACTIVE_ANON] = 10
    box.mem.zone[0, Z_FREE] = 50
    assert not allowed()
    box.mem.zone[0, Z_FREE] = 51
    assert allowed()
    box.mem.zone[0, Z_FREE] = 0
    box.lruvec[0, LV_KSWAPD_FAILURES] = MAX_RECLAIM_RETRIES
    assert allowed()


def test_anonymous_pages_count_as_reclaimable_only_with_swap(box, reclaim_box):
    """Without a free slot only file pages can be reclaimed."""
    bare = reclaim_box(swap_pages=0)
    for machine, pages in ((box, 15), (bare, 5)):
        machine.mem.zone_stat[0, NR_ZONE_INACTIVE_ANON] = 10
        machine.mem.zone_stat[0, NR_ZONE_INACTIVE_FILE] = 5
        assert zone_reclaimable_pages(machine.mem, machine.swap, 0) == pages


def test_throttle_times(box):
    """Writeback stalls for 100 ms at most, isolation 20 ms, no progress one tick if it helps."""

    def sleep_ns(reason):
        return reclaim_throttle(box.mem, box.swap, box.lruvec, 0, reason=reason)

    assert sleep_ns(WRITEBACK) == 100_000_000
    assert sleep_ns(ISOLATED) == 20_000_000
    assert sleep_ns(NOPROGRESS) == 0
    box.mem.zone_stat[0, NR_ZONE_WRITE_PENDING] = 1
    assert sleep_ns(NOPROGRESS) == 4_000_000


def test_those_throttled_wake_after_enough_writes(box):
    """More than 32 pages written for each sleeper wake them early."""
    reclaim_throttle(box.mem, box.swap, box.lruvec, 0, reason=WRITEBACK)
    box.mem.node_stat[0, NR_THROTTLED_WRITTEN] += 32
    assert not wakes_writeback_throttled(box.mem, box.lruvec, 0)
    box.mem.node_stat[0, NR_THROTTLED_WRITTEN] += 1
    assert wakes_writeback_throttled(box.mem, box.lruvec, 0)
    end_writeback_throttle(box.lruvec, 0)
    assert box.lruvec[0, LV_NR_WRITEBACK_THROTTLED] == 0
    assert not wakes_writeback_throttled(box.mem, box.lruvec, 0)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"nr_scanned": 80, "nr_reclaimed": 11}, (True, False)),
        ({"nr_scanned": 80, "nr_reclaimed": 10}, (False, False)),
        ({"nr_scanned": 80, "priority": 1}, (False, True)),
        ({"nr_scanned": 80, "priority": 1, "is_kswapd": True}, (False, False)),
    ],
)
def test_progress_wakes_and_its_absence_throttles(fields, expected):
    """More than an eighth reclaimed wakes others; none at priority 1 makes an allocator sleep."""
    sc = ScanControl(**fields)
    assert (made_progress(sc), should_throttle_noprogress(sc)) == expected


def test_direct_reclaim_goes_through_all_priorities_then_forces_active_lists():
    """Thirteen rounds without a page, and thirteen more when active lists had been spared."""
    sc = ScanControl(skipped_deactivate=True)
    rounds = 1
    while direct_reclaim_goes_on(sc):
        rounds += 1
    assert rounds == 26
    assert sc.force_deactivate
    sc = ScanControl(nr_reclaimed=32)
    assert not direct_reclaim_goes_on(sc)


def retry(box, loops, *, progress, order=0, flags=0):
    """Ask whether to try again."""
    return loops.should_retry(
        box.mem,
        box.swap,
        [0],
        order=order,
        highest_zoneidx=0,
        alloc_flags=flags,
        did_some_progress=progress,
    )


def test_allocation_retries_while_reclaim_could_satisfy_it(box):
    """Free plus reclaimable pages must exceed the min mark; progress resets the count."""
    loops = ReclaimRetry()
    box.mem.zone[0, Z_FREE] = 60
    box.mem.zone_stat[0, NR_ZONE_INACTIVE_ANON] = 40
    assert not retry(box, loops, progress=True)
    box.mem.zone_stat[0, NR_ZONE_INACTIVE_ANON] = 41
    assert retry(box, loops, progress=True)
    box.mem.zone_stat[0, NR_ZONE_INACTIVE_ANON] = 0
    assert retry(box, loops, progress=True, flags=ALLOC_HIGH)


def test_allocation_gives_up_after_sixteen_rounds_without_progress(box):
    """The seventeenth round in a row without progress ends in the OOM killer."""
    loops = ReclaimRetry()
    box.mem.zone_stat[0, NR_ZONE_INACTIVE_ANON] = 5000
    answers = [retry(box, loops, progress=False) for _ in range(17)]
    assert answers == [True] * 16 + [False]
    loops = ReclaimRetry()
    assert all(retry(box, loops, progress=True) for _ in range(40))
