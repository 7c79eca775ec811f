"""Pages of memory that address spaces share: they enter a page cache, and no disk knows them.

Linux: mm/shmem.c, 6.1.
Such a page is PG_swapbacked and not PG_anon; `Pages.mapping` is the number of its file.
# Differs from Linux: Pages of shared memory are never swapped out.

Interface: `shmem_add_to_page_cache`, `shmem_undo_range`.
Units: pages of the file.
"""

import numpy as np

from kernelsim.hw.leaf import leaf
from kernelsim.mm.core.mem import (
    I64,
    Mem,
    PG_activating,
    PG_batched,
    PG_gathered,
    PG_isolated,
    PG_swapbacked,
    PG_uptodate,
    nid_of,
)
from kernelsim.mm.core.mlock import forget_mlocked
from kernelsim.mm.core.vmstat import NR_FILE_PAGES, NR_SHMEM
from kernelsim.mm.core.xarray import XA_CHUNK_MASK, xa_leaf, xa_skip
from kernelsim.mm.file.address_space import AS_NRPAGES, FileMappings
from kernelsim.mm.file.filemap import filemap_remove_folio, xa_store_counted

_HELD = PG_activating | PG_batched | PG_isolated  # somebody has a reference


@leaf
def shmem_add_to_page_cache(
    mem: Mem, files: FileMappings, number: int, index: int, pfn: int
) -> None:
    """Enter a fresh page, full of zeros, in a place that has none.

    Source: Linux 6.1 mm/shmem.c:shmem_add_to_page_cache, :shmem_get_folio_gfp
    """
    old = xa_store_counted(mem, files, number, index, pfn, nid_of(mem, pfn))
    assert old == 0, "a page of shared memory is there twice"
    mem.pages.flags[pfn] |= np.uint32(PG_swapbacked | PG_uptodate)
    mem.pages.mapping[pfn] = number
    mem.pages.index[pfn] = index
    mem.pages.mapcount[pfn] = 0
    mem.pages.token[pfn] = 0
    files.row[number, AS_NRPAGES] += 1
    mem.node_stat[nid_of(mem, pfn), NR_FILE_PAGES] += 1
    mem.node_stat[nid_of(mem, pfn), NR_SHMEM] += 1


@leaf
def shmem_undo_range(
    mem: Mem, files: FileMappings, number: int, index: int, last: int, out: I64
) -> tuple[int, int]:
    """Take pages of a file out of memory, none of which is mapped.

    PG_gathered keeps those in `out`, which has room for all pages of the file, until the caller
    releases them; one that somebody else holds is freed when it is let go.

    Returns:
        How many are in `out`, and how many were taken.

    Source: Linux 6.1 mm/shmem.c:shmem_undo_range
    """
    nr, nr_taken = 0, 0
    while index <= last:
        row = xa_leaf(files.xa, number, index)
        if row == 0:
            after = xa_skip(files.xa, number, index)
            index = after if after >= 0 else last + 1
            continue
        pfn = int(files.xa.slots[row, index & XA_CHUNK_MASK])
        if pfn > 0:
            assert mem.pages.mapcount[pfn] == 0, "a page of shared memory goes while it is mapped"
            filemap_remove_folio(mem, files, pfn, 0)
            mem.node_stat[nid_of(mem, pfn), NR_SHMEM] -= 1
            nr_taken += 1
            if mem.pages.flags[pfn] & (PG_batched | PG_isolated):
                forget_mlocked(mem, pfn)
                mem.pages.flags[pfn] &= _HELD
            elif not mem.pages.flags[pfn] & PG_activating:
                mem.pages.flags[pfn] |= PG_gathered
                out[nr] = pfn
                nr += 1
        index += 1
    return nr, nr_taken
