"""Logging occurrences of tracepoints from an actor, at the present virtual time.

A value is made only when it is wanted: page-level tracepoints are off unless `--trace` asks.
"""

from collections.abc import Iterable

from kernelsim.sim.actor import Actor
from kernelsim.trace.tracepoint import Tracepoint


def wants(actor: Actor, point: type[Tracepoint]) -> bool:
    """Return whether this actor's occurrences of a tracepoint are kept."""
    sink = actor.engine.sink
    return sink is not None and sink.wants(actor.name, point.event)


def trace(actor: Actor, *points: Tracepoint) -> None:
    """Log occurrences, in the order given; those not wanted are dropped."""
    trace_all(actor, points)


def trace_all(actor: Actor, points: Iterable[Tracepoint]) -> None:
    """Log occurrences one by one; those not wanted are dropped."""
    engine = actor.engine
    if engine.sink is not None:
        for point in points:
            engine.sink.emit(engine.now_ns, actor.name, point.event, point)
