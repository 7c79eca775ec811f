"""Tests of the workloads about pressure: what they state holds, whatever the seed draws."""

from pathlib import Path

import pytest

from kernelsim.cli import main as cli

FOLDER = Path(__file__).parents[2] / "workloads"


def holds(name: str) -> bool:
    """Tell whether all that a workload states holds for another seed than in its summary."""
    return cli.exit_status(["run", str(FOLDER / f"{name}.py"), "--seed=2"]) == cli.EXIT_DONE


@pytest.mark.mission("R2")
def test_free_memory_falls_through_four_bands():
    """Green, blue, orange, red in this order, nobody reclaims above low, and green comes back."""
    assert holds("kswapd_bands")


@pytest.mark.slow
@pytest.mark.mission("R5")
def test_swappiness_moves_the_balance():
    """More of it reclaims more anonymous pages, and 0 swaps when there is nothing else."""
    assert holds("swappiness")


@pytest.mark.mission("R6")
def test_pages_used_twice_are_active_until_others_are_needed_more():
    """Lists of files and of anonymous pages, as /proc/meminfo has them."""
    assert holds("two_lists")


@pytest.mark.slow
@pytest.mark.mission("R11")
def test_memory_kept_free_is_bought_with_memory_in_use():
    """With a larger min_free_kbytes faults wait less, less can be used, and at last all is lost."""
    assert holds("min_free_tradeoff")
