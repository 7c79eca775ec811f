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


@pytest.mark.parametrize(
    ("name", "wrong", "said"),
    [
        ("segmentation_story", ("128 * MB", "256 * MB"), "200 MB fitted a hole of 128"),
        ("segmentation_story", ("may_swap=True", "may_swap=False"), "the holes were not joined"),
        ("page_walk", ('"PAE": 3', '"PAE": 2'), "another number of accesses: ['PAE']"),
    ],
)
def test_what_they_state_can_fail(name, wrong, said, tmp_path, capsys):
    """With another figure the run ends with exit status 1, and says what does not hold."""
    path = tmp_path / f"{name}.py"
    text = (FOLDER / f"{name}.py").read_text()
    assert wrong[0] in text
    path.write_text(text.replace(*wrong))
    assert cli.exit_status(["run", str(path)]) == 1
    assert said in capsys.readouterr().err
