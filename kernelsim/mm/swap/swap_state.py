"""The swap cache: pages that are in memory and have a swap slot.

Linux: mm/swap_state.c, mm/page_io.c, mm/memory.c:do_swap_page, mm/swapfile.c:folio_free_swap (6.1).
Differs: The swap cache is a column of `SwapArea` instead of a radix tree for each 64 MB, so adding
a page cannot fail for want of memory. Readahead is that of devices without seek cost: around the
faulting address, not around the slot.

Interface: a fault on a swap entry first tries `map_swapcache_run` (minor faults: the page is
cached). When that stops at SWAP_RUN_NOT_CACHED, swap_readahead.py gives the window, `swapin_slots`
the slots in it worth reading, `begin_swap_read` enters the new pages, and after the device's answer
`end_swap_read` unlocks them. `end_swap_write` ends what reclaim wrote. `free_swap_and_cache` and
`free_swap_cache` let go of slots and cached pages when a process unmaps memory.
Counters: pgpgin, pgpgout in kB as /proc/vmstat prints them; pswpin when a read is submitted.
pgfault and pgmajfault are left to the fault handler.
"""

from typing import Final

from kernelsim.hw.leaf import leaf
from kernelsim.mm.core.mem import (
    I64,
    I64_2D,
    Mem,
    PG_anon,
    PG_anon_exclusive,
    PG_batched,
    PG_dirty,
    PG_isolated,
    PG_locked,
    PG_lru,
    PG_mlocked,
    PG_readahead,
    PG_reclaim,
    PG_swapbacked,
    PG_swapcache,
    PG_uptodate,
    PG_writeback,
    nid_of,
    zone_of,
)
from kernelsim.mm.core.swap import (
    ALL_FLAGS,
    folio_add_lru,
    folio_rotate_reclaimable,
    lruvec_del_folio,
)
from kernelsim.mm.core.vmstat import (
    NR_ANON_PAGES,
    NR_FILE_PAGES,
    NR_SWAPCACHED,
    NR_THROTTLED_WRITTEN,
    NR_WRITEBACK,
    NR_WRITTEN,
    NR_ZONE_WRITE_PENDING,
    PGPGIN,
    PSWPIN,
    SWAP_RA,
    SWAP_RA_HIT,
)
from kernelsim.mm.core.workingset import workingset_refault
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
from kernelsim.mm.swap.swapfile import (
    SS_FREE,
    SWAP_HAS_CACHE,
    SwapArea,
    put_swap_slot,
    swap_count,
    swap_free,
    vm_swap_full,
)

# Why map_swapcache_run stopped
SWAP_RUN_DONE: Final = 0  # all touches asked for
SWAP_RUN_NOT_SWAP: Final = 1  # the next page has no swap entry
SWAP_RUN_NOT_CACHED: Final = 2  # a major fault: its slot must be read
SWAP_RUN_LOCKED: Final = 3  # it is being read; wait for end_swap_read
SWAP_RUN_SHARED: Final = 4  # mapped read-only, others have it too: a write must now copy it

_READ_FLAGS: Final = PG_locked | PG_swapbacked | PG_swapcache
_ANON_FLAGS: Final = PG_anon | PG_swapbacked


@leaf
def add_to_swap_cache(mem: Mem, swap: SwapArea, pfn: int, slot: int) -> None:
    """Enter a page in the swap cache under a slot that was taken for it.

    Source: Linux 6.1 mm/swap_state.c:add_to_swap_cache
    """
    nid = nid_of(mem, pfn)
    mem.pages.flags[pfn] |= PG_swapcache
    mem.pages.private[pfn] = slot
    swap.cache_pfn[slot] = pfn
    swap.shadow[slot] = 0
    mem.node_stat[nid, NR_FILE_PAGES] += 1
    mem.node_stat[nid, NR_SWAPCACHED] += 1


@leaf
def delete_from_swap_cache(mem: Mem, swap: SwapArea, pfn: int, shadow: int) -> None:
    """Take a page out of the swap cache, leaving a shadow, and drop the cache's hold on the slot.

    Source: Linux 6.1 mm/swap_state.c:delete_from_swap_cache
    """
    nid = nid_of(mem, pfn)
    slot = mem.pages.private[pfn]
    mem.pages.flags[pfn] &= ALL_FLAGS ^ PG_swapcache
    mem.pages.private[pfn] = 0
    swap.cache_pfn[slot] = 0
    swap.shadow[slot] = shadow
    mem.node_stat[nid, NR_FILE_PAGES] -= 1
    mem.node_stat[nid, NR_SWAPCACHED] -= 1
    put_swap_slot(swap, slot)


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
def begin_swap_read(
    mem: Mem, swap: SwapArea, lruvec: I64_2D, slots: I64, pfns: I64, n: int, target_slot: int
) -> None:
    """Enter fresh pages for `slots[:n]` in the swap cache, locked, and put them on their lists.

    The caller then reads the slots from the device. All pages but that of `target_slot`
    are readahead. A page whose eviction is remembered may start on the active list.

    Source: Linux 6.1 mm/swap_state.c:__read_swap_cache_async, :swap_vma_readahead
    """
    for i in range(n):
        pfn, slot = int(pfns[i]), int(slots[i])
        shadow = int(swap.shadow[slot])
        flags = _READ_FLAGS if slot == target_slot else _READ_FLAGS | PG_readahead
        mem.pages.flags[pfn] |= flags
        mem.pages.mapcount[pfn] = 0
        swap.map[slot] |= SWAP_HAS_CACHE
        add_to_swap_cache(mem, swap, pfn, slot)
        if shadow:
            workingset_refault(mem, lruvec, pfn, shadow, swap.state[SS_FREE])
        folio_add_lru(mem, pfn)
        if slot != target_slot:
            mem.vm_event[SWAP_RA] += 1
    mem.vm_event[PSWPIN] += n
    mem.vm_event[PGPGIN] += 4 * n


@leaf
def end_swap_read(mem: Mem, swap: SwapArea, pfns: I64, n: int) -> None:
    """Fill pages with what their slots hold and unlock them.

    Source: Linux 6.1 mm/page_io.c:end_swap_bio_read
    """
    for i in range(n):
        pfn = int(pfns[i])
        mem.pages.token[pfn] = swap.token[mem.pages.private[pfn]]
        flags = mem.pages.flags[pfn] | PG_uptodate
        mem.pages.flags[pfn] = flags & (ALL_FLAGS ^ PG_locked)


@leaf
def end_swap_write(mem: Mem, pfns: I64, n: int, throttled: bool) -> int:
    """End the writing of pages that reclaim unmapped: they are clean and may be freed.

    A page that reclaim still wants goes to the tail of its inactive list, if it is back on a list
    by now. With `throttled` (tasks wait for writeback on the node) nr_throttled_written grows.

    Returns:
        How many were rotated.

    Source: Linux 6.1 mm/filemap.c:folio_end_writeback, mm/page_io.c:end_swap_bio_write
    """
    rotated = 0
    for i in range(n):
        pfn = int(pfns[i])
        zone = zone_of(mem, pfn)
        nid = nid_of(mem, pfn)
        flags = mem.pages.flags[pfn]
        mem.node_stat[nid, NR_WRITEBACK] -= 1
        mem.node_stat[nid, NR_WRITTEN] += 1
        mem.zone_stat[zone, NR_ZONE_WRITE_PENDING] -= 1
        if throttled:
            mem.node_stat[nid, NR_THROTTLED_WRITTEN] += 1
        mem.pages.flags[pfn] = flags & (ALL_FLAGS ^ (PG_writeback | PG_reclaim))
        if flags & PG_reclaim and folio_rotate_reclaimable(mem, pfn):
            rotated += 1
    return rotated


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


@leaf
def swapin_slots(
    mem: Mem, pt: PageTables, mms: Mms, swap: SwapArea, mm: int, start: int, end: int, out: I64
) -> int:
    """Collect the slots named by the entries of pages [start, end) that are not in the cache.

    The range lies in one table of PTEs. Returns how many are in `out`, in rising address order.

    Source: Linux 6.1 mm/swap_state.c:swap_vma_readahead
    """
    mask = (1 << pt.state[PT_BITS]) - 1
    row, _ = pte_span(mem, pt, mms, mm, start)
    found = 0
    if row == 0:
        return 0
    for vpn in range(start, end):
        pte = get_pte(pt.entry, row, vpn & mask)
        if is_swap_pte(pte):
            slot = pte_swap_slot(pte)
            if swap.cache_pfn[slot] == 0:
                out[found] = slot
                found += 1
    return found


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
