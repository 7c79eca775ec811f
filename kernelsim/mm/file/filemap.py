"""The page cache: which pages of a file are in memory, entering and removing them.

Linux: mm/filemap.c (6.1).

Interface: leaves over `FileMappings`. `filemap_add_folio` enters a fresh page, locked;
`end_page_read` fills those a disk has read; `filemap_remove_folio` takes one out. Whoever adds
pages has reserved nodes for them.
Units: pages of the file.
"""

from typing import Final

from kernelsim.hw.leaf import inlined_leaf, leaf
from kernelsim.mm.core.folio_batch import folio_batch_add, lru_gen_in_fault
from kernelsim.mm.core.mem import (
    I64,
    I64_2D,
    U64,
    Mem,
    PG_error,
    PG_locked,
    PG_readahead,
    PG_swapbacked,
    PG_uptodate,
    nid_of,
)
from kernelsim.mm.core.slab import kmem_cache_free
from kernelsim.mm.core.slab_cache import BUFFER_HEAD
from kernelsim.mm.core.swap import ALL_FLAGS
from kernelsim.mm.core.vmstat import NR_FILE_PAGES, WORKINGSET_NODES
from kernelsim.mm.core.workingset import workingset_refault
from kernelsim.mm.core.xarray import (
    SN_COUNT,
    XA_CHUNK_MASK,
    XN_COUNT,
    XN_NID,
    XN_PREV,
    XN_VALUES,
    is_shadow,
    xa_leaf,
    xa_load,
    xa_next,
    xa_skip,
    xa_store,
)
from kernelsim.mm.file.address_space import AS_NRPAGES, FileMappings

READ_OK: Final = 0


@inlined_leaf
def filemap_add_folio(
    mem: Mem,
    files: FileMappings,
    lruvec: I64_2D,
    number: int,
    index: int,
    pfn: int,
    row: int,
    swap_free: int,
    in_fault: bool,
) -> int:
    """Enter a fresh page in the page cache, locked, in a place that has none.

    A page whose eviction is remembered may start on the active list. The caller puts it on its
    list.

    Args:
        mem: Memory.
        files: All files.
        lruvec: What reclaim remembers of each node.
        number: The file.
        index: The place.
        pfn: The page.
        row: The node of the place, as `xa_leaf` gives it; 0 for none yet.
        swap_free: Free slots of swap.
        in_fault: It is read for a page fault.

    Returns:
        The node of the place.

    Source: Linux 6.1 mm/filemap.c:filemap_add_folio
    """
    nid = nid_of(mem, pfn)
    xa = files.xa
    if row == 0 or xa.node[row, XN_PREV]:
        old = xa_store_counted(mem, files, number, index, pfn, nid)
        row = xa_leaf(xa, number, index)
    else:  # a node that is there and has pages stays what it is
        old = int(xa.slots[row, index & XA_CHUNK_MASK])
        xa.slots[row, index & XA_CHUNK_MASK] = pfn
        xa.node[row, XN_COUNT] += old == 0
        xa.node[row, XN_VALUES] -= is_shadow(old)
    assert old <= 0, "a page of a file is cached twice"
    mem.pages.flags[pfn] |= PG_locked
    mem.pages.mapping[pfn] = number
    mem.pages.index[pfn] = index
    mem.pages.mapcount[pfn] = 0
    files.row[number, AS_NRPAGES] += 1
    mem.node_stat[nid, NR_FILE_PAGES] += 1
    if old < 0:
        workingset_refault(mem, lruvec, pfn, -old, swap_free, in_fault)
    return row


@leaf
def filemap_add_run(
    mem: Mem,
    files: FileMappings,
    lruvec: I64_2D,
    cpu: int,
    number: int,
    start: int,
    pfns: I64,
    at: int,
    n: int,
    mark: int,
    swap_free: int,
    in_fault: bool,
) -> int:
    """Enter `pfns[at:n]` as the pages `start + at` on, locked, and put them in a folio_batch.

    It stops when the batch of the CPU is full, or at a place that has a page by now. The page of
    index `mark` tells a reader that it is time to read ahead. `in_fault`: they are read for a page
    fault.

    Returns:
        The index behind the last one entered.

    Source: Linux 6.1 mm/readahead.c:page_cache_ra_unbounded
    """
    row = 0
    while at < n:
        pfn, index = int(pfns[at]), start + at
        if row == 0 or index & XA_CHUNK_MASK == 0:
            row = xa_leaf(files.xa, number, index)
        if row and files.xa.slots[row, index & XA_CHUNK_MASK] > 0:
            break
        row = filemap_add_folio(mem, files, lruvec, number, index, pfn, row, swap_free, in_fault)
        if in_fault:
            lru_gen_in_fault(mem, pfn)
        if index == mark:
            mem.pages.flags[pfn] |= PG_readahead
        at += 1
        if folio_batch_add(mem, cpu, pfn):
            break
    return at


@leaf
def filemap_remove_folio(mem: Mem, files: FileMappings, pfn: int, shadow: int) -> None:
    """Take a page out of the page cache, leaving a shadow in its place; 0 for none.

    Source: Linux 6.1 mm/filemap.c:__filemap_remove_folio, :page_cache_delete
    """
    number, index = int(mem.pages.mapping[pfn]), int(mem.pages.index[pfn])
    nid = nid_of(mem, pfn)
    try_to_free_buffers(mem, pfn, nid)
    old = xa_store_counted(mem, files, number, index, -shadow, nid)
    assert old == pfn, "a page is not where its file has it"
    mem.pages.mapping[pfn] = 0
    mem.pages.index[pfn] = 0
    files.row[number, AS_NRPAGES] -= 1
    mem.node_stat[nid, NR_FILE_PAGES] -= 1


@inlined_leaf
def try_to_free_buffers(mem: Mem, pfn: int, nid: int) -> None:
    """Free the buffer head of a page of a file, if it has one.

    Source: Linux 6.1 fs/buffer.c:try_to_free_buffers
    """
    if mem.pages.private[pfn] and mem.pages.flags[pfn] & PG_swapbacked == 0:
        kmem_cache_free(mem.slabs, BUFFER_HEAD, nid, int(mem.pages.private[pfn]) - 1)
        mem.pages.private[pfn] = 0


@inlined_leaf
def xa_store_counted(
    mem: Mem, files: FileMappings, number: int, index: int, entry: int, nid: int
) -> int:
    """Store an entry, and count the nodes that hold nothing but shadows (workingset_nodes)."""
    row = xa_leaf(files.xa, number, index)
    where = int(files.xa.node[row, XN_NID]) if row else nid
    before = files.xa.shadow_nodes[where, SN_COUNT]
    old = xa_store(files.xa, number, index, entry, nid)
    mem.node_stat[where, WORKINGSET_NODES] += files.xa.shadow_nodes[where, SN_COUNT] - before
    return old


@leaf
def end_page_read(mem: Mem, disk: U64, pfns: I64, n: int, error: int) -> None:
    """Fill pages with what their device holds and unlock them; after an error they stay empty.

    Source: Linux 6.1 fs/mpage.c:mpage_end_io, mm/filemap.c:folio_end_read
    """
    for i in range(n):
        pfn = int(pfns[i])
        flags = mem.pages.flags[pfn] & (ALL_FLAGS ^ PG_locked)
        if error == READ_OK:
            mem.pages.token[pfn] = disk[mem.pages.index[pfn]]
            flags |= PG_uptodate
        else:
            flags |= PG_error
        mem.pages.flags[pfn] = flags


@leaf
def page_cache_next_miss(files: FileMappings, number: int, index: int, max_scan: int) -> int:
    """Return the first of `max_scan` indexes that has no page; the one behind them if all have.

    Source: Linux 6.1 mm/filemap.c:page_cache_next_miss
    """
    end = index + max_scan
    while index < end and is_cached(files, number, index):
        index += 1
    return index


@leaf
def page_cache_prev_miss(files: FileMappings, number: int, index: int, max_scan: int) -> int:
    """Return the first of `max_scan` indexes, going down, that has no page; or the one below all.

    Source: Linux 6.1 mm/filemap.c:page_cache_prev_miss
    """
    end = max(index - max_scan, -1)
    while index > end and is_cached(files, number, index):
        index -= 1
    return index


@leaf
def page_cache_next_page(files: FileMappings, number: int, index: int, end: int) -> int:
    """Return the first index from `index` below `end` that has a page; `end` if none has."""
    found = xa_next(files.xa, number, index, end - 1)
    return found if found >= 0 else end


@inlined_leaf
def is_cached(files: FileMappings, number: int, index: int) -> bool:
    """Tell whether a page of a file is in memory."""
    return xa_load(files.xa, number, index) > 0


@leaf
def incore_pages(mem: Mem, files: FileMappings, number: int, nr_pages: int, out: I64) -> int:
    """Collect the pages of a file that are in memory and hold what they should; return how many.

    Source: Linux 6.1 mm/mincore.c:mincore_page
    """
    nr = index = 0
    while 0 <= index < nr_pages:
        row = xa_leaf(files.xa, number, index)
        if row == 0:
            index = xa_skip(files.xa, number, index)
            continue
        end = min(nr_pages, (index | XA_CHUNK_MASK) + 1)
        while index < end:
            pfn = files.xa.slots[row, index & XA_CHUNK_MASK]
            if pfn > 0 and mem.pages.flags[pfn] & PG_uptodate:
                if nr == len(out):
                    return nr
                out[nr] = index
                nr += 1
            index += 1
    return nr
