"""Dropping clean pages of files on request.

Linux: mm/truncate.c, fs/drop_caches.c (6.1).
Units: pages of the file.
"""

from kernelsim.hw.leaf import leaf
from kernelsim.mm.core.mem import (
    I64,
    Mem,
    PG_activating,
    PG_batched,
    PG_dirty,
    PG_gathered,
    PG_isolated,
    PG_locked,
    PG_writeback,
)
from kernelsim.mm.core.mlock import forget_mlocked
from kernelsim.mm.core.xarray import XA_CHUNK_MASK, xa_leaf, xa_skip
from kernelsim.mm.file.address_space import FileMappings
from kernelsim.mm.file.dirty_pages import folio_cancel_dirty
from kernelsim.mm.file.filemap import filemap_remove_folio, xa_store_counted

_HELD = PG_activating | PG_batched | PG_isolated  # somebody has a reference
_BUSY = PG_locked | PG_dirty | PG_writeback | _HELD


@leaf
def invalidate_mapping_pages(
    mem: Mem, files: FileMappings, number: int, index: int, last: int, out: I64
) -> tuple[int, int]:
    """Drop clean pages from `index` to `last` that nobody uses, and forget evicted ones.

    It stops when `out` is full. The pages stay on their lists, and PG_gathered keeps them, until
    the caller releases them.

    Returns:
        How many are in `out`, and the index to go on with; beyond `last` at the end.

    Source: Linux 6.1 mm/truncate.c:invalidate_mapping_pagevec, :mapping_evict_folio
    """
    nr = 0
    while index <= last and nr < len(out):
        row = xa_leaf(files.xa, number, index)
        if row == 0:
            after = xa_skip(files.xa, number, index)
            index = after if after >= 0 else last + 1
            continue
        pfn = int(files.xa.slots[row, index & XA_CHUNK_MASK])
        if pfn < 0:
            xa_store_counted(mem, files, number, index, 0, 0)
        elif pfn > 0 and not mem.pages.flags[pfn] & _BUSY and mem.pages.mapcount[pfn] == 0:
            filemap_remove_folio(mem, files, pfn, 0)
            mem.pages.flags[pfn] |= PG_gathered
            out[nr] = pfn
            nr += 1
        index += 1
    return nr, index


@leaf
def truncate_pages(
    mem: Mem, files: FileMappings, number: int, index: int, last: int, out: I64, dirty: I64
) -> tuple[int, int, int, int]:
    """Drop pages of a file from `index` to `last`, dirty ones too, which no mapping shows.

    It stops at a page that is on its way to or from the disk, which has to be waited for, and when
    `out` is full. The pages stay on their lists, and PG_gathered keeps them, until the caller
    releases those in `out`. A page that somebody else holds is freed when it is let go.

    Args:
        mem: Memory.
        files: All files.
        number: The file.
        index: First page to drop.
        last: Last page to drop.
        out: Gets the pages.
        dirty: Gets the indexes of those that were dirty; as long as `out`.

    Returns:
        How many are in `out`, how many are in `dirty`, how many were dropped in all, and the index
        to go on with; -1 at the end.

    Source: Linux 6.1 mm/truncate.c:truncate_inode_pages_range, :truncate_cleanup_folio
    """
    nr = nr_dropped = nr_dirty = 0
    while index <= last and nr_dropped < len(out):
        row = xa_leaf(files.xa, number, index)
        if row == 0:
            index = xa_skip(files.xa, number, index)
            if index < 0:
                return nr, nr_dirty, nr_dropped, -1
            continue
        pfn = int(files.xa.slots[row, index & XA_CHUNK_MASK])
        if pfn < 0:
            xa_store_counted(mem, files, number, index, 0, 0)
        elif pfn > 0:
            if mem.pages.flags[pfn] & (PG_locked | PG_writeback):
                break
            assert mem.pages.mapcount[pfn] == 0, "a page that a file loses is mapped"
            if folio_cancel_dirty(mem, files, pfn):
                dirty[nr_dirty] = index
                nr_dirty += 1
            filemap_remove_folio(mem, files, pfn, 0)
            nr_dropped += 1
            if mem.pages.flags[pfn] & (PG_batched | PG_isolated):
                forget_mlocked(mem, pfn)
                mem.pages.flags[pfn] &= _HELD
            elif not mem.pages.flags[pfn] & PG_activating:
                mem.pages.flags[pfn] |= PG_gathered
                out[nr] = pfn
                nr += 1
        index += 1
    return nr, nr_dirty, nr_dropped, index if index <= last else -1
