"""Tests of runs whose disk fills up, at many points: on real file systems that are too small.

The sweep runs once, as a program in a mount namespace of its own; each test reads its lines.
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from kernelsim.cli.main import EXIT_DONE, EXIT_WRONG_USE
from tests.private_mounts import private_mounts, require_mounts

PROGRAM = Path(__file__).with_name("full_disk.py")

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[dict]:
    """Return what each run left; skip where nothing can be mounted."""
    folder = tmp_path_factory.mktemp("disks")
    words = private_mounts(sys.executable, str(PROGRAM), str(folder))
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    require_mounts(done.returncode, done.stderr)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def swept(runs):
    """Leave out the run that takes the place of another."""
    return [run for run in runs if "faults" in run]


def test_every_failure_is_one_line(runs):
    """Status 2 and one line with file and reason, or status 0 and nothing."""
    for run in runs:
        if run["status"] == EXIT_DONE:
            assert run["said"] == "", run
        else:
            assert run["status"] == EXIT_WRONG_USE, run
            assert run["said"].count("\n") == 1, run
            assert ": cannot write: No space left on device" in run["said"], run


def test_the_sweep_meets_every_kind_of_file(runs):
    """The disk was full under the log, a snapshot, both trees, the counters, and not at all."""
    said = "\n".join(run["said"] for run in swept(runs))
    for name in ("out/events.jsonl", "snapshots/early/", "snapshots/late/", "out/proc/"):
        assert name in said
    assert "out/sys/" in said
    assert "out/metrics.parquet" in said
    assert {run["state"] for run in swept(runs)} == {"done", "output_failed", None}


def test_nothing_half_written_has_its_final_name(runs):
    """Trees are whole or absent, the log is a prefix in whole lines, run.json and samples parse."""
    assert [] == [run for run in swept(runs) if run["faults"]]


def test_no_temporary_is_left(runs):
    """What was not finished is removed."""
    assert [] == [name for run in runs for name in run["files"] if "partial" in name]


def test_a_record_says_so_where_there_is_room(runs):
    """A log that fills the disk gives up a little of itself for run.json."""
    states = {run["options"]: run["state"] for run in swept(runs) if "events.jsonl" in run["said"]}
    assert states["size=300k"] == "output_failed"
    assert states["size=4k"] is None


def test_an_earlier_run_survives(runs):
    """A run that cannot be written leaves the one before it in previous/, and says so."""
    again = runs[-1]
    assert again["kept"]
    assert again["files"] == ["dmesg", "events.jsonl", "run.json"]
    assert again["said"].endswith("/out/previous\n")
