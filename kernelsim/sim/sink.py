"""Where events go: the protocol that the engine and the actors know instead of a log.

Units: `t_ns` is virtual time.
"""

from typing import Any, Protocol


class Sink(Protocol):
    """Where events go, in the order in which they happen; what `kernelsim.report` provides.

    Ask `wants` before building fields that cost something.
    """

    def wants(self, actor: str, event: str) -> bool:
        """Return whether events of this name from this actor are kept."""
        ...

    def emit(self, t_ns: int, actor: str, event: str, fields: Any) -> None:  # noqa: ANN401
        """Keep one event if it is wanted; the fields are a mapping by name, or a tracepoint.

        A mapping given away belongs to the sink.
        """
        ...

    def flush(self) -> None:
        """Write what is buffered."""
        ...
