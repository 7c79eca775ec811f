"""Taking pages out of page tables.

Linux: mm/memory.c:zap_pte_range, 6.1.

Interface: `unmap_range`; what it cleared, TLBs may still have, and its caller flushes that.
Units: pages.
"""

from typing import Final

import numpy as np

from kernelsim.hw.leaf import inlined_leaf, leaf
from kernelsim.mm.core.folio_batch import MARK_ACTIVATED, MARK_FULL, folio_mark_accessed
from kernelsim.mm.core.mem import I64, I64_2D, Mem, PG_anon, PG_gathered, node_at
from kernelsim.mm.core.vmstat import NR_ANON_PAGES
from kernelsim.mm.space.memory import _NO_OWNER_MASK
from kernelsim.mm.space.pgtable import (
    _PAGE_ACCESSED,
    _PAGE_DIRTY,
    _PAGE_PRESENT,
    _PAGE_SPECIAL,
    MM_ANONPAGES,
    MM_SWAPENTS,
    PT_BITS,
    Mms,
    PageTables,
    get_pte,
    is_swap_pte,
    maps_page,
    pte_pfn,
    pte_swap_slot,
    update_hiwater_rss,
    walk,
)
from kernelsim.mm.space.rmap import find_owner
from kernelsim.mm.space.rmap_file import mm_counter_file, page_remove_file_rmap

# Columns of what `unmap_range` has cleared
CL_FIRST: Final = 0  # the range of their pages,
CL_END: Final = 1  # whose last page is the one before
CL_NR_STAYS: Final = 2  # how many were of pages that stay: of files, or others map them, too,
CL_STORED: Final = 3  # 1: and one of these pages may be stored to until TLBs are flushed
NONE_CLEARED: Final = (1 << 62, 0, 0, 0)


@inlined_leaf
def zap_anon(mem: Mem, pt: PageTables, mms: Mms, mm: int, pfn: int) -> bool:
    """Let go of an anonymous page whose entry was cleared; tell whether nothing maps it any more.

    PG_gathered keeps it then until it is freed.

    Source: Linux 6.1 mm/rmap.c:page_remove_rmap
    """
    pages = mem.pages
    mms.rss[mm, MM_ANONPAGES] -= 1
    pages.mapcount[pfn] -= 1
    if pages.mapcount[pfn] == 0:
        pages.mapping[pfn] = 0
        pages.index[pfn] = 0
        flags = pages.flags[pfn] & np.uint32(_NO_OWNER_MASK)
        pages.flags[pfn] = flags | np.uint32(PG_gathered)
        mem.node_stat[node_at(mem.block_zone, mem.split_zone, mem.zone, pfn), NR_ANON_PAGES] -= 1
        return True
    if pages.mapping[pfn] == mm:
        find_owner(mem, pt, mms, mm, pfn)
    return False


@inlined_leaf
def zap_file(mem: Mem, mms: Mms, mm: int, pfn: int, pte: int, cleared: I64) -> None:
    """Let go of a page of a file whose entry was cleared.

    Source: Linux 6.1 mm/memory.c:zap_pte_range, mm/rmap.c:page_remove_rmap
    """
    mms.rss[mm, mm_counter_file(mem.pages.flags[pfn])] -= 1
    mms.tlb_flush_batched[mm] += 1
    cleared[CL_NR_STAYS] += 1
    if pte & _PAGE_DIRTY:
        cleared[CL_STORED] = 1
    page_remove_file_rmap(mem, pfn, pte)


@leaf
def unmap_range(
    mem: Mem,
    pt: PageTables,
    mms: Mms,
    mm: int,
    vpn: int,
    nr: int,
    lruvec: I64_2D,
    cpu: int,
    marks: bool,
    out_pfns: I64,
    out_slots: I64,
    cleared: I64,
) -> tuple[int, int, int, int]:
    """Clear the PTEs of `nr` pages, batch by batch.

    The caller frees the anonymous pages that are not mapped any more (`out_pfns`; some may be in
    the swap cache or under writeback), which PG_gathered keeps until then, and drops one use of
    each swap slot. It must flush TLBs before it frees, as `cleared` says, to whose CL_* columns
    the entries are added. Pages of files stay; with `marks`, those that were used are marked
    accessed, and it stops when the CPU's batch of pages to activate is full. They, and anonymous
    pages that others map, too, count in `tlb_flush_batched` until the caller has flushed.

    Returns:
        Pages, slots, pages on their way to the LRU that will go to the active list, and the vpn to
        go on from: `vpn + nr` when all is done, less when an array or the batch is full.

    Source: Linux 6.1 mm/memory.c:zap_pte_range
    """
    update_hiwater_rss(mms, mm)
    entry, private, top = pt.entry, mem.pages.private, int(mms.pgd_row[mm])
    mask = (1 << pt.state[PT_BITS]) - 1
    pages = mem.pages
    limit = vpn + nr
    n_pfns, n_slots, n_activated = 0, 0, 0
    while vpn < limit:
        row, end = walk(entry, pt.state, private, top, vpn)
        end = min(end, limit)
        if row == 0:
            vpn = end
            continue
        while vpn < end:
            pte = get_pte(entry, row, vpn & mask)
            if pte != 0:
                if n_pfns == len(out_pfns) or n_slots == len(out_slots):
                    return n_pfns, n_slots, n_activated, vpn
                entry[row, vpn & mask] = 0
                if pte & _PAGE_PRESENT:
                    cleared[CL_FIRST] = min(cleared[CL_FIRST], vpn)
                    cleared[CL_END] = max(cleared[CL_END], vpn + 1)
                elif is_swap_pte(pte):
                    mms.rss[mm, MM_SWAPENTS] -= 1
                    out_slots[n_slots] = pte_swap_slot(pte)
                    n_slots += 1
                if maps_page(pte):
                    pfn = pte_pfn(pte)
                    if pages.flags[pfn] & np.uint32(PG_anon):
                        if zap_anon(mem, pt, mms, mm, pfn):
                            out_pfns[n_pfns] = pfn
                            n_pfns += 1
                        else:
                            mms.tlb_flush_batched[mm] += 1
                            cleared[CL_NR_STAYS] += 1
                    else:
                        zap_file(mem, mms, mm, pfn, pte, cleared)
                        if marks and pte & _PAGE_ACCESSED:
                            marked = folio_mark_accessed(mem, lruvec, cpu, pfn)
                            n_activated += marked == MARK_ACTIVATED
                            if marked == MARK_FULL:
                                return n_pfns, n_slots, n_activated, vpn + 1
            vpn += 1
    return n_pfns, n_slots, n_activated, vpn


@leaf
def zap_file_pages(mem: Mem, pt: PageTables, mms: Mms, mm: int, vpn: int, nr: int) -> int:
    """Clear the entries of pages of a file, and no others; return how many.

    They count in `tlb_flush_batched` until the caller has flushed.

    Source: Linux 6.1 mm/memory.c:unmap_mapping_range, without even_cows
    """
    update_hiwater_rss(mms, mm)
    mask = (1 << pt.state[PT_BITS]) - 1
    limit, cleared = vpn + nr, 0
    while vpn < limit:
        row, end = walk(pt.entry, pt.state, mem.pages.private, int(mms.pgd_row[mm]), vpn)
        end = min(end, limit)
        while row and vpn < end:
            pte = get_pte(pt.entry, row, vpn & mask)
            if pte & (_PAGE_PRESENT | _PAGE_SPECIAL) == _PAGE_PRESENT:
                pfn = pte_pfn(pte)
                if mem.pages.flags[pfn] & np.uint32(PG_anon) == 0:
                    pt.entry[row, vpn & mask] = 0
                    mms.rss[mm, mm_counter_file(mem.pages.flags[pfn])] -= 1
                    mms.tlb_flush_batched[mm] += 1
                    page_remove_file_rmap(mem, pfn, pte)
                    cleared += 1
            vpn += 1
        vpn = end
    return cleared
