"""Tests of the measurements: that they run, check what they did, and print and write their rows.

How fast anything is depends on the machine and is nothing to assert here.
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import trio
from simpy.events import Timeout
from simpy.resources.resource import Request
from simpy.resources.store import StoreGet, StorePut

from tools.bench.__main__ import figure, ratio
from tools.bench.bench_engine import Row
from tools.bench.peers import heap_peer, simpy_pages, simpy_peer, trio_peer

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


# What each engine offers, and by which a system's operations can be counted from outside.
SLEEPS = {heap_peer: (heap_peer.Loop, "sleep"), simpy_peer: (Timeout, "__init__"),
          trio_peer: (trio, "sleep")}  # fmt: skip
SENDS = {heap_peer: (heap_peer.Queue, "put"), simpy_peer: (StorePut, "__init__"),
         trio_peer: (trio.MemorySendChannel, "send")}  # fmt: skip
RECEIPTS = {heap_peer: (heap_peer.Queue, "get"), simpy_peer: (StoreGet, "__init__"),
            trio_peer: (trio.MemoryReceiveChannel, "receive")}  # fmt: skip
LOCKS = {simpy_peer: (Request, "__init__"), trio_peer: (trio.Lock, "acquire")}
PEERS = pytest.mark.parametrize("peer", [heap_peer, simpy_peer, trio_peer])


def count(monkeypatch, place):
    """Count the calls of a function of a class or module from now on, in a list of one number."""
    owner, name = place
    function = getattr(owner, name)
    calls = [0]

    def counted(*args, **kwargs):
        calls[0] += 1
        return function(*args, **kwargs)

    monkeypatch.setattr(owner, name, counted)
    return calls


@PEERS
@pytest.mark.parametrize(("nr_operations", "nr_tasks"), [(100, 10), (60, 60), (7, 1)])
def test_peers_sleep_as_often_as_asked(monkeypatch, peer, nr_operations, nr_tasks):
    """Each sleep is one of the engine's own."""
    calls = count(monkeypatch, SLEEPS[peer])
    peer.sleeps(nr_operations, nr_tasks)
    assert calls == [nr_operations]


@PEERS
def test_peers_ask_and_answer_as_often_as_asked(monkeypatch, peer):
    """A message there and one back for each; one more may tell the server to stop."""
    sends, receipts = count(monkeypatch, SENDS[peer]), count(monkeypatch, RECEIPTS[peer])
    peer.asks(20)
    assert sends[0] in (40, 41)
    assert receipts[0] in (40, 41)


@PEERS
def test_peers_ask_each_of_many_tasks(monkeypatch, peer):
    """A question and an answer a task, and what stops it: a message, or a closed channel."""
    sends, receipts = count(monkeypatch, SENDS[peer]), count(monkeypatch, RECEIPTS[peer])
    peer.many(10)
    assert sends[0] == (20 if peer is trio_peer else 30)
    assert receipts[0] == 30


@pytest.mark.parametrize("peer", LOCKS)
def test_peers_hand_their_locks_over(monkeypatch, peer):
    """Each hold takes the engine's lock once and sleeps once while it has it."""
    locks, sleeps = count(monkeypatch, LOCKS[peer]), count(monkeypatch, SLEEPS[peer])
    peer.hand_overs(50, 5)
    assert (locks, sleeps) == ([50], [50])


def test_the_peer_of_memory_handles_each_page_by_a_message_under_a_lock(monkeypatch):
    """Of a page: three spans of time, one request to the node, one hold of its lock."""
    sleeps, sends, locks = (
        count(monkeypatch, places[simpy_peer]) for places in (SLEEPS, SENDS, LOCKS)
    )
    simpy_pages.first_touch(40)
    assert (sleeps, sends, locks) == ([120], [40], [40])


def test_ratio_says_how_many_times_as_good():
    """More a second is better, fewer seconds are better."""
    assert ratio(Row("x", "/s", 10.0, {}), 5.0) == 2.0
    assert ratio(Row("x", "s", 2.0, {}), 5.0) == 2.5
    assert (figure(1234.5, "/s"), figure(0.123, "s")) == ("1,234 /s", "0.12 s")
