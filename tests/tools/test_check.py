"""Tests of the program that runs every gate."""

import importlib.util
from pathlib import Path

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
        return command[0] != "mypy"

    monkeypatch.setattr(check, "passes", passes)
    assert check.main([]) == 1
    assert ran == ["ruff", "ruff", "mypy", "pytest"]
    assert capsys.readouterr().err == "failed: mypy\n"


def test_status_is_zero_when_all_pass(check, monkeypatch, capsys):
    """With nothing failed, nothing is said after the tests' last lines."""
    monkeypatch.setattr(check, "passes", lambda _command: True)
    assert check.main([]) == 0
    assert capsys.readouterr().err == ""


def test_words_go_to_pytest(check):
    """The words given are pytest's alone."""
    gates = check.gates(["-k", "units"])
    assert gates["pytest"] == ["pytest", "-k", "units"]
    assert "units" not in gates["mypy"]


@pytest.mark.slow
def test_a_gate_passes_by_its_status(check, capfd):
    """A gate has passed when its program ends with status 0, run at the top of the checkout."""
    assert check.passes(["ruff", "--version"])
    assert not check.passes(["ruff", "no-such-command"])
    assert capfd.readouterr().out.startswith("== ruff --version")
