"""Tests of a log in parts."""

from pathlib import Path

import pytest

from kernelsim.cli.main import exit_status
from kernelsim.errors import OutputError
from kernelsim.report.event_reader import EventReader
from kernelsim.report.log import RunLog
from kernelsim.report.log_file import LogFile
from kernelsim.report.log_parquet import write_log_parquet
from kernelsim.report.log_parts import LogParts, parts_of
from kernelsim.report.rundir import RunDirectory
from kernelsim.report.sql import query


def written(path: Path, parts: LogParts | None, nr_events: int = 40) -> None:
    """Write a log with a line at a time to the file."""
    with RunLog(path, buffer_bytes=1, parts=parts) as log:
        log.start({})
        for number in range(nr_events):
            log.emit(number, "main", "noted", {"number": number})


def numbers(path: Path) -> list[int]:
    """Return the numbers of a log's events."""
    return [found.fields["number"] for found, _ in EventReader(path) if found.event == "noted"]


def test_parts_are_the_log(tmp_path):
    """The parts one after the other are the bytes of the log in one file; readers read them all."""
    log, whole = tmp_path / "events.jsonl", tmp_path / "whole.jsonl"
    written(log, LogParts(300))
    written(whole, None)
    parts = parts_of(log)
    assert [part.name for part in parts[:3]] == ["events.jsonl", "events.2.jsonl", "events.3.jsonl"]
    assert len(parts) > 5
    assert all(300 <= part.stat().st_size < 400 for part in parts[:-1])
    assert b"".join(part.read_bytes() for part in parts) == whole.read_bytes()
    assert numbers(log) == list(range(40))


def test_sql_reads_all_parts(tmp_path):
    """A query answers for all parts, of text and of Parquet, but for a torn last line."""
    log = tmp_path / "events.jsonl"
    written(log, LogParts(300))
    with parts_of(log)[-1].open("a") as last:
        last.write('{"t_ns":7,"act')
    sql = "select sum((fields->>'number')::bigint)::bigint from events where event = 'noted'"
    assert query(tmp_path, sql).rows == ((sum(range(40)),),)
    write_log_parquet(tmp_path)
    assert query(tmp_path, sql).rows == ((sum(range(40)),),)
    reader = EventReader(log)
    assert len(list(reader)) == 41
    assert reader.is_torn


def test_only_the_first_and_the_newest_are_kept(tmp_path):
    """Of more parts than are to be kept those behind the first go, the oldest first."""
    log = tmp_path / "events.jsonl"
    written(log, LogParts(300, keep=3))
    names = [part.name for part in parts_of(log)]
    assert len(names) == 3
    assert names[0] == "events.jsonl"
    kept = numbers(log)
    assert kept[:2] == [0, 1]
    assert kept[-5:] == list(range(35, 40))
    assert len(kept) < 30


def test_who_follows_goes_on_in_the_next_part(tmp_path):
    """A reader of a log that is being written loses nothing where a part ends."""
    log = tmp_path / "events.jsonl"
    left = iter(range(40))
    with RunLog(log, buffer_bytes=1, parts=LogParts(300)) as writer:
        writer.start({})

        def await_more() -> bool:
            number = next(left, None)
            if number is not None:
                writer.emit(number, "main", "noted", {"number": number})
            return number is not None

        reader = EventReader(log, await_more)
        seen = [found.fields["number"] for found, _ in reader if found.event == "noted"]
    assert len(parts_of(log)) > 5
    assert seen == list(range(40))


def test_a_part_that_cannot_be_made_ends_the_log(tmp_path):
    """What was written stays whole, and the user is told which file could not be made."""
    log = tmp_path / "events.jsonl"
    (tmp_path / "events.2.jsonl").mkdir()
    file = LogFile(log, buffer_bytes=1, parts=LogParts(100))
    with pytest.raises(OutputError, match=r"events\.2\.jsonl"):
        file.info(b"x" * 120 + b"\n")
    file.info(b"later\n")
    file.close()
    assert log.read_bytes() == b"x" * 120 + b"\n"


def test_parts_are_set_aside_with_their_run(tmp_path):
    """The parts of an earlier run do not become part of the next one."""
    directory = RunDirectory.create(tmp_path)
    written(directory.events_path, LogParts(300))
    nr_parts = len(parts_of(directory.events_path))
    directory.finish({"exit_state": "done"})
    again = RunDirectory.create(tmp_path)
    assert parts_of(again.events_path) == []
    assert again.previous is not None
    assert len(parts_of(again.previous / "events.jsonl")) == nr_parts
    written(again.events_path, LogParts(300), nr_events=1)
    again.give_up()
    assert len(parts_of(tmp_path / "events.jsonl")) == nr_parts


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--log-size", "1M"], "--log-size = '1M': needs a log: --out DIR"),
        (["--log-size", "1", "--out", "o"], "--log-size = '1': must be at least 64K"),
        (["--log-size", "big", "--out", "o"], "--log-size = 'big': a size is a whole number"),
        (["--log-keep", "3", "--out", "o"], "--log-keep = 3: needs --log-size"),
        (["--log-keep", "1", "--log-size", "1M", "--out", "o"], "must be at least 2"),
    ],
)
def test_mistakes_are_one_line(tmp_path, monkeypatch, capsys, words, told):
    """A size or a number that cannot be is refused before anything runs."""
    monkeypatch.chdir(tmp_path)
    Path("w.py").write_text(
        "from kernelsim.workload import workload\n\n\n"
        '@workload(machine="tiny-64m")\nasync def main(machine):\n    pass\n'
    )
    assert exit_status(["run", "w.py", *words]) == 2
    assert told in capsys.readouterr().err
    assert not Path("o").exists()
