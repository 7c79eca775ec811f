"""Pages of memory that address spaces share: they enter a page cache, and no disk knows them.

Linux: mm/shmem.c, 6.1.
Such a page is PG_swapbacked and not PG_anon; `Pages.mapping` is the number of its file. One that
goes to swap leaves its page cache for the swap cache, and an entry with its slot in its place. That
entry is the slot's only user: page tables name no slot of shared memory.

Interface: `shmem_add_to_page_cache` enters a fresh page, `shmem_writepage` moves one to the swap
cache, `shmem_swapin_folio` back; `shmem_undo_range` takes out a range, slots included.
Units: pages of the file.
"""

import numpy as np

from kernelsim.hw.leaf import inlined_leaf, leaf
from kernelsim.mm.core.folio_batch import MARK_ACTIVATED, MARK_FULL, folio_mark_accessed
from kernelsim.mm.core.mem import (
    I64,
    I64_2D,
    Mem,
    PG_activating,
    PG_batched,
    PG_dirty,
    PG_gathered,
    PG_isolated,
    PG_readahead,
    PG_reclaim,
    PG_swapbacked,
    PG_uptodate,
    nid_of,
)
from kernelsim.mm.core.mlock import forget_mlocked
from kernelsim.mm.core.swap import ALL_FLAGS
from kernelsim.mm.core.vmstat import NR_FILE_PAGES, NR_SHMEM, SWAP_RA_HIT
from kernelsim.mm.core.xarray import SWAP_ENTRY, XA_CHUNK_MASK, xa_leaf, xa_load, xa_skip
from kernelsim.mm.file.address_space import AS_NRPAGES, AS_SWAPPED, FileMappings
from kernelsim.mm.file.filemap import filemap_remove_folio, xa_store_counted
from kernelsim.mm.swap.free_swap import free_swap_and_cache
from kernelsim.mm.swap.swap_area import SwapArea
from kernelsim.mm.swap.swap_state import add_to_swap_cache, delete_from_swap_cache
from kernelsim.mm.swap.swapfile import folio_alloc_swap, swap_duplicate, swap_free

_HELD = PG_activating | PG_batched | PG_isolated  # somebody has a reference


@leaf
def shmem_add_to_page_cache(
    mem: Mem, files: FileMappings, number: int, index: int, pfn: int
) -> None:
    """Enter a fresh page, full of zeros, in a place that has none.

    Source: Linux 6.1 mm/shmem.c:shmem_add_to_page_cache, :shmem_get_folio_gfp
    """
    old = shmem_store(mem, files, number, index, pfn)
    assert old == 0, "a page of shared memory is there twice"
    mem.pages.flags[pfn] |= np.uint32(PG_swapbacked | PG_uptodate)
    mem.pages.mapcount[pfn] = 0
    mem.pages.token[pfn] = 0


@inlined_leaf
def shmem_store(mem: Mem, files: FileMappings, number: int, index: int, pfn: int) -> int:
    """Put a page in its place of the page cache; return what was there."""
    old = xa_store_counted(mem, files, number, index, pfn, nid_of(mem, pfn))
    mem.pages.mapping[pfn] = number
    mem.pages.index[pfn] = index
    files.row[number, AS_NRPAGES] += 1
    mem.node_stat[nid_of(mem, pfn), NR_FILE_PAGES] += 1
    mem.node_stat[nid_of(mem, pfn), NR_SHMEM] += 1
    return int(old)


@leaf
def shmem_delete_from_page_cache(mem: Mem, files: FileMappings, pfn: int, entry: int) -> None:
    """Take a page out of its page cache, where an entry stays in its place; 0 for none.

    Source: Linux 6.1 mm/shmem.c:shmem_delete_from_page_cache
    """
    filemap_remove_folio(mem, files, pfn, -entry)
    mem.node_stat[nid_of(mem, pfn), NR_SHMEM] -= 1


@leaf
def shmem_writepage(
    mem: Mem, swap: SwapArea, files: FileMappings, cpu: int, slots: I64, pfn: int
) -> bool:
    """Move an unmapped page from its page cache to the swap cache; False when swap is full.

    Source: Linux 6.1 mm/shmem.c:shmem_writepage
    """
    if not folio_alloc_swap(swap, cpu, slots):
        return False
    slot = int(slots[0])
    add_to_swap_cache(mem, swap, pfn, slot)
    swap_duplicate(swap, slot, 1)
    files.row[mem.pages.mapping[pfn], AS_SWAPPED] += 1
    shmem_delete_from_page_cache(mem, files, pfn, SWAP_ENTRY - slot)
    return True


@inlined_leaf
def slot_of_entry(entry: int) -> int:
    """Return the slot that an entry of a page cache of shared memory names; 0 for none."""
    return SWAP_ENTRY - entry if entry < SWAP_ENTRY else 0


@leaf
def shmem_slot(files: FileMappings, number: int, index: int) -> int:
    """Return the swap slot of a page of shared memory; 0 if it has none."""
    return slot_of_entry(xa_load(files.xa, number, index))


@leaf
def shmem_swapin_folio(
    mem: Mem, swap: SwapArea, files: FileMappings, number: int, index: int
) -> int:
    """Move a page back from the swap cache, where it is idle; its slot is free then.

    Returns:
        1 if readahead had brought it, else 0.

    Source: Linux 6.1 mm/shmem.c:shmem_swapin_folio
    """
    slot = shmem_slot(files, number, index)
    pfn = int(swap.cache_pfn[slot])
    hit = int(mem.pages.flags[pfn] & (PG_readahead | PG_reclaim) != 0)
    mem.vm_event[SWAP_RA_HIT] += hit
    mem.pages.flags[pfn] &= ALL_FLAGS ^ (PG_readahead | PG_reclaim)
    shmem_store(mem, files, number, index, pfn)
    files.row[number, AS_SWAPPED] -= 1
    delete_from_swap_cache(mem, swap, pfn, 0)
    swap_free(swap, slot)
    mem.pages.flags[pfn] |= np.uint32(PG_dirty | PG_swapbacked)
    return hit


@leaf
def mark_shmem_accessed(
    mem: Mem, files: FileMappings, lruvec: I64_2D, cpu: int, number: int, first: int, last: int
) -> tuple[int, int]:
    """Mark pages `first` … `last` used, those that are in memory, as reads and writes of them do.

    Returns:
        How many on their way to the LRU will go to the active list, and the page to go on from: not
        behind `last` when the CPU's batch of pages to activate is full.

    Source: Linux 6.1 mm/shmem.c:shmem_get_folio_gfp (SGP_WRITE), :shmem_file_read_iter
    """
    n_activated, index = 0, first
    while index <= last:
        pfn = xa_load(files.xa, number, index)
        index += 1
        if pfn > 0:
            marked = folio_mark_accessed(mem, lruvec, cpu, pfn)
            n_activated += marked == MARK_ACTIVATED
            if marked == MARK_FULL:
                break
    return n_activated, index


@leaf
def next_swapped(
    files: FileMappings, number: int, index: int, last: int, start: int, end: int
) -> int:
    """Return the next page from `index` to `last` in one of the slots [start, end); -1 for none.

    Source: Linux 6.1 mm/shmem.c:shmem_find_swap_entries
    """
    while index <= last:
        row = xa_leaf(files.xa, number, index)
        if row == 0:
            index = xa_skip(files.xa, number, index)
            if index < 0:
                break
            continue
        slot = slot_of_entry(files.xa.slots[row, index & XA_CHUNK_MASK])
        if slot and start <= slot < end:
            return index
        index += 1
    return -1


@leaf
def shmem_undo_range(
    mem: Mem, swap: SwapArea, files: FileMappings, number: int, index: int, last: int, out: I64
) -> int:
    """Take pages of a file out of memory and swap, none of which is mapped.

    PG_gathered keeps those in `out`, which has room for all pages of the file, until the caller
    releases them; one that somebody else holds is freed when it is let go.

    Returns:
        How many are in `out`.

    Source: Linux 6.1 mm/shmem.c:shmem_undo_range, :shmem_free_swap,
    mm/truncate.c:truncate_cleanup_folio
    """
    nr = 0
    while index <= last:
        row = xa_leaf(files.xa, number, index)
        if row == 0:
            after = xa_skip(files.xa, number, index)
            index = after if after >= 0 else last + 1
            continue
        pfn = int(files.xa.slots[row, index & XA_CHUNK_MASK])
        if pfn < 0:
            out[nr] = slot_of_entry(pfn)
            xa_store_counted(mem, files, number, index, 0, 0)
            files.row[number, AS_SWAPPED] -= 1
            nr += free_swap_and_cache(mem, swap, out[nr:], 1, out[nr:])
        elif pfn > 0:
            assert mem.pages.mapcount[pfn] == 0, "a page of shared memory goes while it is mapped"
            shmem_delete_from_page_cache(mem, files, pfn, 0)
            mem.pages.flags[pfn] &= ALL_FLAGS ^ PG_dirty  # nobody is to write it to swap
            if mem.pages.flags[pfn] & (PG_batched | PG_isolated):
                forget_mlocked(mem, pfn)
                mem.pages.flags[pfn] &= _HELD
            elif not mem.pages.flags[pfn] & PG_activating:
                mem.pages.flags[pfn] |= PG_gathered
                out[nr] = pfn
                nr += 1
        index += 1
    return nr
