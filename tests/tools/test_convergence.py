"""Random plans of `stress`: what bursts leave is what messages leave."""

import attrs
import pytest

from kernelsim.explore.draw import draw_plan
from kernelsim.explore.run import run_plan
from tools.convergence import compare, distance

pytestmark = pytest.mark.mission("B3")


WHOLE, CUT = 20_000, 4000  # steps of the load; most plans end by themselves in between


@pytest.mark.slow
@pytest.mark.parametrize("load_events", [WHOLE, CUT])
@pytest.mark.parametrize("run", range(12))
def test_a_random_mix_leaves_the_same(run, load_events):
    """Counters, events of the log, steps of the engine and the end, whatever goes wrong when.

    Without a schedule seed: two messages that reach an actor at one instant are served in one event
    there, in the order they came, and in a burst in the order the seed draws.
    """
    plan = draw_plan(seed=3, run=run)
    events = min(plan.load_events, load_events)
    plan = attrs.evolve(plan, load_events=events, schedule_seed=None)
    assert compare(plan).is_none


@pytest.mark.parametrize("run", [66, 152, 173, 210])
def test_a_power_cut_in_the_middle_of_a_burst_leaves_the_same(run):
    """What a burst has done until the machine goes out is counted and told."""
    plan = attrs.evolve(draw_plan(seed=1, run=run), schedule_seed=None)
    assert run_plan(plan).state == "power cut"
    assert compare(plan).is_none


@pytest.mark.slow
@pytest.mark.parametrize("seed", [3, 6, 7])
def test_a_full_batch_of_new_pages_leaves_those_that_wait_to_be_activated(seed):
    """Only the batch that is full is emptied, by messages as in a burst (mm/swap.c)."""
    plan = attrs.evolve(draw_plan(seed=3, run=2), seed=seed, schedule_seed=None)
    assert compare(plan).is_none


def test_a_difference_is_told():
    """Another seed leaves something else, and each counter that differs is named."""
    plan = attrs.evolve(draw_plan(seed=3, run=0), load_events=500)
    other = attrs.evolve(plan, seed=plan.seed + 1, load_events=1000)
    apart = distance(run_plan(plan), run_plan(other))
    assert not apart.is_none
    assert apart.nr_events[0] != apart.nr_events[1]
    assert all(one != other for one, other in apart.counts.values())
