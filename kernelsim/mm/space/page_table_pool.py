"""The arrays that page tables lie in: they grow, so they are asked for afresh at each use.

Interface: `PageTablePool.reserve` makes room before tables are built; a `Space` is what leaves that
walk page tables take.
Units: rows, one for each table page.
"""

from typing import Final, NamedTuple

import attrs
import numpy as np

from kernelsim.mm.core.mem import Mem
from kernelsim.mm.space.pgtable import PT_NR_FREE, Mms, PageTables

NR_ROWS_MIN: Final = 64


def make_tables(nr_rows: int, bits: int, levels: int) -> PageTables:
    """Return empty tables with `nr_rows` rows, row 0 unusable, the lowest row on top."""
    tables = PageTables(
        entry=np.zeros((nr_rows, 1 << bits), np.uint64),
        row_pfn=np.zeros(nr_rows, np.int32),
        free_row=np.zeros(nr_rows, np.int32),
        state=np.array([nr_rows - 1, bits, levels], np.int64),
    )
    tables.free_row[: nr_rows - 1] = np.arange(nr_rows - 1, 0, -1, dtype=np.int32)
    return tables


class Space(NamedTuple):
    """What a walk through page tables goes over; leaves take its members, `leaf(*space, …)`.

    Valid until the tables or the address spaces grow: ask for it afresh at each use.
    """

    mem: Mem
    pt: PageTables
    mms: Mms


@attrs.define
class PageTablePool:
    """The rows of all table pages; `pt` is replaced when it grows, so pass `pool.pt` afresh."""

    bits: int = 9
    levels: int = 4
    pt: PageTables = attrs.field(
        default=attrs.Factory(lambda self: make_tables(NR_ROWS_MIN, self.bits, self.levels), True)
    )

    def nr_free(self) -> int:
        """Return how many table pages can be built before the pool must grow."""
        return int(self.pt.state[PT_NR_FREE])

    def reserve(self, nr_rows: int) -> None:
        """Make sure `nr_rows` tables can be built, doubling the pool as often as needed."""
        old = self.pt
        if old.state[PT_NR_FREE] >= nr_rows:
            return
        rows = len(old.row_pfn)
        wanted = rows
        while int(old.state[PT_NR_FREE]) + wanted - rows < nr_rows:
            wanted *= 2
        grown = make_tables(wanted, self.bits, self.levels)
        grown.entry[:rows] = old.entry
        grown.row_pfn[:rows] = old.row_pfn
        nr_old_free = int(old.state[PT_NR_FREE])
        # New rows go under the old stack: rows used before are taken first, as before.
        grown.free_row[: wanted - rows] = np.arange(wanted - 1, rows - 1, -1, dtype=np.int32)
        grown.free_row[wanted - rows : wanted - rows + nr_old_free] = old.free_row[:nr_old_free]
        grown.state[PT_NR_FREE] = wanted - rows + nr_old_free
        self.pt = grown
