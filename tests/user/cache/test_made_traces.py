"""Tests of the made traces and of counting hits over time."""

from collections import Counter
from itertools import pairwise

import pytest

from kernelsim.sim.rng import Rng
from kernelsim.units import NS_PER_S
from kernelsim.user.cache.hit_rates import Window, hit_rates
from kernelsim.user.cache.lru import Lru
from kernelsim.user.cache.made_traces import MADE_TRACES, STEP_NS, TraceShape
from kernelsim.user.cache.requests import Request


def made(name, nr_pages, nr_requests, seed=1):
    """Make a trace whole."""
    return list(MADE_TRACES[name](TraceShape(nr_pages, nr_requests, Rng(seed, name))))


@pytest.mark.parametrize("name", MADE_TRACES)
def test_one_seed_makes_one_trace(name):
    """As many requests as asked for, a page each, at even distances."""
    trace = made(name, 50, 300)
    assert trace == made(name, 50, 300)
    assert [(request.t_ns, request.nr_pages) for request in trace] == [
        (number * STEP_NS, 1) for number in range(300)
    ]


def test_zipf_is_zipf():
    """The first page comes about twice as often as the second, four times as the fourth."""
    counts = [n for _, n in Counter(r.page for r in made("zipf", 1000, 50_000)).most_common(4)]
    for rank, count in enumerate(counts, start=1):
        assert count * rank == pytest.approx(50_000 / 7.485, rel=0.1)  # the 1000th harmonic number
    assert made("zipf", 1000, 100) != made("zipf", 1000, 100, seed=2)


def test_a_scan_asks_for_nothing_twice_and_a_loop_for_all():
    """Pages ascend; a loop begins again."""
    assert [r.page for r in made("scan", 3, 5)] == [0, 1, 2, 3, 4]
    assert [r.page for r in made("loop", 3, 5)] == [0, 1, 2, 0, 1]


def test_pollution_scans_in_its_middle_third():
    """Before and after only pages of the hot set are asked for, within only others, once each."""
    pages = [r.page for r in made("pollution", 10, 300)]
    assert max(pages[:100] + pages[200:]) < 10
    assert min(pages[100:200]) >= 10
    assert len(set(pages[100:200])) == 100


def test_cold_pages_of_ahead_are_far_apart():
    """Each fourth request is for a page never seen, and its neighbours are never asked for."""
    pages = [r.page for r in made("ahead", 10, 400)]
    cold = pages[3::4]
    assert min(cold) >= 10
    assert max(set(pages) - set(cold)) < 10
    assert min(b - a for a, b in pairwise(cold)) > 64


def test_hits_in_windows():
    """A window has its begin, its accesses and the hits of each cache; empty ones are left out."""
    trace = [Request(0, 1, 2), Request(5, 1, 2), Request(2 * NS_PER_S + 1, 1, 3)]
    caches = [Lru(1), Lru(3)]
    assert hit_rates(trace, caches, window_ns=NS_PER_S) == [
        Window(0, [0, 2], 4),
        Window(2 * NS_PER_S, [0, 2], 3),
    ]


def test_reading_ahead_follows_a_miss_only():
    """What was read ahead is a hit when it is asked for, and begins no more of it."""
    [window] = hit_rates([Request(0, 5, 6)], [Lru(10)], read_ahead=3)
    assert (window.nr_accesses, window.hits) == (6, [4])  # 5 and 9 missed


def test_no_request_at_all():
    """There is a window with nothing in it."""
    assert hit_rates([], [Lru(1)]) == [Window(0, [0], 0)]
