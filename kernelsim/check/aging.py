"""What reclaim must do with each page it judges by its use.

Linux: mm/vmscan.c: folio_check_references, shrink_active_list, 6.1.
A page that was used since the last look stays mapped, and that it was used is forgotten: its
accessed bits are clear when it has been judged. With the multi-generational LRU, one that is known
to be used is spared without a look. Pages under I/O, locked ones, and those without a user left are
not judged, nor those that were mapped since they were isolated, if such are to stay.
Batches are taken from the tail of a list, where the pages are that came first.
Interface: a `Judgement`, or a `Scan`, is made before, and asked afterwards.
"""

from collections.abc import Iterator

import numpy as np

from kernelsim.actors.core.kernel import Kernel
from kernelsim.check.mapped_files import is_referenced
from kernelsim.mm.core.lru_gen import lru_gen_enabled
from kernelsim.mm.core.mem import (
    I64,
    I64_2D,
    L_COUNT,
    L_TAIL,
    PG_activating,
    PG_active,
    PG_anon,
    PG_isolated,
    PG_locked,
    PG_mlocked,
    PG_referenced,
    PG_swapbacked,
    PG_unevictable,
    PG_writeback,
    lru_list,
)
from kernelsim.mm.space.pgtable import pte_at

ACCESSED = 0x20
NOT_JUDGED = PG_locked | PG_writeback | PG_mlocked


class Judgement:
    """The pages of a batch before they are judged.

    Args:
        kernel: The machine.
        pfns: The pages.
        may_unmap: Those that are mapped are judged, too.
    """

    def __init__(self, kernel: Kernel, pfns: I64, *, may_unmap: bool = True) -> None:
        self._kernel, self._may_unmap = kernel, may_unmap
        self._pfns: list[int] = pfns.tolist()
        self._flags: list[int] = kernel.mem.pages.flags[pfns].tolist()
        self._by_generations = bool(lru_gen_enabled(kernel.mem))
        self._used = [pfn for pfn in self._pfns if self._is_used(pfn)]

    def outcome(self) -> Iterator[str]:
        """Find pages that were not judged by the rules."""
        pages = self._kernel.mem.pages
        for pfn, flags in zip(self._pfns, self._flags, strict=True):
            if flags & NOT_JUDGED or flags == PG_isolated:
                continue
            if self._is_spared(pfn) or (pages.mapcount[pfn] and not self._may_unmap):
                continue
            if pfn in self._used and not pages.mapcount[pfn]:
                yield f"reclaim unmapped pfn {pfn}, which was used since the last look"
            if self._is_used(pfn, counted=False):
                yield f"reclaim looked at pfn {pfn} and left its accessed bit set"

    def _is_spared(self, pfn: int) -> bool:
        """Tell whether a page was kept without a look, since a look around another had found it."""
        pages = self._kernel.mem.pages
        is_known = int(pages.flags[pfn]) & (PG_referenced | PG_active) == PG_referenced
        return self._by_generations and is_known and pages.mapcount[pfn] != 0

    def stolen(self) -> I64_2D:
        """Return how many pages were taken from their users for good: anonymous, file.

        One that had no user left was freed, not taken.
        """
        counts = np.zeros(2, np.int64)
        for before, after in self._changes():
            if after == 0 and before & ~PG_activating != PG_isolated:
                counts[0 if before & PG_swapbacked else 1] += 1
        return counts

    def moved(self) -> tuple[int, int]:
        """Return how many pages were activated, and how many deactivated, and are not gone."""
        moves = [after - before for before, after in self._activity()]
        return moves.count(1), moves.count(-1)

    def _activity(self) -> Iterator[tuple[bool, bool]]:
        for before, after in self._changes():
            # One that was locked meanwhile goes to the unevictable list and was not judged.
            if after and before != PG_isolated and not after & PG_unevictable:
                yield bool(before & PG_active), bool(after & PG_active)

    def _changes(self) -> Iterator[tuple[int, int]]:
        flags = self._kernel.mem.pages.flags[np.array(self._pfns, np.int64)].tolist()
        return zip(self._flags, flags, strict=True)

    def _is_used(self, pfn: int, *, counted: bool = True) -> bool:
        pages = self._kernel.mem.pages
        if not pages.mapcount[pfn]:
            return False
        if not int(pages.flags[pfn]) & PG_anon:
            return is_referenced(self._kernel, pfn, counted=counted)
        pte = pte_at(*self._kernel.space, int(pages.mapping[pfn]), int(pages.index[pfn]))
        return bool(pte & ACCESSED)


class Scan:
    """The tail of a list before pages are taken off it.

    Args:
        kernel: The machine.
        nid: Node of the list.
        lru: LRU_* of the list.
    """

    def __init__(self, kernel: Kernel, nid: int, lru: int) -> None:
        self._row = kernel.mem.lists[lru_list(kernel.mem, nid, lru)]
        self._name = f"list {lru} of node {nid}"
        self._oldest, self._nr = int(self._row[L_TAIL]), int(self._row[L_COUNT])

    def outcome(self, nr_scanned: int) -> str:
        """Say whether the page at the tail was passed by, though not all pages were looked at."""
        if 0 < nr_scanned < self._nr and self._row[L_TAIL] == self._oldest:
            return f"{nr_scanned} pages of {self._name} were looked at, not pfn {self._oldest}"
        return ""
