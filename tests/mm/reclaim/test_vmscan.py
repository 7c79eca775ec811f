"""How the pressure is split between anonymous and file pages."""

import pytest

from kernelsim.mm.core.lruvec import (
    LV_FILE_COST,
    LV_KSWAPD_FAILURES,
    LV_PGDAT_WRITEBACK,
    LV_REFAULTS_FILE,
)
from kernelsim.mm.core.mem import (
    LRU_ACTIVE_ANON,
    LRU_ACTIVE_FILE,
    LRU_INACTIVE_ANON,
    LRU_INACTIVE_FILE,
    Z_FREE,
    Z_WMARK_HIGH,
)
from kernelsim.mm.core.vmstat import (
    NR_ISOLATED_ANON,
    NR_ZONE_INACTIVE_ANON,
)
from kernelsim.mm.page.gfp import GFP_KERNEL, Gfp
from kernelsim.mm.reclaim.scan_control import (
    DEACTIVATE_ANON,
    DEACTIVATE_FILE,
    ScanControl,
    ShrinkPlan,
    may_shrink_active,
    plan_shrink,
)
from kernelsim.mm.reclaim.throttle_reason import WRITEBACK
from kernelsim.mm.reclaim.vmscan import (
    finish_shrink_node,
    get_scan_count,
    inactive_is_low,
    prepare_scan_count,
    should_age_active_anon,
    too_many_isolated,
)
from kernelsim.mm.swap.swap_area import SS_FREE

BASE = 512


@pytest.fixture
def box(reclaim_box):
    """A machine with nothing on its lists."""
    return reclaim_box()


def set_lists(box, *, inactive_anon=0, active_anon=0, inactive_file=0, active_file=0, free=10_000):
    """Pretend that the lists have these lengths."""
    lengths = [inactive_anon, active_anon, inactive_file, active_file]
    box.mem.node_stat[0, :4] = lengths
    box.mem.zone_stat[0, NR_ZONE_INACTIVE_ANON : NR_ZONE_INACTIVE_ANON + 4] = lengths
    box.mem.zone[0, Z_FREE] = free
    box.mem.zone[0, Z_WMARK_HIGH] = 100


def counts(box, **fields):
    """Return the scan counts for a control with these fields."""
    sc = ScanControl(**fields)
    prepare_scan_count(box.mem, box.lruvec, 0, sc)
    return get_scan_count(box.mem, box.swap, 0, sc)


@pytest.mark.mission("R5")
@pytest.mark.parametrize(
    ("swappiness", "anon", "file"), [(0, 0, 1000), (60, 300, 700), (100, 500, 500), (200, 1000, 0)]
)
def test_swappiness_splits_the_pressure(box, swappiness, anon, file):
    """At equal cost, swappiness/200 of the scan goes to anonymous pages."""
    set_lists(box, inactive_anon=1000, active_anon=1001, inactive_file=1000, active_file=1001)
    sc = ScanControl(swappiness=swappiness, priority=0 if swappiness == 0 else 1)
    prepare_scan_count(box.mem, box.lruvec, 0, sc)
    sc.anon_cost = sc.file_cost = 500
    nr = get_scan_count(box.mem, box.swap, 0, sc)
    share = 1 << sc.priority
    assert abs(nr[LRU_INACTIVE_ANON] * share - anon) <= 4
    assert abs(nr[LRU_INACTIVE_FILE] * share - file) <= 4


@pytest.mark.mission("R5")
def test_swappiness_zero_is_not_never(box):
    """With swappiness 0 anonymous pages are still taken when file pages have run out."""
    set_lists(box, inactive_anon=4096, inactive_file=10, active_file=20, free=10)
    assert counts(box, swappiness=0)[LRU_INACTIVE_ANON] == 1
    assert counts(box, swappiness=0)[LRU_INACTIVE_FILE] == 0


def test_cost_moves_the_balance(box):
    """The type whose reclaim cost more I/O is scanned less, but never below a third."""
    set_lists(box, inactive_anon=4000, active_anon=4001, inactive_file=4000, active_file=4001)
    box.lruvec[0, LV_FILE_COST] = 2000
    nr = counts(box, swappiness=100, priority=2)
    assert nr[LRU_INACTIVE_ANON] == 667
    assert nr[LRU_INACTIVE_FILE] == 332


def test_plenty_of_idle_cache_spares_anonymous_pages(box):
    """An inactive file list longer than the active one, and long for the priority, goes alone."""
    set_lists(box, inactive_anon=9000, inactive_file=8192, active_file=100)
    assert counts(box)[LRU_INACTIVE_ANON] == 0
    assert counts(box)[LRU_INACTIVE_FILE] == 2
    box.lruvec[0, LV_REFAULTS_FILE] = -1  # a refault was activated since: not idle after all
    assert counts(box)[LRU_INACTIVE_FILE] < 2


def test_last_priority_scans_both_fully(box):
    """At priority 0 both types are scanned in full, whatever swappiness above 0 says."""
    set_lists(box, inactive_anon=30, active_anon=5, inactive_file=40, active_file=6)
    assert counts(box, priority=0, swappiness=1) == [30, 5, 40, 6]


def test_without_free_swap_only_file_pages_are_scanned(box):
    """A reclaimer that may not swap, or has no slots left, scans file pages alone."""
    set_lists(box, inactive_anon=8192, inactive_file=100, active_file=8192)
    assert counts(box, may_swap=False, priority=0)[:2] == [0, 0]
    box.swap.state[SS_FREE] = 0
    assert counts(box, priority=0) == [0, 0, 100, 8192]


@pytest.mark.parametrize(
    ("inactive", "active", "low"),
    [(10, 10, False), (10, 11, True), (262144, 786432, False), (65536, 983040, True)],
)
def test_inactive_share_may_be_smaller_on_large_memory(box, inactive, active, low):
    """Below 1 GB the lists must be even; at 4 GB the active one may be six times as long."""
    set_lists(box, inactive_anon=inactive, active_anon=active)
    assert inactive_is_low(box.mem, 0, LRU_INACTIVE_ANON) == low


def test_active_lists_are_spared_while_inactive_ones_suffice(box):
    """The control remembers that it spared an active list."""
    set_lists(box, inactive_anon=10, active_anon=20, inactive_file=20, active_file=10)
    sc = ScanControl()
    prepare_scan_count(box.mem, box.lruvec, 0, sc)
    assert sc.may_deactivate == DEACTIVATE_ANON
    assert may_shrink_active(sc, lru=LRU_ACTIVE_ANON)
    assert not sc.skipped_deactivate
    assert not may_shrink_active(sc, lru=LRU_ACTIVE_FILE)
    assert sc.skipped_deactivate
    sc.force_deactivate = True
    prepare_scan_count(box.mem, box.lruvec, 0, sc)
    assert sc.may_deactivate == DEACTIVATE_ANON | DEACTIVATE_FILE
    assert should_age_active_anon(box.mem, box.swap, 0)


def test_plan_hands_out_batches_of_32():
    """Each round takes at most 32 pages of every list that has some left."""
    plan = ShrinkPlan([40, 10, 0, 33], nr_to_reclaim=1000, proportional_reclaim=False)
    assert plan.next_round() == [(0, 32), (1, 10), (3, 32)]
    plan.end_round(5)
    assert plan.next_round() == [(0, 8), (3, 1)]
    plan.end_round(3)
    assert plan.next_round() == []
    assert plan.nr_reclaimed == 8


def test_plan_stops_when_one_type_is_done_and_enough_was_reclaimed():
    """With only one type left to scan, the pass ends as soon as the goal is met."""
    plan = ShrinkPlan([320, 0, 0, 0], nr_to_reclaim=32, proportional_reclaim=False)
    plan.next_round()
    plan.end_round(32)
    assert plan.next_round() == []


def test_plan_keeps_the_proportion():
    """After the goal, the type with less left stops and the other catches up to its percentage."""
    plan = ShrinkPlan([64, 0, 640, 0], nr_to_reclaim=20, proportional_reclaim=False)
    plan.next_round()
    plan.end_round(20)
    # anon: 32 of 64 left = 49 %; file: 51 % of 640 = 326 wanted, 32 done
    assert plan.nr == [0, 0, 294, 0]


def test_direct_reclaim_scans_everything_at_first_priority():
    """At the default priority a direct reclaimer does not stop early; kswapd does."""
    assert plan_shrink(ScanControl(), [64, 0, 0, 0]).proportional_reclaim
    assert not plan_shrink(ScanControl(is_kswapd=True), [64, 0, 0, 0]).proportional_reclaim
    assert not plan_shrink(ScanControl(priority=11), [64, 0, 0, 0]).proportional_reclaim


@pytest.mark.parametrize(
    ("gfp", "isolated", "wait"),
    [(GFP_KERNEL, 12, False), (GFP_KERNEL, 13, True), (GFP_KERNEL & ~(Gfp.IO | Gfp.FS), 13, False)],
)
def test_too_many_isolated(box, gfp, isolated, wait):
    """A direct reclaimer waits while more than an eighth of the inactive list is off it."""
    set_lists(box, inactive_anon=100)
    box.mem.node_stat[0, NR_ISOLATED_ANON] = isolated
    sc = ScanControl(gfp_mask=gfp)
    assert too_many_isolated(box.mem, 0, sc, lru=LRU_INACTIVE_ANON) == wait
    sc.is_kswapd = True
    assert not too_many_isolated(box.mem, 0, sc, lru=LRU_INACTIVE_ANON)


def test_pass_over_nothing_but_writeback_marks_the_node(box):
    """Kswapd that met only pages under writeback marks the node; `immediate` throttles it."""
    sc = ScanControl(is_kswapd=True, nr_reclaimed=5)
    sc.taken = sc.writeback = 32
    assert finish_shrink_node(box.lruvec, 0, sc, nr_reclaimed_before=5) is None
    assert box.lruvec[0, LV_PGDAT_WRITEBACK] == 1
    sc.immediate = 1
    box.lruvec[0, LV_KSWAPD_FAILURES] = 7
    reason = finish_shrink_node(box.lruvec, 0, sc, nr_reclaimed_before=4)
    assert reason == WRITEBACK
    assert box.lruvec[0, LV_KSWAPD_FAILURES] == 0


def test_batches_add_up_in_the_control(box):
    """The control sums what the batches of a pass saw."""
    box.fault(BASE, 8)
    box.forget_use(8)
    sc = ScanControl(is_kswapd=True)
    box.scan(8, how=sc.how())
    assert sc.add_batch(box.batch, lru=LRU_INACTIVE_ANON) == 0
    box.end_writes()
    box.scan(8, how=sc.how())
    assert sc.add_batch(box.batch, lru=LRU_INACTIVE_ANON) == 8
    assert (sc.nr_scanned, sc.taken, sc.file_taken) == (16, 16, 0)
