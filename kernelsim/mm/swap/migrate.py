"""Moving pages to other frames: which are to move, and what a move changes.

Linux: mm/migrate.c: migrate_folio_move, move_to_new_folio, add_page_for_migration; mm/mempolicy.c:
queue_pages_pte_range, 6.1.
Differs: Only anonymous pages that one address space has move to other nodes; pages of files and
shared ones stay where they are, also where MPOL_MF_MOVE_ALL asks for them. A move is one step:
nobody meets a migration entry and waits for its end. It comes after the time that copying takes,
and the other CPUs' TLBs lose the page in the same step; that they are interrupted for it is paid
for afterwards.

Interface: `misplaced_pages` and `pte_status` look at page tables. `migrate_folios` is called under
the lru_lock of the old frames' node; the new frames are isolated then, until
`putback_movable_pages` of mm/file/migrate_folio.py under that of theirs.
Units: virtual page numbers, pages.
"""

import errno
from typing import Final

import numpy as np

from kernelsim.hw.leaf import leaf
from kernelsim.hw.tlb import flush_page_everywhere
from kernelsim.mm.core.mem import (
    I64,
    I64_3D,
    Mem,
    PG_activating,
    PG_anon,
    PG_batched,
    PG_gathered,
    PG_isolated,
    PG_locked,
    PG_lru,
    PG_mlocked,
    PG_swapcache,
    PG_writeback,
    nid_of,
    zone_of,
)
from kernelsim.mm.core.swap import lruvec_del_folio
from kernelsim.mm.core.vmstat import (
    NR_ANON_PAGES,
    NR_FILE_PAGES,
    NR_ISOLATED_ANON,
    NR_MLOCK,
    NR_SWAPCACHED,
)
from kernelsim.mm.space.pgtable import (
    _PAGE_PRESENT,
    _PAGE_SPECIAL,
    PT_BITS,
    PTE_PFN_MASK,
    Mms,
    PageTables,
    get_pte,
    mk_pte,
    pte_at,
    pte_pfn,
    pte_span,
)
from kernelsim.mm.swap.swap_area import SwapArea

_BUSY: Final = PG_locked | PG_writeback | PG_isolated | PG_batched | PG_activating | PG_gathered


@leaf
def is_normal(pte: int) -> bool:
    """Tell whether an entry maps a page that has a struct page."""
    return pte & (_PAGE_PRESENT | _PAGE_SPECIAL) == _PAGE_PRESENT


@leaf
def is_movable(mem: Mem, pfn: int) -> bool:
    """Tell whether a mapped page can be taken off its list and moved now.

    Source: Linux 6.1 mm/mempolicy.c:migrate_page_add, mm/folio-compat.c:isolate_lru_page
    """
    flags = mem.pages.flags[pfn]
    if flags & np.uint32(_BUSY):
        return False
    return flags & np.uint32(PG_lru | PG_anon) == PG_lru | PG_anon and mem.pages.mapcount[pfn] == 1


@leaf
def misplaced_pages(
    mem: Mem, pt: PageTables, mms: Mms, mm: int, vpn: int, end_vpn: int, is_place: I64, out: I64
) -> int:
    """Write to `out` the pages of [vpn, end_vpn) that are on nodes of which `is_place` is 0.

    Returns:
        How many; `out` has room for all.

    Source: Linux 6.1 mm/mempolicy.c:queue_pages_pte_range
    """
    found = 0
    mask = (1 << pt.state[PT_BITS]) - 1
    while vpn < end_vpn:
        row, end = pte_span(mem, pt, mms, mm, vpn)
        end = min(end, end_vpn)
        while row and vpn < end:
            pte = get_pte(pt.entry, row, vpn & mask)
            if is_normal(pte) and not is_place[nid_of(mem, pte_pfn(pte))]:
                out[found] = vpn
                found += 1
            vpn += 1
        vpn = end
    return found


@leaf
def pte_status(mem: Mem, pt: PageTables, mms: Mms, mm: int, vpn: int, is_anonymous: bool) -> int:
    """Return the node of a page of a mapping, or a negative errno if there is none.

    Source: Linux 6.1 mm/gup.c:follow_page_pte, :no_page_table
    """
    pte = pte_at(mem, pt, mms, mm, vpn)
    is_zero_page = pte & _PAGE_PRESENT and pte & _PAGE_SPECIAL
    if is_zero_page or (pte == 0 and is_anonymous):
        return -errno.EFAULT
    if not pte & _PAGE_PRESENT:
        return -errno.ENOENT
    return nid_of(mem, pte_pfn(pte))


@leaf
def move_counts(mem: Mem, pfn: int, sign: int) -> None:
    """Count an anonymous page that comes to a frame, or leaves it.

    Source: Linux 6.1 mm/migrate.c:folio_migrate_mapping
    """
    nid, flags = nid_of(mem, pfn), mem.pages.flags[pfn]
    if flags & np.uint32(PG_anon) and mem.pages.mapcount[pfn]:
        mem.node_stat[nid, NR_ANON_PAGES] += sign
    if flags & np.uint32(PG_swapcache):
        mem.node_stat[nid, NR_FILE_PAGES] += sign
        mem.node_stat[nid, NR_SWAPCACHED] += sign
    if flags & np.uint32(PG_mlocked):
        mem.zone_stat[zone_of(mem, pfn), NR_MLOCK] += sign


@leaf
def move_page(mem: Mem, swap: SwapArea, old: int, new: int) -> None:
    """Let a fresh frame be in place of one that becomes bare; it is isolated.

    Source: Linux 6.1 mm/migrate.c:migrate_folio
    """
    lruvec_del_folio(mem, old)
    move_counts(mem, old, -1)
    folio_migrate_flags(mem, swap, old, new)
    move_counts(mem, new, 1)
    mem.node_stat[nid_of(mem, new), NR_ISOLATED_ANON] += 1


@leaf
def folio_migrate_flags(mem: Mem, swap: SwapArea, old: int, new: int) -> None:
    """Give a fresh frame all that a page is; the old one is bare then, the new one isolated.

    Source: Linux 6.1 mm/migrate.c:folio_migrate_flags, :folio_migrate_mapping
    """
    pages = mem.pages
    pages.flags[new] = pages.flags[old] | np.uint32(PG_isolated)
    pages.mapcount[new] = pages.mapcount[old]
    pages.mapping[new] = pages.mapping[old]
    pages.index[new] = pages.index[old]
    pages.private[new] = pages.private[old]
    pages.token[new] = pages.token[old]
    if pages.flags[new] & np.uint32(PG_swapcache):
        swap.cache_pfn[pages.private[new]] = new
    pages.flags[old] = 0
    pages.mapcount[old] = 0
    pages.mapping[old] = 0
    pages.index[old] = 0
    pages.private[old] = 0


@leaf
def migrate_folios(
    mem: Mem, pt: PageTables, mms: Mms, swap: SwapArea, tlb_tag: I64_3D,
    mm: int, asid: int, vpns: I64, old: I64, new: I64, moved: I64,
) -> int:  # fmt: skip
    """Move the pages that are still where they were, each to its new frame.

    Args:
        mem: Physical memory.
        pt: Page tables.
        mms: Address spaces.
        swap: Swap slots.
        tlb_tag: Of all CPUs, as `Burst.tlb_tag`.
        mm: Number of the address space.
        asid: What tells its entries of a TLB from others.
        vpns: Pages.
        old: Their frames, all of one node.
        new: Fresh frames.
        moved: Is set to 1 for those that were moved, else to 0.

    Returns:
        How many were.

    Source: Linux 6.1 mm/migrate.c:unmap_and_move, mm/rmap.c:try_to_migrate
    """
    mask = (1 << pt.state[PT_BITS]) - 1
    nr_moved = 0
    for i in range(len(vpns)):
        vpn, pfn = int(vpns[i]), int(old[i])
        row, _ = pte_span(mem, pt, mms, mm, vpn)
        pte = get_pte(pt.entry, row, vpn & mask) if row else 0
        moved[i] = 0
        if not is_normal(pte) or pte_pfn(pte) != pfn or not is_movable(mem, pfn):
            continue
        move_page(mem, swap, pfn, int(new[i]))
        pt.entry[row, vpn & mask] = mk_pte(int(new[i]), pte & ~PTE_PFN_MASK)
        flush_page_everywhere(tlb_tag, asid, vpn)
        moved[i] = 1
        nr_moved += 1
    return nr_moved
