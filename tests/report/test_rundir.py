"""Tests of a run's directory: whole files only, and nobody else's removed."""

import errno
import os
from pathlib import Path

import attrs
import pytest

from kernelsim.errors import ConfigError, OutputError
from kernelsim.report.log import RunLog
from kernelsim.report.metrics import MetricsRecorder
from kernelsim.report.rundir import RunDirectory


@attrs.define
class Clock:
    """A virtual time set by hand."""

    now_ns: int = 0


def tree(path):
    """Name every file below a directory."""
    return sorted(str(found.relative_to(path)) for found in path.rglob("*") if found.is_file())


def make_run(path):
    """Write a small run."""
    directory = RunDirectory.create(path)
    with RunLog(directory.events_path, clock=Clock()) as log:
        log.start({})
    metrics = MetricsRecorder(("t_ns", "pgfault"))
    metrics.append((0, 1))
    directory.write_with("metrics.parquet", metrics.write)
    directory.write_text("proc/1/status", "Name:\té\n")
    directory.write_bytes("trace.pftrace", b"\x00\xff")
    directory.finish({"seed": 1, "exit_state": "done"})
    return directory


def test_files_of_a_run(tmp_path):
    """Each file is there under its own name, and no temporary one."""
    make_run(tmp_path / "a" / "b")
    names = ["events.jsonl", "metrics.parquet", "proc/1/status", "run.json", "trace.pftrace"]
    assert tree(tmp_path / "a" / "b") == names
    assert (tmp_path / "a/b/proc/1/status").read_bytes() == "Name:\té\n".encode()
    assert (tmp_path / "a/b/trace.pftrace").read_bytes() == b"\x00\xff"
    assert (tmp_path / "a/b/run.json").read_text() == '{\n  "seed": 1,\n  "exit_state": "done"\n}\n'


def test_earlier_run_is_replaced(tmp_path):
    """Files of an earlier run go, also half-written ones; what others put there stays."""
    make_run(tmp_path)
    (tmp_path / "run.json.partial").write_text("{")
    (tmp_path / "notes.txt").write_text("mine")
    RunDirectory.create(tmp_path)
    assert tree(tmp_path) == ["notes.txt"]


def test_interrupted_run_is_replaced(tmp_path):
    """A run that left only the beginning of its log is known as ours."""
    (tmp_path / "events.jsonl").write_text(
        '{"t_ns":0,"actor":"run","event":"ks_run_start","schema":1}\n{"t_ns":1'
    )
    RunDirectory.create(tmp_path)
    assert tree(tmp_path) == []


@pytest.mark.parametrize(
    "files",
    [
        {"notes.txt": "mine"},
        {"run.json": "{}"},
        {"events.jsonl": '{"event":"other"}\n', "run.json": "{}"},
        {"events.jsonl": ""},
        {"events.jsonl": "\xff\xfe no JSON"},
        {"events.jsonl": "[1]\n"},
    ],
)
def test_foreign_directory_is_refused(tmp_path, files):
    """A directory with anything else in it is refused in one line and left as it is."""
    for name, text in files.items():
        (tmp_path / name).write_text(text, encoding="latin-1")
    with pytest.raises(ConfigError) as caught:
        RunDirectory.create(tmp_path)
    assert str(caught.value).startswith("--out = '/")
    assert str(caught.value).endswith(": must be empty, new, or hold an earlier run")
    assert tree(tmp_path) == sorted(files)


def test_file_in_the_way_is_refused(tmp_path):
    """A file cannot be a run's directory, nor can one be made below it."""
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="must be a directory, not a file"):
        RunDirectory.create(tmp_path / "file")
    with pytest.raises(OutputError, match="Not a directory"):
        RunDirectory.create(tmp_path / "file" / "below")


def no_room(_path, *_):
    """Fail as a full disk does."""
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("step", ["write_bytes", "replace"])
def test_disk_full_leaves_no_half_file(tmp_path, monkeypatch, step):
    """When writing or renaming fails, the old file stays, the temporary goes, one line says why."""
    directory = make_run(tmp_path)
    before = tree(tmp_path)
    monkeypatch.setattr(Path, step, no_room)
    with pytest.raises(OutputError) as caught:
        directory.write_text("run.json", "new")
    assert str(caught.value) == f"{tmp_path}/run.json: cannot write: No space left on device"
    assert tree(tmp_path) == before
    assert "exit_state" in (tmp_path / "run.json").read_text()


def test_disk_full_under_the_metrics(tmp_path, monkeypatch):
    """When duckdb finds the device full, the reason is the system's, in one line."""
    directory = RunDirectory.create(tmp_path)
    (tmp_path / "metrics.parquet.partial").symlink_to("/dev/full")
    with pytest.raises(OutputError, match="No space left on device") as caught:
        directory.write_with("metrics.parquet", MetricsRecorder(("t_ns",)).write)
    assert "\n" not in str(caught.value)
    assert tree(tmp_path) == []
    assert not (tmp_path / "metrics.parquet.partial").is_symlink()


def test_names_stay_inside(tmp_path):
    """A file outside the directory, or without a name, is a bug of ours."""
    directory = RunDirectory.create(tmp_path)
    for name in ("/etc/x", "../x", "proc/../../x", ""):
        with pytest.raises(AssertionError):
            directory.write_text(name, "")


def test_error_of_the_writer_goes_through(tmp_path):
    """A function that fails for its own reasons leaves no temporary file."""
    directory = RunDirectory.create(tmp_path)

    def fail(path):
        path.write_text("half")
        raise KeyError("own")

    with pytest.raises(KeyError, match="own"):
        directory.write_with("report.html", fail)
    assert tree(tmp_path) == []
