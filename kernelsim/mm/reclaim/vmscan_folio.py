"""Reclaim's decision about each page of a batch: free it, write it to swap, or keep it.

Linux: mm/vmscan.c:shrink_folio_list (6.1).
Differs: The decision about one page leaves TLB flushes, I/O and freeing to its caller.

Interface: `shrink_folio_list`, between isolating a batch and putting back the rest; see
reclaim_batch.py for the order of calls.
Units: pages.

How an anonymous page dies. A new page has its accessed bit set, so the first scan lets it go round
once more with PG_referenced; the second finds it idle, gives it a swap slot, unmaps it and starts
the write; when that ends the page goes to the tail, and the third scan frees it. If it was used
between the first and the second scan it goes to the active list instead, and so does one that is
met while it is still being written. A page that was read from swap and not written to since
still has its slot: the second scan frees it at once.
"""

from typing import Final

from kernelsim.hw.leaf import inlined_leaf, leaf
from kernelsim.mm.core.lru_gen import lru_gen_enabled
from kernelsim.mm.core.lruvec import LV_PGDAT_WRITEBACK
from kernelsim.mm.core.mem import (
    I64,
    I64_2D,
    Mem,
    PG_activating,
    PG_active,
    PG_anon,
    PG_dirty,
    PG_gathered,
    PG_isolated,
    PG_locked,
    PG_mlocked,
    PG_reclaim,
    PG_referenced,
    PG_swapbacked,
    PG_swapcache,
    PG_writeback,
    nid_of,
    zone_of,
)
from kernelsim.mm.core.swap import ALL_FLAGS
from kernelsim.mm.core.vmstat import (
    NR_VMSCAN_IMMEDIATE_RECLAIM,
    NR_VMSCAN_WRITE,
    NR_WRITEBACK,
    NR_ZONE_WRITE_PENDING,
    PGACTIVATE,
    PGPGOUT,
    PSWPOUT,
)
from kernelsim.mm.core.workingset import workingset_eviction
from kernelsim.mm.file.address_space import FileMappings
from kernelsim.mm.file.filemap import filemap_remove_folio
from kernelsim.mm.file.shmem import shmem_delete_from_page_cache, shmem_writepage
from kernelsim.mm.reclaim.reclaim_batch import (
    SHRINK_IO,
    SHRINK_KSWAPD,
    SHRINK_MAY_UNMAP,
    SHRINK_MAY_WRITEPAGE,
    STAT_NR_ACTIVATE_ANON,
    STAT_NR_ACTIVATE_FILE,
    STAT_NR_CONGESTED,
    STAT_NR_DIRTY,
    STAT_NR_IMMEDIATE,
    STAT_NR_PAGEOUT,
    STAT_NR_PUTBACK,
    STAT_NR_RECLAIMED,
    STAT_NR_REF_KEEP,
    STAT_NR_SCANNED,
    STAT_NR_TO_FREE,
    STAT_NR_TO_WRITE,
    STAT_NR_UNMAP_FAIL,
    STAT_NR_UNMAPPED,
    STAT_NR_UNQUEUED_DIRTY,
    STAT_NR_WRITEBACK,
    ReclaimBatch,
)
from kernelsim.mm.space.pgtable import Mms, PageTables
from kernelsim.mm.space.rmap import folio_referenced, try_to_unmap
from kernelsim.mm.swap.free_swap import folio_free_swap
from kernelsim.mm.swap.swap_area import SwapArea, swap_count, vm_swap_full
from kernelsim.mm.swap.swap_slab import swap_bio_alloc
from kernelsim.mm.swap.swap_state import add_to_swap_cache, delete_from_swap_cache
from kernelsim.mm.swap.swapfile import folio_alloc_swap, swap_duplicate

# Outcomes of folio_check_references
FOLIOREF_RECLAIM: Final = 0
FOLIOREF_RECLAIM_CLEAN: Final = 1
FOLIOREF_KEEP: Final = 2
FOLIOREF_ACTIVATE: Final = 3

# What becomes of one page
_KEEP: Final = 0
_ACTIVATE: Final = 1
_WRITE: Final = 2
_FREE: Final = 3


@leaf
def shrink_folio_list(
    mem: Mem,
    pt: PageTables,
    mms: Mms,
    swap: SwapArea,
    files: FileMappings,
    lruvec: I64_2D,
    cpu: int,
    how: int,
    batch: ReclaimBatch,
    first: int,
    last: int,
) -> int:
    """Decide for the pages `first` to `last` of the batch: free, write to swap, or put back.

    A batch is done in one call or in several that follow each other, between which others run.
    Adds to `batch.to_free`, `batch.to_write`, `batch.stat`, and leaves in front in `batch.folios`
    the pages that go back to a list, those being written included. Swap writes count as submitted:
    pswpout, pgpgout, nr_vmscan_write and nr_writeback rise here.

    Returns:
        Pages reclaimed by this call; all so far are in `batch.to_free`.

    Source: Linux 6.1 mm/vmscan.c:shrink_folio_list
    """
    stat = batch.stat
    putback, free = int(stat[STAT_NR_PUTBACK]), int(stat[STAT_NR_TO_FREE])
    write, before = int(stat[STAT_NR_TO_WRITE]), free
    activated = stat[STAT_NR_ACTIVATE_ANON] + stat[STAT_NR_ACTIVATE_FILE]
    for i in range(first, last):
        pfn = int(batch.folios[i])
        flags = mem.pages.flags[pfn]
        outcome = _KEEP
        # A page freed meanwhile is bare, and only waits to be put back; a locked one is being read.
        is_bare = flags & (ALL_FLAGS ^ PG_activating) == PG_isolated
        if not is_bare and not flags & PG_locked:
            stat[STAT_NR_SCANNED] += 1
            outcome = shrink_folio(mem, pt, mms, swap, files, lruvec, cpu, how, batch, pfn)
        if outcome == _ACTIVATE:
            activate_locked(mem, swap, stat, pfn)
        if outcome == _FREE:
            batch.to_free[free] = pfn
            remove_mapping(mem, swap, files, lruvec, pfn)
            free += 1
            continue
        if outcome == _WRITE:
            pageout(mem, swap, pfn)
            batch.to_write[write] = pfn
            write += 1
        batch.folios[putback] = pfn
        putback += 1
    stat[STAT_NR_PUTBACK] = putback
    stat[STAT_NR_TO_WRITE] = write
    stat[STAT_NR_PAGEOUT] = write
    stat[STAT_NR_TO_FREE] = free
    stat[STAT_NR_RECLAIMED] = free
    activated = stat[STAT_NR_ACTIVATE_ANON] + stat[STAT_NR_ACTIVATE_FILE] - activated
    mem.vm_event[PGACTIVATE] += activated
    return free - before


@inlined_leaf
def shrink_folio(
    mem: Mem,
    pt: PageTables,
    mms: Mms,
    swap: SwapArea,
    files: FileMappings,
    lruvec: I64_2D,
    cpu: int,
    how: int,
    batch: ReclaimBatch,
    pfn: int,
) -> int:
    """Decide what becomes of one page, giving it a swap slot and unmapping it if need be."""
    flags = mem.pages.flags[pfn]
    stat = batch.stat
    file = not flags & PG_swapbacked
    mapped = mem.pages.mapcount[pfn] != 0
    if flags & PG_mlocked:
        return _ACTIVATE
    if not how & SHRINK_MAY_UNMAP and mapped:
        return _KEEP
    if mapped and flags & PG_referenced and lru_gen_enabled(mem):  # it was used meanwhile
        return _KEEP
    if file and not flags & PG_anon:
        count_dirty_file(stat, flags)
    if flags & PG_writeback:
        return meet_writeback(mem, lruvec, how, stat, pfn)
    references = folio_check_references(mem, pt, mms, pfn)
    if references == FOLIOREF_ACTIVATE:
        return _ACTIVATE
    if references == FOLIOREF_KEEP:
        stat[STAT_NR_REF_KEEP] += 1
        return _KEEP
    if flags & PG_anon and not file and not flags & PG_swapcache:
        if not how & SHRINK_IO:
            return _KEEP
        if not add_to_swap(mem, swap, cpu, batch, pfn):
            return _ACTIVATE
    if mapped and not unmap_folio(mem, pt, mms, swap, stat, pfn):
        stat[STAT_NR_UNMAP_FAIL] += 1
        return _ACTIVATE
    if mem.pages.flags[pfn] & PG_gathered:  # the task that unmapped it still holds a reference
        return _KEEP
    if not mem.pages.flags[pfn] & PG_dirty:
        return _KEEP if flags & PG_activating else _FREE  # somebody has a reference
    if file:
        # Differs from Linux: kswapd never writes file pages itself; that is left to the flushers.
        mem.node_stat[nid_of(mem, pfn), NR_VMSCAN_IMMEDIATE_RECLAIM] += 1
        mem.pages.flags[pfn] |= PG_reclaim
        return _ACTIVATE
    # Differs from Linux: A dirty page that is mapped nowhere and named by no swap entry is freed at
    # once.
    if mem.pages.flags[pfn] & PG_swapcache and swap_count(swap, mem.pages.private[pfn]) == 0:
        return _FREE
    needed = SHRINK_IO | SHRINK_MAY_WRITEPAGE
    if references == FOLIOREF_RECLAIM_CLEAN or how & needed != needed:
        return _KEEP
    if flags & PG_anon or mem.pages.flags[pfn] & PG_swapcache:
        return _WRITE
    return _WRITE if shmem_writepage(mem, swap, files, cpu, batch.slot, pfn) else _ACTIVATE


@inlined_leaf
def count_dirty_file(stat: I64, flags: int) -> None:
    """Count what tells whether flushers keep up; anonymous pages are no concern of theirs.

    Source: Linux 6.1 mm/vmscan.c:folio_check_dirty_writeback
    """
    if flags & (PG_dirty | PG_writeback):
        stat[STAT_NR_DIRTY] += 1
        if not flags & PG_writeback:
            stat[STAT_NR_UNQUEUED_DIRTY] += 1
        elif flags & PG_reclaim:
            stat[STAT_NR_CONGESTED] += 1


@inlined_leaf
def meet_writeback(mem: Mem, lruvec: I64_2D, how: int, stat: I64, pfn: int) -> int:
    """Step over a page that is still being written: it waits on the active list.

    Kswapd counts it as `immediate`, and will be throttled, once the node is known to have only
    such pages at the tail of its lists.
    """
    nid = nid_of(mem, pfn)
    flags = mem.pages.flags[pfn]
    if how & SHRINK_KSWAPD and flags & PG_reclaim and lruvec[nid, LV_PGDAT_WRITEBACK]:
        stat[STAT_NR_IMMEDIATE] += 1
    else:
        mem.pages.flags[pfn] = flags | PG_reclaim
        stat[STAT_NR_WRITEBACK] += 1
    return _ACTIVATE


@inlined_leaf
def folio_check_references(mem: Mem, pt: PageTables, mms: Mms, pfn: int) -> int:
    """Judge a page by whether it was used since the last scan; forgets that it was.

    Source: Linux 6.1 mm/vmscan.c:folio_check_references
    """
    flags = mem.pages.flags[pfn]
    referenced_folio = flags & PG_referenced
    referenced_ptes, is_exec = 0, False
    if mem.pages.mapcount[pfn]:
        referenced_ptes, is_exec = folio_referenced(mem, pt, mms, pfn)
    if referenced_ptes:
        mem.pages.flags[pfn] = flags | PG_referenced
        if referenced_folio or referenced_ptes > 1 or is_exec or lru_gen_enabled(mem):
            return FOLIOREF_ACTIVATE
        return FOLIOREF_KEEP
    mem.pages.flags[pfn] = flags & (ALL_FLAGS ^ PG_referenced)
    if referenced_folio and not flags & PG_swapbacked:
        return FOLIOREF_RECLAIM_CLEAN
    return FOLIOREF_RECLAIM


@inlined_leaf
def add_to_swap(mem: Mem, swap: SwapArea, cpu: int, batch: ReclaimBatch, pfn: int) -> bool:
    """Give an anonymous page a swap slot and enter it, dirty, in the swap cache; False if full.

    Source: Linux 6.1 mm/swap_state.c:add_to_swap
    """
    if not folio_alloc_swap(swap, cpu, batch.slot):
        return False
    add_to_swap_cache(mem, swap, pfn, batch.slot[0])
    mem.pages.flags[pfn] |= PG_dirty
    return True


@inlined_leaf
def unmap_folio(mem: Mem, pt: PageTables, mms: Mms, swap: SwapArea, stat: I64, pfn: int) -> bool:
    """Take a page out of all page tables, counting the entries that now name its slot."""
    before = int(mem.pages.mapcount[pfn])
    slot = mem.pages.private[pfn]
    in_cache = mem.pages.flags[pfn] & PG_swapcache
    if in_cache and not swap_duplicate(swap, slot, before):
        return False
    unmapped = try_to_unmap(mem, pt, mms, pfn)
    left = mem.pages.mapcount[pfn]
    if in_cache:
        swap.map[slot] -= left
    stat[STAT_NR_UNMAPPED] += before - left
    return unmapped


@inlined_leaf
def activate_locked(mem: Mem, swap: SwapArea, stat: I64, pfn: int) -> None:
    """Mark a page for the active list; when swap is short it gives its slot back first."""
    flags = mem.pages.flags[pfn]
    if flags & PG_swapcache and (vm_swap_full(swap) or flags & PG_mlocked):
        folio_free_swap(mem, swap, pfn)
    if not flags & PG_mlocked:
        mem.pages.flags[pfn] |= PG_active
        file = 0 if flags & PG_swapbacked else 1
        stat[STAT_NR_ACTIVATE_ANON + file] += 1


@inlined_leaf
def pageout(mem: Mem, swap: SwapArea, pfn: int) -> None:
    """Start writing an unmapped dirty page to its slot, which holds the content when that is done.

    Source: Linux 6.1 mm/vmscan.c:pageout, mm/page_io.c:__swap_writepage
    """
    zone = zone_of(mem, pfn)
    nid = nid_of(mem, pfn)
    swap_bio_alloc(swap, int(mem.pages.private[pfn]), nid)
    flags = mem.pages.flags[pfn] & (ALL_FLAGS ^ PG_dirty)
    mem.pages.flags[pfn] = flags | PG_writeback | PG_reclaim
    mem.node_stat[nid, NR_WRITEBACK] += 1
    mem.node_stat[nid, NR_VMSCAN_WRITE] += 1
    mem.zone_stat[zone, NR_ZONE_WRITE_PENDING] += 1
    mem.vm_event[PSWPOUT] += 1
    mem.vm_event[PGPGOUT] += 4


@leaf
def free_written(
    mem: Mem, swap: SwapArea, files: FileMappings, lruvec: I64_2D, batch: ReclaimBatch
) -> int:
    """Let those pages of a batch go that are written already, since their disk is memory.

    Returns:
        How many; they are added to `batch.to_free`.

    Source: Linux 6.1 mm/vmscan.c:shrink_folio_list, after a synchronous pageout
    """
    stat = batch.stat
    putback, free, written, busy = 0, int(stat[STAT_NR_TO_FREE]), 0, PG_dirty | PG_writeback
    for i in range(stat[STAT_NR_PUTBACK]):
        pfn = int(batch.folios[i])
        is_idle = False
        if written < stat[STAT_NR_TO_WRITE] and batch.to_write[written] == pfn:
            written += 1  # they are in the order of `folios`
            flags = mem.pages.flags[pfn]
            held = busy | PG_locked | PG_gathered | PG_activating | PG_mlocked
            is_idle = flags & PG_swapcache != 0 and not flags & held and not mem.pages.mapcount[pfn]
        if is_idle:
            remove_mapping(mem, swap, files, lruvec, pfn)
            batch.to_free[free] = pfn
            free += 1
        else:
            batch.folios[putback] = pfn
            putback += 1
    nr_freed = free - int(stat[STAT_NR_TO_FREE])
    stat[STAT_NR_PUTBACK] = putback
    stat[STAT_NR_TO_FREE] = free
    stat[STAT_NR_RECLAIMED] += nr_freed
    return nr_freed


@inlined_leaf
def remove_mapping(mem: Mem, swap: SwapArea, files: FileMappings, lruvec: I64_2D, pfn: int) -> None:
    """Take a clean unmapped page from its cache, where its shadow stays; it keeps no flag.

    Source: Linux 6.1 mm/vmscan.c:__remove_mapping
    """
    flags = mem.pages.flags[pfn]
    if flags & PG_swapcache:
        delete_from_swap_cache(mem, swap, pfn, workingset_eviction(mem, lruvec, pfn))
    elif not flags & (PG_swapbacked | PG_anon):
        filemap_remove_folio(mem, files, pfn, workingset_eviction(mem, lruvec, pfn))
    elif not flags & PG_anon and mem.pages.mapping[pfn]:
        shmem_delete_from_page_cache(mem, files, pfn, 0)
    mem.pages.mapping[pfn] = 0
    mem.pages.index[pfn] = 0
    mem.pages.flags[pfn] = 0
