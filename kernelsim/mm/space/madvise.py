"""What advice does to the flags of a mapping, and to the entries of its pages.

Linux: mm/madvise.c, mm/ksm.c:ksm_madvise, mm/khugepaged.c:hugepage_madvise, 6.1.
Differs: MADV_MERGEABLE and MADV_HUGEPAGE set their flags and nothing else: pages are neither
compared nor made huge.

Interface: `advised_flags` for advice about flags; `age_pages` for MADV_COLD, `pages_alone` for
MADV_PAGEOUT, `madvise_free_pages` for MADV_FREE.
Units: virtual page numbers.
"""

import errno
from collections.abc import Mapping
from typing import Final

import numpy as np

from kernelsim.hw.leaf import leaf
from kernelsim.mm.core.mem import I64, Mem, PG_anon, PG_dirty, PG_lru, PG_referenced, PG_swapcache
from kernelsim.mm.core.swap import ALL_FLAGS
from kernelsim.mm.space.damon_vaddr import folio_test_clear_young
from kernelsim.mm.space.mmap import VmArea
from kernelsim.mm.space.pgtable import (
    _PAGE_ACCESSED,
    _PAGE_DIRTY,
    _PAGE_PRESENT,
    _PAGE_SPECIAL,
    MM_SWAPENTS,
    PT_BITS,
    Mms,
    PageTables,
    get_pte,
    is_swap_pte,
    pte_pfn,
    pte_swap_slot,
    walk,
)
from kernelsim.mm.space.vm_flags import VM_SPECIAL, VmFlag

_READS: Final = VmFlag.VM_RAND_READ | VmFlag.VM_SEQ_READ
_NONE: Final = VmFlag.VM_NONE
# Of each advice the flags it takes and those it gives
FLAG_ADVICE: Final[Mapping[str, tuple[VmFlag, VmFlag]]] = {
    "normal": (_READS, _NONE),
    "random": (_READS, VmFlag.VM_RAND_READ),
    "sequential": (_READS, VmFlag.VM_SEQ_READ),
    "dontfork": (_NONE, VmFlag.VM_DONTCOPY),
    "dofork": (VmFlag.VM_DONTCOPY, _NONE),
    "wipeonfork": (_NONE, VmFlag.VM_WIPEONFORK),
    "keeponfork": (VmFlag.VM_WIPEONFORK, _NONE),
    "dontdump": (_NONE, VmFlag.VM_DONTDUMP),
    "dodump": (VmFlag.VM_DONTDUMP, _NONE),
    "mergeable": (_NONE, VmFlag.VM_MERGEABLE),
    "unmergeable": (VmFlag.VM_MERGEABLE, _NONE),
    "hugepage": (VmFlag.VM_NOHUGEPAGE, VmFlag.VM_HUGEPAGE),
    "nohugepage": (VmFlag.VM_HUGEPAGE, VmFlag.VM_NOHUGEPAGE),
}
_NEVER_MERGEABLE: Final = (
    VmFlag.VM_MERGEABLE | VmFlag.VM_SHARED | VmFlag.VM_MAYSHARE | VmFlag.VM_PFNMAP
    | VmFlag.VM_IO | VmFlag.VM_DONTEXPAND | VmFlag.VM_HUGETLB | VmFlag.VM_MIXEDMAP
)  # fmt: skip


def advised_flags(vma: VmArea, advice: str) -> VmFlag | int:
    """Return the flags a mapping has after some advice, or a negative errno.

    Source: Linux 6.1 mm/madvise.c:madvise_vma_behavior
    """
    takes, gives = FLAG_ADVICE[advice]
    flags = vma.flags
    refused = (
        (advice == "dofork" and flags & VmFlag.VM_IO)
        or (advice == "wipeonfork" and (vma.file is not None or flags & VmFlag.VM_SHARED))
        or (advice == "dodump" and flags & VM_SPECIAL)
    )
    if refused:
        return -errno.EINVAL
    if advice == "mergeable" and flags & _NEVER_MERGEABLE:
        return flags
    return flags & ~takes | gives


@leaf
def age_pages(mem: Mem, pt: PageTables, mms: Mms, mm: int, vpn: int, nr: int) -> int:
    """Forget that pages on a list were used that only this mm maps; return how many had been.

    Source: Linux 6.1 mm/madvise.c:madvise_cold_or_pageout_pte_range
    """
    entry, pages, top = pt.entry, mem.pages, int(mms.pgd_row[mm])
    mask = (1 << pt.state[PT_BITS]) - 1
    limit, aged = vpn + nr, 0
    while vpn < limit:
        row, end = walk(entry, pt.state, pages.private, top, vpn)
        end = min(end, limit)
        while row and vpn < end:
            pte = get_pte(entry, row, vpn & mask)
            if pte & (_PAGE_PRESENT | _PAGE_SPECIAL) == _PAGE_PRESENT:
                pfn = pte_pfn(pte)
                if pages.mapcount[pfn] == 1 and pages.flags[pfn] & PG_lru:
                    entry[row, vpn & mask] = pte & ~_PAGE_ACCESSED
                    aged += pte & _PAGE_ACCESSED != 0
                    pages.flags[pfn] &= np.uint32(ALL_FLAGS ^ PG_referenced)
                    folio_test_clear_young(mem, pfn)
            vpn += 1
        vpn = end
    return aged


@leaf
def pages_alone(
    mem: Mem, pt: PageTables, mms: Mms, mm: int, vpn: int, nr: int, out_vpns: I64, out_pfns: I64
) -> tuple[int, int]:
    """Find pages that are on a list and that only this mm maps.

    Returns:
        How many there are, and the vpn to go on from: `vpn + nr` at the end, less at a full array.

    Source: Linux 6.1 mm/madvise.c:madvise_cold_or_pageout_pte_range
    """
    entry, pages, top = pt.entry, mem.pages, int(mms.pgd_row[mm])
    mask = (1 << pt.state[PT_BITS]) - 1
    limit, found = vpn + nr, 0
    while vpn < limit:
        row, end = walk(entry, pt.state, pages.private, top, vpn)
        end = min(end, limit)
        while row and vpn < end:
            if found == len(out_pfns):
                return found, vpn
            pte = get_pte(entry, row, vpn & mask)
            if pte & (_PAGE_PRESENT | _PAGE_SPECIAL) == _PAGE_PRESENT:
                pfn = pte_pfn(pte)
                if pages.mapcount[pfn] == 1 and pages.flags[pfn] & PG_lru:
                    out_vpns[found], out_pfns[found] = vpn, pfn
                    found += 1
            vpn += 1
        vpn = end
    return found, vpn


@leaf
def madvise_free_pages(
    mem: Mem, pt: PageTables, mms: Mms, mm: int, vpn: int, nr: int, out_pfns: I64, out_slots: I64
) -> tuple[int, int, int]:
    """Make anonymous pages clean and old; drop swap entries.

    Returns:
        Pages, slots, and the vpn to go on from: `vpn + nr` at the end, less at a full array.

    Source: Linux 6.1 mm/madvise.c:madvise_free_pte_range
    """
    entry, pages, top = pt.entry, mem.pages, int(mms.pgd_row[mm])
    mask = (1 << pt.state[PT_BITS]) - 1
    limit, n_pfns, n_slots = vpn + nr, 0, 0
    while vpn < limit:
        row, end = walk(entry, pt.state, pages.private, top, vpn)
        end = min(end, limit)
        while row and vpn < end:
            if n_pfns == len(out_pfns) or n_slots == len(out_slots):
                return n_pfns, n_slots, vpn
            pte = get_pte(entry, row, vpn & mask)
            if is_swap_pte(pte):
                entry[row, vpn & mask] = 0
                mms.rss[mm, MM_SWAPENTS] -= 1
                out_slots[n_slots] = pte_swap_slot(pte)
                n_slots += 1
            elif pte & (_PAGE_PRESENT | _PAGE_SPECIAL) == _PAGE_PRESENT:
                pfn = pte_pfn(pte)
                flags = pages.flags[pfn]
                is_clean = flags & (PG_dirty | PG_swapcache) == 0
                can_clean = pages.mapcount[pfn] == 1 and not flags & PG_swapcache
                if flags & PG_anon and (is_clean or can_clean):
                    entry[row, vpn & mask] = pte & ~(_PAGE_ACCESSED | _PAGE_DIRTY)
                    pages.flags[pfn] &= np.uint32(~PG_dirty & 0xFFFF_FFFF)
                    out_pfns[n_pfns] = pfn
                    n_pfns += 1
            vpn += 1
        vpn = end
    return n_pfns, n_slots, vpn
