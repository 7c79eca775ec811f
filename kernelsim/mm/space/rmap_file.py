"""Reverse mapping of pages of files: over the mappings of the file that show the page.

Linux: mm/rmap.c:rmap_walk_file and its users (6.1).

Interface: as rmap.py, which comes here for pages that are not anonymous. A page is named by
`Pages.mapping` and `Pages.index`; entries of private copies at the same place are passed over. An
entry that may be written to stands for a page that is dirty: it became so when it got the entry,
and `folio_mkclean` takes the right away when the page is about to be written to its disk.
"""

import numpy as np

from kernelsim.hw.leaf import inlined_leaf, leaf
from kernelsim.mm.core.mem import I64_2D, Mem, PG_dirty, PG_swapbacked, nid_of
from kernelsim.mm.core.vmstat import NR_MAPPED
from kernelsim.mm.space.i_mmap import FV_FLAGS, FV_MM, FV_NEXT, FV_NR_PAGES, FV_PGOFF, FV_VPN
from kernelsim.mm.space.pgtable import (
    _PAGE_ACCESSED,
    _PAGE_DIRTY,
    _PAGE_PRESENT,
    _PAGE_RW,
    MM_FILEPAGES,
    MM_SHMEMPAGES,
    PT_BITS,
    Mms,
    PageTables,
    get_pte,
    pte_pfn,
    update_hiwater_rss,
    walk,
)
from kernelsim.mm.space.vm_flags import VmFlag

VM_EXEC = int(VmFlag.VM_EXEC)
VM_SEQ_READ = int(VmFlag.VM_SEQ_READ)


@leaf
def first_mapping(mms: Mms, number: int) -> int:
    """Return the first row of `Mms.file_vma` that shows a file; 0 for none."""
    return int(mms.i_mmap[number]) if number < len(mms.i_mmap) else 0


@inlined_leaf
def vpn_in(file_vma: I64_2D, row: int, index: int) -> int:
    """Return where a mapping shows a page of its file; -1 if it does not.

    Source: Linux 6.1 mm/internal.h:vma_address
    """
    inside = index - file_vma[row, FV_PGOFF]
    if inside < 0 or inside >= file_vma[row, FV_NR_PAGES]:
        return -1
    return int(file_vma[row, FV_VPN] + inside)


@inlined_leaf
def table_of(mem: Mem, pt: PageTables, mms: Mms, mapping: int, vpn: int, pfn: int) -> int:
    """Return the row of the table in which a mapping maps this very page; 0 if none does.

    Source: Linux 6.1 mm/page_vma_mapped.c:page_vma_mapped_walk
    """
    if vpn < 0:
        return 0
    top = int(mms.pgd_row[mms.file_vma[mapping, FV_MM]])
    if top == 0:
        return 0
    row, _ = walk(pt.entry, pt.state, mem.pages.private, top, vpn)
    if row == 0:
        return 0
    pte = get_pte(pt.entry, row, vpn & ((1 << pt.state[PT_BITS]) - 1))
    return row if pte & _PAGE_PRESENT and pte_pfn(pte) == pfn else 0


@leaf
def file_referenced(mem: Mem, pt: PageTables, mms: Mms, pfn: int) -> tuple[int, bool]:
    """Count the entries through which a page of a file was used since the last look; forget it.

    Use through a mapping that is read once, in order, is forgotten, and not counted.

    Returns:
        How many, and whether one of these mappings is executable.

    Source: Linux 6.1 mm/rmap.c:folio_referenced_one
    """
    index, left = int(mem.pages.index[pfn]), int(mem.pages.mapcount[pfn])
    mask = (1 << pt.state[PT_BITS]) - 1
    mapping = first_mapping(mms, int(mem.pages.mapping[pfn]))
    referenced, is_exec = 0, False
    while left > 0 and mapping:
        vpn = vpn_in(mms.file_vma, mapping, index)
        row = table_of(mem, pt, mms, mapping, vpn, pfn)
        if row:
            left -= 1
            pte = get_pte(pt.entry, row, vpn & mask)
            flags = mms.file_vma[mapping, FV_FLAGS]
            if pte & _PAGE_ACCESSED:
                pt.entry[row, vpn & mask] = pte & ~_PAGE_ACCESSED
                if not flags & VM_SEQ_READ:
                    referenced += 1
                    is_exec = is_exec or flags & VM_EXEC != 0
        mapping = int(mms.file_vma[mapping, FV_NEXT])
    assert left == 0, "a page of a file is mapped where no mapping shows it"
    return referenced, is_exec


@leaf
def file_unmap(mem: Mem, pt: PageTables, mms: Mms, pfn: int) -> None:
    """Take a page of a file out of all page tables; each entry counts in `tlb_flush_batched`.

    Source: Linux 6.1 mm/rmap.c:try_to_unmap_one
    """
    index, left = int(mem.pages.index[pfn]), int(mem.pages.mapcount[pfn])
    mask = (1 << pt.state[PT_BITS]) - 1
    mapping = first_mapping(mms, int(mem.pages.mapping[pfn]))
    while left > 0 and mapping:
        vpn = vpn_in(mms.file_vma, mapping, index)
        row = table_of(mem, pt, mms, mapping, vpn, pfn)
        if row:
            left -= 1
            mm = int(mms.file_vma[mapping, FV_MM])
            update_hiwater_rss(mms, mm)
            pte = get_pte(pt.entry, row, vpn & mask)
            page_remove_file_rmap(mem, pfn, pte)
            pt.entry[row, vpn & mask] = 0
            mms.rss[mm, mm_counter_file(mem.pages.flags[pfn])] -= 1
            mms.tlb_flush_batched[mm] += 1
        mapping = int(mms.file_vma[mapping, FV_NEXT])
    assert left == 0, "a page of a file is mapped where no mapping shows it"


@leaf
def folio_mkclean(mem: Mem, pt: PageTables, mms: Mms, pfn: int) -> int:
    """Let the next store to a page of a file fault, that it becomes dirty once more.

    Returns:
        How many entries were changed; each counts in `tlb_flush_batched`.

    Source: Linux 6.1 mm/rmap.c:folio_mkclean, :page_vma_mkclean_one
    """
    index, left = int(mem.pages.index[pfn]), int(mem.pages.mapcount[pfn])
    mask = (1 << pt.state[PT_BITS]) - 1
    mapping = first_mapping(mms, int(mem.pages.mapping[pfn]))
    cleaned = 0
    while left > 0 and mapping:
        vpn = vpn_in(mms.file_vma, mapping, index)
        row = table_of(mem, pt, mms, mapping, vpn, pfn)
        if row:
            left -= 1
            pte = get_pte(pt.entry, row, vpn & mask)
            if pte & (_PAGE_RW | _PAGE_DIRTY):
                pt.entry[row, vpn & mask] = pte & ~(_PAGE_RW | _PAGE_DIRTY)
                mms.tlb_flush_batched[mms.file_vma[mapping, FV_MM]] += 1
                cleaned += 1
        mapping = int(mms.file_vma[mapping, FV_NEXT])
    assert left == 0, "a page of a file is mapped where no mapping shows it"
    return cleaned


@inlined_leaf
def mm_counter_file(flags: int) -> int:
    """Return what a page that is not anonymous counts as: one of a file, or shared memory.

    Source: Linux 6.1 include/linux/mm.h:mm_counter_file
    """
    return MM_SHMEMPAGES if flags & PG_swapbacked else MM_FILEPAGES


@inlined_leaf
def page_add_file_rmap(mem: Mem, pfn: int) -> None:
    """Count one more entry that maps a page of a file.

    Source: Linux 6.1 mm/rmap.c:page_add_file_rmap
    """
    mem.pages.mapcount[pfn] += 1
    if mem.pages.mapcount[pfn] == 1:
        mem.node_stat[nid_of(mem, pfn), NR_MAPPED] += 1


@inlined_leaf
def page_remove_file_rmap(mem: Mem, pfn: int, pte: int) -> None:
    """Count one entry less that maps a page of a file; what it says of stores is known already.

    Only of shared memory it is not: there no fault sees the first store.

    Source: Linux 6.1 mm/rmap.c:page_remove_rmap
    """
    if pte & _PAGE_DIRTY and mem.pages.flags[pfn] & np.uint32(PG_swapbacked):
        mem.pages.flags[pfn] |= np.uint32(PG_dirty)
    is_dirty = mem.pages.flags[pfn] & np.uint32(PG_dirty) != 0
    assert is_dirty or not pte & _PAGE_DIRTY, "a page of a file was stored to and is clean"
    mem.pages.mapcount[pfn] -= 1
    if mem.pages.mapcount[pfn] == 0:
        mem.node_stat[nid_of(mem, pfn), NR_MAPPED] -= 1
