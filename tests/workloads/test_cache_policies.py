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


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "wrong", "said"),
    [
        ("cache_pollution", ("POLICIES[name]", 'POLICIES["lru"]'), "two lists lose hardly"),
        ("cache_pollution", ("BACKUP_PAGES = 10_000", "BACKUP_PAGES = 10"), "a single list loses"),
        ("innodb_pool", ("ROWS = 3", "ROWS = 1"), "InnoDB loses less than half"),
        (
            "innodb_pool",
            ("partial(Innodb, old_blocks_time_ns=0)", "Innodb"),
            "it is the second between two uses",
        ),
    ],
)
def test_what_they_state_can_fail(name, wrong, said, tmp_path, capsys):
    """Without two lists, the backup, the rows of a page or the second, one fails: status 1."""
    path = tmp_path / f"{name}.py"
    path.write_text((FOLDER / f"{name}.py").read_text().replace(*wrong))
    assert cli.exit_status(["run", str(path)]) == cli.EXIT_CHECK_FAILED
    assert said in capsys.readouterr().err
