"""Tests of SQL over a run."""

import pytest

from kernelsim.errors import ConfigError
from kernelsim.report.log_parquet import write_log_parquet
from kernelsim.report.metrics import MetricsRecorder
from kernelsim.report.sql import query
from kernelsim.trace.registry import TRACEPOINTS

HEADER = '{"t_ns":0,"actor":"run","event":"ks_run_start","schema":1}\n'
EVENT = '{"t_ns":5,"actor":"a\'b","event":"ks_x","big":18446744073709551615,"none":null}\n'


@pytest.fixture
def directory(tmp_path):
    """A run's directory with a quote in its name."""
    path = tmp_path / "it's"
    path.mkdir()
    (path / "events.jsonl").write_text(HEADER + EVENT)
    recorder = MetricsRecorder(("t_ns", "pgfault"))
    recorder.append((0, 3))
    recorder.append((9, 4))
    recorder.write(path / "metrics.parquet")
    return path


def test_events_view(directory):
    """The log has four columns, then those of all events; fields hold what is the event's own."""
    result = query(directory, "select t_ns, actor, event, fields from events where t_ns > 0")
    assert result.rows == ((5, "a'b", "ks_x", '{"big":18446744073709551615,"none":null}'),)
    types = query(directory, "select column_name, column_type from (describe events)").rows
    assert types[:4] == (
        ("t_ns", "BIGINT"),
        ("actor", "VARCHAR"),
        ("event", "VARCHAR"),
        ("fields", "JSON"),
    )
    names = [name for name, _ in types]
    declared = {field.name for info in TRACEPOINTS.values() for field in info.fields}
    assert len(set(names)) == len(names)
    assert set(names[4:]) == declared
    text = {name for name, kind in types if kind == "VARCHAR"}
    assert {"dev", "error", "kind", "lock"} <= text
    assert dict(types)["latency_ns"] == "BIGINT"
    assert dict(types)["nr_scanned"] == "HUGEINT"
    assert dict(types)["major"] == "BOOLEAN"
    assert query(directory, "select fields->>'big' from events order by t_ns desc").rows[0] == (
        "18446744073709551615",
    )


def test_a_table_an_event(directory):
    """Each declared event has a table of typed columns: numbers compare and subtract as numbers."""
    with (directory / "events.jsonl").open("a") as log:
        for latency_ns in (9, 10, 100):
            log.write(f'{{"t_ns":7,"actor":"a","event":"ks_fault","latency_ns":{latency_ns}}}\n')
        log.write('{"t_ns":8,"actor":"a","event":"tlb_flush","pages":18446744073709551615}\n')
        log.write('{"t_ns":8,"actor":"a","event":"mm_vmscan_lru_isolate","nr_taken":1}\n')
    assert query(directory, "select max(latency_ns) from ks_fault").rows == ((100,),)
    assert query(directory, "select max(latency_ns) from events").rows == ((100,),)
    assert query(directory, "select pages from tlb_flush").rows == (((1 << 64) - 1,),)
    below = "select nr_taken - 2 from mm_vmscan_lru_isolate"
    assert query(directory, below).rows == ((-1,),)
    tables = {name for (name,) in query(directory, "show tables").rows}
    assert tables == {"events", "metrics", *TRACEPOINTS}
    described = query(directory, "select column_name from (describe ks_watermark)").rows
    fields = [field.name for field in TRACEPOINTS["ks_watermark"].fields]
    assert [name for (name,) in described] == ["t_ns", "actor", *fields]
    assert query(directory, "select * from block_rq_issue").rows == ()


@pytest.mark.parametrize(
    ("sql", "told"),
    [
        ("select nope from ks_fault", '"nope" not found'),
        ("select * from ks_falt", 'Did you mean "ks_fault"?'),
        ("", "must be a query"),
    ],
)
def test_unknown_names_are_answered_with_the_known(directory, sql, told):
    """A query that asks for what is not there is told what is, in one line."""
    with pytest.raises(ConfigError) as caught:
        query(directory, sql)
    assert told in str(caught.value)
    assert "events, metrics, processes, memory_map, and one an event, such as ks_fault" in str(
        caught.value
    )
    assert "\n" not in str(caught.value)


QUERIES = (
    "select * from events order by all",
    "select * from ks_fault order by all",
    "select count(*) from tlb_flush",
    "select t_ns, fields from events where actor = 'a''b'",
    "select column_name, column_type from (describe events)",
    "select column_name, column_type from (describe ks_fault)",
    "select * from mm_vmscan_kswapd_wake",
)


def test_parquet_answers_as_the_log_does(directory):
    """A log written as Parquet gives the same tables; one that grew since is read as text again."""
    with (directory / "events.jsonl").open("a") as log:
        log.write('{"t_ns":7,"actor":"a","event":"ks_fault","latency_ns":9,"major":true}\n')
        log.write('{"t_ns":8,"actor":"a","event":"tlb_flush","pages":18446744073709551615}\n')
    of_text = [query(directory, sql) for sql in QUERIES]
    assert write_log_parquet(directory) == directory / "events.parquet"
    assert [query(directory, sql) for sql in QUERIES] == of_text
    log_of_text = (directory / "events.jsonl").read_bytes()
    (directory / "events.jsonl").write_bytes(b"?" * len(log_of_text))
    assert query(directory, QUERIES[0]) == of_text[0], "the text is not read"
    (directory / "events.jsonl").write_bytes(log_of_text + EVENT.encode())
    assert query(directory, "select count(*) from events").rows == ((5,),)
    (directory / "events.parquet").write_text("no Parquet")
    assert query(directory, "select count(*) from events").rows == ((5,),)


def test_a_damaged_log_makes_no_parquet(directory):
    """A line that is no JSON is one line for the user, and no file is left."""
    with (directory / "events.jsonl").open("a") as log:
        log.write("{broken\n")
    with pytest.raises(ConfigError, match="has a damaged log"):
        write_log_parquet(directory)
    assert {path.name for path in directory.iterdir()} == {"events.jsonl", "metrics.parquet"}


def test_metrics_view(directory):
    """Counters can be joined with events."""
    sql = "select sum(pgfault)::bigint s from metrics m join events e on m.t_ns >= e.t_ns"
    assert query(directory, sql).rows == ((3 + 4 + 4,),)


def test_torn_log(directory):
    """A torn last line is left out, and the log is not changed."""
    with (directory / "events.jsonl").open("a") as log:
        log.write('{"t_ns":7,"act')
    before = (directory / "events.jsonl").read_bytes()
    assert query(directory, "select count(*) from events").rows == ((2,),)
    assert (directory / "events.jsonl").read_bytes() == before


def test_run_without_metrics(directory):
    """An interrupted run has no metrics; asking for them is a one-line error."""
    (directory / "metrics.parquet").unlink()
    assert query(directory, "select count(*) from events").rows == ((2,),)
    with pytest.raises(ConfigError, match="metrics"):
        query(directory, "select * from metrics")


@pytest.mark.parametrize(
    "sql", ["", " ", "selec 1", "select nope from events", "delete from events"]
)
def test_bad_sql_is_refused(directory, sql):
    """Wrong SQL is refused in one line that names the option."""
    with pytest.raises(ConfigError) as caught:
        query(directory, sql)
    assert str(caught.value).startswith("--sql = ")
    assert "\n" not in str(caught.value)


def test_bad_line_is_refused(directory):
    """A line inside the log that is no JSON is refused, not skipped."""
    (directory / "events.jsonl").write_text(HEADER + "{broken\n" + EVENT)
    with pytest.raises(ConfigError, match="--sql"):
        query(directory, "select * from events")
