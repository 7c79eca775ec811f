"""Tests of `kernelsim serve`, asked as Prometheus asks."""

import re
import signal

import pytest

from kernelsim.cli import main as cli
from kernelsim.cli import serve
from tests.node_exporter import metrics_at

pytestmark = [pytest.mark.mission("B6")]

HOG = """
from kernelsim.workload import workload

@workload(machine="tiny-64m")
async def main(machine):
    hog = await machine.spawn("hog")
    area = await hog.mmap("4M")
    await hog.touch(area, write=True)
    await machine.snapshot("full")
"""


@pytest.fixture
def asked(monkeypatch, tmp_path):
    """Run `kernelsim serve` until the metrics have been read; return status and metrics."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "hog.py").write_text(HOG)
    metrics: dict[str, float] = {}
    urls: list[str] = []
    wait_at = serve.wait_at

    def wait(url):
        urls.append(url)
        wait_at(url)

    def ask():
        metrics.update(metrics_at(urls[-1]))
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(serve, "wait_at", wait)
    monkeypatch.setattr("kernelsim.cli.serve.signal.pause", ask)
    return lambda *words: (cli.exit_status(["serve", "--port", "0", *words]), metrics)


def test_a_run_that_has_ended_is_served(asked, capsys):
    """Its state at the end or at a snapshot, which is said; Ctrl-C is how one leaves: status 0."""
    assert cli.EXIT_DONE == cli.exit_status(["run", "hog.py", "--out", "out"])
    capsys.readouterr()
    status, metrics = asked("out")

    assert cli.EXIT_DONE == status
    assert 1024 <= metrics["node_vmstat_pgfault"]
    said = capsys.readouterr().out
    assert re.match(r"out: the state at the end of the run, [\d.]+ us of virtual time\n", said)
    assert re.search(r"^http://127\.0\.0\.1:\d+/metrics until Ctrl-C$", said, re.MULTILINE)

    metrics.clear()
    asked("out/snapshots/full")
    assert 1024 <= metrics["node_vmstat_pgfault"]
    assert "out/snapshots/full: the state at a snapshot\n" in capsys.readouterr().out


def test_a_run_is_started_and_served(asked, capsys):
    """Live: its summary when it has ended, and then its last state."""
    status, metrics = asked("hog.py", "--live", "--speed", "10s", "--set", "vm.swappiness=1")

    assert cli.EXIT_DONE == status
    assert 1024 <= metrics["node_vmstat_pgfault"]
    assert any('state="done"' in name for name in metrics)
    said = capsys.readouterr().out
    assert "hog.py: while it runs" in said
    assert "ended           done" in said


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["nowhere"], "must hold a run"),
        (["nowhere", "--seed", "3"], "--live = False: is needed for options of a run"),
        (["nowhere", "--speed", "1s"], "--live = False: is needed for --speed"),
        (["hog.py", "--live", "--speed", "0"], "--speed = '0': must be more than 0"),
        (["hog.py", "--live", "--port", "70000"], "--port = 70000"),
    ],
)
def test_wrong_use_is_one_line(capsys, tmp_path, monkeypatch, words, told):
    """No run, options that mean nothing, no such port."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "hog.py").write_text(HOG)
    assert cli.EXIT_WRONG_USE == cli.exit_status(["serve", *words])
    said = capsys.readouterr()
    assert told in said.err
    assert 1 == said.err.count("\n")
