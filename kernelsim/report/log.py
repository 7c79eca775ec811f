"""The log of one run: one event a line, `t_ns`, `actor`, `event`, then the event's own fields.

The engine, the tracepoints and the workload's own logger (workload/log.py) call `emit` with a dict
or a `Tracepoint`. It asks one table first, by actor and event: that holds the beginning of the
line, ready made, or nothing if the line is not wanted. So an event that is off costs one look-up.

Tracepoints never change, so some hundreds of them wait and become lines together: one by one
between other work, which uses up the processor's caches, that takes longer (of a run that swaps
some 4 % of its CPU time, by tools/bench). Other fields, an author's above all, are written at once:
who gave them may err, and learns it there.

A line is built in place: the beginning with the time, then msgspec writes the fields as an object
right behind it, and the object's opening brace becomes the comma between the two.

Two runs in one process do not meet.

Interface: `RunLog(path)`, `start` with the header, then `emit`;
`close` at the end, or `with`. Fields hold JSON values; sets have no order and must not be logged.
Units: `t_ns` is virtual time.
"""

import json
import operator
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Final, Self

import msgspec

from kernelsim.errors import OutputError
from kernelsim.report.event_filter import DEFAULT_FILTER, EventFilter
from kernelsim.report.log_file import BUFFER_BYTES, LogFile
from kernelsim.report.log_parts import LogParts
from kernelsim.trace.tracepoint import SCHEMA_VERSION, Fields, Tracepoint

# A number that is no int, such as one out of a NumPy column, is written as an int all the same.
ENCODER: Final = msgspec.json.Encoder(enc_hook=operator.index)
RUN_ACTOR: Final = "run"  # in whose name the header is written
COMMA: Final = ord(",")
WAITING_MAX: Final = 256  # tracepoints, about as much text as is written at a time


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
        self._waiting: deque[tuple[bytes, int, Fields]] = deque()

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
        waiting = self._waiting
        waiting.append((head, t_ns, fields))
        if len(waiting) >= WAITING_MAX or not isinstance(fields, Tracepoint):
            self._write_lines()

    @property
    def nr_lines(self) -> int:
        """Lines taken so far, those on their way to the file included."""
        return self.file.nr_lines + len(self._waiting)

    def flush(self) -> None:
        """Write everything up to now to the file."""
        self._write_lines()
        self.file.flush()

    def stop(self, error: OutputError) -> None:
        """Write what there is and nothing more: the run cannot go on, for this reason."""
        self._write_lines()
        self.file.stop(error)

    def close(self) -> None:
        """Write what is left and close the file. A second call does nothing."""
        try:
            self._write_lines()
        finally:
            self.file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _write_lines(self) -> None:
        """Make lines of all that waits; if this is interrupted, the line it was at is left out."""
        file, take = self.file, self._waiting.popleft
        buffer, encode_into = file.buffer, ENCODER.encode_into
        if len(buffer) != file.committed:  # left by a line that was interrupted
            del buffer[file.committed :]
        for _ in range(len(self._waiting)):
            head, t_ns, fields = take()
            buffer += head % t_ns
            brace = len(buffer)
            encode_into(fields, buffer, brace)
            if len(buffer) == brace + 2:  # "{}"
                buffer[brace:] = b"}\n"
            else:
                buffer[brace] = COMMA
                buffer += b"\n"
            file.committed = end = len(buffer)
            if end >= file.buffer_bytes:
                file.flush()

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
