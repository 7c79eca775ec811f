"""How long page faults took, by kind.

Interface: `FaultLatencies`, a sink beside a run's own; `take` for events of a log; `kind_of`.
Units: ns.
"""

from collections.abc import Iterator
from typing import Any, Final, NamedTuple

import attrs
import numpy as np

from kernelsim.sim.sink import Sink
from kernelsim.trace.ks import ks_fault

FAULT: Final = ks_fault.__name__
SHARES: Final = {"p50": 0.5, "p99": 0.99, "max": 1.0}  # of the faults that took at most so long


class Spread(NamedTuple):
    """How long faults of one kind took; faults served in one go count at their mean."""

    nr: int
    total_ns: int
    at_ns: dict[str, int]
    """By name of `SHARES`."""


@attrs.define
class FaultLatencies(Sink):
    """Collects the latency of each fault, or its mean over those served in one go."""

    _of: dict[tuple[str, bool], list[tuple[int, int, int]]] = attrs.field(factory=dict)

    def wants(self, _actor: str, event: str) -> bool:
        """Return whether it is about a fault."""
        return event == FAULT

    def emit(self, _t_ns: int, _actor: str, event: str, fields: Any) -> None:  # noqa: ANN401
        """Take an occurrence of ks_fault; ignore all else."""
        if event == FAULT:
            self.take(fields.kind, fields.io_ns, fields.nr_pages, fields.latency_ns)

    def flush(self) -> None:
        """Do nothing: there is no further to go."""

    def take(self, kind: str, io_ns: int, nr_pages: int, latency_ns: int) -> None:
        """Take faults served in one go."""
        if nr_pages:
            each = (latency_ns // nr_pages, nr_pages, latency_ns)
            self._of.setdefault((kind, io_ns > 0), []).append(each)

    def kinds(self) -> Iterator[tuple[str, Spread]]:
        """Yield each kind of faults, those that waited for a disk apart, and how long they took."""
        for (kind, waited), taken in sorted(self._of.items()):
            yield kind_of(kind, waited=waited), spread_of(taken)

    def all(self) -> Spread:
        """Return how long all faults took."""
        return spread_of([each for taken in self._of.values() for each in taken])


def kind_of(kind: str, *, waited: bool) -> str:
    """Return what a kind of faults is called, those that waited for a disk apart."""
    return f"{kind}, from disk" if waited else kind


def spread_of(taken: list[tuple[int, int, int]]) -> Spread:
    """Return the quantiles of faults.

    Args:
        taken: Mean latency, number and sum of faults served in one go.
    """
    if not taken:
        return Spread(0, 0, dict.fromkeys(SHARES, 0))
    means, numbers, sums = (np.array(column, np.int64) for column in zip(*taken, strict=True))
    order = np.argsort(means, kind="stable")
    passed = np.cumsum(numbers[order])
    nr = int(passed[-1])
    at_ns = {
        name: int(means[order][np.searchsorted(passed, share * nr)])
        for name, share in SHARES.items()
    }
    return Spread(nr, int(sums.sum()), at_ns)
