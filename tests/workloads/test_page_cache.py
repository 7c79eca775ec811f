"""Tests of the workloads that read files: what they state holds, whatever the seed draws."""

from pathlib import Path

import pytest

from kernelsim.cli import main as cli

FOLDER = Path(__file__).parents[2] / "workloads"


@pytest.mark.slow
@pytest.mark.mission("R7")
def test_readahead_brings_what_is_read_next_and_takes_nothing_in_use():
    """A cold 4 KiB read brings 16 KiB; a hot set survives readahead that was for nothing."""
    assert cli.exit_status(["run", str(FOLDER / "readahead.py"), "--seed=2"]) == cli.EXIT_DONE


@pytest.mark.slow
@pytest.mark.mission("R8")
def test_a_stream_takes_only_what_was_read_once():
    """A one-pass scan of twice the memory leaves the pages that were read twice."""
    path = FOLDER / "backup_evicts_database.py"
    assert cli.exit_status(["run", str(path), "--seed=2"]) == cli.EXIT_DONE
