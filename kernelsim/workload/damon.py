"""DAMON from a workload, or from the command line: which processes kdamond watches, and how often.

    machine.damon(process)                                    # as damo does by itself
    machine.damon(process, sample="1ms", aggr="20ms")

Units: ns, or text such as "5ms".
"""

from typing import Final, NamedTuple

import attrs

from kernelsim.actors.core.kernel import Kernel
from kernelsim.actors.core.process_table import ProcessEntry
from kernelsim.actors.space.kdamond import DamonAttrs, Kdamond, watch
from kernelsim.errors import ConfigError
from kernelsim.units import parse_duration
from kernelsim.workload.arguments import whole_number
from kernelsim.workload.process_view import ProcessView

ALL: Final = "all"


def damon_attrs(
    sample: int | str, aggr: int | str, update: int | str, min_regions: int, max_regions: int
) -> DamonAttrs:
    """Return how often DAMON is to look, and at how many regions.

    Raises:
        ConfigError: An interval is 0 or shorter than it may be, or there are too few regions.

    Source: Linux 6.1 mm/damon/core.c:damon_set_attrs
    """
    how = DamonAttrs(
        sample_ns=parse_duration(sample, key="sample"),
        aggr_ns=parse_duration(aggr, key="aggr"),
        ops_update_ns=parse_duration(update, key="update"),
        min_nr_regions=whole_number("min_regions", min_regions, 3),
        max_nr_regions=whole_number("max_regions", max_regions, min_regions),
    )
    if not how.sample_ns:
        raise ConfigError("sample", sample, "must be more than 0")
    if how.aggr_ns < how.sample_ns:
        raise ConfigError("aggr", aggr, "must be no shorter than sample")
    return how


class SeenRegion(NamedTuple):
    """Addresses that DAMON believes are used alike, as of its last aggregation.

    Attributes:
        start: The first.
        end: The first behind.
        nr_accesses: Looks of an aggregation interval that saw a use.
        age: Intervals for which these were about as many.
    """

    start: int
    end: int
    nr_accesses: int
    age: int


class Damon:
    """A kdamond, seen from a workload."""

    def __init__(self, kdamond: Kdamond) -> None:
        self._kdamond = kdamond

    def regions(self, process: ProcessView) -> tuple[SeenRegion, ...]:
        """Return the regions of a process it watches; none of another one."""
        return tuple(SeenRegion(*each) for each in self._kdamond.seen(process.pid))


@attrs.define
class DamonChoice:
    """The processes that a user wants to see watched: `all`, or those of a pid or a comm."""

    word: str | None = None
    _has_any: bool = False

    def look(self, kernel: Kernel, process: ProcessEntry) -> None:
        """Have a process watched that was just started, if it is wanted."""
        if self.word in (ALL, str(process.pid), process.comm):
            self._has_any = True
            watch(kernel, process, DamonAttrs())

    def remarks(self) -> tuple[str, ...]:
        """Return what is to be said at the end: that there was no such process."""
        if self.word is None or self._has_any:
            return ()
        return (f"--damon {self.word}: the workload started no process of this pid or name",)
