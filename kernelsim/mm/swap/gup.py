"""Which pages of a range have to be faulted in before a program can use them all, and their use.

Linux: mm/gup.c:populate_vma_page_range, :__get_user_pages, 6.1.
Units: virtual page numbers.
"""

import numpy as np

from kernelsim.hw.leaf import leaf
from kernelsim.mm.core.folio_batch import MARK_ACTIVATED, MARK_FULL, folio_mark_accessed
from kernelsim.mm.core.mem import I64_2D, Mem, PG_anon, PG_dirty, PG_swapbacked, PG_uptodate
from kernelsim.mm.space.memory import (
    FAULT_MIGRATION,
    FAULT_NONE_PRESENT,
    FAULT_SWAP,
    FAULT_WP,
    fault_kind,
)
from kernelsim.mm.space.pgtable import (
    _PAGE_DIRTY,
    _PAGE_PRESENT,
    _PAGE_SPECIAL,
    PT_BITS,
    Mms,
    PageTables,
    get_pte,
    pte_pfn,
    pte_swap_slot,
    walk,
)
from kernelsim.mm.swap.swap_area import SwapArea

_IN_MEMORY = PG_anon | PG_swapbacked


@leaf
def missing_pages(
    mem: Mem, pt: PageTables, mms: Mms, swap: SwapArea, mm: int, vpn: int, end_vpn: int, write: bool
) -> tuple[int, int, int]:
    """Find the next pages of [vpn, end_vpn) that an access would fault on.

    A run of pages that hold nothing yet is found as one, a page with content by itself, so that a
    fault for writing can leave in it what it holds.

    Returns:
        The first, how many (0 when none is left), and what they hold.
    """
    entry, private, top = pt.entry, mem.pages.private, int(mms.pgd_row[mm])
    mask = (1 << pt.state[PT_BITS]) - 1
    found = 0
    while vpn < end_vpn:
        row, end = walk(entry, pt.state, private, top, vpn)
        pte = get_pte(entry, row, vpn & mask) if row else 0
        kind = fault_kind(pte, write)
        if kind in (FAULT_SWAP, FAULT_WP, FAULT_MIGRATION):
            if found:
                break
            if kind != FAULT_SWAP:
                return vpn, 1, int(np.int64(mem.pages.token[pte_pfn(pte)]))
            return vpn, 1, slot_token(mem, swap, pte_swap_slot(pte))
        if kind != FAULT_NONE_PRESENT:
            step = 1 if row else min(end, end_vpn) - vpn
            found += step
            vpn += step
            continue
        if found:
            break
        vpn += 1
    return vpn - found, found, 0


@leaf
def slot_token(mem: Mem, swap: SwapArea, slot: int) -> int:
    """Return what a slot stands for: what its page in the swap cache holds, else what is there."""
    pfn = int(swap.cache_pfn[slot])
    # One that is being read holds nothing yet; the slot has it.
    if pfn and mem.pages.flags[pfn] & PG_uptodate:
        return int(np.int64(mem.pages.token[pfn]))
    return int(np.int64(swap.token[slot]))


@leaf
def mark_range_accessed(
    mem: Mem,
    pt: PageTables,
    mms: Mms,
    lruvec: I64_2D,
    cpu: int,
    mm: int,
    vpn: int,
    end_vpn: int,
    write: bool,
) -> tuple[int, int]:
    """Mark the pages of a range accessed, those that are mapped; dirty, too, if for writing.

    Returns:
        How many on their way to the LRU will go to the active list, and the vpn to go on from: less
        than `end_vpn` when the CPU's batch of pages to activate is full.

    Source: Linux 6.1 mm/gup.c:follow_page_pte (FOLL_TOUCH)
    """
    n_activated = 0
    while vpn < end_vpn:
        row, end = walk(pt.entry, pt.state, mem.pages.private, int(mms.pgd_row[mm]), vpn)
        end = min(end, end_vpn)
        while row and vpn < end:
            pte = get_pte(pt.entry, row, vpn & ((1 << pt.state[PT_BITS]) - 1))
            vpn += 1
            if pte & (_PAGE_PRESENT | _PAGE_SPECIAL) == _PAGE_PRESENT:
                pfn = pte_pfn(pte)
                # Stores through mappings of files on disks have made their pages dirty already.
                if write and not pte & _PAGE_DIRTY and mem.pages.flags[pfn] & _IN_MEMORY:
                    mem.pages.flags[pfn] |= np.uint32(PG_dirty)
                marked = folio_mark_accessed(mem, lruvec, cpu, pfn)
                n_activated += marked == MARK_ACTIVATED
                if marked == MARK_FULL:
                    return n_activated, vpn
        vpn = max(vpn, end)
    return n_activated, vpn
