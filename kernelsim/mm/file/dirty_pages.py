"""A page of a file becomes dirty, is on its way to the disk, is written: flags, marks, counters.

Linux: mm/page-writeback.c: folio_account_dirtied, folio_clear_dirty_for_io,
__folio_start_writeback, tag_pages_for_writeback; mm/filemap.c:folio_end_writeback, 6.1.
A page's state is told three times, and the three agree at all times: by its flags, by the marks in
the index of its file, by the counters of its zone and node.
Interface: leaves over `FileMappings`. `take_dirty_run` begins to write what a disk can take in one
go; what each page held at that moment is what the disk will hold. Counters of the device are the
caller's.
Units: pages of the file.
"""

from typing import Final

from kernelsim.hw.leaf import inlined_leaf, leaf
from kernelsim.mm.core.mem import (
    I64,
    Z_NID,
    Mem,
    PG_dirty,
    PG_error,
    PG_reclaim,
    PG_writeback,
    nid_of,
    zone_of,
)
from kernelsim.mm.core.swap import ALL_FLAGS
from kernelsim.mm.core.vmstat import (
    NR_DIRTIED,
    NR_DIRTY,
    NR_WRITEBACK,
    NR_ZONE_WRITE_PENDING,
)
from kernelsim.mm.core.xarray import (
    PAGECACHE_TAG_DIRTY,
    PAGECACHE_TAG_TOWRITE,
    PAGECACHE_TAG_WRITEBACK,
    xa_clear_mark,
    xa_load,
    xa_next_marked,
    xa_set_mark,
)
from kernelsim.mm.file.address_space import FileMappings
from kernelsim.mm.space.pgtable import Mms, PageTables
from kernelsim.mm.space.rmap_file import folio_mkclean
from kernelsim.mm.swap.page_io import folio_end_writeback

LAST_INDEX: Final = (1 << 36) - 1  # of the largest file, see XA_LEVELS_MAX
RUN_ENDS: Final = 0  # why a run of dirty pages ended: a gap, its limit, or no more
RUN_UNDER_WRITEBACK: Final = 1  # its next page is being written already


@inlined_leaf
def folio_mark_dirty(mem: Mem, files: FileMappings, pfn: int) -> bool:
    """Make a page of a file dirty; tell whether it was clean.

    Source: Linux 6.1 mm/page-writeback.c:__folio_mark_dirty
    """
    if not folio_account_dirtied(mem, pfn):
        return False
    xa_set_mark(files.xa, mem.pages.mapping[pfn], mem.pages.index[pfn], PAGECACHE_TAG_DIRTY)
    return True


@inlined_leaf
def folio_account_dirtied(mem: Mem, pfn: int) -> bool:
    """Do the same but for the mark in the page cache, which is the caller's.

    Source: Linux 6.1 mm/page-writeback.c:folio_account_dirtied
    """
    if mem.pages.flags[pfn] & PG_dirty:
        return False
    mem.pages.flags[pfn] |= PG_dirty
    zone = zone_of(mem, pfn)
    nid = mem.zone[zone, Z_NID]
    mem.node_stat[nid, NR_DIRTY] += 1
    mem.node_stat[nid, NR_DIRTIED] += 1
    mem.zone_stat[zone, NR_ZONE_WRITE_PENDING] += 1
    return True


@leaf
def folio_cancel_dirty(mem: Mem, files: FileMappings, pfn: int) -> bool:
    """Forget that a page is dirty, since it is about to go; tell whether it was.

    Source: Linux 6.1 mm/page-writeback.c:__folio_cancel_dirty, :folio_account_cleaned
    """
    if not mem.pages.flags[pfn] & PG_dirty:
        return False
    mem.pages.flags[pfn] &= ALL_FLAGS ^ PG_dirty
    mem.node_stat[nid_of(mem, pfn), NR_DIRTY] -= 1
    mem.zone_stat[zone_of(mem, pfn), NR_ZONE_WRITE_PENDING] -= 1
    number, index = mem.pages.mapping[pfn], mem.pages.index[pfn]
    xa_clear_mark(files.xa, number, index, PAGECACHE_TAG_DIRTY)
    xa_clear_mark(files.xa, number, index, PAGECACHE_TAG_TOWRITE)
    return True


@leaf
def tag_pages_for_writeback(files: FileMappings, number: int, first: int, last: int) -> None:
    """Mark the pages that are dirty now as those to be written; later ones are left out.

    Source: Linux 6.1 mm/page-writeback.c:tag_pages_for_writeback
    """
    index = xa_next_marked(files.xa, number, first, last, PAGECACHE_TAG_DIRTY)
    while index >= 0:
        xa_set_mark(files.xa, number, index, PAGECACHE_TAG_TOWRITE)
        index = xa_next_marked(files.xa, number, index + 1, last, PAGECACHE_TAG_DIRTY)


@leaf
def take_dirty_run(
    mem: Mem,
    pt: PageTables,
    mms: Mms,
    files: FileMappings,
    number: int,
    first: int,
    last: int,
    mark: int,
    waits: bool,
    pfns: I64,
    limit: int,
) -> tuple[int, int, int]:
    """Begin to write dirty pages that follow each other in a file.

    The next store to one through a mapping faults; the TLBs are to be flushed for that, and what
    the pages hold is to be taken for the device after it.

    Args:
        mem: Physical memory.
        pt: All page tables.
        mms: All address spaces.
        files: Page caches.
        number: Of the file.
        first: First page to look at.
        last: Last one.
        mark: Which pages: PAGECACHE_TAG_DIRTY or PAGECACHE_TAG_TOWRITE.
        waits: The caller waits for pages that are being written; else they are passed over.
        pfns: Gets the pages.
        limit: Most pages.

    Returns:
        How many pages, the index of the first, and RUN_*: the caller has to wait for the page
        behind them.

    Source: Linux 6.1 fs/ext4/inode.c:mpage_prepare_extent_to_map
    """
    n = 0
    start = xa_next_marked(files.xa, number, first, last, mark)
    index = start
    while index >= 0 and n < limit and index == start + n:
        pfn = int(xa_load(files.xa, number, index))
        if mem.pages.flags[pfn] & PG_writeback:
            if waits:
                return n, start, RUN_UNDER_WRITEBACK
            if n == 0:
                start = index = xa_next_marked(files.xa, number, index + 1, last, mark)
                continue
            break
        if mem.pages.flags[pfn] & PG_dirty:
            start_writeback(mem, pt, mms, files, pfn)
            pfns[n] = pfn
            n += 1
        else:
            xa_clear_mark(files.xa, number, index, PAGECACHE_TAG_TOWRITE)
            if n:
                break
            start = index + 1
        index = xa_next_marked(files.xa, number, index + 1, last, mark)
        if n == 0:
            start = index
    return n, start, RUN_ENDS


@leaf
def start_writeback(mem: Mem, pt: PageTables, mms: Mms, files: FileMappings, pfn: int) -> None:
    """Let a dirty page be on its way to the disk.

    Source: Linux 6.1 mm/page-writeback.c:folio_clear_dirty_for_io, :__folio_start_writeback
    """
    number, index = mem.pages.mapping[pfn], mem.pages.index[pfn]
    nid = nid_of(mem, pfn)
    folio_mkclean(mem, pt, mms, pfn)
    flags = mem.pages.flags[pfn] & (ALL_FLAGS ^ (PG_dirty | PG_error))
    mem.pages.flags[pfn] = flags | PG_writeback
    mem.node_stat[nid, NR_DIRTY] -= 1
    mem.node_stat[nid, NR_WRITEBACK] += 1
    xa_clear_mark(files.xa, number, index, PAGECACHE_TAG_DIRTY)
    xa_clear_mark(files.xa, number, index, PAGECACHE_TAG_TOWRITE)
    xa_set_mark(files.xa, number, index, PAGECACHE_TAG_WRITEBACK)


@leaf
def is_under_writeback(files: FileMappings, number: int) -> bool:
    """Tell whether any page of a file is on its way to the disk.

    Source: Linux 6.1 include/linux/fs.h:mapping_tagged
    """
    return xa_next_marked(files.xa, number, 0, LAST_INDEX, PAGECACHE_TAG_WRITEBACK) >= 0


@leaf
def has_dirty_pages(files: FileMappings, number: int) -> bool:
    """Tell whether any page of a file is dirty.

    Source: Linux 6.1 include/linux/fs.h:mapping_tagged
    """
    return xa_next_marked(files.xa, number, 0, LAST_INDEX, PAGECACHE_TAG_DIRTY) >= 0


@leaf
def wants_rotation(mem: Mem, pfns: I64, n: int) -> bool:
    """Tell whether reclaim waits for any of these pages: that needs lru_lock."""
    for i in range(n):
        if mem.pages.flags[pfns[i]] & PG_reclaim:
            return True
    return False


@leaf
def end_page_writeback(mem: Mem, files: FileMappings, pfns: I64, n: int, throttled: I64) -> int:
    """End the writing of pages, whatever came of it: they stay, clean unless stored to meanwhile.

    A page that reclaim wants goes to the tail of its inactive list.

    Args:
        mem: Physical memory.
        files: Page caches.
        pfns: The pages.
        n: How many.
        throttled: By node, whether tasks wait there for writeback.

    Returns:
        How many were rotated.

    Source: Linux 6.1 mm/filemap.c:folio_end_writeback
    """
    rotated = 0
    for i in range(n):
        pfn = int(pfns[i])
        index = mem.pages.index[pfn]
        xa_clear_mark(files.xa, mem.pages.mapping[pfn], index, PAGECACHE_TAG_WRITEBACK)
        rotated += folio_end_writeback(mem, pfn, throttled[nid_of(mem, pfn)] != 0)
    return rotated
