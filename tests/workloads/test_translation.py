"""The workloads about segments and tables: their output, and what they state."""

from pathlib import Path

import pytest

from kernelsim.cli import main as cli

FOLDER = Path(__file__).parents[2] / "workloads"


@pytest.mark.mission("V1")
@pytest.mark.mission("V3")
@pytest.mark.mission("V4")
@pytest.mark.mission("V6")
@pytest.mark.parametrize("name", ["page_walk", "segmentation_story"])
def test_the_output_is_the_expected_one(name, capsys):
    """The text beside the workload."""
    path = FOLDER / f"{name}.py"
    assert cli.exit_status(["run", str(path)]) == cli.EXIT_DONE
    assert capsys.readouterr().out == path.with_suffix(".out").read_text()
