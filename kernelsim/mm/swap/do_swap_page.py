"""A fault on a swap entry, as far as it needs no disk: mapping pages that are cached.

Linux: mm/memory.c:do_swap_page (6.1).

Interface: a fault first tries `map_swapcache_run` (minor faults: the page is cached). When that
stops at SWAP_RUN_NOT_CACHED, swap_readahead.py says which slots are worth reading, and
swap_state.py enters pages for them. pgfault and pgmajfault are left to the fault handler.
"""

from typing import Final

from kernelsim.hw.leaf import leaf
from kernelsim.mm.core.mem import (
    Mem,
    PG_anon,
    PG_anon_exclusive,
    PG_isolated,
    PG_locked,
    PG_mlocked,
    PG_readahead,
    PG_reclaim,
    PG_swapbacked,
    PG_uptodate,
    nid_of,
)
from kernelsim.mm.core.swap import ALL_FLAGS
from kernelsim.mm.core.vmstat import NR_ANON_PAGES, SWAP_RA_HIT
from kernelsim.mm.space.pgtable import (
    _PAGE_ACCESSED,
    _PAGE_DIRTY,
    _PAGE_NX,
    _PAGE_PRESENT,
    _PAGE_RW,
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
)
from kernelsim.mm.swap.free_swap import folio_free_swap
from kernelsim.mm.swap.swap_area import SwapArea, swap_count, vm_swap_full
from kernelsim.mm.swap.swapfile import swap_free

SWAP_RUN_DONE: Final = 0  # all touches asked for


SWAP_RUN_NOT_SWAP: Final = 1  # the next page has no swap entry


SWAP_RUN_NOT_CACHED: Final = 2  # a major fault: its slot must be read


SWAP_RUN_LOCKED: Final = 3  # it is being read; wait for end_swap_read


SWAP_RUN_ERROR: Final = 5  # its slot could not be read: VM_FAULT_SIGBUS


SWAP_RUN_SHARED: Final = 4  # mapped read-only, others have it too: a write must now copy it


_ANON_FLAGS: Final = PG_anon | PG_swapbacked


@leaf
def map_swapcache_run(
    mem: Mem,
    pt: PageTables,
    mms: Mms,
    swap: SwapArea,
    mm: int,
    vpn: int,
    nr_max: int,
    stride: int,
    write: bool,
    token: int,
) -> tuple[int, int, int]:
    """Handle faults on swap entries one after the other while their pages are cached.

    A write takes the page out of the swap cache if it can and maps it writable and dirty, with
    `token` in it. A read maps it read-only and keeps the slot, so that reclaim need not write it
    again, unless swap is more than half full.

    Returns:
        Pages mapped, `SWAP_RUN_*`, and how many of them readahead had brought.

    Source: Linux 6.1 mm/memory.c:do_swap_page
    """
    mask = (1 << pt.state[PT_BITS]) - 1
    hits = 0
    for done in range(nr_max):
        row, _ = pte_span(mem, pt, mms, mm, vpn)
        pte = get_pte(pt.entry, row, vpn & mask) if row else 0
        if not is_swap_pte(pte):
            return done, SWAP_RUN_NOT_SWAP, hits
        slot = pte_swap_slot(pte)
        pfn = int(swap.cache_pfn[slot])
        if pfn == 0:
            return done, SWAP_RUN_NOT_CACHED, hits
        flags = mem.pages.flags[pfn]
        if flags & PG_locked:
            return done, SWAP_RUN_LOCKED, hits
        if not flags & PG_uptodate:
            return done, SWAP_RUN_ERROR, hits
        # Linux has one bit for both names: a page that reclaim is writing counts as a hit too.
        if flags & (PG_readahead | PG_reclaim):
            mem.pages.flags[pfn] = flags & (ALL_FLAGS ^ (PG_readahead | PG_reclaim))
            mem.vm_event[SWAP_RA_HIT] += 1
            hits += 1
        exclusive = do_swap_page(mem, swap, pfn, slot, write)
        bits = _PAGE_PRESENT | _PAGE_USER | _PAGE_ACCESSED | _PAGE_NX
        if exclusive and write:
            bits |= _PAGE_RW | _PAGE_DIRTY
            mem.pages.token[pfn] = token
        pt.entry[row, vpn & mask] = mk_pte(pfn, bits)
        if mem.pages.mapcount[pfn] == 0:
            mem.pages.mapping[pfn] = mm
            mem.pages.index[pfn] = vpn
            mem.node_stat[nid_of(mem, pfn), NR_ANON_PAGES] += 1
        mem.pages.mapcount[pfn] += 1
        mms.rss[mm, MM_ANONPAGES] += 1
        mms.rss[mm, MM_SWAPENTS] -= 1
        vpn += stride
        if write and not exclusive:
            return done + 1, SWAP_RUN_SHARED, hits
    return nr_max, SWAP_RUN_DONE, hits


@leaf
def is_cached_for_others(mem: Mem, swap: SwapArea, slot: int) -> bool:
    """Tell whether a slot is cached and others name it or map its page: a store must copy it."""
    pfn = swap.cache_pfn[slot]
    return pfn != 0 and (swap_count(swap, slot) != 1 or mem.pages.mapcount[pfn] != 0)


@leaf
def do_swap_page(mem: Mem, swap: SwapArea, pfn: int, slot: int, write: bool) -> bool:
    """Drop one entry's use of a cached page's slot; free the slot when that is wanted.

    Returns:
        Whether the page now belongs to this mapping alone.
    """
    left = swap_free(swap, slot)
    flags = mem.pages.flags[pfn]
    # A reclaimer that has the page off its list holds it, so a writer is not its only user.
    only_user = write and not flags & PG_isolated
    if vm_swap_full(swap) or flags & PG_mlocked or only_user:
        folio_free_swap(mem, swap, pfn)
    # Differs from Linux: Swap entries do not say whether the page was exclusive; the counts of the
    # slot and the page do.
    exclusive = left == 0 and mem.pages.mapcount[pfn] == 0
    mem.pages.flags[pfn] |= _ANON_FLAGS
    if exclusive:
        mem.pages.flags[pfn] |= PG_anon_exclusive
    else:
        mem.pages.flags[pfn] &= ALL_FLAGS ^ PG_anon_exclusive
    return exclusive
