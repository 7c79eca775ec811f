"""A run of a write: pages of a file take what a program stores, and become dirty.

Linux: mm/filemap.c:generic_perform_write, fs/ext4/inode.c: ext4_da_write_begin, ext4_da_write_end,
6.1.
Interface: leaves; the caller has entered pages that were missing, and read those that are written
only in part.
Units: pages of the file.
"""

from kernelsim.hw.leaf import inlined_leaf, leaf
from kernelsim.mm.core.mem import Mem, PG_dirty, PG_locked, PG_uptodate, PG_writeback, nid_of
from kernelsim.mm.core.slab import kmem_cache_alloc
from kernelsim.mm.core.slab_cache import BUFFER_HEAD
from kernelsim.mm.core.swap import ALL_FLAGS
from kernelsim.mm.core.xarray import (
    PAGECACHE_TAG_DIRTY,
    XA_CHUNK_MASK,
    xa_leaf,
    xa_load,
    xa_set_mark_below,
)
from kernelsim.mm.file.address_space import FileMappings
from kernelsim.mm.file.dirty_pages import folio_account_dirtied


@leaf
def write_run(
    mem: Mem, files: FileMappings, number: int, first: int, nr_pages: int, token: int
) -> int:
    """Store to pages that are all in memory; they are valid, dirty and unlocked then.

    Returns:
        How many were clean before.

    Source: Linux 6.1 fs/buffer.c:block_write_end, :mark_buffer_dirty
    """
    nr_new = row = 0
    for index in range(first, first + nr_pages):
        offset = index & XA_CHUNK_MASK
        if index == first or offset == 0:
            row = xa_leaf(files.xa, number, index)
        pfn = int(files.xa.slots[row, offset])
        create_page_buffers(mem, pfn)
        mem.pages.token[pfn] = token
        mem.pages.flags[pfn] = (mem.pages.flags[pfn] | PG_uptodate) & (ALL_FLAGS ^ PG_locked)
        if folio_account_dirtied(mem, pfn):
            xa_set_mark_below(files.xa, row, offset, PAGECACHE_TAG_DIRTY)
            nr_new += 1
    return nr_new


@inlined_leaf
def create_page_buffers(mem: Mem, pfn: int) -> None:
    """Give a page that is going to be stored to its buffer head, unless it has one.

    A block is a page. Pages that were only read have none. The slab it lies in is noted, counted
    from 1, where struct page has the buffer head.

    Source: Linux 6.1 fs/buffer.c:create_page_buffers, under ext4_da_write_begin
    """
    if mem.pages.private[pfn] == 0:
        nid = nid_of(mem, pfn)
        mem.pages.private[pfn] = 1 + kmem_cache_alloc(mem.slabs, BUFFER_HEAD, nid)


@leaf
def has_reservation(mem: Mem, files: FileMappings, number: int, index: int) -> bool:
    """Tell whether a page without a place on the device has room set aside for it there.

    That is so from when it becomes dirty until it gets its place.

    Source: Linux 6.1 fs/ext4/inode.c:ext4_insert_delayed_block
    """
    pfn = int(xa_load(files.xa, number, index))
    return pfn > 0 and mem.pages.flags[pfn] & (PG_dirty | PG_writeback) != 0
