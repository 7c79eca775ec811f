"""Tests of `kernelsim inspect`: what it prints for other tools."""

import csv
import io
import json

import pytest

from kernelsim.cli.main import exit_status

HEADER = {"t_ns": 0, "actor": "run", "event": "ks_run_start", "schema": 1}
FAULT = {"t_ns": 5, "actor": "a,b", "event": "ks_fault", "major": True, "latency_ns": 9}
NOTE = {"t_ns": 7, "actor": "main", "event": "noted", "text": 'a "quoted" word', "list": [1, 2]}


@pytest.fixture
def directory(tmp_path):
    """A run's directory with three events."""
    (tmp_path / "events.jsonl").write_text(
        "".join(json.dumps(event) + "\n" for event in (HEADER, FAULT, NOTE))
    )
    return tmp_path


def printed(capsys, *words):
    """Run a command and return what it printed, as rows of CSV."""
    assert exit_status(["inspect", *map(str, words)]) == 0
    return list(csv.reader(io.StringIO(capsys.readouterr().out)))


def test_events_as_csv(directory, capsys):
    """A column for each field that a chosen event has, empty where an event has none of it."""
    assert printed(capsys, directory, "--csv", "--between", "1..") == [
        ["t_ns", "actor", "event", "major", "latency_ns", "text", "list"],
        ["5", "a,b", "ks_fault", "true", "9", "", ""],
        ["7", "main", "noted", "", "", 'a "quoted" word', "[1,2]"],
    ]
    assert printed(capsys, directory, "--csv", "--event", "ks_fault") == [
        ["t_ns", "actor", "event", "major", "latency_ns"],
        ["5", "a,b", "ks_fault", "true", "9"],
    ]


def test_a_query_as_csv(directory, capsys):
    """The result of a query with its own columns; NULL is an empty cell."""
    sql = "select actor, event, nr_pages, major from ks_fault, (select 'x' as event)"
    assert printed(capsys, directory, "--csv", "--sql", sql) == [
        ["actor", "event", "nr_pages", "major"],
        ["a,b", "x", "", "true"],
    ]


@pytest.mark.parametrize("other", [["--json"], ["--follow"], ["--ftrace"], ["--stats"]])
def test_csv_stands_alone(directory, capsys, other):
    """An option that would print something else beside CSV is refused in one line."""
    assert exit_status(["inspect", str(directory), "--csv", *other]) == 2
    assert "does not go with" in capsys.readouterr().err


def test_what_cannot_be_there_prints_no_header(directory, capsys):
    """An event of no such name is a mistake, not an empty table."""
    assert exit_status(["inspect", str(directory), "--csv", "--event", "ks_falt"]) == 2
    printed_words = capsys.readouterr()
    assert printed_words.out == ""
    assert "ks_falt" in printed_words.err


def test_parquet_is_written_beside_the_log(directory, capsys):
    """The events become events.parquet, which other tools read as it is."""
    assert exit_status(["inspect", str(directory), "--parquet"]) == 0
    assert capsys.readouterr().out == f"{directory / 'events.parquet'}\n"
    assert exit_status(["inspect", str(directory), "--sql", "select major from ks_fault"]) == 0
    assert capsys.readouterr().out.split() == ["major", "True"]
    assert exit_status(["inspect", str(directory), "--parquet", "--json"]) == 2
