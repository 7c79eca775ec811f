"""Tests of reading a log back: choice, torn ends, bad lines, live logs."""

import pytest

from kernelsim.errors import ConfigError, RecordingError
from kernelsim.report.event_reader import EventReader, Selection, parse_between
from kernelsim.report.sinks import Event

HEADER = '{"t_ns":0,"actor":"run","event":"ks_run_start","schema":1}\n'
EVENT = '{"t_ns":1,"actor":"cpu0","event":"ks_x","a":1}\n'


@pytest.fixture
def path(tmp_path):
    """Where the log is."""
    return tmp_path / "events.jsonl"


def test_events_and_lines(path):
    """Each event comes with its line as it stands."""
    path.write_text(HEADER + EVENT)
    reader = EventReader(path)
    assert list(reader) == [
        (Event(0, "run", "ks_run_start", {"schema": 1}), HEADER.encode()),
        (Event(1, "cpu0", "ks_x", {"a": 1}), EVENT.encode()),
    ]
    assert not reader.is_torn


@pytest.mark.parametrize("cut", [1, 10, len(EVENT) - 1])
def test_torn_last_line_is_left_out(path, cut):
    """A last line without its end is no error, and the reader says it was there."""
    path.write_text(HEADER + EVENT + EVENT[:-cut])
    reader = EventReader(path)
    assert [found.event for found, _ in reader] == ["ks_run_start", "ks_x"]
    assert reader.is_torn


@pytest.mark.parametrize(
    "line",
    [
        "",
        "{",
        "[1]",
        "\xff",
        '{"t_ns":1,"actor":"a"}',
        '{"t_ns":"1","actor":"a","event":"b"}',
        '{"t_ns":true,"actor":"a","event":"b"}',
        '{"t_ns":1.5,"actor":"a","event":"b"}',
        '{"t_ns":1,"actor":null,"event":"b"}',
    ],
)
def test_bad_line_is_named(path, line):
    """A line inside the log that is no event is an error with its number."""
    path.write_text(HEADER + EVENT + line + "\n" + EVENT, encoding="latin-1")
    with pytest.raises(RecordingError) as caught:
        list(EventReader(path))
    rule = "must be a JSON object with t_ns, actor and event"
    assert str(caught.value) == f"{path}:3: {rule}"


def test_log_without_header_is_refused(path):
    """A file that does not begin with our header is not a log."""
    path.write_text(EVENT)
    with pytest.raises(RecordingError, match="ks_run_start"):
        list(EventReader(path))


def test_log_of_a_newer_version_is_refused(path):
    """A schema that we do not know is not guessed at."""
    path.write_text(HEADER.replace('"schema":1', '"schema":2'))
    with pytest.raises(RecordingError, match="schema 2 is newer"):
        list(EventReader(path))


def test_live_log(path):
    """A reader that may wait reads on where it was, also within a line."""
    path.write_text(HEADER + EVENT[:9])
    pieces = [EVENT[9:20], EVENT[20:] + EVENT]

    def await_more():
        if not pieces:
            return False
        with path.open("a") as log:
            log.write(pieces.pop(0))
        return True

    reader = EventReader(path, await_more)
    assert [found.t_ns for found, _ in reader] == [0, 1, 1]
    assert not reader.is_torn


def test_selection():
    """All conditions must hold; both ends of a time belong to it."""
    found = Event(5, "kswapd0", "mm_vmscan_kswapd_wake", {})
    assert Selection().takes(found)
    assert Selection("vmscan:*", "kswapd?", 5, 5).takes(found)
    assert not Selection(event="ks_*").takes(found)
    assert not Selection(actor="cpu*").takes(found)
    assert not Selection(start_ns=6).takes(found)
    assert not Selection(end_ns=4).takes(found)


def test_between():
    """Either end may be left out; times are virtual, in ns, which a bare number is too."""
    assert parse_between("1..2") == (1, 2)
    assert parse_between("1s..2500ms") == (1_000_000_000, 2_500_000_000)
    assert parse_between("3us..") == (3_000, None)
    assert parse_between("..7ns") == (0, 7)


@pytest.mark.parametrize("text", ["", "..", "1s", "2..1", "2s..1s", "1s..2s..3s", "1s-2s", "a..b"])
def test_bad_between_is_refused(text):
    """What is not a stretch of time is refused in one line."""
    with pytest.raises(ConfigError) as caught:
        parse_between(text)
    assert "--between" in str(caught.value)
    assert "\n" not in str(caught.value)
