"""A sink that keeps the last events in memory, and one that hands events on.

Interface: `RingSink` for the last events before a crash, `TeeSink` for several sinks at once. The
ring keeps what it is given by reference and renders when asked.
Units: `t_ns` is virtual time.
"""

import re
from collections import deque
from collections.abc import Callable, Mapping
from typing import Final

import attrs
import msgspec

from kernelsim.report.event_filter import DEFAULT_FILTER, EventFilter
from kernelsim.sim.sink import Sink
from kernelsim.trace.registry import TRACEPOINTS
from kernelsim.trace.tracepoint import Fields, Tracepoint
from kernelsim.units import NS_PER_S

RING_EVENTS: Final = 64
Emit = Callable[[int, str, str, Fields], None]
PLAIN_WORD: Final = re.compile(r'[^\s"=\x00-\x1f]+')
SHOWN: Final = {  # of the declared events: fields whose numbers text shows otherwise
    info.name: {field.name: field.shown for field in info.fields if field.shown is not None}
    for info in TRACEPOINTS.values()
}


@attrs.frozen
class Event:
    """An event that was kept."""

    t_ns: int
    actor: str
    event: str
    fields: Mapping[str, object]


@attrs.define
class RingSink:
    """Keeps the last events, for the report of a crash."""

    capacity: int = RING_EVENTS
    filter: EventFilter = DEFAULT_FILTER
    _ring: deque[tuple[int, str, str, Fields]] = attrs.field(init=False)
    _wanted: dict[tuple[str, str], bool] = attrs.field(factory=dict, init=False)

    def __attrs_post_init__(self) -> None:
        self._ring = deque(maxlen=self.capacity)

    def wants(self, actor: str, event: str) -> bool:
        """Return whether the filter keeps it."""
        wanted = self._wanted.get((actor, event))
        if wanted is None:
            wanted = self._wanted[actor, event] = self.filter.wants(actor, event)
        return wanted

    def emit(self, t_ns: int, actor: str, event: str, fields: Fields) -> None:
        """Keep an event if it is wanted, and forget the oldest."""
        if self.wants(actor, event):
            self._ring.append((t_ns, actor, event, fields))

    def flush(self) -> None:
        """Do nothing: there is no further to go."""

    def lines(self) -> list[str]:
        """Return the events kept, oldest first, one line for people each."""
        return [
            event_text(t_ns, actor, event, as_mapping(fields))
            for t_ns, actor, event, fields in self._ring
        ]


@attrs.frozen
class TeeSink:
    """Hands each event to every sink that wants it, in their order.

    No sink changes its mind, so each is asked once for a pair of actor and event.
    """

    sinks: tuple[Sink, ...]
    _wanting: dict[tuple[str, str], tuple[Emit, ...]] = attrs.field(
        factory=dict, init=False, eq=False
    )

    def wants(self, actor: str, event: str) -> bool:
        """Return whether any sink wants it."""
        return bool(self._emitters(actor, event))

    def emit(self, t_ns: int, actor: str, event: str, fields: Fields) -> None:
        """Hand an event on to those that want it."""
        for emit in self._emitters(actor, event):
            emit(t_ns, actor, event, fields)

    def _emitters(self, actor: str, event: str) -> tuple[Emit, ...]:
        emitters = self._wanting.get((actor, event))
        if emitters is None:
            emitters = tuple(sink.emit for sink in self.sinks if sink.wants(actor, event))
            self._wanting[actor, event] = emitters
        return emitters

    def flush(self) -> None:
        """Flush every sink."""
        for sink in self.sinks:
            sink.flush()


def as_mapping(fields: Fields) -> Mapping[str, object]:
    """Return fields by name, in the order of the line."""
    return msgspec.structs.asdict(fields) if isinstance(fields, Tracepoint) else fields


def event_text(t_ns: int, actor: str, event: str, fields: Mapping[str, object]) -> str:
    """Write an event as one line for people: seconds, actor, event, then `name=value` words.

    Numbers are shown as the kernel prints them: `gfp_flags=GFP_KERNEL`, `pfn=0x1000`.
    """
    seconds, rest_ns = divmod(t_ns, NS_PER_S)
    shown = SHOWN.get(event, {})
    words = ""
    for name, value in fields.items():
        show = shown.get(name)
        told = value if show is None or type(value) is not int else show(value)
        words += f" {name}={value_text(told)}"
    return f"{seconds:5d}.{rest_ns:09d}  {actor:<16} {event}{words}"


def value_text(value: object) -> str:
    """Write a field's value: text as it is if it is one plain word, else as JSON."""
    if isinstance(value, str) and PLAIN_WORD.fullmatch(value):
        return value
    return msgspec.json.encode(value).decode()
