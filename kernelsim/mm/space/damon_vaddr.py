"""What DAMON does to the entry of a page: make it old, and see whether it was used since.

Linux: mm/damon/ops-common.c:damon_ptep_mkold, mm/damon/vaddr.c:damon_va_young, 6.1.
The accessed bit belongs to reclaim, too. What is taken from it stays in PG_young, which reclaim
counts as a use; PG_idle says that nobody has seen one since.
Interface: leaf functions; no TLB is flushed, so a CPU that has the translation leaves no trace.
"""

import numpy as np

from kernelsim.hw.leaf import leaf
from kernelsim.mm.core.mem import Mem, PG_idle, PG_lru, PG_young
from kernelsim.mm.core.swap import ALL_FLAGS
from kernelsim.mm.space.pgtable import (
    _PAGE_ACCESSED,
    _PAGE_PRESENT,
    _PAGE_SPECIAL,
    PT_BITS,
    Mms,
    PageTables,
    get_pte,
    pte_at,
    pte_pfn,
    pte_span,
)


@leaf
def damon_mkold(mem: Mem, pt: PageTables, mms: Mms, mm: int, vpn: int) -> bool:
    """Clear the accessed bit of a page on a list of reclaim; tell whether there is one.

    Source: Linux 6.1 mm/damon/ops-common.c:damon_ptep_mkold
    """
    row, _ = pte_span(mem, pt, mms, mm, vpn)
    at = vpn & ((1 << pt.state[PT_BITS]) - 1)
    pte = get_pte(pt.entry, row, at) if row else 0
    if pte & (_PAGE_PRESENT | _PAGE_SPECIAL) != _PAGE_PRESENT:
        return False
    pfn = pte_pfn(pte)
    flags = mem.pages.flags[pfn]
    if not flags & PG_lru:
        return False
    if pte & _PAGE_ACCESSED:
        pt.entry[row, at] = pte & ~_PAGE_ACCESSED
        flags |= np.uint32(PG_young)
    mem.pages.flags[pfn] = flags | np.uint32(PG_idle)
    return True


@leaf
def damon_young(mem: Mem, pt: PageTables, mms: Mms, mm: int, vpn: int) -> bool:
    """Tell whether a page was used since it was made old.

    Source: Linux 6.1 mm/damon/vaddr.c:damon_young_pmd_entry
    """
    pte = pte_at(mem, pt, mms, mm, vpn)
    if pte & (_PAGE_PRESENT | _PAGE_SPECIAL) != _PAGE_PRESENT:
        return False
    flags = mem.pages.flags[pte_pfn(pte)]
    if not flags & PG_lru:
        return False
    return bool(pte & _PAGE_ACCESSED) or not flags & PG_idle


@leaf
def folio_test_clear_young(mem: Mem, pfn: int) -> bool:
    """Forget that a use was seen by others than reclaim; tell whether it was.

    Source: Linux 6.1 include/linux/page_idle.h:folio_test_clear_young
    """
    flags = mem.pages.flags[pfn]
    if not flags & PG_young:
        return False
    mem.pages.flags[pfn] = flags & (ALL_FLAGS ^ PG_young)
    return True
