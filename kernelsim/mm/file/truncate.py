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
from kernelsim.mm.core.xarray import XA_CHUNK_MASK, xa_leaf, xa_skip
from kernelsim.mm.file.address_space import FileMappings
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
