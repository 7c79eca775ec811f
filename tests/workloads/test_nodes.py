"""Tests of the workloads about nodes: what they state holds, whatever the seed draws."""

from pathlib import Path

import pytest

from kernelsim.cli import main as cli

FOLDER = Path(__file__).parents[2] / "workloads"


def run(path: Path) -> int:
    """Run a workload with another seed than in its summary; return the exit status."""
    return cli.exit_status(["run", str(path), "--seed=2"])


@pytest.mark.slow
@pytest.mark.mission("P9")
@pytest.mark.parametrize("name", ["numa_policies", "numa_swap_insanity"])
def test_policies_decide_where_pages_land(name):
    """Bind swaps rather than spill, interleaving is even, the others go to the nearest node."""
    assert run(FOLDER / f"{name}.py") == cli.EXIT_DONE


@pytest.mark.slow
@pytest.mark.mission("P14")
def test_zone_reclaim_mode_by_mode():
    """With 0 pages spill, with any bit page cache goes first, with bit 4 also what is mapped."""
    assert run(FOLDER / "zone_reclaim.py") == cli.EXIT_DONE


@pytest.mark.slow
@pytest.mark.mission("P7")
@pytest.mark.mission("A3")
def test_a_bus_saturates_as_the_theory_of_queues_says():
    """Each point lies between mean-value analysis and the asymptotic bound, within 2 %."""
    assert run(FOLDER / "uma_bus_saturation.py") == cli.EXIT_DONE


@pytest.mark.slow
@pytest.mark.mission("P2")
@pytest.mark.mission("P3")
def test_a_hole_costs_what_the_memory_model_keeps_for_it():
    """Frames come back in every model; 10 MiB of a hole of 1 GiB are in use with flatmem."""
    assert run(FOLDER / "memory_models.py") == cli.EXIT_DONE


@pytest.mark.slow
@pytest.mark.mission("P5")
@pytest.mark.mission("P6")
@pytest.mark.mission("A9")
def test_memory_comes_and_goes_under_its_users():
    """What is movable leaves while it is stored to; page tables make it stay until they go."""
    assert run(FOLDER / "hot_add_remove.py") == cli.EXIT_DONE


@pytest.mark.slow
@pytest.mark.mission("P12")
def test_node_states_follow_the_memory():
    """A node that gets its first memory and loses it again has its states change, and back."""
    assert run(FOLDER / "node_states.py") == cli.EXIT_DONE


@pytest.mark.slow
@pytest.mark.mission("A9")
def test_memory_in_pieces_is_made_whole_again():
    """A block of 2 MiB is made by who wants it, then by kcompactd; stores wait for moved pages."""
    assert run(FOLDER / "fragmentation.py") == cli.EXIT_DONE
