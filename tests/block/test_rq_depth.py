"""How deep a disk's queue may be filled, window by window."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernelsim.block.rq_depth import MIN_LATENCY_NS, RWB_UNKNOWN_BUMP, RWB_WINDOW_NS, RqDepth


@pytest.fixture
def depth() -> RqDepth:
    """Return the depth of a disk with 256 requests that does not rotate."""
    return RqDepth(256, MIN_LATENCY_NS)


def windows(depth: RqDepth, nr: int, *, has_writes: bool) -> list[int]:
    """Let windows end; return the depth after each."""
    found = []
    for number in range(1, nr + 1):
        depth.end_window(number * RWB_WINDOW_NS, RWB_WINDOW_NS, has_writes=has_writes)
        found.append(depth.max_depth)
    return found


def test_a_disk_that_only_writes_is_given_more(depth):
    """16, doubled once a window, up to three quarters of the queue."""
    assert windows(depth, 5, has_writes=True) == [31, 61, 121, 192, 192]
    assert (depth.normal, depth.background) == (96, 48)


def test_a_slow_read_makes_it_less(depth):
    """A read that took longer than it should halves the depth, a quick one gives it back."""
    windows(depth, 2, has_writes=True)
    for took_ns, expected in ((3 * MIN_LATENCY_NS, 16), (3 * MIN_LATENCY_NS, 8), (1, 16)):
        for _ in range(3):
            depth.completed(is_write=True, began_ns=0, now_ns=1)
        depth.completed(is_write=False, began_ns=0, now_ns=took_ns)
        depth.end_window(RWB_WINDOW_NS, RWB_WINDOW_NS, has_writes=True)
        assert depth.max_depth == expected


def test_a_read_that_does_not_come_back_counts_as_slow(depth):
    """It is judged while it waits."""
    depth.issued(10)
    depth.end_window(RWB_WINDOW_NS, RWB_WINDOW_NS, has_writes=True)
    assert depth.max_depth == 8
    depth.completed(is_write=False, began_ns=10, now_ns=RWB_WINDOW_NS + 20)
    assert depth.sync_issue_ns is None


def test_it_goes_back_when_nothing_happens(depth):
    """Every fifth idle window is one step back to the usual depth; then nothing is timed."""
    windows(depth, 2, has_writes=True)
    assert windows(depth, 2 * RWB_UNKNOWN_BUMP, has_writes=False)[-1] == 16
    assert depth.end_window(0, RWB_WINDOW_NS, has_writes=False) == 0


def test_a_queue_of_one_request():
    """It has two places at best and one when it is slow."""
    depth = RqDepth(1, MIN_LATENCY_NS)
    assert (depth.max_depth, depth.normal, depth.background) == (2, 2, 1)
    depth.issued(0)
    depth.end_window(RWB_WINDOW_NS, RWB_WINDOW_NS, has_writes=True)
    assert (depth.max_depth, depth.normal) == (1, 1)


@given(
    st.integers(1, 1024), st.lists(st.tuples(st.booleans(), st.booleans(), st.integers(0, 10**8)))
)
def test_the_depth_stays_within_the_queue(queue_depth, steps):
    """Whatever happens: at least one request, never more than the queue has (two for one)."""
    depth = RqDepth(queue_depth, MIN_LATENCY_NS)
    now_ns = 0
    for has_writes, reads, took_ns in steps:
        if reads:
            depth.completed(is_write=False, began_ns=0, now_ns=took_ns)
        now_ns += RWB_WINDOW_NS
        window = depth.end_window(now_ns, RWB_WINDOW_NS, has_writes=has_writes)
        assert 0 <= window <= RWB_WINDOW_NS
        assert 1 <= depth.background <= depth.normal <= depth.max_depth <= max(2, queue_depth)
