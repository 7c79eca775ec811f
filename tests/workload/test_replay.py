"""Replaying recorded traces: real ones of valgrind, and those that cannot be replayed."""

import gzip
import subprocess

import pytest

from kernelsim.errors import RecordingError
from kernelsim.workload.lackey import is_recording, lackey_footprint, read_lackey
from kernelsim.workload.replay import (
    BATCH_ACCESSES,
    recording_machine,
    recording_workload,
)
from tests.small_machine import OpenMachine

pytestmark = [pytest.mark.mission("B5")]


def written(tmp_path, lines, name="t.lackey"):
    """Write a trace of these lines."""
    path = tmp_path / name
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


def replayed(path, machine=None):
    """Replay a trace; return result and machine."""
    machine = machine or OpenMachine(recording_machine(path))
    return machine.run(recording_workload(path)), machine


def test_recordings_are_told_by_their_names(tmp_path):
    """x.lackey and x.lackey.gz are recordings, scripts and Python files are not."""
    names = ("a.lackey", "a.b.lackey.gz", "a.py", "a.toml", "lackey")

    assert [True, True, False, False, False] == [is_recording(tmp_path / name) for name in names]


def test_each_page_faults_once_and_only_once(tmp_path):
    """Three pages, two of them neighbours, one only fetched: three faults, no more later."""
    lines = ["I  00401000,4", " L 1ffe001000,8", " S 1ffe002000,8", " L 1ffe001000,8"]
    result, machine = replayed(written(tmp_path, lines))

    assert (3, 0, 0) == (result.minflt, result.majflt, result.signal)
    assert 4 == result.nr_accesses
    assert [0] == [process.exit_status for process in machine.processes]


@pytest.mark.slow
def test_a_real_recording(tmp_path, require_tool):
    """All runs of /bin/true are replayed; with room for every page, each faults once."""
    path = tmp_path / "true.lackey"
    valgrind = require_tool("valgrind", "valgrind")
    options = ("--tool=lackey", "--trace-mem=yes", f"--log-file={path}")
    subprocess.run([valgrind, *options, "/bin/true"], check=True)
    footprint = lackey_footprint(path)
    result, _ = replayed(path, OpenMachine(recording_machine(path)))

    assert footprint.nr_runs == result.nr_runs
    assert sum(run.nr_pages for run in read_lackey(path)) == result.nr_accesses
    assert footprint.nr_pages == result.minflt


@pytest.mark.slow
def test_a_recording_larger_than_its_machine_swaps(tmp_path):
    """Going round 2048 pages with room for three quarters of them: every round reads swap."""
    rounds = [f" S {0x10000000 + page * 4096:08x},8" for page in range(2048)] * 3
    path = tmp_path / "big.lackey.gz"
    path.write_bytes(gzip.compress("".join(f"{line}\n" for line in rounds).encode()))
    assert len(rounds) < BATCH_ACCESSES
    result, machine = replayed(path)

    assert 0 == result.signal
    assert 2048 * 3 // 4 == machine.spec.nodes[0].managed_pages
    assert result.majflt > 100
    assert result.minflt + result.majflt > 2 * 2048


@pytest.mark.parametrize(
    ("lines", "line", "rule"),
    [
        (["nonsense", "SB 4001000"], 3, "must hold at least one access"),
        ([" L 10001000,8", " S 1000xyz0,8"], 2, "lower-case hex"),
        ([" L 00000010,8"], None, "accesses must lie in 0x10000 to 0x7ffffffff000"),
        (["==1== nothing"], 2, "must hold at least one access"),
    ],
)
def test_malformed_recordings_name_file_and_line(tmp_path, lines, line, rule):
    """One line: file, line and rule; the run ends with it."""
    path = written(tmp_path, lines)
    with pytest.raises(RecordingError, match=rule) as caught:
        replayed(
            path, OpenMachine(recording_machine(written(tmp_path, [" L 10001000,8"], "ok.lackey")))
        )

    place = f"{path}: " if line is None else f"{path}:{line}: "
    assert str(caught.value).startswith(place)
    assert "\n" not in str(caught.value)


def test_a_recording_cut_short_is_refused(tmp_path):
    """The last line without its newline."""
    path = tmp_path / "cut.lackey"
    path.write_text(" L 10001000,8\n S 100020")
    with pytest.raises(RecordingError, match=r"cut\.lackey:2: .*cut short"):
        recording_machine(path)
