"""Tests of `kernelsim run --out` with bad directories, and of runs that are cut short."""

import json
import resource
import signal
import subprocess
import sys
import time

import psutil
import pytest

from kernelsim.cli import main as cli
from kernelsim.errors import OutputError
from tests.private_mounts import NO_MOUNTS, private_mounts, require_mounts

FOREVER = """
from kernelsim.workload import workload

@workload(machine="tiny-64m")
async def main(machine):
    hog = await machine.spawn("hog")
    region = await hog.mmap("80M")
    while True:
        await hog.touch(region, write=True)
"""
SHORT = """
from kernelsim.workload import workload

@workload(machine="tiny-64m")
async def main(machine):
    await machine.sleep("1ms")
"""
STOPPED = """
from kernelsim.workload import simulation

@simulation
async def main(engine):
    engine.log("main", "said")
"""


@pytest.fixture
def short(tmp_path):
    """A workload that is over at once."""
    path = tmp_path / "short.py"
    path.write_text(SHORT)
    return str(path)


def command(capsys, *words):
    """Run the command line; return status, stdout and stderr."""
    status = cli.exit_status([str(word) for word in words])
    said = capsys.readouterr()
    return status, said.out, said.err


def test_out_is_a_file(capsys, short, tmp_path):
    """It is refused in one line, and stays as it is; so is a place below it."""
    (tmp_path / "out").write_text("mine")
    for place in (tmp_path / "out", tmp_path / "out" / "below"):
        status, out, err = command(capsys, "run", short, "--out", place)
        assert (status, out, err.count("\n")) == (cli.EXIT_WRONG_USE, "", 1)
        assert str(tmp_path / "out") in err
    assert (tmp_path / "out").read_text() == "mine"


def test_out_in_a_missing_parent(capsys, short, tmp_path):
    """Parents are made."""
    assert command(capsys, "run", short, "--out", tmp_path / "a/b/c")[0] == cli.EXIT_DONE
    assert (tmp_path / "a/b/c/run.json").is_file()


@pytest.mark.slow
def test_out_on_a_read_only_file_system(short, tmp_path):
    """One line names file and reason; an earlier run there is not touched."""
    out = tmp_path / "out"
    words = [sys.executable, "-m", "kernelsim", "run", short, "--out", str(out)]
    subprocess.run(words, check=True, capture_output=True)
    before = sorted(out.rglob("*"))
    mounts = f"mount --bind '{out}' '{out}' && mount -o remount,ro,bind '{out}'"
    script = f'{mounts} || exit {NO_MOUNTS}; exec "$@"'
    private = private_mounts("sh", "-c", script, "sh")
    for place in (out, out / "below"):
        done = subprocess.run(
            [*private, *words[:-1], str(place)], capture_output=True, text=True, check=False
        )
        require_mounts(done.returncode, done.stderr)
        assert done.returncode == cli.EXIT_WRONG_USE
        assert done.stderr.endswith(": cannot write: Read-only file system\n")
        assert done.stderr.count("\n") == 1
    assert sorted(out.rglob("*")) == before


def start(tmp_path, out, text=FOREVER, *, ignored=""):
    """Start a run that never ends; return its process when it is under way.

    `ignored` names signals it inherits as ignored, as under nohup or behind `&` in a script.
    """
    path = tmp_path / "forever.py"
    path.write_text(text)
    words = [sys.executable, "-m", "kernelsim", "run", str(path), "--out", str(out)]
    if ignored:
        words = ["sh", "-c", f"trap '' {ignored}; exec \"$@\"", "sh", *words]
    process = subprocess.Popen(words, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    log, busy = out / "events.jsonl", tmp_path / "busy"
    while process.poll() is None and not busy.exists():
        time.sleep(0.02)
        if text == FOREVER and log.exists() and log.stat().st_size > 1 << 18:
            break
    return process


@pytest.mark.slow
@pytest.mark.parametrize("ignored", ["", "INT HUP TERM"])
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_a_signal_ends_a_run_whole(capsys, tmp_path, name, ignored):
    """Its log, trees and counters are there, run.json says interrupted, status 130.

    So it is in the background of a script and under nohup, where signals are ignored.
    """
    out = tmp_path / "out"
    process = start(tmp_path, out, ignored=ignored)
    assert_it_ends(process, name)
    assert json.loads((out / "run.json").read_text())["exit_state"] == "interrupted"
    lines = (out / "events.jsonl").read_text().splitlines()
    assert json.loads(lines[-1])["exit_state"] == "interrupted"
    assert command(capsys, "show", out, "sar -B")[0] == cli.EXIT_DONE
    assert_whole(out)


def assert_it_ends(process, name):
    """Send a signal; the run is over after at most 3 seconds of CPU time and says why."""
    others_s, before_s = cpu_time_of_ended(), sum(psutil.Process(process.pid).cpu_times()[:2])
    process.send_signal(getattr(signal, name))
    _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (cli.EXIT_INTERRUPTED, "kernelsim: interrupted\n")
    assert cpu_time_of_ended() - others_s - before_s < 3


def cpu_time_of_ended():
    """Return what all children that have ended took, in seconds."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def assert_whole(out):
    """A run directory has everything that belongs to it."""
    assert sorted(path.name for path in out.iterdir()) == [
        *("dmesg", "events.jsonl", "memory_map.parquet", "metrics.parquet"),
        *("proc", "processes.parquet", "run.json", "sys"),
    ]


BUSY = """
from pathlib import Path
from kernelsim.workload import workload

@workload(machine="tiny-64m")
async def main(machine):
    await machine.sleep("1ms")
    Path({busy!r}).touch()
    {loop}
"""


@pytest.mark.slow
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
@pytest.mark.parametrize(
    "loop",
    [
        "while True: pass",
        "while True: await machine.sleep(0)",
        "__import__('time').sleep(1000)",
        "try:\n        while True: pass\n    finally:\n        while True: pass",
        "try:\n        await machine.sleep('1000s')\n    finally:\n        while True: pass",
        "while True:\n        try: await machine.sleep(1)\n        except: pass",
    ],
)
def test_one_signal_ends_a_workload_that_never_waits(tmp_path, loop, name):
    """It is broken off where it is, and the directory is whole."""
    out = tmp_path / "out"
    text = BUSY.format(busy=str(tmp_path / "busy"), loop=loop)
    assert_it_ends(start(tmp_path, out, text), name)
    assert json.loads((out / "run.json").read_text())["exit_state"] == "interrupted"
    assert_whole(out)


@pytest.mark.slow
def test_a_workload_that_catches_its_own_end_is_told(tmp_path):
    """A run with a time limit ends though its main catches everything: one line, status 2."""
    loop = "while True:\n        try: await machine.sleep('1s')\n        except: pass"
    path, out = tmp_path / "w.py", tmp_path / "out"
    path.write_text(BUSY.format(busy=str(tmp_path / "busy"), loop=loop))
    words = [
        sys.executable,
        "-m",
        "kernelsim",
        "run",
        str(path),
        "--until",
        "5s",
        "--out",
        str(out),
    ]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == cli.EXIT_WRONG_USE
    assert done.stderr == (
        f"kernelsim: {path}:10: main goes on though the run has ended: "
        "catch Exception, not every BaseException\n"
    )
    assert json.loads((out / "run.json").read_text())["exit_state"] == "failed"
    assert_whole(out)


@pytest.mark.slow
def test_a_signal_ends_a_file_that_never_gets_loaded(tmp_path):
    """A loop in the workload's file itself, before there is a run, is broken off too."""
    text = f"from pathlib import Path\nPath({str(tmp_path / 'busy')!r}).touch()\nwhile True: pass\n"
    assert_it_ends(start(tmp_path, tmp_path / "out", text, ignored="INT"), "SIGINT")
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_a_kill_leaves_a_readable_prefix(capsys, short, tmp_path):
    """While it runs others are kept out; after SIGKILL show and inspect say what is missing.

    The directory can be used again at once: the lock went with the process.
    """
    out = tmp_path / "out"
    process = start(tmp_path, out)
    status, _, err = command(capsys, "run", short, "--out", out)
    assert status == cli.EXIT_WRONG_USE
    assert err == f"kernelsim: --out = '{out}': another run is being written there\n"
    assert "the run goes on: there is no run.json yet" in command(capsys, "show", out, "free")[2]
    process.kill()
    process.communicate(timeout=60)

    lines = (out / "events.jsonl").read_text().splitlines(keepends=True)
    assert all(json.loads(line) for line in lines[:-1])
    status, said, err = command(capsys, "inspect", out)
    assert status == cli.EXIT_DONE
    assert len(said.splitlines()) == len(lines) - (not lines[-1].endswith("\n"))
    assert err.startswith(f"kernelsim: {out}/events.jsonl: the run did not end, or has not yet")
    assert err.count("\n") == 1
    status, said, err = command(capsys, "show", out, "free")
    assert (status, said, err.count("\n")) == (cli.EXIT_WRONG_USE, "", 1)
    assert "the run did not get to its end: there is no whole run.json" in err
    assert command(capsys, "run", short, "--out", out)[0] == cli.EXIT_DONE
    assert not (out / "previous").exists()


def test_show_names_the_run_before(capsys, short, tmp_path):
    """A rerun that was cut short says where the earlier run is, which can be shown."""
    out = tmp_path / "out"
    command(capsys, "run", short, "--out", out)
    free = command(capsys, "show", out, "free")[1]
    (out / "previous").mkdir()
    for name in ("events.jsonl", "run.json", "proc", "sys", "metrics.parquet"):
        (out / name).rename(out / "previous" / name)
    (out / "events.jsonl").write_bytes((out / "previous/events.jsonl").read_bytes()[:-5])
    err = command(capsys, "show", out, "free")[2]
    assert err.endswith("its log can be inspected; the run before it is in previous\n")
    assert command(capsys, "show", out / "previous", "free") == (cli.EXIT_DONE, free, "")


def test_a_run_that_fails_says_what_else_went_wrong(capsys, tmp_path):
    """A failed expectation stays exit status 1 when the earlier run has to be kept."""
    out, path = tmp_path / "out", tmp_path / "w.py"
    path.write_text(SHORT)
    command(capsys, "run", path, "--out", out)
    path.write_text(SHORT + "    machine.expect(False, 'that pigs fly')\n")
    status, _, err = command(capsys, "run", path, "--out", out)
    assert status == cli.EXIT_CHECK_FAILED
    assert err == (
        f"kernelsim: FAILED {path}:7: that pigs fly (at 1 ms); "
        f"the earlier run is in {out}/previous\n"
    )


def test_a_run_that_cannot_write_its_header(capsys, short, tmp_path, monkeypatch):
    """It has not begun: the earlier run is where it was."""
    out = tmp_path / "out"
    command(capsys, "run", short, "--out", out)
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}

    def fail(log, _fields):
        raise OutputError(log.file.path, "No space left on device")

    monkeypatch.setattr("kernelsim.report.log.RunLog.start", fail)
    status, _, err = command(capsys, "run", short, "--out", out)
    assert (status, err.count("\n")) == (cli.EXIT_WRONG_USE, 1)
    assert before == {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}


def test_a_workload_cannot_hide_a_full_disk(capsys, tmp_path, monkeypatch):
    """It may catch the exception; the run still ends with the reason, and run.json has it."""
    path = tmp_path / "w.py"
    text = SHORT.replace('"1ms")', '"1ms")\n    try:\n        await machine.snapshot("a")')
    path.write_text(text + "    except Exception:\n        await machine.sleep(1)\n")

    def fail(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("kernelsim.report.whole._write_below", fail)
    status, _, err = command(capsys, "run", path, "--out", tmp_path / "out")
    assert status == cli.EXIT_WRONG_USE
    place = tmp_path / "out/snapshots/a/proc/zoneinfo"
    assert err == f"kernelsim: {place}: cannot write: No space left on device\n"
    record = json.loads((tmp_path / "out/run.json").read_text())
    assert (record["exit_state"], record["snapshots"]) == ("output_failed", [])
    said = command(capsys, "inspect", tmp_path / "out", "--event", "mark_victim")
    assert said[2].endswith(f"the run was cut short: {record['detail']}\n")
    said = command(capsys, "inspect", tmp_path / "out", "--sql", "select count(*) from events")
    assert said[2].endswith(f"the run was cut short: {record['detail']}\n")
    assert "there is no proc/: " in command(capsys, "show", tmp_path / "out", "free")[2]


def test_a_simulation_has_nothing_to_show(capsys, tmp_path):
    """Its directory is whole, but there is no machine."""
    (tmp_path / "w.py").write_text(STOPPED)
    assert command(capsys, "run", tmp_path / "w.py", "--out", tmp_path / "out")[0] == cli.EXIT_DONE
    status, _, err = command(capsys, "show", tmp_path / "out", "free")
    assert status == cli.EXIT_WRONG_USE
    assert "the run was a simulation without a machine; its log can be inspected" in err


@pytest.mark.slow
@pytest.mark.parametrize("words", ["run WORKLOAD", "machine show tiny-64m", "--help"])
@pytest.mark.parametrize(
    ("redirection", "status", "said"),
    [
        ("| head -0", cli.EXIT_PIPE_CLOSED, ""),
        (">/dev/full", cli.EXIT_WRONG_USE, "kernelsim: standard output: No space left on device\n"),
        (">&-", cli.EXIT_DONE, ""),
    ],
)
def test_output_nobody_takes(tmp_path, words, redirection, status, said):
    """A closed pipe, a full disk and a closed stdout: no traceback, and never status 1."""
    (tmp_path / "w.py").write_text(STOPPED)
    words = words.replace("WORKLOAD", str(tmp_path / "w.py")).split()
    line = f'"$@" {redirection}; exit ${{PIPESTATUS[0]}}'
    done = subprocess.run(
        ["bash", "-c", line, "bash", sys.executable, "-m", "kernelsim", *words],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (status, said)
