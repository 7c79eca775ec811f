"""Tests of the workloads that compare replacement policies: their output, and what they state."""

from pathlib import Path

import pytest

from kernelsim.cli import main as cli

FOLDER = Path(__file__).parents[2] / "workloads"
NAMES = ("cache_pollution", "innodb_pool")


@pytest.mark.slow
@pytest.mark.mission("R8")
@pytest.mark.mission("R9")
@pytest.mark.parametrize("name", NAMES)
def test_the_output_is_the_expected_one(name, capsys):
    """Hit rates by the second, before, beside and after a scan: the text beside the workload."""
    path = FOLDER / f"{name}.py"
    assert cli.exit_status(["run", str(path)]) == cli.EXIT_DONE
    assert capsys.readouterr().out == path.with_suffix(".out").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2, 5))
@pytest.mark.parametrize("name", NAMES)
def test_what_they_state_holds_with_other_seeds(name, seed, capsys):
    """The pages drawn are others, the story is the same."""
    assert cli.exit_status(["run", str(FOLDER / f"{name}.py"), f"--seed={seed}"]) == cli.EXIT_DONE
