"""Tests of the command line's frame: help, statuses, one-line errors."""

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import kernelsim
from kernelsim import errors
from kernelsim.cli import differences
from kernelsim.cli import main as cli

HEAVY = {"numba", "numpy", "duckdb", "trio", "structlog", "prometheus_client"}


def kernelsim_process(*words, python=()):
    """Run `python -m kernelsim` with the given words."""
    return subprocess.run(
        [sys.executable, *python, "-m", "kernelsim", *words],
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.slow
def test_help_imports_nothing_heavy():
    """Help lists the commands without importing what only runs need."""
    done = kernelsim_process("--help", python=("-X", "importtime"))
    imported = {line.rsplit("|", 1)[-1].strip() for line in done.stderr.splitlines()}
    assert done.returncode == 0
    assert "cyclopts" in imported
    assert set() == imported & HEAVY
    assert all(command.name in done.stdout for command in cli.COMMANDS)


def test_version_is_the_packages(capsys):
    """--version prints the version and nothing else."""
    assert cli.exit_status(["--version"]) == cli.EXIT_DONE
    assert capsys.readouterr().out.strip() == kernelsim.__version__


def test_every_command_exists():
    """Each row of the table names a function or a group with a text, in a file of its own."""
    for command in cli.COMMANDS:
        module, _, function = command.function.partition(":")
        named = getattr(importlib.import_module(module), function)
        assert named.__doc__ or named.help
        assert "\n" not in command.help


def test_every_command_is_listed():
    """A file in cli/ with a public function of the file's name is in the table."""
    listed = {command.function for command in cli.COMMANDS}
    for path in Path(cli.__file__).parent.glob("*.py"):
        defined = {
            node.name
            for node in ast.parse(path.read_text()).body
            if isinstance(node, ast.FunctionDef)
        }
        if path.stem != "main" and path.stem in defined:
            assert f"kernelsim.cli.{path.stem}:{path.stem}" in listed


@pytest.mark.parametrize(
    "words", [["bogus"], ["--bogus"], ["differences", "--bogus"], ["differences", "extra"]]
)
def test_wrong_use_is_one_line(words, capsys):
    """A word the command line does not know ends in one line and status 2."""
    assert cli.exit_status(words) == cli.EXIT_WRONG_USE
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("kernelsim: ")
    assert said.err.count("\n") == 1
    assert words[-1].lstrip("-") in said.err


@pytest.mark.parametrize(
    ("error", "status", "line"),
    [
        (errors.ConfigError("seed", "x", "must be a number"), 2, "seed = 'x': must be a number"),
        (errors.WorkloadError("no steps", "w.txt"), 2, "w.txt: no steps"),
        (errors.SyscallError(12, "mmap"), 2, "mmap: ENOMEM (Cannot allocate memory)"),
        (errors.CheckFailedError("expected\nmore"), 1, "expected more"),
        (FileNotFoundError(2, "No such file or directory", "x.toml"), 2, "x.toml: No such file"),
        (OSError("odd"), 2, "odd"),
        (KeyboardInterrupt(), 130, "interrupted"),
    ],
)
def test_errors_are_one_line_and_a_status(error, status, line, capsys, monkeypatch):
    """What a command raises becomes its exit status and one line on stderr."""

    def fail(_words):
        raise error

    monkeypatch.setattr(cli, "run_command", fail)
    assert status == cli.exit_status([])
    said = capsys.readouterr().err
    assert said.startswith(f"kernelsim: {line}")
    assert said.count("\n") == 1


def test_simulation_error_prints_its_report(capsys, monkeypatch):
    """A bug of ours that the engine found prints the whole report as it is, status 3."""

    def fail(_words):
        raise errors.DeadlockError("nobody can move\n  seed 7")

    monkeypatch.setattr(cli, "run_command", fail)
    assert cli.exit_status([]) == cli.EXIT_OUR_BUG
    assert capsys.readouterr().err == "nobody can move\n  seed 7\n"


def test_other_exceptions_are_our_bug(capsys, monkeypatch):
    """An exception nobody meant shows its traceback and is status 3, not 1."""

    def fail(_words):
        raise ZeroDivisionError

    monkeypatch.setattr(cli, "run_command", fail)
    assert cli.exit_status([]) == cli.EXIT_OUR_BUG
    assert "Traceback" in capsys.readouterr().err


def test_command_gives_its_own_status(monkeypatch):
    """An int that a command returns is the exit status; None is 0."""
    monkeypatch.setattr(differences, "differences", lambda: 1)
    assert cli.exit_status(["differences"]) == cli.EXIT_CHECK_FAILED
    monkeypatch.setattr(differences, "differences", lambda: None)
    assert cli.exit_status(["differences"]) == cli.EXIT_DONE


@pytest.mark.slow
def test_python_without_assertions_is_refused():
    """Under python -O nothing runs, in one line."""
    done = kernelsim_process("differences", python=("-O",))
    assert done.returncode == cli.EXIT_WRONG_USE
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1


@pytest.mark.slow
def test_reader_that_goes_away_is_no_error():
    """Output into a closed pipe ends quietly, as in `kernelsim … | head -0`."""
    program = """
from kernelsim.cli import main as cli
cli.run_command = lambda words: print("text")
cli.main([])
"""
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == cli.EXIT_PIPE_CLOSED
