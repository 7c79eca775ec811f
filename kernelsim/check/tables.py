"""All page tables of a machine as columns, for the checkers that compare them with the rest.

It walks the tables itself, a level at a time, without the leaves it helps to check.
Interface: `walk_tables` once a look; what it returns is read by several checkers.
Cost: some 15 ms for a million entries.
"""

from collections.abc import Iterable, Iterator
from typing import Final, TypeAlias

import attrs
import numpy as np
from numpy.typing import NDArray

from kernelsim.mm.core.mem import I64, Mem, PG_table
from kernelsim.mm.space.pgtable import PT_BITS, PT_LEVELS, Mms, PageTables

U16: TypeAlias = NDArray[np.uint16]

LINES_MAX: Final = 8  # of one kind of fault
PRESENT: Final = 0x1
WRITABLE: Final = 0x2
SPECIAL: Final = 0x200
PFN_MASK: Final = 0x000F_FFFF_FFFF_F000
SHIFT: Final = 12  # of the frame in a present entry, and of the slot in a swap entry


@attrs.frozen
class Tables:
    """Every table, and every entry of the last level that is not zero.

    Entries come by rising mm and, within one, by rising page.
    """

    lines: list[str]
    """Faults met on the way."""
    row: I64
    level: I64
    owner: I64
    """Of each table: its row in the pool, its level (1 holds PTEs), the mm it was met in."""
    mm: I64
    vpn: I64
    pte: I64
    bits: U16
    """Of each entry: the mm, the page, the entry as a signed number, its lowest 16 bits."""

    @property
    def is_mapped(self) -> NDArray[np.bool_]:
        """Whether each entry maps a page, be it one that is being moved to another frame."""
        mapped: NDArray[np.bool_] = (self.bits & PRESENT != 0) != (self.bits & SPECIAL != 0)
        return mapped

    @property
    def is_swap(self) -> NDArray[np.bool_]:
        """Whether each entry names a swap slot."""
        swap: NDArray[np.bool_] = self.bits & (PRESENT | SPECIAL) == 0
        return swap

    def pfns(self, mask: NDArray[np.bool_]) -> I64:
        """Return the frames that some entries map."""
        return (self.pte[mask] & PFN_MASK) >> SHIFT

    def entries_of(self, mm: int) -> slice:
        """Return where the entries of one mm are."""
        first, last = np.searchsorted(self.mm, (mm, mm + 1))
        return slice(int(first), int(last))


def cut_short(lines: Iterable[str]) -> Iterator[str]:
    """Give the first lines of one kind, and how many more there are."""
    more = 0
    for number, line in enumerate(lines):
        if number < LINES_MAX:
            yield line
        else:
            more += 1
    if more:
        yield f"… and {more} more of this kind"


def walk_tables(mem: Mem, pt: PageTables, mms: Mms, mm_numbers: Iterable[int]) -> Tables:
    """Walk the tables of some address spaces.

    Args:
        mem: Physical memory.
        pt: The pool of tables.
        mms: State of the address spaces.
        mm_numbers: Which; each once.
    """
    numbers = np.array(sorted(mm_numbers), np.int64)
    roots = mms.pgd_row[numbers]
    lines = [f"mm {mm} has no PGD" for mm in numbers[roots == 0].tolist()]
    owner, row = numbers[roots != 0], roots[roots != 0]
    base = np.zeros(len(row), np.int64)
    bits = int(pt.state[PT_BITS])
    rows, levels, owners = [], [], []
    for level in range(int(pt.state[PT_LEVELS]), 0, -1):
        lines += cut_short(wrong_frames(mem, pt, row, owner))
        rows.append(row)
        levels.append(np.full(len(row), level, np.int64))
        owners.append(owner)
        entries = pt.entry[row].view(np.int64).ravel()
        where = np.flatnonzero(entries)
        table, index, entry = where >> bits, where & ((1 << bits) - 1), entries[where]
        owner, base = owner[table], base[table] + (index << bits * (level - 1))
        if level == 1:
            break
        child, good = child_rows(mem, pt, entry)
        lines += cut_short(
            f"mm {owner[i]}: entry {index[i]} of row {row[table[i]]} names frame "
            f"{(entry[i] & PFN_MASK) >> SHIFT}, no table"
            for i in np.flatnonzero(~good).tolist()
        )
        row, owner, base = child[good], owner[good], base[good]
    good = names_something(mem, entry)
    lines += cut_short(
        f"mm {owner[i]} vpn {base[i]:#x}: maps frame {(entry[i] & PFN_MASK) >> SHIFT}, "
        "which the machine does not have"
        for i in np.flatnonzero(~good).tolist()
    )
    if not good.all():
        owner, base, entry = owner[good], base[good], entry[good]
    return Tables(
        lines, np.concatenate(rows), np.concatenate(levels), np.concatenate(owners),
        owner, base, entry, entry.astype(np.uint16),
    )  # fmt: skip


def wrong_frames(mem: Mem, pt: PageTables, row: I64, owner: I64) -> Iterator[str]:
    """Find tables whose frame does not say that it is this table."""
    pfn = pt.row_pfn[row]
    is_table = mem.pages.flags[pfn] & np.uint32(PG_table) != 0
    good = (pfn != 0) & is_table & (mem.pages.private[pfn] == row)
    for i in np.flatnonzero(~good).tolist():
        yield f"mm {owner[i]}: frame {pfn[i]} of table row {row[i]} says row " + str(
            mem.pages.private[pfn[i]]
        )


def child_rows(mem: Mem, pt: PageTables, entry: I64) -> tuple[I64, NDArray[np.bool_]]:
    """Return the rows that entries of an upper level name, and which of them are tables."""
    pfn = (entry & PFN_MASK) >> SHIFT
    known = np.where(pfn < len(mem.pages.flags), pfn, 0)
    child = mem.pages.private[known].astype(np.int64)
    known_child = np.where((child > 0) & (child < len(pt.row_pfn)), child, 0)
    is_table = mem.pages.flags[known] & np.uint32(PG_table) != 0
    good: NDArray[np.bool_] = is_table & (known != 0) & (pt.row_pfn[known_child] == known)
    return child, good


def names_something(mem: Mem, pte: I64) -> NDArray[np.bool_]:
    """Tell which entries are swap entries or map a frame the machine has."""
    good: NDArray[np.bool_] = pte & PRESENT == 0
    good |= (pte & PFN_MASK) >> SHIFT < len(mem.pages.flags)
    return good
