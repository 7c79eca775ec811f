"""Tests of the dining example: its whole output, other orders, and the impolite deadlock."""

import sys
from pathlib import Path

import pytest

from kernelsim.cli import main as cli
from kernelsim.errors import DeadlockError
from kernelsim.sim.engine import Engine
from kernelsim.workload.api import load_workload

WORKLOAD = Path(__file__).parents[2] / "workloads" / "dining.py"


@pytest.fixture
def dining():
    """The module of the workload."""
    loaded = load_workload(WORKLOAD)
    return sys.modules[loaded.function.__module__]


def test_output_is_the_expected_one(capsys):
    """Log, summary and lock tables are the text in the file beside the workload."""
    assert cli.exit_status(["run", str(WORKLOAD)]) == cli.EXIT_DONE
    expected = WORKLOAD.with_suffix(".out").read_text()
    assert capsys.readouterr().out == expected


@pytest.mark.parametrize("seed", range(5))
def test_everybody_eats_under_any_seed(dining, seed):
    """Taking forks in order, all finish; what was waited for was held by somebody."""

    async def main(engine):
        await dining.dine(engine, greedy=False)

    engine = Engine(seed=seed, schedule_seed=seed)
    engine.run(main)
    accounts = engine.accounts
    courses = len(dining.NAMES) * dining.COURSES
    assert engine.ended.state == "done"
    assert accounts["stove"].nr_holds == courses
    assert sum(accounts[f"fork{n}"].nr_holds for n in range(5)) == 2 * courses
    for account in accounts.values():
        assert sum(account.by_pair.values()) == account.wait_ns


def test_greedy_philosophers_are_named(dining):
    """Taking the left fork first ends, for some seed, in a circle of all five."""

    async def main(engine):
        await dining.dine(engine, greedy=True)

    circles = []
    for seed in range(100):
        try:
            Engine(seed=seed).run(main)
        except DeadlockError as error:
            circles.append(str(error).splitlines()[0])
    assert circles
    for circle in circles:
        assert circle.endswith("wait for each other")
        assert all(name in circle for name in dining.NAMES)
