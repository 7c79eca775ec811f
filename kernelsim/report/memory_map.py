"""Samples what page frames hold over virtual time: the map of memory of a run.

Each zone, as it was when the machine had booted, and the place of DIMMs that may come, is cut into
equal parts; each part is looked at two hundred times a run at most (mm/core/page_kinds.py).

Interface: `MemoryMap.take` whenever the sampler has taken a sample, `finish` at the end,
`recorder` for the table.
Units: ns, pages, pfn. Columns: `MAP_COLUMNS`, a row a part and sample; those of KINDS are pages
looked at. zid is the zone's type as events have it; nid and zid of the place of DIMMs are -1.
"""

from itertools import pairwise
from operator import itemgetter
from typing import Final

import numpy as np
from numpy.typing import NDArray

from kernelsim.actors.core.kernel import Kernel
from kernelsim.mm.core.mem import Z_NID, Z_SPANNED, Z_START_PFN, Z_TYPE_INDEX
from kernelsim.mm.core.page_kinds import ANY_NODE, KINDS, R_END, R_FIRST, R_NID, count_kinds
from kernelsim.report.metrics import MetricsRecorder
from kernelsim.report.sampler import FIRST_INTERVAL_NS, thinned_out

SAMPLES_MAX: Final = 200
PARTS_MAX: Final = 64  # of a zone,
PARTS_MIN: Final = 8
PARTS_IN_ALL: Final = 512  # unless there are very many zones
MAP_COLUMNS: Final = ("t_ns", "nid", "zid", "first_pfn", "nr_pages", *KINDS)
NO_ZONE: Final = -1

Spans = list[tuple[int, int, int, int]]  # nid, zid, first pfn, one behind the last


class MemoryMap:
    """The map sampled so far.

    Args:
        kernel: The machine; its boot is over.
        samples_max: Samples kept at most, 10 or more.
    """

    def __init__(self, kernel: Kernel, *, samples_max: int = SAMPLES_MAX) -> None:
        self._kernel = kernel
        self._samples_max = samples_max
        self._interval_ns = FIRST_INTERVAL_NS
        self._samples: list[tuple[int, NDArray[np.uint16]]] = []
        spans = spans_of(kernel)
        nr_parts = min(max(PARTS_IN_ALL // max(len(spans), 1), PARTS_MIN), PARTS_MAX)
        self._parts = parts_of(spans, nr_parts)
        self._ranges = np.ascontiguousarray(self._parts[:, [2, 3, 0]])
        assert (R_FIRST, R_END, R_NID) == (0, 1, 2), "as the columns were just chosen"
        self._counts = np.zeros((len(self._parts), len(KINDS)), np.int64)

    def take(self) -> None:
        """Look at memory, unless it is too early for that."""
        if self._kernel.engine.now_ns % self._interval_ns:
            return
        self._look()
        self._samples, self._interval_ns = thinned_out(
            self._samples, self._interval_ns, self._samples_max, itemgetter(0)
        )

    def finish(self) -> None:
        """Look for the last time, whatever the time, unless it has just been done."""
        if not self._samples or self._samples[-1][0] < self._kernel.engine.now_ns:
            self._look()

    def recorder(self) -> MetricsRecorder:
        """Return the table, by time, then by node and address."""
        recorder = MetricsRecorder(MAP_COLUMNS)
        nid, zid, first, end = self._parts.T
        rows = [
            np.column_stack((np.full(len(first), t_ns), nid, zid, first, end - first, counts))
            for t_ns, counts in self._samples
        ]
        if rows:
            recorder.extend(np.concatenate(rows))
        return recorder

    def _look(self) -> None:
        count_kinds(self._kernel.mem, self._ranges, self._counts)
        self._samples.append((self._kernel.engine.now_ns, self._counts.astype(np.uint16)))


def spans_of(kernel: Kernel) -> Spans:
    """Return where memory is or may come, zones first."""
    spans = [
        (int(row[Z_NID]), int(row[Z_TYPE_INDEX]), int(row[Z_START_PFN]), int(row[Z_SPANNED]))
        for row in kernel.mem.zone
        if row[Z_SPANNED]
    ]
    found = [(nid, zid, first, first + nr) for nid, zid, first, nr in spans]
    first, end = kernel.spec.dimm_window
    if first < end:
        found.append((ANY_NODE, NO_ZONE, first, end))
    return found


def parts_of(spans: Spans, nr_parts: int) -> NDArray[np.int64]:
    """Cut spans into equal parts: [part, (nid, zid, first pfn, one behind the last)]."""
    parts = []
    for nid, zid, first, end in spans:
        nr = min(nr_parts, end - first)
        edges = first + np.arange(nr + 1) * (end - first) // nr
        parts += [(nid, zid, low, high) for low, high in pairwise(edges.tolist())]
    return np.array(parts, np.int64).reshape(len(parts), 4)
