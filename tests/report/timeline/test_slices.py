"""Tests of slices made of events, and of how those of a track fit into each other."""

import re
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernelsim.report.sinks import Event
from kernelsim.report.timeline.nesting import lanes, nested
from kernelsim.report.timeline.slices import SLEEP_NAMES, STALL, Slice, TimelineMaker, awake, gaps
from tests.house_rules import TOP

SPANS = st.tuples(st.integers(0, 50), st.integers(0, 20)).map(
    lambda pair: Slice("t", pair[0], sum(pair), f"{pair}", "x")
)
FAULT = {"nr_pages": 1, "kind": "swap", "latency_ns": 60}
SWAPIN = {"dev": "vda", "latency_ns": 40}
WAIT = {"lock": "node 0 lru_lock", "user": "cpu1", "wait_ns": 5, "hold_ns": 2}


def made(*events):
    """Return the maker of a log of (t_ns, actor, event, fields)."""
    maker = TimelineMaker()
    for t_ns, actor, event, fields in events:
        maker.take(Event(t_ns, actor, event, fields))
    maker.finish()
    return maker


def times(maker, track):
    """Return (start, end, name) of the slices of a track."""
    return [(s.start_ns, s.end_ns, s.name) for s in maker.slices if s.track == track]


def test_a_fault_ends_with_its_event_and_points_at_its_read():
    """The read lies in the fault, on the process's track and on the disk's, with one arrow."""
    maker = made((90, "hog-100", "ks_swapin", SWAPIN), (100, "hog-100", "ks_fault", FAULT))
    assert times(maker, "hog-100") == [(50, 90, "waits for vda"), (40, 100, "fault: swap")]
    assert times(maker, "vda") == [(50, 90, "read for hog-100")]
    assert maker.slices[0].flows == maker.slices[1].flows != ()


def test_spinning_is_drawn_where_the_task_runs():
    """The CPU's task spins until it gets the lock; the lock's track has the hold, one arrow."""
    maker = made(
        (0, "cpu1", "ks_sched_switch", {"prev": "", "next": "hog-100"}),
        (20, "node0", "ks_lock_wait", WAIT),
    )
    assert times(maker, "hog-100") == [(15, 20, "spins: node 0 lru_lock")]
    assert times(maker, "node 0 lru_lock") == [(20, 22, "held by hog-100 on cpu1")]
    assert times(maker, "cpu1") == [(0, 20, "hog-100")]


def test_kswapd_works_from_its_waking_to_the_last_it_says():
    """A round has an arrow from who woke it; between rounds its CPU is not drawn as running it."""
    wake = {"nid": 0, "zid": 1, "order": 0}
    maker = made(
        (0, "cpu0", "ks_sched_switch", {"prev": "", "next": "kswapd0"}),
        (10, "hog-100", "mm_vmscan_wakeup_kswapd", wake),
        (12, "kswapd0", "mm_vmscan_kswapd_wake", wake),
        (30, "kswapd0", "mm_vmscan_lru_isolate", {}),
        (50, "kswapd0", "mm_vmscan_kswapd_wake", wake),
        (60, "kswapd0", "mm_vmscan_lru_isolate", {}),
        (90, "kswapd0", "mm_vmscan_kswapd_sleep", {"nid": 0}),
    )
    rounds = [(12, 30, "balances its node"), (50, 60, "balances its node")]
    assert times(maker, "kswapd0") == rounds
    assert times(maker, "cpu0") == [(12, 30, "kswapd0"), (50, 60, "kswapd0")]
    first = next(each for each in maker.slices if each.track == "kswapd0")
    assert first.flows == maker.moments[0].flows != ()


def test_reclaim_and_throttling_are_slices():
    """Direct reclaim goes from its begin to its end; a throttled task slept up to the event."""
    throttled = {"nid": 0, "usec_timeout": 9, "usec_delayed": 2, "reason": 1}
    maker = made(
        (1000, "hog-100", "mm_vmscan_direct_reclaim_begin", {"order": 0}),
        (4000, "hog-100", "mm_vmscan_throttled", throttled),
        (5000, "hog-100", "mm_vmscan_direct_reclaim_end", {"nr_reclaimed": 3}),
        (6000, "w-101", "balance_dirty_pages", {"pause": 2}),
        (7000, "w-101", "balance_dirty_pages", {"pause": 0}),
    )
    assert times(maker, "hog-100") == [
        (2000, 4000, "throttled: VMSCAN_THROTTLE_WRITEBACK"),
        (1000, 5000, "direct reclaim"),
    ]
    assert times(maker, "w-101") == [(6000, 2_006_000, "pauses: dirty pages")]


@given(st.lists(SPANS, max_size=12))
def test_slices_of_a_track_lie_in_each_other(slices):
    """Every slice begins and ends once, the innermost first; time never goes back."""
    edges = list(nested(slices))
    assert all(a.t_ns <= b.t_ns for a, b in pairwise(edges))
    assert sorted(id(edge.slice) for edge in edges if edge.begins) == sorted(map(id, slices))
    open_slices = []
    for edge in edges:
        if edge.begins:
            open_slices.append(edge.slice)
        else:
            assert open_slices.pop() is edge.slice
            assert edge.slice.start_ns <= edge.t_ns <= edge.slice.end_ns
    assert open_slices == []


@given(st.lists(SPANS, max_size=12))
def test_slices_of_a_lane_do_not_meet(slices):
    """All slices are in some lane; none begins before the one ahead of it in the lane is over."""
    shared = lanes(slices)
    assert sorted(id(each) for lane in shared for each in lane) == sorted(map(id, slices))
    for lane in shared:
        assert all(a.end_ns <= b.start_ns for a, b in pairwise(lane))


@pytest.mark.parametrize(
    ("sleeps", "left"),
    [
        ([], [(10, 20)]),
        ([(0, 12), (14, 15)], [(12, 14), (15, 20)]),
        ([(9, 30)], []),
        ([(12, 16), (13, 14)], [(10, 12), (16, 20)]),
        ([(20, 25)], [(10, 20)]),
    ],
)
def test_a_sleeping_task_does_not_run(sleeps, left):
    """Times of sleep are cut out of a CPU's slice."""
    parts = awake(Slice("cpu0", 10, 20, "hog-100", "running"), sleeps)
    assert [(each.start_ns, each.end_ns) for each in parts] == left


def test_gaps_are_what_lies_between():
    """From 0 to the end, without the times given."""
    assert gaps([(2, 4), (3, 6), (8, 9)], 10) == [(0, 2), (6, 8), (9, 10)]
    assert gaps([(0, 10)], 10) == []


def test_the_wait_for_the_read_of_another_tells_whose_it_is():
    """The reader waits for the disk, the other for the reader."""
    sleep = {"why": "page read", "of": "q-101", "wait_ns": 39}
    maker = made((50, "q-101", "ks_swapin", SWAPIN), (50, "p-100", "ks_sleep", sleep))
    names = [s.name for s in maker.slices if s.track == "p-100"]
    assert names == ["waits for a page that q-101 is reading"]
    assert [s.name for s in maker.slices if s.track == "q-101"] == ["waits for vda"]


def test_each_cause_of_a_sleep_has_a_name():
    """Whatever the actors log as `ks_sleep` is drawn, and nothing else is expected."""
    logged = {
        why
        for path in (TOP / "kernelsim/actors").rglob("*.py")
        for why in re.findall(r'ks_sleep\(\s*"([^"]+)"', path.read_text(encoding="utf-8"))
    }
    assert logged == set(SLEEP_NAMES)
    maker = TimelineMaker()
    for why in SLEEP_NAMES:
        maker.take(Event(9, "p-100", "ks_sleep", {"why": why, "of": "x", "wait_ns": 4}))
    assert {(s.start_ns, s.end_ns, s.category) for s in maker.slices} == {(5, 9, STALL)}
    assert len({s.name for s in maker.slices}) == len(SLEEP_NAMES)
