"""Where events go: the protocol that the engine and the actors know instead of a log.

Interface: ask `wants` before building fields that cost something; `emit` drops what is not wanted
anyway. Fields given away belong to the sink: do not change the dict afterwards.
Units: `t_ns` is virtual time.
"""

from collections.abc import Mapping
from typing import Protocol

from kernelsim.trace.tracepoint import Tracepoint

Fields = Mapping[str, object] | Tracepoint


class Sink(Protocol):
    """Takes the events of a run, in the order in which they happen."""

    def wants(self, actor: str, event: str) -> bool:
        """Return whether an event of this name from this actor would be kept."""
        ...

    def emit(self, t_ns: int, actor: str, event: str, fields: Fields) -> None:
        """Keep an event if it is wanted."""
        ...

    def flush(self) -> None:
        """Bring what is kept to where it is going."""
        ...
