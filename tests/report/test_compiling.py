"""Tests of compiling all that runs need before the first one."""

import fcntl
import io
import os
import signal
import subprocess
import sys
import threading

import pytest
from rich.console import Console

from kernelsim.hw.compile import CompileJob
from kernelsim.report import compiling
from kernelsim.report.compile_display import CompileDisplay
from kernelsim.report.compiling import Worker, by_urgency, compile_leaves

# A process that answers as the real one does, and says in a file what it was given.
ANSWERS = """
import sys
for line in sys.stdin:
    with open({log!r}, "a") as log:
        print(line.strip(), file=log)
    print({answer!r}, flush=True)
"""

JOBS = [
    CompileJob("m:leaf", 10, ()),
    CompileJob("m:lone", 15, ()),
    CompileJob("m:top", 30, ("m:middle", "m:leaf")),
    CompileJob("m:middle", 20, ("m:leaf",)),
]


def console(*, is_terminal=False):
    """Make a console whose text can be read."""
    return Console(file=io.StringIO(), force_terminal=is_terminal, width=100)


@pytest.fixture
def fake(tmp_path, monkeypatch):
    """Give a function that puts made-up jobs and workers in place; it returns the workers' log."""

    def put(answer="kept", program=ANSWERS):
        log = tmp_path / "log"
        log.write_text("")
        text = program.format(log=str(log), answer=answer)
        monkeypatch.setattr(compiling, "PROGRAM", (sys.executable, "-c", text))
        monkeypatch.setattr(compiling, "missing_leaves", lambda: list(JOBS))
        monkeypatch.setattr(compiling, "can_keep_leaves", lambda: True)
        monkeypatch.setattr(compiling, "lock_file", lambda: tmp_path / "lock")
        return log

    return put


def test_the_longest_way_goes_first():
    """Jobs are sorted by what must be done one by one from their start, then by name."""
    assert [job.name for job in by_urgency(JOBS)] == ["m:leaf", "m:middle", "m:top", "m:lone"]


@pytest.mark.parametrize("workers", [1, 2])
def test_each_job_is_done_once_after_those_it_needs(fake, monkeypatch, workers):
    """All jobs are done, callees first; a pipe hears how many there are and how long it took."""
    monkeypatch.setattr(compiling, "nr_workers", lambda: workers)
    log = fake()
    shown = console()
    assert compile_leaves(console=shown) > 0
    done = log.read_text().split()
    assert sorted(done) == sorted(job.name for job in JOBS)
    assert [name for name in done if name != "m:lone"] == ["m:leaf", "m:middle", "m:top"]
    first, last = shown.file.getvalue().splitlines()
    assert first.startswith("kernelsim: compiling 4 functions, only this once: about ")
    assert last == "kernelsim: compiled 4 functions in 0 s"


def test_a_terminal_sees_a_bar(fake):
    """On a terminal one line is drawn over and over, with what is done and what time is left."""
    fake()
    shown = console(is_terminal=True)
    compile_leaves(console=shown)
    assert "of 4, about 1 s left" in shown.file.getvalue()


def test_nothing_is_said_when_nothing_should_be(fake):
    """With the display switched off all is done in silence."""
    log = fake()
    shown = console()
    compile_leaves(enabled=False, console=shown)
    assert len(log.read_text().split()) == len(JOBS)
    assert shown.file.getvalue() == ""


def test_with_a_full_cache_nothing_is_done(fake, monkeypatch):
    """When nothing is missing it takes no time at all and says nothing."""
    log = fake()
    monkeypatch.setattr(compiling, "missing_leaves", list)
    shown = console()
    assert compile_leaves(console=shown) == 0
    assert (log.read_text(), shown.file.getvalue()) == ("", "")


def test_a_cache_that_cannot_be_written_is_said(fake, monkeypatch):
    """Compiling ahead would be for nothing: the run compiles what it calls, each time."""
    log = fake()
    monkeypatch.setattr(compiling, "can_keep_leaves", lambda: False)
    shown = console()
    assert compile_leaves(console=shown) == 0
    assert log.read_text() == ""
    (line,) = shown.file.getvalue().splitlines()
    assert line.startswith("kernelsim: every run has to compile what it calls: ")


@pytest.mark.parametrize(
    ("answer", "program"),
    [("lost", ANSWERS), ("", "raise SystemExit(3)"), ("", "import sys; sys.stdin.readline()")],
    ids=["full disk", "dies at once", "dies at work"],
)
def test_it_gives_up_when_it_is_of_no_use(fake, answer, program):
    """When results are not kept or a process dies no more is tried; the run does the rest."""
    log = fake(answer, program)
    shown = console()
    compile_leaves(console=shown)
    assert len(log.read_text().split()) <= 2
    assert shown.file.getvalue().splitlines()[-1] == (
        "kernelsim: compiled 0 of 4 functions ahead; the run compiles what it calls"
    )


def test_a_second_process_waits_for_the_first(fake, tmp_path, monkeypatch):
    """While another process compiles we wait and say so; then there is nothing left to do."""
    log = fake()
    answers = [list(JOBS), []]
    monkeypatch.setattr(compiling, "missing_leaves", lambda: answers.pop(0))
    shown = console()
    with (tmp_path / "lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        timer = threading.Timer(0.3, fcntl.flock, (held, fcntl.LOCK_UN))
        timer.start()
        compile_leaves(console=shown)
        timer.join()
    assert log.read_text() == ""
    assert shown.file.getvalue() == (
        "kernelsim: another kernelsim is compiling the same; waiting for it\n"
    )


def test_ctrl_c_ends_the_processes(fake, monkeypatch):
    """An interrupt ends what was started, and comes through."""
    fake(program="import sys, time; sys.stdin.readline(); time.sleep(60)")
    ended = []
    end = Worker.end
    monkeypatch.setattr(Worker, "end", lambda worker: ended.append(worker) or end(worker))
    monkeypatch.setattr(CompileDisplay, "look", lambda _: signal.raise_signal(signal.SIGINT))
    shown = console()
    with pytest.raises(KeyboardInterrupt):
        compile_leaves(console=shown)
    assert len(shown.file.getvalue().splitlines()) == 1, "nothing is said of a run that goes on"
    assert ended
    assert {worker.process.poll() for worker in ended} == {-signal.SIGKILL}


def test_processes_end_with_us(tmp_path):
    """A process that compiles ends by itself when the one that asked is gone."""
    done = subprocess.run(
        [sys.executable, "-P", "-m", "kernelsim.hw.compile"],
        input="",
        env={**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_time_left_comes_from_what_is_done(monkeypatch):
    """After the first tenth, what is left takes as long as what is done did, for its weight."""
    now = [0]
    monkeypatch.setattr("kernelsim.report.compile_display.time.perf_counter_ns", lambda: now[0])
    shown = console()
    display = CompileDisplay(shown, enabled=True)
    display.start(4, 1000, 1)
    now[0] = 20 * 10**9
    display.done(400)
    display.look()
    assert shown.file.getvalue().splitlines() == [
        "kernelsim: compiling 4 functions, only this once: about 1 s",
        "kernelsim: compiled 1 of 4, about 31 s left",
    ]


def test_as_many_processes_as_processors():
    """There is at least one process, and never more than are of use."""
    assert 1 <= compiling.nr_workers() <= compiling.WORKERS_MAX
