"""Tests of a run's directory: whole files only, and nobody else's removed."""

import errno
import json
import os
import shutil
from pathlib import Path

import pytest

from kernelsim.errors import ConfigError, OutputError
from kernelsim.report.log import RunLog
from kernelsim.report.metrics import MetricsRecorder
from kernelsim.report.rundir import RunDirectory, is_being_written


def tree(path):
    """Name every file below a directory."""
    return sorted(str(found.relative_to(path)) for found in path.rglob("*") if found.is_file())


def make_run(path):
    """Write a small run."""
    directory = RunDirectory.create(path)
    with RunLog(directory.events_path) as log:
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


def test_earlier_run_is_set_aside(tmp_path):
    """Files of an earlier run move to previous/, half-written ones go, what others put there stays.

    Once the new run has ended as well, only its own files are left.
    """
    make_run(tmp_path)
    earlier = tree(tmp_path)
    (tmp_path / "run.json.partial").write_text("{")
    (tmp_path / "tree.partial/proc").mkdir(parents=True)
    (tmp_path / "notes.txt").write_text("mine")
    RunDirectory.create(tmp_path).close()
    assert tree(tmp_path / "previous") == earlier
    assert [name for name in tree(tmp_path) if "previous" not in name] == ["notes.txt"]
    assert not (tmp_path / "tree.partial").exists()
    make_run(tmp_path)
    assert tree(tmp_path) == sorted([*earlier, "notes.txt"])


def end(path, state):
    """Run into a directory, ending in this state; None is a run that was cut short."""
    directory = RunDirectory.create(path)
    with RunLog(directory.events_path) as log:
        log.start({"ends": state})
    if state is None:
        directory.close()
    else:
        directory.finish({"exit_state": state})


@pytest.mark.parametrize(
    ("states", "kept"),
    [
        (["done", None], "done"),
        (["done", "failed"], "done"),
        (["done", "output_failed"], "done"),
        (["done", None, None], "done"),
        (["done", "crashed", "failed"], "done"),
        (["done", "failed", "until"], None),
        (["deadlock", None], "deadlock"),
        (["deadlock", "failed"], None),
        ([None, "failed"], None),
        (["output_failed", None], None),
        (["done", None, "done"], None),
    ],
)
def test_the_best_earlier_run_is_kept(tmp_path, states, kept):
    """A run that ended well is kept until another has; one that was cut short never is."""
    for state in states:
        end(tmp_path, state)
    header = json.loads((tmp_path / "events.jsonl").read_text())
    assert header["ends"] == states[-1]
    if kept is None:
        assert not (tmp_path / "previous").exists()
    else:
        assert json.loads((tmp_path / "previous/run.json").read_text()) == {"exit_state": kept}


def test_a_move_cut_short_is_undone(tmp_path):
    """Whatever a kill left of setting aside, the earlier run comes out whole."""
    make_run(tmp_path)
    earlier = tree(tmp_path)
    (tmp_path / "previous.partial").mkdir()
    for name in ("run.json", "proc", "events.jsonl"):
        (tmp_path / name).rename(tmp_path / "previous.partial" / name)
    RunDirectory.create(tmp_path).close()
    assert tree(tmp_path) == [f"previous/{name}" for name in earlier]


def test_a_kill_while_the_previous_is_removed_bars_nobody(tmp_path, monkeypatch):
    """What is left of a half-removed earlier run is not taken for something of others."""
    path = tmp_path / "out"
    make_run(path)

    def killed(folder):
        (folder / "events.jsonl").unlink()
        raise KeyboardInterrupt

    directory = RunDirectory.create(path)
    with RunLog(directory.events_path) as log:
        log.start({})
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", killed)
        with pytest.raises(KeyboardInterrupt):
            directory.finish({"exit_state": "done"})
    directory.close()
    make_run(path)
    assert not (path / "previous").exists()
    assert not list(path.glob("*.partial"))
    assert json.loads((path / "run.json").read_text())["exit_state"] == "done"


def test_a_run_that_cannot_begin_puts_the_earlier_back(tmp_path):
    """As if it had not been tried."""
    make_run(tmp_path)
    earlier = tree(tmp_path)
    directory = RunDirectory.create(tmp_path)
    directory.events_path.write_text("")
    directory.give_up()
    assert tree(tmp_path) == earlier
    assert not (tmp_path / "previous").exists()


def test_a_previous_of_others_is_refused(tmp_path):
    """A folder of that name which holds no run is somebody else's."""
    make_run(tmp_path)
    (tmp_path / "previous").mkdir()
    with pytest.raises(ConfigError, match="its previous is no earlier run: move it away"):
        RunDirectory.create(tmp_path)
    assert (tmp_path / "run.json").exists()


def test_two_runs_at_once_are_refused(tmp_path):
    """The second is told in one line, and the first is not disturbed."""
    first = RunDirectory.create(tmp_path)
    first.events_path.write_text("a line")
    assert is_being_written(tmp_path)
    with pytest.raises(ConfigError, match="another run is being written there"):
        RunDirectory.create(tmp_path)
    assert tree(tmp_path) == ["events.jsonl"]
    first.close()
    assert not is_being_written(tmp_path)


def test_trees_appear_whole(tmp_path):
    """Below a name, or on top; what stands beside them stays."""
    directory = RunDirectory.create(tmp_path)
    files = [("proc/a", "é"), ("proc/b/c", ""), ("sys/d", "d")]
    directory.write_tree(files)
    directory.write_tree(files, name="snapshots/one")
    directory.write_tree(files, name="snapshots/two")
    names = [name for name, _ in files]
    snapshots = [f"snapshots/{number}/{name}" for number in ("one", "two") for name in names]
    assert tree(tmp_path) == sorted([*names, *snapshots])
    assert (tmp_path / "proc/a").read_bytes() == "é".encode()


@pytest.mark.parametrize("name", ["", "snapshots/one"])
@pytest.mark.parametrize("error", [KeyboardInterrupt(), KeyError("own"), OSError(5, "no luck")])
def test_a_tree_that_fails_leaves_nothing(tmp_path, name, error):
    """Whatever goes wrong in the middle: an interrupt, a bug of ours, the system."""
    directory = RunDirectory.create(tmp_path)

    def files():
        yield "proc/a", ""
        raise error

    expected = OutputError if isinstance(error, OSError) else type(error)
    with pytest.raises(expected):
        directory.write_tree(files(), name=name)
    assert list(tmp_path.iterdir()) == []


def test_trees_that_cannot_all_be_renamed_are_taken_back(tmp_path, monkeypatch):
    """proc/ does not stay without sys/."""
    directory = RunDirectory.create(tmp_path)
    rename = Path.rename

    def rename_but_sys(path, target):
        if path.name == "sys":
            raise OSError(errno.EIO, "no luck")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", rename_but_sys)
    with pytest.raises(OutputError, match="/sys: cannot write: no luck"):
        directory.write_tree([("proc/a", ""), ("sys/b", "")])
    assert list(tmp_path.iterdir()) == []


def test_interrupted_run_is_replaced(tmp_path):
    """A run that left only the beginning of its log is known as ours."""
    (tmp_path / "events.jsonl").write_text(
        '{"t_ns":0,"actor":"run","event":"ks_run_start","schema":1}\n{"t_ns":1'
    )
    RunDirectory.create(tmp_path).close()
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
