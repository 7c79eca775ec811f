"""The walk of one address through page tables, entry by entry, for people to look at.

The walks of the machine itself are the compiled ones of pgtable.py; these read the same tables.
Interface: `walk_process` for an address of a process, `walk_kernel` for one of the kernel.
Units: bytes for addresses, page frames.
"""

from typing import Final

import attrs

from kernelsim.hw.paging import PagingMode
from kernelsim.mm.core.mem import Mem
from kernelsim.mm.space.init_mm import InitMm
from kernelsim.mm.space.pgtable import (
    _PAGE_ACCESSED,
    _PAGE_DIRTY,
    _PAGE_NX,
    _PAGE_PRESENT,
    _PAGE_RW,
    _PAGE_SPECIAL,
    _PAGE_USER,
    Mms,
    PageTables,
    get_pte,
    pte_pfn,
)
from kernelsim.units import PAGE_SHIFT

FLAGS: Final = (
    ("present", _PAGE_PRESENT),
    ("rw", _PAGE_RW),
    ("user", _PAGE_USER),
    ("accessed", _PAGE_ACCESSED),
    ("dirty", _PAGE_DIRTY),
    ("special", _PAGE_SPECIAL),
    ("nx", _PAGE_NX),
)


@attrs.frozen
class Entry:
    """An entry that a walk reads.

    Attributes:
        table: Name of the level.
        index: Its number in the table.
        address: Physical address; None for a table that was made at boot and has no frame here.
        value: What it says, as a signed number; None with such a table.
    """

    table: str
    index: int
    address: int | None = None
    value: int | None = None


def walk_process(
    mem: Mem, pt: PageTables, mms: Mms, mm: int, mode: PagingMode, address: int
) -> list[Entry]:
    """Return the entries that a walk in a process's tables reads, up to one that is not present."""
    row, found = int(mms.pgd_row[mm]), list[Entry]()
    for table, index in zip(mode.tables, mode.indices(address), strict=True):
        at = (int(pt.row_pfn[row]) << PAGE_SHIFT) + index * mode.entry_bytes
        value = get_pte(pt.entry, row, index)
        found.append(Entry(table, index, at, value))
        if not value & _PAGE_PRESENT:
            break
        row = int(mem.pages.private[pte_pfn(value)])
    return found


def walk_kernel(init_mm: InitMm, mode: PagingMode, address: int) -> list[Entry]:
    """Return the entries that a walk to an address of the kernel reads.

    The direct map ends the walk early, at an entry of the largest page that fits; tables from boot
    have no frames here.
    """
    layout, levels = init_mm.layout, len(mode.tables)
    found = list[Entry]()
    for depth, (table, index) in enumerate(
        zip(mode.tables, mode.indices(address), strict=True), start=1
    ):
        level = levels - depth + 1
        frame = init_mm.tables.tables.get((level, address >> PAGE_SHIFT + level * mode.bits[-1]))
        at = None if frame is None else (frame << PAGE_SHIFT) + index * mode.entry_bytes
        found.append(Entry(table, index, at))
        size = 1 << PAGE_SHIFT + (level - 1) * mode.bits[-1]
        start = address & -size
        is_large = depth > 1 or levels == 2
        inside = layout.page_offset <= start and start + size <= layout.high_memory
        if is_large and inside:
            break
    return found


def flag_names(value: int) -> str:
    """Return the flags of an entry, by name."""
    return " ".join(name for name, bit in FLAGS if value & bit)
