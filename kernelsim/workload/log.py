"""The author's own events in the log of a run, through structlog.

    machine.log.info("phase", number=2)
    trial = machine.log.bind(trial=1)       # a field in each event of this logger

A line has the virtual time and the actor that is running. Nothing here is global: structlog is
not configured, loggers are not cached, two runs in one process do not meet.
Interface: `author_logger` makes one for a run.
"""

from typing import Any, Final, Protocol

import structlog

from kernelsim.errors import WorkloadError
from kernelsim.sim.sink import Sink
from kernelsim.trace.registry import TRACEPOINTS

OURS: Final = "ks_"  # how the engine's events begin
LINE: Final = ("t_ns", "actor", "event")  # what each line has already


class Speaking(Protocol):
    """Knows the time, the running task and where events go; an engine does."""

    @property
    def now_ns(self) -> int:
        """The present virtual time."""
        ...

    @property
    def running_name(self) -> str:
        """Name of the actor that is running."""
        ...

    @property
    def sink(self) -> Sink | None:
        """Where events are logged; None for nowhere."""
        ...


class AuthorLogger(structlog.BoundLoggerBase):
    """structlog's logger for authors. All levels would mean the same, so there is `info` only."""

    def info(self, event: str, **fields: object) -> None:
        """Log an event at the present virtual time.

        Args:
            event: Its name.
            fields: What it says: JSON values.

        Raises:
            WorkloadError: The name is one of ours, or no text; or a field has a name of the line's.
        """
        if not isinstance(event, str) or not event or event.startswith(OURS):
            raise WorkloadError(
                f"an event's name is a text that does not begin with ks_: {event!r}"
            )
        if event in TRACEPOINTS:
            raise WorkloadError(f"{event} is a tracepoint of the kernel: choose another name")
        taken = [name for name in LINE if name in {**self._context, **fields}]
        if taken:
            raise WorkloadError(f"each event has a field {taken[0]} already: choose another name")
        self._proxy_to_logger("info", event, **fields)


class EngineLog:
    """Where structlog's lines go: to the sink of a run."""

    def __init__(self, engine: Speaking) -> None:
        self._engine = engine

    def info(self, *, event: str, **fields: object) -> None:
        """Log an event of the actor that is running."""
        engine = self._engine
        sink = engine.sink
        if sink is not None and sink.wants(engine.running_name, event):
            sink.emit(engine.now_ns, engine.running_name, event, fields)


def author_logger(engine: Speaking) -> AuthorLogger:
    """Return the logger of a run."""
    logger: Any = structlog.wrap_logger(
        EngineLog(engine),
        processors=[_as_arguments],
        wrapper_class=AuthorLogger,
        context_class=dict,
        cache_logger_on_first_use=False,
    ).bind()
    bound: AuthorLogger = logger
    return bound


def _as_arguments(_logger: object, _method: str, fields: Any) -> Any:  # noqa: ANN401 - structlog's types
    return (), fields
