"""Tests of SQL over a run."""

import pytest

from kernelsim.errors import ConfigError
from kernelsim.report.metrics import MetricsRecorder
from kernelsim.report.sql import query

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
    """The log has four columns of known types; fields hold what is the event's own."""
    result = query(directory, "select * from events where t_ns > 0")
    assert result.columns == ("t_ns", "actor", "event", "fields")
    assert result.rows == ((5, "a'b", "ks_x", '{"big":18446744073709551615,"none":null}'),)
    types = query(directory, "select column_name, column_type from (describe events)").rows
    assert types == (
        ("t_ns", "BIGINT"),
        ("actor", "VARCHAR"),
        ("event", "VARCHAR"),
        ("fields", "JSON"),
    )
    assert query(directory, "select fields->>'big' from events order by t_ns desc").rows[0] == (
        "18446744073709551615",
    )


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
