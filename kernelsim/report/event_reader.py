"""Reads events.jsonl and the parts it goes on in, one event after the other, whatever its length.

The last line may be torn, if the run was killed: it is left out, and `is_torn` says so. Any other
line that is no event is an error.

Interface: iterate over `EventReader`; `Selection` says which events.
Units: `t_ns` is virtual time.
"""

import io
from collections.abc import Callable, Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import attrs
import msgspec

from kernelsim.errors import ConfigError, RecordingError
from kernelsim.report.event_filter import event_matches
from kernelsim.report.log_parts import next_part
from kernelsim.report.sinks import Event
from kernelsim.trace.tracepoint import SCHEMA_VERSION
from kernelsim.units import parse_duration


@attrs.frozen
class Selection:
    """Which events of a log to read. The empty one takes all."""

    event: str = "*"
    """Glob over names, or over `subsystem:name`."""
    actor: str = "*"
    """Glob over actors."""
    start_ns: int = 0
    """First time taken."""
    end_ns: int | None = None
    """Last time taken; None for no end."""

    def takes(self, found: Event) -> bool:
        """Decide about one event."""
        return (
            found.t_ns >= self.start_ns
            and (self.end_ns is None or found.t_ns <= self.end_ns)
            and fnmatchcase(found.actor, self.actor)
            and event_matches(found.event, self.event)
        )


def parse_between(text: str, *, key: str = "--between") -> tuple[int, int | None]:
    """Read `1s..2s`, `1s..` or `..2s`.

    Returns:
        First and last time in ns; None for no end.

    Raises:
        ConfigError: not two durations, or the end lies before the start.
    """
    start, dots, end = text.partition("..")
    if not dots or not (start or end):
        raise ConfigError(
            key, text, "must be two virtual times with .. between them, such as 1s..2500ms"
        )
    start_ns = parse_duration(start, key=key) if start else 0
    end_ns = parse_duration(end, key=key) if end else None
    if end_ns is not None and end_ns < start_ns:
        raise ConfigError(key, text, "must not end before it starts")
    return start_ns, end_ns


def no_more() -> bool:
    """Return that nothing more will come, for a log that is not written any longer."""
    return False


@attrs.define
class EventReader:
    """The events of a file, in order.

    Args:
        path: The file.
        await_more: Called at the end of the file; true means look again. It does the waiting.

    Raises:
        RecordingError: a line is no event, or the log is of a newer kernelsim. While iterating.
        OSError: the file cannot be read. While iterating.
    """

    path: Path
    await_more: Callable[[], bool] = no_more
    is_torn: bool = attrs.field(default=False, init=False)
    """Whether the last line is not whole; known at the end."""

    def __iter__(self) -> Iterator[tuple[Event, bytes]]:
        """Give each event with its line as it stands in the file."""
        decoder = msgspec.json.Decoder(dict[str, Any])
        part: Path | None = self.path
        while part is not None:
            with part.open("rb") as log:
                for number, line in enumerate(self._lines(log, part), start=1):
                    try:
                        found = event_of(decoder.decode(line))
                    except (msgspec.DecodeError, UnicodeDecodeError, KeyError, TypeError) as error:
                        rule = "must be a JSON object with t_ns, actor and event"
                        raise RecordingError(part, number, rule) from error
                    if number == 1 and part == self.path:
                        self._check_header(found)
                    yield found, line
            part = next_part(self.path, part)

    def _lines(self, log: io.BufferedReader, part: Path) -> Iterator[bytes]:
        partial = b""
        has_next = False
        while True:
            line = partial + log.readline()
            if line.endswith(b"\n"):
                partial = b""
                yield line
                continue
            partial = line
            if has_next:  # looked at before the last look into this part: nothing more comes to it
                return
            has_next = next_part(self.path, part) is not None
            if not has_next and not self.await_more():
                self.is_torn = bool(line)
                return

    def _check_header(self, found: Event) -> None:
        schema = found.fields.get("schema")
        if found.event != "ks_run_start" or not isinstance(schema, int):
            raise RecordingError(self.path, 1, "must be the header of a log, ks_run_start")
        if schema > SCHEMA_VERSION:
            rule = f"schema {schema} is newer than this kernelsim reads (up to {SCHEMA_VERSION})"
            raise RecordingError(self.path, 1, rule)


def event_of(fields: dict[str, Any]) -> Event:
    """Make an event of a line's content.

    Raises:
        KeyError, TypeError: a key that every line has is missing or of the wrong type.
    """
    found = Event(fields.pop("t_ns"), fields.pop("actor"), fields.pop("event"), fields)
    if (type(found.t_ns), type(found.actor), type(found.event)) != (int, str, str):
        raise TypeError(found)
    return found
