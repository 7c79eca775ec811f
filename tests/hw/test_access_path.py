"""The steps of one access: their order, and that together they are what it costs."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernelsim.config.latency import LatencySpec
from kernelsim.hw.access_path import QueueWaits, memory_steps, walk_steps

TIMES = st.integers(0, 200)


def order(write):
    """Return the steps of an access to local memory."""
    return [(step.step, step.what) for step in memory_steps(LatencySpec(), 64, 10, write=write)]


@given(st.integers(1, 400), TIMES, TIMES, TIMES, st.integers(10, 254), st.booleans())
def test_the_steps_of_an_idle_machine_are_what_an_access_costs(
    whole_ns, cache_ns, bus_ns, controller_ns, distance, write
):
    """Whatever a machine file says of the parts, and however far the memory is."""
    latency = LatencySpec(
        memory_local_ns=whole_ns,
        cache_miss_ns=cache_ns,
        bus_crossing_ns=bus_ns,
        memory_controller_ns=controller_ns,
    )
    steps = memory_steps(latency, 64, distance, write=write)
    assert min(step.latency_ns for step in steps) >= 0
    assert sum(step.latency_ns for step in steps) == latency.memory_access_ns(distance)


def test_a_load_sends_its_address_and_gets_data_back():
    """Data comes last, behind the DRAM."""
    assert order(write=False) == [
        ("cache", "miss"),
        ("bus", "address"),
        ("controller", "load"),
        ("DRAM", "row and column"),
        ("bus", "data"),
    ]


def test_a_store_sends_its_address_then_its_data():
    """Both before the controller has anything to do."""
    assert order(write=True) == [
        ("cache", "miss"),
        ("bus", "address"),
        ("bus", "data"),
        ("controller", "store"),
        ("DRAM", "row and column"),
    ]


def test_waits_are_part_of_the_step_that_waits():
    """For the bus before the address is sent, for the controller at the controller."""
    idle = memory_steps(LatencySpec(), 64, 10, write=False)
    busy = memory_steps(LatencySpec(), 64, 10, write=False, waits=QueueWaits(7, 5))
    waited = [later.latency_ns - soon.latency_ns for later, soon in zip(busy, idle, strict=True)]
    assert waited == [0, 7, 5, 0, 0]


@pytest.mark.parametrize(("is_hit", "expected_ns"), [(True, 1), (False, 2 * 20)])
def test_a_translation_costs_a_hit_or_each_entry(is_hit, expected_ns):
    """What a hit saves is the reading of the entries."""
    steps = walk_steps(LatencySpec(), [("PGD", 8), ("PTE", 16)], is_hit=is_hit)
    assert sum(step.latency_ns for step in steps) == expected_ns
