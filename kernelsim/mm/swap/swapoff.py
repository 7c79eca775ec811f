"""Emptying a swap area: which entries and cached pages still need it, and bringing one back.

Linux: mm/swapfile.c:try_to_unuse, :unuse_pte_range, :unuse_pte, :find_next_to_unuse, 6.1.
Interface: `next_swap_entry` finds entries of an address space, `unuse_pte` maps the page of one;
`next_cached_slot` finds what only the swap cache holds, `try_to_free_swap` lets go of it.
Units: virtual page numbers, slots.
"""

from typing import Final

from kernelsim.hw.leaf import leaf
from kernelsim.mm.core.mem import (
    Mem,
    PG_anon,
    PG_anon_exclusive,
    PG_gathered,
    PG_locked,
    PG_swapbacked,
    PG_uptodate,
    PG_writeback,
    nid_of,
)
from kernelsim.mm.core.vmstat import NR_ANON_PAGES
from kernelsim.mm.space.pgtable import (
    _PAGE_NX,
    _PAGE_PRESENT,
    _PAGE_USER,
    MM_ANONPAGES,
    MM_SWAPENTS,
    PT_BITS,
    Mms,
    PageTables,
    get_pte,
    is_swap_pte,
    mk_pte,
    pte_span,
    pte_swap_slot,
    walk,
)
from kernelsim.mm.swap.free_swap import folio_free_swap, put_page
from kernelsim.mm.swap.swap_area import SA_MAX, SA_START, SWAP_MAP_BAD, SwapArea
from kernelsim.mm.swap.swapfile import swap_free

UNUSED: Final = 0  # the page is mapped
UNUSE_CHANGED: Final = 1  # the entry is another one by now
UNUSE_NOT_CACHED: Final = 2  # its slot must be read
UNUSE_LOCKED: Final = 3  # it is being read
UNUSE_WRITEBACK: Final = 4  # it is being written
UNUSE_ERROR: Final = 5  # it could not be read


@leaf
def next_swap_entry(
    mem: Mem, pt: PageTables, mms: Mms, swap: SwapArea, mm: int, vpn: int, end_vpn: int, area: int
) -> tuple[int, int]:
    """Find the next page of [vpn, end_vpn) whose entry names a slot of an area.

    Returns:
        The page and the slot; `end_vpn` and 0 when there is none.
    """
    first = swap.area[area, SA_START]
    last = first + swap.area[area, SA_MAX]
    entry, private, top = pt.entry, mem.pages.private, int(mms.pgd_row[mm])
    mask = (1 << pt.state[PT_BITS]) - 1
    while vpn < end_vpn:
        row, end = walk(entry, pt.state, private, top, vpn)
        end = min(end, end_vpn)
        while row and vpn < end:
            pte = get_pte(entry, row, vpn & mask)
            if is_swap_pte(pte) and first <= pte_swap_slot(pte) < last:
                return vpn, pte_swap_slot(pte)
            vpn += 1
        vpn = end
    return end_vpn, 0


@leaf
def unuse_pte(
    mem: Mem, pt: PageTables, mms: Mms, swap: SwapArea, mm: int, vpn: int, slot: int
) -> int:
    """Map the page of a slot, read-only and not accessed, where an entry names the slot.

    The slot goes with its last entry. Returns `UNUSE*`.

    Source: Linux 6.1 mm/swapfile.c:unuse_pte
    """
    mask = (1 << pt.state[PT_BITS]) - 1
    row, _ = pte_span(mem, pt, mms, mm, vpn)
    pte = get_pte(pt.entry, row, vpn & mask) if row else 0
    if not is_swap_pte(pte) or pte_swap_slot(pte) != slot:
        return UNUSE_CHANGED
    pfn = int(swap.cache_pfn[slot])
    if pfn == 0:
        return UNUSE_NOT_CACHED
    flags = mem.pages.flags[pfn]
    if flags & PG_locked:
        return UNUSE_LOCKED
    if flags & PG_writeback:
        return UNUSE_WRITEBACK
    if not flags & PG_uptodate:
        return UNUSE_ERROR
    left = swap_free(swap, slot)
    pt.entry[row, vpn & mask] = mk_pte(pfn, _PAGE_PRESENT | _PAGE_USER | _PAGE_NX)
    mem.pages.flags[pfn] |= PG_anon | PG_swapbacked
    if mem.pages.mapcount[pfn] == 0:
        mem.pages.mapping[pfn] = mm
        mem.pages.index[pfn] = vpn
        mem.node_stat[nid_of(mem, pfn), NR_ANON_PAGES] += 1
        if left == 0:
            mem.pages.flags[pfn] |= PG_anon_exclusive
    mem.pages.mapcount[pfn] += 1
    mms.rss[mm, MM_ANONPAGES] += 1
    mms.rss[mm, MM_SWAPENTS] -= 1
    folio_free_swap(mem, swap, pfn)
    return UNUSED


@leaf
def next_cached_slot(swap: SwapArea, area: int, slot: int) -> int:
    """Return the next slot of an area, from one on, that has a page in the cache; 0 for none."""
    first = int(swap.area[area, SA_START])
    for at in range(max(slot, first + 1), first + int(swap.area[area, SA_MAX])):
        if swap.map[at] != SWAP_MAP_BAD and swap.cache_pfn[at]:
            return at
    return 0


@leaf
def try_to_free_swap(mem: Mem, swap: SwapArea, pfn: int) -> bool:
    """Let a cached page go of its slot if no entry names that; True if nobody uses the page."""
    flags = mem.pages.flags[pfn]
    if flags & PG_locked or not folio_free_swap(mem, swap, pfn):
        return False
    if mem.pages.mapcount[pfn] or flags & PG_gathered:
        return False
    return put_page(mem, pfn)
