"""Tests of the measurements: that they run, check what they did, and print and write their rows.

How fast anything is depends on the machine and is nothing to assert here.
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tools.bench.__main__ import figure, ratio
from tools.bench.bench_engine import Row
from tools.bench.peers import heap_peer, simpy_peer, trio_peer

TOP = Path(__file__).parents[2]


@pytest.mark.slow
def test_one_command_prints_a_table_and_writes_json(tmp_path):
    """Started as a directory, from anywhere, it prints all rows with targets and peers."""
    file = tmp_path / "bench.json"
    words = ["--scale", "0.01", "--rounds", "1", "--json", str(file)]
    done = subprocess.run(
        [sys.executable, str(TOP / "tools" / "bench"), *words],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )
    rows = {row["name"]: row for row in json.loads(file.read_text())["rows"]}

    assert done.returncode == 0, done.stderr
    assert "trio MockClock" in done.stdout
    assert set(rows["sleep, each a switch"]["peers"]) == {
        "trio MockClock",
        "SimPy timeout",
        "bare heap",
    }
    assert all(row["name"] in done.stdout for row in rows.values())
    assert all(row["ours"] >= 0 for row in rows.values())
    assert all((row["target"] == "") == (row["is_met"] is None) for row in rows.values())


@pytest.mark.parametrize("peer", [heap_peer, simpy_peer, trio_peer])
def test_peers_do_what_they_should(peer):
    """Each peer's systems check their own results."""
    peer.sleeps(100, 10)
    peer.asks(20)
    peer.many(10)


@pytest.mark.parametrize("peer", [simpy_peer, trio_peer])
def test_peers_hand_their_locks_over(peer):
    """Peers with a lock hold it as often as asked."""
    peer.hand_overs(50, 5)


def test_ratio_says_how_many_times_as_good():
    """More a second is better, fewer seconds are better."""
    assert ratio(Row("x", "/s", 10.0, {}), 5.0) == 2.0
    assert ratio(Row("x", "s", 2.0, {}), 5.0) == 2.5
    assert (figure(1234.5, "/s"), figure(0.123, "s")) == ("1,234 /s", "0.12 s")
