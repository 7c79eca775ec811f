"""Which entries of page tables a walk reads, and where they lie in physical memory.

Interface: `walk_entries`; for people, not for the hot path, which is `walk` in pgtable.py.
Units: bytes for addresses, virtual page numbers.
"""

from typing import Final

from kernelsim.mm.core.mem import Mem
from kernelsim.mm.space.pgtable import PT_BITS, PT_LEVELS, Mms, PageTables, get_pte, pte_pfn
from kernelsim.units import PAGE_SHIFT, PAGE_SIZE

TABLE_NAMES: Final = {
    2: ("PGD", "PTE"),
    3: ("PGD", "PMD", "PTE"),
    4: ("PGD", "PUD", "PMD", "PTE"),
}


def walk_entries(mem: Mem, pt: PageTables, mms: Mms, mm: int, vpn: int) -> list[tuple[str, int]]:
    """Return table and physical address of each entry that a walk to a page reads, the top first.

    The last one is empty, or not present, where the walk cannot go on.
    """
    bits, levels = int(pt.state[PT_BITS]), int(pt.state[PT_LEVELS])
    entry_bytes = PAGE_SIZE >> bits
    row, read = int(mms.pgd_row[mm]), list[tuple[str, int]]()
    for depth, table in enumerate(TABLE_NAMES[levels], start=1):
        index = vpn >> bits * (levels - depth) & (1 << bits) - 1
        read.append((table, (int(pt.row_pfn[row]) << PAGE_SHIFT) + index * entry_bytes))
        entry = get_pte(pt.entry, row, index)
        if not entry or depth == levels:
            break
        row = int(mem.pages.private[pte_pfn(entry)])
    return read
