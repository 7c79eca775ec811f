"""Which pages of a range are in memory.

Linux: mm/mincore.c, 6.1.
Units: virtual page numbers, pages of the file.
"""

from kernelsim.hw.leaf import leaf
from kernelsim.mm.core.mem import U8, Mem, PG_uptodate
from kernelsim.mm.core.xarray import xa_load
from kernelsim.mm.file.address_space import FileMappings
from kernelsim.mm.file.shmem import slot_of_entry
from kernelsim.mm.space.pgtable import (
    _PAGE_PRESENT,
    PT_BITS,
    Mms,
    PageTables,
    get_pte,
    is_migration_pte,
    pte_swap_slot,
    walk,
)
from kernelsim.mm.swap.swap_area import SwapArea


@leaf
def mincore_range(
    mem: Mem,
    pt: PageTables,
    mms: Mms,
    swap: SwapArea,
    files: FileMappings,
    mm: int,
    vpn: int,
    nr: int,
    number: int,
    index: int,
    out: U8,
) -> int:
    """Say of each of `nr` pages of a mapping whether it is in memory: 1, or 0; return how many are.

    Args:
        mem: Memory.
        pt: All page tables.
        mms: All address spaces.
        swap: Swap slots.
        files: All files.
        mm: Number of the address space.
        vpn: First page.
        nr: Pages.
        number: The file it shows; 0 for none.
        index: Page of the file at the first.
        out: Gets the answer.

    Source: Linux 6.1 mm/mincore.c:mincore_pte_range, :__mincore_unmapped_range, :mincore_page
    """
    top, mask = int(mms.pgd_row[mm]), (1 << pt.state[PT_BITS]) - 1
    found = 0
    for at in range(nr):
        row, _ = walk(pt.entry, pt.state, mem.pages.private, top, vpn + at)
        pte = get_pte(pt.entry, row, (vpn + at) & mask) if row else 0
        if pte & _PAGE_PRESENT or is_migration_pte(pte):
            out[at] = 1
        else:
            pfn = 0
            if pte:
                pfn = int(swap.cache_pfn[pte_swap_slot(pte)])
            elif number:
                pfn = int(xa_load(files.xa, number, index + at))
                if pfn < 0:
                    pfn = int(swap.cache_pfn[slot_of_entry(pfn)])
            out[at] = 1 if pfn > 0 and mem.pages.flags[pfn] & PG_uptodate else 0
        found += out[at]
    return found
