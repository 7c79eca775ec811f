"""Who takes over how much from whom, and when it looks again."""

import pytest

from kernelsim.sched.balance import (
    MIGRATION_COST_NS,
    NICE_0_LOAD,
    DomainState,
    SchedDomain,
    is_cache_hot,
    make_domains,
)
from kernelsim.units import NS_PER_MS

DISTANCES = ((10, 20, 30), (20, 10, 20), (30, 20, 10))
TICK_NS = 4 * NS_PER_MS


def cores(number, cpu=0):
    """Return what a CPU knows of a domain of single CPUs."""
    others = ((other,) for other in range(number) if other != cpu)
    return DomainState(SchedDomain(((cpu,), *others), 1))


def nodes():
    """Return what CPU 0 knows of two nodes of two CPUs."""
    return DomainState(SchedDomain(((0, 1), (2, 3)), 2))


def test_domains_grow_by_distance():
    """First the CPUs of the node, then whole nodes as far as each distance; no level twice."""
    near, middle, far = make_domains(2, (0, 0, 1, 1, 2), ((10, 20, 20), (20, 10, 30), (20, 30, 10)))
    assert near.groups == ((2,), (3,))
    assert middle.groups == ((2, 3), (0, 1))
    assert far.groups == ((2, 3), (0, 1), (4,))
    assert make_domains(0, (0,), ((10,),)) == ()
    assert [domain.groups for domain in make_domains(1, (0, 1, 2), DISTANCES)] == [
        ((1,), (0,), (2,))
    ]


@pytest.mark.parametrize(
    ("loads", "tasks"),
    [
        ((0, 0), 0),
        ((0, 1), 0),  # it runs there
        ((0, 2), 1),
        ((0, 3), 1),
        ((0, 5), 2),
        ((1, 1), 0),
        ((1, 2), 0.5),
        ((1, 3), 1),
        ((2, 2), 0),
        ((2, 1), 0),
        ((7, 8), 0),  # less than 17 % more
        ((2, 6), 2),
        ((1, 2, 0), 0),  # there is an idle CPU that will take it
    ],
)
def test_what_a_cpu_takes_over(loads, tasks):
    """An idle one half of the difference, a busy one as much as makes both equal."""
    assert cores(len(loads)).imbalance(0, loads) == tasks * NICE_0_LOAD


@pytest.mark.parametrize(
    ("cpu", "loads", "tasks"),
    [
        (0, (0, 0, 1, 1), 0),  # each has a CPU
        (0, (0, 0, 2, 0), 0),  # its own node has an idle CPU for it
        (0, (0, 0, 2, 2), 2),
        (1, (0, 0, 2, 2), 0),  # CPU 0 does it
        (1, (1, 0, 2, 2), 1),  # the idle one does it
        (0, (1, 1, 2, 2), 1),
        (1, (1, 1, 2, 2), 0),
    ],
)
def test_what_a_node_takes_over(cpu, loads, tasks):
    """One CPU of it looks, the first idle one or else the first; only what has no CPU moves."""
    assert nodes().imbalance(cpu, loads) == tasks * NICE_0_LOAD


def test_any_cpu_looks_when_it_becomes_idle():
    """Even if others of its node are idle."""
    assert nodes().imbalance(1, (0, 0, 2, 2), newidle=True) > 0


def test_half_a_task_moves_at_the_second_try():
    """A failure halves what a task must make up for."""
    state = cores(2)
    assert [state.nr_tasks(load) for load in (511, 512, 1024, 2500)] == [0, 0, 1, 2]
    state.note(0, imbalance=512, nr_moved=0)
    assert [state.nr_tasks(load) for load in (511, 512)] == [0, 1]
    state.note(0, imbalance=512, nr_moved=1)
    assert state.nr_tasks(512) == 0


def test_balance_makes_looks_rarer():
    """1 ms a CPU, twice that in balance, 16 times where a CPU is busy, less one tick."""
    state = cores(8)
    assert state.due_ns(8, TICK_NS, busy=False) == 8 * NS_PER_MS
    assert state.due_ns(8, TICK_NS, busy=True) == (8 * 16 - 4) * NS_PER_MS
    for _ in range(3):
        state.note(NS_PER_MS, imbalance=0, nr_moved=0)
    assert state.due_ns(8, TICK_NS, busy=False) == 17 * NS_PER_MS
    state.note(0, imbalance=512, nr_moved=0)
    assert state.due_ns(8, TICK_NS, busy=False) == 8 * NS_PER_MS
    assert cores(2).due_ns(2, TICK_NS, busy=False) == TICK_NS


def test_who_ran_just_now_has_its_data_in_a_cache():
    """For half a millisecond; who never ran has none."""
    assert is_cache_hot(100, 100 + MIGRATION_COST_NS - 1)
    assert not is_cache_hot(100, 100 + MIGRATION_COST_NS)
    assert not is_cache_hot(-1, 0)
