"""The log of one run: one event a line, `t_ns`, `actor`, `event`, then the event's own fields.

The engine, the tracepoints and the workload's own logger (workload/log.py) call `emit` with a dict
or a `Tracepoint`. It asks one table first, by actor and event: that holds the beginning of the
line, ready made, or nothing if the line is not wanted. So an event that is off costs one look-up.

A line is built in place: the beginning with the time, then msgspec writes the fields as an object
right behind it, and the object's opening brace becomes the comma between the two.

Two runs in one process do not meet.

Interface: `RunLog(path)`, `start` with the header, then `emit`;
`close` at the end, or `with`. Fields hold JSON values; sets have no order and must not be logged.
Units: `t_ns` is virtual time.
"""

import json
import operator
from collections.abc import Mapping
from pathlib import Path
from typing import Final, Self

import msgspec

from kernelsim.report.event_filter import DEFAULT_FILTER, EventFilter
from kernelsim.report.log_file import BUFFER_BYTES, LogFile
from kernelsim.report.log_parts import LogParts
from kernelsim.trace.tracepoint import SCHEMA_VERSION, Fields

# A number that is no int, such as one out of a NumPy column, is written as an int all the same.
ENCODER: Final = msgspec.json.Encoder(enc_hook=operator.index)
RUN_ACTOR: Final = "run"  # in whose name the header is written
COMMA: Final = ord(",")


class RunLog:
    """The sink that writes events.jsonl.

    Args:
        path: The file; created, or emptied if it exists.
        events: Which events to keep.
        buffer_bytes: Write to the file in pieces of about this size.
        parts: How the log is divided; None for one file.

    Raises:
        OutputError: the file cannot be written; from any call that writes.
    """

    def __init__(
        self,
        path: Path,
        *,
        events: EventFilter = DEFAULT_FILTER,
        buffer_bytes: int = BUFFER_BYTES,
        parts: LogParts | None = None,
    ) -> None:
        self.file = LogFile(path, buffer_bytes=buffer_bytes, parts=parts)
        self._events = events
        self._heads: dict[tuple[str, str], bytes] = {}  # empty: not wanted

    def start(self, fields: Mapping[str, object]) -> None:
        """Write the header, `ks_run_start`, to the file at once. The first thing in every log.

        Args:
            fields: What the run is: versions, workload, machine, seeds, options.
        """
        assert not self._heads, "the header comes first"
        self.emit(0, RUN_ACTOR, "ks_run_start", {"schema": SCHEMA_VERSION, **fields})
        self.flush()

    def wants(self, actor: str, event: str) -> bool:
        """Return whether an event of this name from this actor is written."""
        head = self._heads.get((actor, event))
        return (self._admit(actor, event) if head is None else head) != b""

    def emit(self, t_ns: int, actor: str, event: str, fields: Fields) -> None:
        """Write an event if it is wanted."""
        head = self._heads.get((actor, event))
        if head is None:
            head = self._admit(actor, event)
        if not head:
            return
        file = self.file
        buffer = file.buffer
        committed = file.committed
        if len(buffer) != committed:  # left by a line that was interrupted
            del buffer[committed:]
        buffer += head % t_ns
        brace = len(buffer)
        ENCODER.encode_into(fields, buffer, brace)
        if len(buffer) == brace + 2:  # "{}"
            buffer[brace:] = b"}\n"
        else:
            buffer[brace] = COMMA
            buffer += b"\n"
        file.committed = brace = len(buffer)
        if brace >= file.buffer_bytes:
            file.flush()

    def flush(self) -> None:
        """Write everything up to now to the file."""
        self.file.flush()

    def close(self) -> None:
        """Write what is left and close the file. A second call does nothing."""
        self.file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _admit(self, actor: str, event: str) -> bytes:
        head = b""
        if self._events.wants(actor, event):
            names = f'"actor":{json_text(actor)},"event":{json_text(event)}'
            head = b'{"t_ns":%d,' + names.replace("%", "%%").encode()
        self._heads[actor, event] = head
        return head


def json_text(text: str) -> str:
    """Write a string as JSON, as the fields of a line are written."""
    return json.dumps(text, ensure_ascii=False)
