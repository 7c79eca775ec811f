"""InnoDB's buffer pool: one list with a midpoint, and a time a page must stay to be called young.

    front | young                | old           | out
                                 ^ pages come in here: the midpoint

A page moves to the front when it is used at least `old_blocks_time_ns` after its first use. So one
that a scan uses many times within a moment stays old and goes.

Interface: `Innodb`.
"""

from collections import OrderedDict
from typing import Final

import attrs

from kernelsim.units import NS_PER_S

FRESH: Final = 4  # a young page that moved to the front less than 1/4 of them ago stays there


@attrs.define
class Block:
    """What the pool knows of a page."""

    first_used_ns: int | None = None
    freed_clock: int = 0
    """Pages that the pool had evicted when this one was last moved to the front."""


class Innodb:
    """The list of one buffer pool.

    MySQL's default midpoint is 3/8 from the tail (37 %); the note has 7:3, which is 30 %.

    Differs: Where old and young pages meet is kept to the page; MySQL lets it drift by 20 pages,
    and has no midpoint in a list of less than 512 pages.

    Args:
        size: Pages of the pool.
        old_pct: Part of the list that is old, in percent: innodb_old_blocks_pct, 5 to 95.
        old_blocks_time_ns: innodb_old_blocks_time.

    Source: MySQL 8.0 storage/innobase/buf/buf0lru.cc, include/buf0buf.ic
    """

    def __init__(self, size: int, *, old_pct: int = 37, old_blocks_time_ns: int = NS_PER_S) -> None:
        self.size = size
        self.old_pct = old_pct
        self.old_blocks_time_ns = old_blocks_time_ns
        self.nr_fresh = size * (100 - old_pct) // (100 * FRESH)
        self.young: OrderedDict[int, Block] = OrderedDict()  # the front is last, in both
        self.old: OrderedDict[int, Block] = OrderedDict()
        self.nr_freed = 0

    def access(self, page: int, now_ns: int) -> bool:
        """Use a page, and move it to the front if it deserves that."""
        is_hit = page in self.young or page in self.old
        if not is_hit:
            self.read_ahead(page, now_ns)
        part = self.old if page in self.old else self.young
        block = part[page]
        if block.first_used_ns is None:
            block.first_used_ns = now_ns
        if part is self.old:
            is_due = now_ns - block.first_used_ns >= self.old_blocks_time_ns
        else:
            is_due = self.nr_freed - block.freed_clock >= self.nr_fresh
        if is_due and self.nr_freed:  # nothing moves as long as nothing had to go
            del part[page]
            block.freed_clock = self.nr_freed
            self.young[page] = block
            self._place_midpoint()
        return is_hit

    def read_ahead(self, page: int, now_ns: int) -> None:  # noqa: ARG002 - its first use counts
        """Bring a page in at the midpoint; the first use is still to come."""
        if page in self.young or page in self.old:
            return
        if len(self.young) + len(self.old) == self.size:
            (self.old or self.young).popitem(last=False)
            self.nr_freed += 1
        self.old[page] = Block()
        self._place_midpoint()

    def _place_midpoint(self) -> None:
        nr_old = (len(self.young) + len(self.old)) * self.old_pct // 100
        while len(self.old) < nr_old:
            page, block = self.young.popitem(last=False)
            self.old[page] = block
        while len(self.old) > nr_old:
            page, block = self.old.popitem()
            self.young[page] = block
            self.young.move_to_end(page, last=False)
