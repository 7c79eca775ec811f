"""A write to a page that is mapped read-only: make it writable, or copy it.

Linux: mm/memory.c:do_wp_page (6.1).
Differs: The mapcount stands for the reference count when do_wp_page asks whether a page is shared.

Interface: such a write faults as FAULT_WP. `wp_page_reuse` serves a run of pages that belong to
this process alone; what it leaves is for `wp_page_copy`. Pages come to be read-only when they are
read back from swap and the swap cache keeps them too, or when they are pages of a file.
Units: pages.
"""

import numpy as np

from kernelsim.hw.leaf import leaf
from kernelsim.mm.core.mem import (
    I64,
    Mem,
    PG_anon,
    PG_anon_exclusive,
    PG_gathered,
    PG_swapcache,
    nid_of,
)
from kernelsim.mm.core.vmstat import NR_ANON_PAGES, PGREUSE
from kernelsim.mm.space.memory import _ANON_FLAGS, _NO_OWNER_MASK
from kernelsim.mm.space.pgtable import (
    _PAGE_ACCESSED,
    _PAGE_DIRTY,
    _PAGE_NX,
    _PAGE_PRESENT,
    _PAGE_RW,
    _PAGE_SPECIAL,
    _PAGE_USER,
    MM_ANONPAGES,
    PT_BITS,
    Mms,
    PageTables,
    get_pte,
    mk_pte,
    pte_pfn,
    walk,
)
from kernelsim.mm.space.rmap import find_owner
from kernelsim.mm.space.rmap_file import mm_counter_file, page_remove_file_rmap


@leaf
def wp_page_reuse(
    mem: Mem, pt: PageTables, mms: Mms, mm: int, vpn: int, nr: int, stride: int
) -> int:
    """Make a run of pages writable that only this mm maps and that no swap slot stands for.

    Returns:
        Pages done; the run ends before the first that must be copied.

    Source: Linux 6.1 mm/memory.c:do_wp_page, :wp_page_reuse
    """
    entry, pages, top = pt.entry, mem.pages, int(mms.pgd_row[mm])
    mask = (1 << pt.state[PT_BITS]) - 1
    row, end = 0, 0
    done = 0
    while done < nr:
        if vpn >= end:
            row, end = walk(entry, pt.state, pages.private, top, vpn)
        pte = get_pte(entry, row, vpn & mask) if row else 0
        if pte & _PAGE_PRESENT == 0 or pte & _PAGE_SPECIAL:
            break
        pfn = pte_pfn(pte)
        flags = int(pages.flags[pfn])
        if flags & PG_anon == 0:
            break
        if flags & PG_anon_exclusive == 0 and (pages.mapcount[pfn] > 1 or flags & PG_swapcache):
            break
        pages.flags[pfn] |= np.uint32(PG_anon_exclusive)
        pages.mapping[pfn] = mm
        pages.index[pfn] = vpn
        entry[row, vpn & mask] = pte | _PAGE_RW | _PAGE_DIRTY | _PAGE_ACCESSED
        done += 1
        vpn += stride
    mem.vm_event[PGREUSE] += done
    return done


@leaf
def wp_page_copy(
    mem: Mem,
    pt: PageTables,
    mms: Mms,
    mm: int,
    vpn: int,
    nr: int,
    stride: int,
    pfns: I64,
    n: int,
    token: int,
    out_pfns: I64,
) -> tuple[int, int]:
    """Replace pages mapped read-only by private copies in `pfns[:n]`, which are then written.

    They are anonymous pages that others have too, or pages of a file behind a private mapping,
    which count in `tlb_flush_batched` until the caller has flushed TLBs.

    `out_pfns` gets the old pages that are not mapped any more (those in the swap cache), which
    PG_gathered keeps until the caller has flushed TLBs; it must have room for min(nr, n). The
    caller puts the new pages on an LRU list.

    Returns:
        Pages copied, and how many are in `out_pfns`.

    Source: Linux 6.1 mm/memory.c:wp_page_copy
    """
    entry, pages, top = pt.entry, mem.pages, int(mms.pgd_row[mm])
    mask = (1 << pt.state[PT_BITS]) - 1
    row, end = 0, 0
    bits = _PAGE_PRESENT | _PAGE_USER | _PAGE_RW | _PAGE_ACCESSED | _PAGE_DIRTY | _PAGE_NX
    done, n_out = 0, 0
    while done < min(nr, n):
        if vpn >= end:
            row, end = walk(entry, pt.state, pages.private, top, vpn)
        pte = get_pte(entry, row, vpn & mask) if row else 0
        if pte & _PAGE_PRESENT == 0 or pte & (_PAGE_SPECIAL | _PAGE_RW):
            break
        old, new = pte_pfn(pte), int(pfns[done])
        entry[row, vpn & mask] = mk_pte(new, bits)
        pages.flags[new] |= np.uint32(_ANON_FLAGS)
        pages.mapcount[new] = 1
        pages.mapping[new] = mm
        pages.index[new] = vpn
        pages.token[new] = token
        mem.node_stat[nid_of(mem, new), NR_ANON_PAGES] += 1
        if pages.flags[old] & np.uint32(PG_anon) == 0:
            page_remove_file_rmap(mem, old, pte)
            mms.tlb_flush_batched[mm] += 1
            mms.rss[mm, mm_counter_file(pages.flags[old])] -= 1
            mms.rss[mm, MM_ANONPAGES] += 1
            done += 1
            vpn += stride
            continue
        pages.mapcount[old] -= 1
        if pages.mapcount[old] == 0:
            pages.mapping[old] = 0
            pages.index[old] = 0
            pages.flags[old] &= np.uint32(_NO_OWNER_MASK)
            pages.flags[old] |= np.uint32(PG_gathered)
            mem.node_stat[nid_of(mem, old), NR_ANON_PAGES] -= 1
            out_pfns[n_out] = old
            n_out += 1
        elif pages.mapping[old] == mm:
            find_owner(mem, pt, mms, mm, old)
        done += 1
        vpn += stride
    return done, n_out
