"""Tests of why: the tree of an operation's waits, the list of slow ones, statistics, OOM kills."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernelsim.cli import main as cli
from kernelsim.config.oom_report import OomTask
from kernelsim.report.timeline.slices import DISK, Slice
from kernelsim.report.why import Cause, merged, within
from kernelsim.report.why_oom import badness, kills_of, ranking
from tests.house_rules import TOP

pytestmark = pytest.mark.mission("B6")

US = 1000
FAULT = {"pid": 100, "vpn": 7, "nr_pages": 1, "kind": "swap", "major": True, "lock_ns": 3 * US}
ISOLATED = {"nr_scanned": 96, "nr_reclaimed": 32, "nr_writeback": 40, "nr_ref_keep": 24}
REST = ("nr_dirty", "nr_congested", "nr_immediate", "nr_activate0", "nr_activate1")
SHRUNK = {"nid": 0, "nr_unmap_fail": 0, "priority": 9, **dict.fromkeys(REST, 0), **ISOLATED}
WAIT = {"lock": "node 0 DMA32 zone->lock", "hold_ns": 2 * US}
HELD = {"user": "cpu1", "holder": "cpu0"}
IO_WAIT = {"dev": "vda", "why": "wbt", "nr_in_flight": 9, "wait_ns": 25 * US}
MANY = {"nr_pages": 400, "latency_ns": 400 * US, "io_ns": 0, "kind": "anon"}
LOG = [
    (0, "run", "ks_run_start", {"schema": 1}),
    (0, "cpu0", "ks_sched_switch", {"prev": "", "next": "hog-100"}),
    (0, "cpu1", "ks_sched_switch", {"prev": "", "next": "thief-101"}),
    (4, "node0", "ks_lock_wait", {**WAIT, **HELD, "wait_ns": US}),
    (10, "kswapd0", "mm_vmscan_kswapd_wake", {"nid": 0, "zid": 1, "order": 0}),
    (12, "thief-101", "ks_swapin", {"dev": "vda", "latency_ns": 2 * US, "nr_pages": 1}),
    (20, "hog-100", "mm_vmscan_direct_reclaim_begin", {"order": 0}),
    (50, "hog-100", "mm_vmscan_lru_shrink_inactive", SHRUNK),
    (80, "hog-100", "ks_io_wait", IO_WAIT),
    (90, "hog-100", "mm_vmscan_direct_reclaim_end", {"nr_reclaimed": 32}),
    (95, "kswapd0", "mm_vmscan_lru_shrink_inactive", {**SHRUNK, "nr_reclaimed": 48}),
    (101, "node0", "ks_lock_wait", {**WAIT, **HELD, "wait_ns": US, "hold_ns": 5 * US}),
    (106, "node0", "ks_lock_wait", {**WAIT, "user": "cpu0", "wait_ns": 3 * US, "holder": "cpu1"}),
    (150, "thief-101", "ks_swapin", {"dev": "vda", "latency_ns": 45 * US, "nr_pages": 1}),
    (200, "hog-100", "ks_swapin", {"dev": "vda", "latency_ns": 60 * US, "nr_pages": 8}),
    (210, "hog-100", "ks_fault", {**FAULT, "latency_ns": 200 * US, "io_ns": 60 * US}),
    (300, "thief-101", "ks_fault", {**FAULT, "latency_ns": 2 * US, "io_ns": 0, "kind": "anon"}),
    (700, "hog-100", "ks_fault", {**FAULT, **MANY}),
    (701, "hog-100", "ks_sleep", {"why": "pfmemalloc", "of": "kswapd0", "wait_ns": US}),
    (702, "hog-100", "ks_fault", {**FAULT, "latency_ns": 2 * US, "io_ns": 0, "kind": "wp"}),
]  # fmt: skip


@pytest.fixture
def out(tmp_path):
    """A directory with the log above; times in us."""
    lines = [
        json.dumps({"t_ns": t * US, "actor": actor, "event": event, **fields})
        for t, actor, event, fields in LOG
    ]
    (tmp_path / "events.jsonl").write_text("\n".join(lines) + "\n")
    return str(tmp_path)


TREE = """\
hog-100: fault: swap, 200 us from 10 us on
      200 us 100.0%  fault: swap
       70 us  35.0%    direct reclaim
                         - looked at 96 pages, freed 32: 40 under writeback, 24 referenced; priority down to 9
                         - meanwhile kswapd0 was at it for 70 us
       25 us  12.5%      waits to write to vda: writers have their share of its queue
                           - 9 requests were under way when it began
                           - meanwhile kswapd0 was at it for 25 us
       45 us  22.5%      its own work, and waiting for a CPU
        3 us   1.5%    spins: node 0 DMA32 zone->lock
                         - held by thief-101 on cpu1
       60 us  30.0%    waits for vda
                         - behind a read for thief-101, which took 10 us more
       67 us  33.5%    its own work, and waiting for a CPU
"""  # noqa: E501 - as it is printed


def test_the_tree_of_a_fault(out, capsys):
    """Each wait lies in that it is part of, with its time, what it was for and who was in front."""
    assert cli.exit_status(["explain", "fault", out]) == cli.EXIT_DONE
    assert capsys.readouterr().out == TREE
    assert cli.exit_status(["inspect", out, "--why", "hog-*@100us"]) == cli.EXIT_DONE
    assert capsys.readouterr().out == TREE


def test_a_task_that_waits_for_kswapd_is_told_to(out, capsys):
    """What it waits for before it may reclaim is no work of its own."""
    assert cli.exit_status(["explain", "fault", out, "hog-100@702us"]) == cli.EXIT_DONE
    waits = "1 us  50.0%    throttled: waits until kswapd0 has freed half of min"
    assert waits in capsys.readouterr().out


def test_of_many_waits_of_a_kind_the_longest_is_told_more_of():
    """Notes of all of them would be a list that nobody reads."""
    parts = [Cause("w", ns, 1, ns, (f"{ns} note",)) for ns in (3, 9, 9, 5)]
    assert merged(parts) == [Cause("w", 26, 4, 9, ("9 note",))]


def test_the_slowest_are_listed_with_their_selectors(out, capsys):
    """The slowest first, many at once by their mean; the first word names just that one."""
    assert cli.exit_status(["inspect", out, "--slowest", "5"]) == cli.EXIT_DONE
    _, first, second, third, many = capsys.readouterr().out.splitlines()
    assert third.startswith("hog-100@702000")
    assert " ".join(many.split()) == "hog-100@700000 400 us 400 faults: anon 1 us 400 faults: anon"
    assert cli.exit_status(["explain", "fault", out, "hog-100@700000"]) == cli.EXIT_DONE
    assert capsys.readouterr().out.startswith("hog-100: 400 faults: anon, 400 us")
    assert first.split()[:5] == ["hog-100@210000", "200", "us", "fault:", "swap"]
    assert first.endswith("direct reclaim") or "waits for vda" in first
    assert second.split()[0] == "thief-101@300000"
    assert cli.exit_status(["explain", "fault", out, second.split()[0]]) == cli.EXIT_DONE
    assert capsys.readouterr().out.startswith("thief-101: fault: anon, 2 us")


def test_statistics(out, capsys):
    """A histogram a kind of fault, who held each lock, what reclaim freed of what it looked at."""
    assert cli.exit_status(["inspect", out, "--stats"]) == cli.EXIT_DONE
    said = capsys.readouterr().out
    assert "page faults, swap, from disk: 1, latency in ns" in said
    assert "      131072 -> 262143      : 1          |" + "*" * 40 + "|" in said
    assert "node 0 DMA32 zone->lock  3      5 us    3 us     cpu1 60%, cpu0 40%" in said
    rows = [line for line in said.splitlines() if "40 under writeback" in line]
    assert [(row[:7], "50.0%" in row, "33.3%" in row) for row in rows] == [
        ("kswapd0", True, False),
        ("tasks: ", False, True),
    ]


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(0, 9)), max_size=5))
def test_what_overlaps_counts_once(spans):
    """The time inside a slice is that of the set of its moments that others cover."""
    slices = [Slice("t", start, start + ns, "", DISK) for start, ns in sorted(spans)]
    moments = {t for s in slices for t in range(s.start_ns, s.end_ns)} & set(range(5, 15))
    assert within(slices, Slice("t", 5, 15, "", DISK)) == len(moments)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["explain", "fault", "DIR", "cat-*"], "there are some of hog-100, thief-101"),
        (["explain", "fault", "DIR", "hog-100@9s"], "names no operation"),
        (["explain", "fault", "DIR", "hog-100@soon"], "SELECTOR"),
        (["explain", "fault", "nowhere"], "must hold a run"),
        (["inspect", "DIR", "--slowest", "0"], "--slowest"),
        (["inspect", "DIR", "--stats", "--event", "ks_*"], "--stats = True: does not go with"),
        (["inspect", "DIR", "--why", "slowest", "--json"], "--why = 'slowest': does not go with"),
        (["inspect", "DIR", "--sql", "select 1", "--ftrace"], "--ftrace, only with --json"),
        (["inspect", "DIR", "--ftrace", "--json"], "does not go with --json, only with --event"),
        (["inspect", "DIR", "--perfetto", "x", "--slowest", "0"], "does not go with"),
        (["explain", "oom", "nowhere"], "No such file"),
        (["explain", "oom", "DIR/events.jsonl"], "has no OOM report"),
    ],
)
def test_mistakes(words, told, out, capsys):
    """One line with what is wrong."""
    words = [word.replace("DIR", out) for word in words]
    assert cli.exit_status(words) == cli.EXIT_WRONG_USE
    assert told in capsys.readouterr().err


def test_of_equals_the_later_is_chosen_and_nobody_who_is_exempt():
    """As `oom_evaluate_task` keeps a task with as many points as the one before; 0 points count."""
    named = {
        "init": (999, 0),
        "exempt": (900, -1000),
        "first": (500, 0),
        "below": (100, -500),
        "later": (500, 0),
    }
    named["nothing"] = (0, 0)
    tasks = [
        OomTask(pid=pid, name=name, rss=rss, swapents=0, oom_score_adj=adj)
        for pid, (name, (rss, adj)) in enumerate(named.items(), start=1)
    ]
    ranked = ranking(tasks, 1999)
    assert [task.name for task in ranked] == [
        "later",
        "first",
        "nothing",
        "below",
        "init",
        "exempt",
    ]
    assert badness(tasks[3], 1999) == 100 - 500  # a thousandth is whole pages


def test_a_real_kernel_chose_as_the_ranking_says(capsys):
    """Of each kill in a recording the victim has the highest badness of those allowed."""
    log = TOP / "tests/oracle/cases/d08/dmesg.txt"
    kills = kills_of(log.read_text(), file=str(log))
    assert len(kills) >= 3
    for kill in kills:
        points = {task: badness(task, kill.total_pages) for task in kill.report.tasks}
        allowed = {task: nr for task, nr in points.items() if nr is not None}
        assert len(allowed) < len(points)
        assert max(allowed, key=allowed.get) == kill.report.killed
    assert cli.exit_status(["explain", "oom", str(log)]) == cli.EXIT_DONE
    assert "+57500 (500)     70510      killed" in capsys.readouterr().out
