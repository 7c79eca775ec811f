"""Letting go of swap slots and of pages cached for them, when memory is unmapped or swap is short.

Linux: mm/swapfile.c:folio_free_swap, :free_swap_and_cache,
mm/swap_state.c:free_pages_and_swap_cache, mm/swap.c:release_pages (6.1).
"""

from kernelsim.hw.leaf import leaf
from kernelsim.mm.core.mem import (
    I64,
    Mem,
    PG_batched,
    PG_dirty,
    PG_isolated,
    PG_locked,
    PG_lru,
    PG_mlocked,
    PG_swapcache,
    PG_writeback,
)
from kernelsim.mm.core.mlock import clear_mlocked
from kernelsim.mm.core.swap import lruvec_del_folio
from kernelsim.mm.core.vmstat import UNEVICTABLE_PGS_CLEARED
from kernelsim.mm.swap.swap_area import SwapArea, swap_count, vm_swap_full
from kernelsim.mm.swap.swap_state import delete_from_swap_cache
from kernelsim.mm.swap.swapfile import swap_free


@leaf
def folio_free_swap(mem: Mem, swap: SwapArea, pfn: int) -> bool:
    """Give up a page's swap slot when no swap entry names it; the page is then dirty.

    Source: Linux 6.1 mm/swapfile.c:folio_free_swap
    """
    flags = mem.pages.flags[pfn]
    if not flags & PG_swapcache or flags & PG_writeback:
        return False
    if swap_count(swap, mem.pages.private[pfn]) != 0:
        return False
    delete_from_swap_cache(mem, swap, pfn, 0)
    mem.pages.flags[pfn] |= PG_dirty
    return True


@leaf
def release_page(mem: Mem, pfn: int) -> bool:
    """Make a page that is neither mapped nor cached ready for the allocator.

    Returns:
        False when a reclaimer has it off its list, or it waits in a folio_batch: bare of all other
        flags it is freed when the reclaimer puts it back, or the batch is emptied.
    """
    held = mem.pages.flags[pfn] & (PG_isolated | PG_batched)
    if mem.pages.flags[pfn] & PG_lru:
        lruvec_del_folio(mem, pfn)
    if mem.pages.flags[pfn] & PG_mlocked:
        clear_mlocked(mem, pfn)
        mem.vm_event[UNEVICTABLE_PGS_CLEARED] += 1
    mem.pages.flags[pfn] = held
    mem.pages.mapping[pfn] = 0
    mem.pages.index[pfn] = 0
    return held == 0


@leaf
def free_swap_cache(mem: Mem, swap: SwapArea, pfns: I64, n: int, out: I64) -> int:
    """Take unmapped anonymous pages off their lists, out of the swap cache where possible.

    A page whose slot is still wanted, that is being written or read, or that a reclaimer has off
    its list, stays where it is; reclaim frees it later.

    Returns:
        How many pages may be freed now; they are in `out`, which may be `pfns` itself.

    Source: Linux 6.1 mm/swap_state.c:free_pages_and_swap_cache, mm/swap.c:release_pages
    """
    free = 0
    for i in range(n):
        pfn = int(pfns[i])
        flags = mem.pages.flags[pfn]
        if flags & PG_swapcache and (flags & PG_locked or not folio_free_swap(mem, swap, pfn)):
            continue
        if release_page(mem, pfn):
            out[free] = pfn
            free += 1
    return free


@leaf
def free_swap_and_cache(mem: Mem, swap: SwapArea, slots: I64, n: int, out: I64) -> int:
    """Drop one use of each slot, as unmapping an entry does; the last one frees the cached page.

    Returns:
        Pages to free, in `out` (at least `n` long).

    Source: Linux 6.1 mm/swapfile.c:free_swap_and_cache
    """
    free = 0
    for i in range(n):
        slot = int(slots[i])
        pfn = int(swap.cache_pfn[slot])
        if swap_free(swap, slot) != 0 or pfn == 0:
            continue
        flags = mem.pages.flags[pfn]
        if mem.pages.mapcount[pfn] != 0 and not vm_swap_full(swap):
            continue
        if flags & PG_locked or not folio_free_swap(mem, swap, pfn):
            continue
        if mem.pages.mapcount[pfn] == 0 and release_page(mem, pfn):
            out[free] = pfn
            free += 1
    return free
