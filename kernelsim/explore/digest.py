"""A sink that keeps of a run's log what tells two runs apart: a digest, counts, and the last lines.

Interface: `DigestSink` is the sink of a run.
"""

from collections import Counter
from hashlib import blake2b

from kernelsim.explore.accounts import Heard
from kernelsim.report.event_filter import DEFAULT_FILTER
from kernelsim.report.log import ENCODER
from kernelsim.report.sinks import RingSink
from kernelsim.trace.tracepoint import Fields

DIGEST_BYTES = 16


class DigestSink:
    """The log of one run, as its digest.

    Attributes:
        counts: Events so far, by name.
        ring: The last events.
        heard: What they say of reclaim.
    """

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.ring = RingSink()
        self.heard = Heard()
        self._hash = blake2b(digest_size=DIGEST_BYTES)

    def wants(self, actor: str, event: str) -> bool:
        """Return whether the log of a run would have it."""
        return DEFAULT_FILTER.wants(actor, event)

    def emit(self, t_ns: int, actor: str, event: str, fields: Fields) -> None:
        """Take an event in."""
        if self.ring.wants(actor, event):
            self.counts[event] += 1
            self.heard.hear(t_ns, actor, fields)
            self._hash.update(ENCODER.encode((t_ns, actor, event, fields)))
            self.ring.emit(t_ns, actor, event, fields)

    def flush(self) -> None:
        """Do nothing: nothing is written."""

    def digest(self, *rest: bytes) -> str:
        """Return the digest of the log, and of what else a run leaves behind."""
        whole = self._hash.copy()
        for data in rest:
            whole.update(data)
        return whole.hexdigest()
