"""What the kernel does with pages of a process that it fetches itself.

Linux: mm/gup.c (6.1).
Units: pages.
"""

from kernelsim.hw.leaf import leaf
from kernelsim.mm.core.mem import Mem, PG_referenced
from kernelsim.mm.space.pgtable import (
    _PAGE_PRESENT,
    _PAGE_SPECIAL,
    Mms,
    PageTables,
    pte_at,
    pte_pfn,
)


@leaf
def mark_range_accessed(mem: Mem, pt: PageTables, mms: Mms, mm: int, vpn: int, nr: int) -> None:
    """Note that new pages were used, so that their accessed bit, found by reclaim, counts twice.

    Source: Linux 6.1 mm/gup.c:follow_page_pte (FOLL_TOUCH)
    """
    for at in range(vpn, vpn + nr):
        pte = pte_at(mem, pt, mms, mm, at)
        if pte & _PAGE_PRESENT and not pte & _PAGE_SPECIAL:
            mem.pages.flags[pte_pfn(pte)] |= PG_referenced
