"""Tests of `kernelsim events` and `kernelsim inspect`."""

import json
import sys

import pytest

from kernelsim.cli import inspect
from kernelsim.cli import main as cli
from kernelsim.report.log import RunLog
from kernelsim.report.rundir import RunDirectory
from kernelsim.trace.registry import TRACEPOINTS
from kernelsim.trace.vmscan import mm_vmscan_kswapd_wake


@pytest.fixture
def run_path(tmp_path):
    """A run that ended."""
    directory = RunDirectory.create(tmp_path / "run")
    with RunLog(directory.events_path) as log:
        log.start({"seed": 1})
        wake = mm_vmscan_kswapd_wake(nid=0, zid=2, order=0)
        log.emit(1_000_000_000, "kswapd0", wake.event, wake)
        log.emit(2_000_000_000, "db-101", "ks_fault", {"pid": 101, "kind": "anon"})
    directory.finish({"exit_state": "done"})
    return tmp_path / "run"


def command(capsys, *words):
    """Run a command; return its status, output and complaint."""
    status = cli.exit_status([str(word) for word in words])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def test_events_by_subsystem(capsys):
    """Fields come with type, unit and meaning, below their event."""
    expected = (
        "subsystem  event                   field  type  unit        meaning\n"
        "vmscan     mm_vmscan_kswapd_sleep                           "
        "kswapd goes to sleep: its node is balanced.\n"
        "                                   t_ns   long  ns          start of the sleep\n"
        "                                   nid    int   nid         its node\n"
        "vmscan     mm_vmscan_kswapd_wake                            "
        "kswapd begins to balance its node.\n"
        "                                   t_ns   long  ns          start of the round\n"
        "                                   nid    int   nid         its node\n"
        "                                   zid    int   zid         "
        "highest zone type to balance\n"
        "                                   order  int   log2 pages  size of block wanted\n"
    )
    assert command(capsys, "events", "vmscan:mm_vmscan_kswapd_*") == (0, expected, "")


def test_events_as_json(capsys):
    """All events are listed, one object a line, with what the table says."""
    status, out, _ = command(capsys, "events", "--json")
    rows = [json.loads(line) for line in out.splitlines()]
    assert status == 0
    assert [row["event"] for row in rows] == list(TRACEPOINTS)
    assert next(row for row in rows if row["event"] == "mm_page_free") == {
        "event": "mm_page_free",
        "subsystem": "kmem",
        "meaning": "A block of pages was freed.",
        "t_ns": "when the pages were put on the CPU's list",
        "page_level": True,
        "fields": [
            {
                "name": "pfn",
                "type": "unsigned long",
                "unit": "pfn",
                "meaning": "first frame of the block",
            },
            {
                "name": "order",
                "type": "unsigned int",
                "unit": "log2 pages",
                "meaning": "size of the block",
            },
        ],
    }


def test_page_level_events_say_so(capsys):
    """The table says which events are off."""
    _, out, _ = command(capsys, "events", "mm_page_free")
    assert "A block of pages was freed. (off unless --trace asks)" in out


def test_inspect_prints_text(capsys, run_path):
    """Without options every event is printed for people."""
    expected = (
        "    0.000000000  run              ks_run_start schema=1 seed=1\n"
        "    1.000000000  kswapd0          mm_vmscan_kswapd_wake nid=0 zid=2 order=0\n"
        "    2.000000000  db-101           ks_fault pid=101 kind=anon\n"
    )
    assert command(capsys, "inspect", run_path) == (0, expected, "")


@pytest.mark.parametrize(
    ("options", "actors"),
    [
        (["--event", "mm_*"], ["kswapd0"]),
        (["--event", "ks:*", "--between", "..2s"], ["run", "db-101"]),
        (["--actor", "db*"], ["db-101"]),
        (["--between", "1s..1500ms"], ["kswapd0"]),
        (["--event", "mm_*", "--actor", "db*"], []),
        (["--follow", "--between", "1s.."], ["kswapd0", "db-101"]),
    ],
)
def test_inspect_filters(capsys, run_path, options, actors):
    """Each option narrows the choice; --json writes the log's own lines."""
    status, out, err = command(capsys, "inspect", run_path, "--json", *options)
    assert (status, err) == (0, "")
    assert [json.loads(line)["actor"] for line in out.splitlines()] == actors
    assert set(out.splitlines()) <= set((run_path / "events.jsonl").read_text().splitlines())


def test_inspect_says_when_nothing_matches(capsys, run_path):
    """Nothing on stdout, and for a person one line on stderr that says where names are listed."""
    status, out, err = command(capsys, "inspect", run_path, "--event", "mm_vmscan_kswapd_sl*")
    assert (status, out) == (0, "")
    assert err.count("\n") == 1
    assert "no such event is in the log" in err


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--event", "ks_falt"], "--event = 'ks_falt': matches no event, did you mean ks_fault"),
        (["--event", "*shrnk*"], "--event = '*shrnk*': matches no event; `kernelsim events`"),
        (["--event", "vmscan:ks_fault"], "matches no event, did you mean ks_fault"),
        (["--event", "zzz", "--json"], "--event = 'zzz': matches no event; `kernelsim events`"),
        (["--actor", "kswapd1"], "--actor = 'kswapd1': matches no actor of this log, did you mean"),
    ],
)
def test_inspect_refuses_names_of_nothing(capsys, run_path, words, told):
    """An event that neither is declared nor in the log, or an actor that is not: one line."""
    status, out, err = command(capsys, "inspect", run_path, *words)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert told in err


def test_inspect_knows_the_events_a_workload_made_up(capsys, run_path):
    """An event of the log is one, declared or not; only the choice of times may be empty."""
    with (run_path / "events.jsonl").open("a") as log:
        log.write('{"t_ns":3000000000,"actor":"main","event":"dinner"}\n')
    assert command(capsys, "inspect", run_path, "--event", "dinner")[0] == 0
    assert command(capsys, "inspect", run_path, "--event", "dinner", "--between", "..1s")[0] == 0
    _, _, err = command(capsys, "inspect", run_path, "--event", "diner")
    assert "did you mean dinner?" in err


def test_inspect_tells_of_an_interrupted_run(capsys, run_path):
    """A run without its last file, with a torn line, is read as far as it goes."""
    (run_path / "run.json").unlink()
    with (run_path / "events.jsonl").open("a") as log:
        log.write('{"t_ns":3')
    status, out, err = command(capsys, "inspect", run_path)
    assert (status, len(out.splitlines())) == (0, 3)
    assert err == (
        f"kernelsim: {run_path}/events.jsonl: the run did not end, or has not yet: "
        "there is no run.json, its last line is torn and left out\n"
    )


def test_inspect_follows_a_live_run(capsys, run_path, monkeypatch):
    """Following shows what there is before it waits, reads what is added, ends when the run has."""
    (run_path / "run.json").unlink()
    slept = []
    flushed = []

    def go_on(seconds):
        assert flushed
        slept.append(seconds)
        with (run_path / "events.jsonl").open("a") as log:
            log.write('{"t_ns":3000000000,"actor":"late","event":"ks_x"}\n')
        (run_path / "run.json").write_text("{}")

    monkeypatch.setattr(inspect.time, "sleep", go_on)
    monkeypatch.setattr(sys.stdout, "flush", lambda: flushed.append(True))
    _, out, err = command(capsys, "inspect", run_path, "--follow", "--actor", "late")
    assert (out, err) == ("    3.000000000  late             ks_x\n", "")
    assert slept == [inspect.POLL_S]


def test_inspect_with_sql(capsys, run_path):
    """A query prints a table, or an object a row."""
    sql = "select t_ns, fields->>'pid' as pid from events where t_ns > 0 order by t_ns"
    assert command(capsys, "inspect", run_path, "--sql", sql) == (
        0,
        "t_ns        pid\n1000000000\n2000000000  101\n",
        "",
    )
    _, out, _ = command(capsys, "inspect", run_path, "--json", "--sql", sql)
    assert out == '{"t_ns":1000000000,"pid":null}\n{"t_ns":2000000000,"pid":"101"}\n'


@pytest.mark.parametrize(
    "words",
    [
        ["events", "mm_pgae"],
        ["inspect", "/nonexistent"],
        ["inspect", "RUN", "--between", "2s"],
        ["inspect", "RUN", "--sql", "selec"],
        ["inspect", "RUN", "--sql", "select 1", "--event", "ks_*"],
        ["inspect", "RUN", "--sql", "select 1", "--follow"],
        ["inspect"],
        ["inspect", "RUN", "--evnt", "x"],
    ],
)
def test_wrong_use(capsys, run_path, words):
    """Wrong use is one line on stderr and status 2."""
    words = [str(run_path) if word == "RUN" else word for word in words]
    status, out, err = command(capsys, *words)
    assert (status, out) == (2, "")
    assert err.startswith("kernelsim: ")
    assert err.count("\n") == 1


def test_bad_log_is_named(capsys, run_path):
    """A broken line is named with file and number, after what stands before it."""
    text = (run_path / "events.jsonl").read_text()
    (run_path / "events.jsonl").write_text(text + "broken\n")
    status, out, err = command(capsys, "inspect", run_path)
    assert (status, len(out.splitlines())) == (2, 3)
    assert err.startswith(f"kernelsim: {run_path}/events.jsonl:4: must be")


def test_inspect_does_not_load_the_database(run_path, capsys, monkeypatch):
    """Reading events works without duckdb and numpy, which take their time to load."""
    for name in ("duckdb", "numpy"):
        monkeypatch.setitem(sys.modules, name, None)
    for name in ("kernelsim.cli.inspect", "kernelsim.report.rundir", "kernelsim.report.metrics"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    assert command(capsys, "inspect", run_path)[0] == 0
