"""Logging occurrences of tracepoints at the present virtual time: the one way to do it.

A value is made only when it is wanted: page-level tracepoints are off unless `--trace` asks.
Interface: the source of an event is an actor, a task, or a `Speaker` made for a task that is not
at hand.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple, Protocol

from kernelsim.sim.engine import Engine
from kernelsim.trace.tracepoint import Tracepoint


class Named(Protocol):
    """What has a name in the log of a run."""

    @property
    def engine(self) -> Engine:
        """The run."""
        ...

    @property
    def name(self) -> str:
        """The `actor` of its events."""
        ...


class Speaker(NamedTuple):
    """A name to speak under."""

    engine: Engine
    name: str


def wants(who: Named, point: type[Tracepoint]) -> bool:
    """Return whether occurrences of a tracepoint under this name are kept."""
    sink = who.engine.sink
    return sink is not None and sink.wants(who.name, point.event)


class Listened:
    """Whether occurrences of a tracepoint are kept under any of some names, asked often.

    No sink changes its mind, so each name is asked once.

    Args:
        speakers: Who may have some; more may come.
        point: The tracepoint.
    """

    def __init__(self, speakers: Sequence[Named], point: type[Tracepoint]) -> None:
        self._speakers = speakers
        self._point = point
        self._nr_asked = 0
        self._is_wanted = False

    def __call__(self) -> bool:
        """Tell whether it is so."""
        if self._nr_asked != len(self._speakers):
            self._nr_asked = len(self._speakers)
            self._is_wanted = any(wants(who, self._point) for who in self._speakers)
        return self._is_wanted


def trace(who: Named, point: Tracepoint, *, at_ns: int | None = None) -> None:
    """Log an occurrence, now or as of another time; it is dropped when it is not wanted."""
    engine = who.engine
    sink = engine.sink
    if sink is not None and sink.wants(who.name, point.event):
        sink.emit(engine.now_ns if at_ns is None else at_ns, who.name, point.event, point)


def trace_all(who: Named, points: Iterable[Tracepoint]) -> None:
    """Log occurrences one by one."""
    for point in points:
        trace(who, point)
