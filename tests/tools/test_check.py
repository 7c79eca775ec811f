"""Tests of the program that runs every gate."""

import importlib.util
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

TOP = Path(__file__).resolve().parents[2]


@pytest.fixture
def check():
    """Load tools/check.py."""
    spec = importlib.util.spec_from_file_location("check", TOP / "tools/check.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_all_gates_run_and_failures_are_named(check, monkeypatch, capsys):
    """A gate that fails stops no other; it is named on the last line, and the status is 1."""
    ran = []

    def passes(command):
        ran.append(command[0])
        return command[0] != "pytest"

    monkeypatch.setattr(check, "passes", passes)
    monkeypatch.setattr(check, "words_of_failure", lambda command: f"{command[0]}: no\n")
    assert check.main([]) == 1
    assert ran == ["ruff", "ruff", "pytest"]
    printed = capsys.readouterr()
    assert printed.out == "mypy: no\n"
    assert printed.err == "failed: pytest, mypy\n"


def test_status_is_zero_when_all_pass(check, monkeypatch, capsys):
    """With nothing failed, nothing is said after the tests' last lines."""
    monkeypatch.setattr(check, "passes", lambda _command: True)
    monkeypatch.setattr(check, "words_of_failure", lambda _command: None)
    assert check.main([]) == 0
    assert capsys.readouterr() == ("", "")


def test_words_go_to_pytest(check):
    """The words given are pytest's alone, and come after ours."""
    gates = check.gates(["-k", "units"])
    assert gates["pytest"] == ["pytest", *check.ALL_CORES, "-k", "units"]
    assert "units" not in gates["mypy"]


@pytest.mark.slow
def test_a_gate_passes_by_its_status(check, capfd):
    """A gate has passed when its program ends with status 0, run at the top of the checkout."""
    assert check.passes(["ruff", "--version"])
    assert not check.passes(["ruff", "no-such-command"])
    assert capfd.readouterr().out.startswith("== ruff --version")


@pytest.mark.slow
def test_a_gate_beside_the_others_prints_nothing_unless_it_fails(check, capfd):
    """Its words would stand between the tests' dots: they are kept until all is over."""
    assert check.words_of_failure(["ruff", "--version"]) is None
    assert "no-such-command" in check.words_of_failure(["ruff", "no-such-command"])
    assert capfd.readouterr().out == (
        "== ruff --version, beside the others\n== ruff no-such-command, beside the others\n"
    )


STANDS_STILL = """
import os, runpy, signal, subprocess, sys
from pathlib import Path

sleep = "import signal, time; print(signal.getsignal(signal.SIGINT), flush=True); time.sleep(60)"
gate = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {sleep!r}])"
run = subprocess.run
subprocess.run = lambda command, **options: run([sys.executable, "-c", gate], **options)
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.mark.slow
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_a_signal_ends_all_that_was_started(name):
    """Also behind `&`, where SIGINT is ignored: the gates do not inherit that, and none stays."""
    words = [sys.executable, "-c", STANDS_STILL, str(TOP / "tools/check.py")]
    command = ["sh", "-c", "trap '' INT; exec \"$@\"", "sh", *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        said = [process.stdout.readline() for _ in range(3)]
        assert "default_int_handler" in said[2]
        started = psutil.Process(process.pid).children(recursive=True)
        assert len(started) in {3, 4}  # mypy's may not have started its own yet
        process.send_signal(getattr(signal, name))
        assert process.wait(timeout=30) == 128 + getattr(signal, name)
    assert psutil.wait_procs(started, timeout=1)[1] == []
