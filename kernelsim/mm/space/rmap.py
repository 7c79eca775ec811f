"""Reverse mapping: from a page frame to the page-table entries that map it.

Linux: mm/rmap.c (6.1).
Differs: Pages do not lead to anon_vmas. `Pages.mapping` and `Pages.index` name one mm that maps the
page, and at which page number. Every other mm that maps it is related to that one by fork and maps
it at the same place, because fork keeps addresses: the walk goes round the ring `Mms.fork_next`.
Where one has moved it since (mremap) reclaim does not find it, and keeps the page.

Interface: for the reclaimers: `folio_referenced`, `try_to_unmap`. Every entry that try_to_unmap
takes is counted in `Mms.tlb_flush_batched`; flush before the page is freed. Pages of files are
found through the mappings of the file, in rmap_file.py.
"""

import numpy as np

from kernelsim.hw.leaf import leaf
from kernelsim.mm.core.mem import (
    I32,
    I64,
    U64_2D,
    Mem,
    PG_anon,
    PG_dirty,
    PG_idle,
    PG_swapbacked,
    PG_swapcache,
    PG_young,
    node_at,
)
from kernelsim.mm.core.swap import ALL_FLAGS
from kernelsim.mm.core.vmstat import NR_ANON_PAGES, PGLAZYFREED
from kernelsim.mm.space.pgtable import (
    _PAGE_ACCESSED,
    _PAGE_DIRTY,
    _PAGE_PRESENT,
    MM_ANONPAGES,
    MM_SWAPENTS,
    PT_BITS,
    PT_LEVELS,
    Mms,
    PageTables,
    get_pte,
    maps_page,
    mk_swap_pte,
    pte_at,
    pte_pfn,
    update_hiwater_rss,
    walk,
)
from kernelsim.mm.space.rmap_file import file_referenced, file_unmap


@leaf
def folio_referenced(mem: Mem, pt: PageTables, mms: Mms, pfn: int) -> tuple[int, bool]:
    """Count the mappings through which a page was used since the last look, and forget it.

    Returns:
        Entries that had the accessed bit; it is cleared in all of them, without a TLB flush. And
        whether the page is of a file, used through an executable mapping.

    Source: Linux 6.1 mm/rmap.c:folio_referenced
    """
    pages = mem.pages
    if pages.flags[pfn] & np.uint32(PG_anon) == 0:
        referenced, is_exec = file_referenced(mem, pt, mms, pfn)
        return with_young(mem, pfn, referenced), is_exec
    referenced = clear_young(
        pt.entry,
        pt.state,
        pages.private,
        mms.pgd_row,
        mms.fork_next,
        int(pages.mapping[pfn]),
        int(pages.index[pfn]),
        pfn,
        int(pages.mapcount[pfn]),
    )
    return with_young(mem, pfn, referenced), False


@leaf
def with_young(mem: Mem, pfn: int, referenced: int) -> int:
    """Return how many mappings a page was used through, with uses that DAMON took the bit of.

    # Differs from Linux: Such a use is one only where no mapping has the accessed bit; Linux adds
    # it to the first mapping of several.

    Source: Linux 6.1 mm/rmap.c:folio_referenced_one
    """
    flags = mem.pages.flags[pfn]
    if flags & np.uint32(PG_young | PG_idle) == 0:
        return referenced
    gone = PG_young | (PG_idle if referenced else 0)
    mem.pages.flags[pfn] = flags & np.uint32(ALL_FLAGS ^ gone)
    return max(referenced, 1) if flags & np.uint32(PG_young) else referenced


@leaf
def clear_young(
    entry: U64_2D,
    state: I64,
    private: I32,
    pgd_row: I64,
    fork_next: I64,
    owner: int,
    vpn: int,
    pfn: int,
    left: int,
) -> int:
    """Clear the accessed bit of the `left` entries that map a page; return how many had it."""
    index = vpn & ((1 << state[PT_BITS]) - 1)
    mm = owner
    referenced = 0
    while left > 0:
        row, _ = walk(entry, state, private, pgd_row[mm], vpn)
        pte = get_pte(entry, row, index) if row else 0
        if pte & _PAGE_PRESENT and pte_pfn(pte) == pfn:
            if pte & _PAGE_ACCESSED:
                entry[row, index] = pte & ~_PAGE_ACCESSED
                referenced += 1
            left -= 1
        mm = fork_next[mm]
        assert mm or not owner, "the owner of a page is in no ring"
        if mm == owner:
            break
    return referenced


@leaf
def try_to_unmap(mem: Mem, pt: PageTables, mms: Mms, pfn: int) -> bool:
    """Take a page out of all page tables; what maps one in the swap cache then names its slot.

    The slot is `Pages.private`; the caller adds one use of it for each mapping there was
    (`Pages.mapcount` before). A dirty entry makes the page dirty. Owner and index stay, or are
    those of another one that had mapped it elsewhere (mremap).

    Returns:
        True when the page is not mapped any more; False, with nothing done, for an anonymous page
        without a swap slot.

    Source: Linux 6.1 mm/rmap.c:try_to_unmap
    """
    pages = mem.pages
    left = int(pages.mapcount[pfn])
    if left == 0:
        return True
    if pages.flags[pfn] & np.uint32(PG_anon) == 0:
        file_unmap(mem, pt, mms, pfn)
        return True
    if pages.flags[pfn] & np.uint32(PG_swapbacked) == 0:
        return discard_lazyfree(mem, pt, mms, pfn)
    if pages.flags[pfn] & np.uint32(PG_swapcache) == 0:
        return False
    dirty = False
    while left > 0:
        before = left
        left, more = swap_out_entries(
            pt.entry,
            pt.state,
            pages.private,
            mms,
            int(pages.mapping[pfn]),
            int(pages.index[pfn]),
            pfn,
            left,
        )
        dirty = dirty or more
        if left == before:
            break
        if left > 0:  # others have moved it since a fork
            find_owner(mem, pt, mms, int(pages.mapping[pfn]), pfn)
    pages.mapcount[pfn] = left
    if dirty:
        pages.flags[pfn] |= np.uint32(PG_dirty)
    if left > 0:
        return False
    nid = node_at(mem.block_zone, mem.split_zone, mem.zone, pfn)
    mem.node_stat[nid, NR_ANON_PAGES] -= 1
    return True


@leaf
def discard_lazyfree(mem: Mem, pt: PageTables, mms: Mms, pfn: int) -> bool:
    """Drop a page that its only user has given up, unless it was stored to since.

    Source: Linux 6.1 mm/rmap.c:try_to_unmap_one
    """
    pages = mem.pages
    mm, vpn = int(pages.mapping[pfn]), int(pages.index[pfn])
    row, _ = walk(pt.entry, pt.state, pages.private, int(mms.pgd_row[mm]), vpn)
    at = vpn & ((1 << pt.state[PT_BITS]) - 1)
    pte = get_pte(pt.entry, row, at) if row else 0
    is_its_own = pages.mapcount[pfn] == 1 and pte & _PAGE_PRESENT and pte_pfn(pte) == pfn
    if not is_its_own or pte & _PAGE_DIRTY or pages.flags[pfn] & PG_dirty:
        pages.flags[pfn] |= np.uint32(PG_swapbacked)
        return False
    update_hiwater_rss(mms, mm)
    pt.entry[row, at] = 0
    pages.mapcount[pfn] = 0
    mms.rss[mm, MM_ANONPAGES] -= 1
    mms.tlb_flush_batched[mm] += 1
    mem.node_stat[node_at(mem.block_zone, mem.split_zone, mem.zone, pfn), NR_ANON_PAGES] -= 1
    mem.vm_event[PGLAZYFREED] += 1
    return True


@leaf
def swap_out_entries(
    entry: U64_2D,
    state: I64,
    private: I32,
    mms: Mms,
    owner: int,
    vpn: int,
    pfn: int,
    left: int,
) -> tuple[int, bool]:
    """Put the swap entry into the `left` entries that map a page.

    Returns:
        How many mappings were not found, and whether an entry was dirty.

    Source: Linux 6.1 mm/rmap.c:try_to_unmap_one
    """
    swap_pte = mk_swap_pte(int(private[pfn]))
    index = vpn & ((1 << state[PT_BITS]) - 1)
    mm = owner
    dirty = False
    while left > 0:
        row, _ = walk(entry, state, private, int(mms.pgd_row[mm]), vpn)
        pte = get_pte(entry, row, index) if row else 0
        if pte & _PAGE_PRESENT and pte_pfn(pte) == pfn:
            update_hiwater_rss(mms, mm)
            entry[row, index] = swap_pte
            dirty = dirty or pte & _PAGE_DIRTY != 0
            mms.rss[mm, MM_ANONPAGES] -= 1
            mms.rss[mm, MM_SWAPENTS] += 1
            mms.tlb_flush_batched[mm] += 1
            left -= 1
        mm = int(mms.fork_next[mm])
        assert mm or not owner, "the owner of a page is in no ring"
        if mm == owner:
            break
    return left, dirty


@leaf
def find_owner(mem: Mem, pt: PageTables, mms: Mms, mm: int, pfn: int) -> None:
    """Name another mm of the ring that maps a page as its owner, after `mm` unmapped it."""
    pages = mem.pages
    other = int(mms.fork_next[mm])
    while other != mm:
        pte = pte_at(mem, pt, mms, other, int(pages.index[pfn]))
        if maps_page(pte) and pte_pfn(pte) == pfn:
            pages.mapping[pfn] = other
            return
        other = int(mms.fork_next[other])
        assert other, "an address space is in no ring"
    find_moved(mem, pt, mms, mm, pfn)


@leaf
def find_moved(mem: Mem, pt: PageTables, mms: Mms, mm: int, pfn: int) -> None:
    """Find a page in an mm that has moved its mapping of it, and name that mm as its owner.

    It looks at all page tables of the others of the ring: mremap after fork is rare.
    """
    other = int(mms.fork_next[mm])
    while other != mm:
        vpn = vpn_of_page(pt, mem, int(mms.pgd_row[other]), pfn)
        if vpn >= 0:
            mem.pages.mapping[pfn] = other
            mem.pages.index[pfn] = vpn
            return
        other = int(mms.fork_next[other])


@leaf
def vpn_of_page(pt: PageTables, mem: Mem, top: int, pfn: int) -> int:
    """Return a page number at which the tables below a top table map a page; -1 for none."""
    bits, levels = int(pt.state[PT_BITS]), int(pt.state[PT_LEVELS])
    size = 1 << bits
    vpn, end = 0, 1 << (bits * levels)
    while vpn < end:
        row, behind = walk(pt.entry, pt.state, mem.pages.private, top, vpn)
        if row == 0:
            vpn = behind
            continue
        for at in range(size):
            pte = get_pte(pt.entry, row, at)
            if maps_page(pte) and pte_pfn(pte) == pfn:
                return vpn + at
        vpn += size
    return -1
