"""Letting go of swap slots and of pages cached for them, when memory is unmapped or swap is short.

Linux: mm/swapfile.c:folio_free_swap, :free_swap_and_cache,
mm/swap_state.c:free_pages_and_swap_cache, mm/swap.c:release_pages (6.1).
Interface: `free_swap_cache` and `free_swap_and_cache` find the pages nobody uses any more, without
a lock; these have PG_gathered and stay on their lists until `release_pages` takes them off, under
lru_lock.
"""

from kernelsim.hw.leaf import inlined_leaf, leaf
from kernelsim.mm.core.mem import (
    I64,
    Mem,
    PG_anon,
    PG_anon_exclusive,
    PG_batched,
    PG_dirty,
    PG_gathered,
    PG_isolated,
    PG_locked,
    PG_swapcache,
    PG_writeback,
)
from kernelsim.mm.core.mlock import forget_mlocked, page_cache_release
from kernelsim.mm.core.swap import ALL_FLAGS
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


@inlined_leaf
def put_page(mem: Mem, pfn: int) -> bool:
    """Drop the last reference of a user to a page that is neither mapped nor cached.

    Returns:
        Whether it is to be freed (`release_pages`). Not if a reclaimer has it off its list, or it
        waits in a folio_batch: bare of all other flags it is freed when the reclaimer puts it back,
        or the batch is emptied. A reclaimer may still take it off its list, but gives it no slot:
        it is nobody's.
    """
    held = mem.pages.flags[pfn] & (PG_isolated | PG_batched)
    mem.pages.mapping[pfn] = 0
    mem.pages.index[pfn] = 0
    if held:
        forget_mlocked(mem, pfn)
        mem.pages.flags[pfn] = held
        return False
    flags = mem.pages.flags[pfn] & (ALL_FLAGS ^ (PG_anon | PG_anon_exclusive))
    mem.pages.flags[pfn] = flags | PG_gathered
    return True


@leaf
def release_pages(mem: Mem, pfns: I64, n: int, out: I64) -> int:
    """Take pages that nobody uses any more off their lists; the node's actor calls it.

    Returns:
        How many are ready for the allocator, in `out`; a reclaimer may have taken some meanwhile.

    Source: Linux 6.1 mm/swap.c:release_pages
    """
    free = 0
    for i in range(n):
        pfn = int(pfns[i])
        if not put_page(mem, pfn):
            continue
        page_cache_release(mem, pfn)
        out[free] = pfn
        free += 1
    return free


@leaf
def free_swap_cache(mem: Mem, swap: SwapArea, pfns: I64, n: int, out: I64) -> int:
    """Drop the references to unmapped anonymous pages, which leave the swap cache where possible.

    A page whose slot is still wanted, that is being written or read, or that a reclaimer has off
    its list, stays where it is; reclaim frees it later.

    Returns:
        How many pages nobody uses any more; they are in `out`, which may be `pfns` itself, and
        still on their lists.

    Source: Linux 6.1 mm/swap_state.c:free_pages_and_swap_cache
    """
    free = 0
    for i in range(n):
        pfn = int(pfns[i])
        mem.pages.flags[pfn] &= ALL_FLAGS ^ PG_gathered
        flags = mem.pages.flags[pfn]
        if mem.pages.mapcount[pfn]:
            continue
        if flags & PG_swapcache and (flags & PG_locked or not folio_free_swap(mem, swap, pfn)):
            continue
        if put_page(mem, pfn):
            out[free] = pfn
            free += 1
    return free


@leaf
def free_swap_and_cache(mem: Mem, swap: SwapArea, slots: I64, n: int, out: I64) -> int:
    """Drop one use of each slot, as unmapping an entry does; the last one frees the cached page.

    Returns:
        Pages nobody uses any more, in `out` (at least `n` long), still on their lists.

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
        if mem.pages.mapcount[pfn] or flags & PG_gathered:
            continue
        if put_page(mem, pfn):
            out[free] = pfn
            free += 1
    return free
