"""Fixtures shared by the tests of commands."""

import json

import pytest

from kernelsim.cli import main as cli

SMALL = """
name = "small"
[[node]]
cpus = "0"
memory = "16M"
"""


@pytest.fixture
def run_file(capsys, tmp_path, monkeypatch):
    """Run a workload `w.py` beside a machine `small.toml`; return status, stdout, stderr, run.json.

    The last is None where there was no run.
    """
    monkeypatch.chdir(tmp_path)
    (tmp_path / "small.toml").write_text(SMALL)

    def run(text, *words):
        (tmp_path / "w.py").write_text(text)
        status = cli.exit_status(["run", "w.py", "--out", "out", *words])
        said = capsys.readouterr()
        record = tmp_path / "out/run.json"
        return (
            status,
            said.out,
            said.err,
            json.loads(record.read_text()) if record.exists() else None,
        )

    return run
