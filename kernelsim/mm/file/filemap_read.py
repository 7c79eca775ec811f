"""A run of a read: pages that are in memory are copied to the program, until one is not.

Linux: mm/filemap.c:filemap_read, :filemap_get_pages (6.1).

Interface: `filemap_read_run` goes on with a read, or with many that follow each other, from
`io[R_POS]`; what stops it is READ_*. The caller does what is needed and calls it again.
Units: bytes of the file, page indexes, ns.
"""

from typing import Final

import numpy as np

from kernelsim.hw.leaf import inlined_leaf, leaf
from kernelsim.mm.core.folio_batch import (
    MARK_ACTIVATED,
    MARK_DONE,
    MARK_FULL,
    folio_mark_accessed,
)
from kernelsim.mm.core.mem import (
    I64,
    I64_2D,
    PAGEVEC_SIZE,
    U64,
    Mem,
    PG_locked,
    PG_readahead,
    PG_uptodate,
)
from kernelsim.mm.core.xarray import XA_CHUNK_MASK, xa_leaf
from kernelsim.mm.file.address_space import FileMappings

# Why a run stopped
READ_DONE: Final = 0  # at the end of what is wanted, or of the file
READ_MISSING: Final = 1  # page R_INDEX is not in memory
READ_MARKED: Final = 2  # page R_INDEX is marked: it is time to read ahead
READ_LOCKED: Final = 3  # page R_INDEX is being read
READ_FAILED: Final = 4  # page R_INDEX could not be read
READ_ACTIVATE: Final = 5  # the CPU's batch of pages to activate is full
READ_TIME: Final = 6  # the time given is over, or `out` is full

# Entries of the state of a read
R_POS: Final = 0
R_END: Final = 1  # where all reads end
R_BLOCK: Final = 2  # bytes of one read call
R_CALL_END: Final = 3  # where the present call ends
R_PREV: Final = 4  # where the last copy ended, -1 for none; prev_pos of the open file
R_INDEX: Final = 5
R_NS: Final = 6  # time taken
R_LIMIT_NS: Final = 7  # it stops after the batch with which it has taken so much
R_COPY_NS: Final = 8  # cost of copying a page
R_CALL_NS: Final = 9  # cost of entering and leaving the kernel
R_NR_OUT: Final = 10  # pages noted in `out`
R_NR_ACTIVATED: Final = 11  # pages that will go to the active list straight from a folio_batch
NR_READ_FIELDS: Final = 12

_PAGE_SHIFT: Final = 12
_PAGE_SIZE: Final = 1 << _PAGE_SHIFT


def new_read() -> I64:
    """Return the state of a read, for its caller to fill."""
    return np.zeros(NR_READ_FIELDS, np.int64)


@leaf
def filemap_read_run(
    mem: Mem, files: FileMappings, lruvec: I64_2D, cpu: int, number: int, io: I64, out: U64
) -> int:
    """Copy pages to the program, batch by batch of fifteen, as long as they are there.

    Args:
        mem: Memory.
        files: All files.
        lruvec: What reclaim remembers of each node.
        cpu: Whose batch takes pages to be activated.
        number: The file.
        io: State of the read.
        out: Gets what each page held, if it has room for a batch at least.

    Returns:
        READ_*.

    Source: Linux 6.1 mm/filemap.c:filemap_read
    """
    io[R_NS] = 0
    io[R_NR_OUT] = 0
    io[R_NR_ACTIVATED] = 0
    while io[R_POS] < io[R_END]:
        if io[R_POS] == io[R_CALL_END]:
            io[R_CALL_END] = min(io[R_END], io[R_POS] + io[R_BLOCK])
            io[R_NS] += io[R_CALL_NS]
        nr, why = filemap_get_read_batch(mem, files, number, io)
        if why != READ_DONE:
            return why
        if copy_batch(mem, files, lruvec, cpu, number, io, out, nr):
            return READ_ACTIVATE
        has_no_room = len(out) != 0 and io[R_NR_OUT] + PAGEVEC_SIZE > len(out)
        if io[R_NS] >= io[R_LIMIT_NS] or has_no_room:
            return READ_TIME
    return READ_DONE


@inlined_leaf
def filemap_get_read_batch(mem: Mem, files: FileMappings, number: int, io: I64) -> tuple[int, int]:
    """Find the next pages to copy, up to fifteen; return how many, and READ_* for the last.

    Source: Linux 6.1 mm/filemap.c:filemap_get_read_batch, :filemap_get_pages
    """
    index = io[R_POS] >> _PAGE_SHIFT
    end = (io[R_CALL_END] + _PAGE_SIZE - 1) >> _PAGE_SHIFT
    end = min(end, index + PAGEVEC_SIZE)
    at = index
    row = 0
    while at < end:
        if at == index or at & XA_CHUNK_MASK == 0:
            row = xa_leaf(files.xa, number, at)
        pfn = files.xa.slots[row, at & XA_CHUNK_MASK] if row else 0
        if pfn <= 0:
            break
        flags = mem.pages.flags[pfn]
        if flags & PG_readahead or not flags & PG_uptodate:
            io[R_INDEX] = at
            if flags & PG_readahead:
                return 0, READ_MARKED
            return 0, READ_LOCKED if flags & PG_locked else READ_FAILED
        at += 1
    io[R_INDEX] = at
    return at - index, READ_MISSING if at == index else READ_DONE


@inlined_leaf
def copy_batch(
    mem: Mem,
    files: FileMappings,
    lruvec: I64_2D,
    cpu: int,
    number: int,
    io: I64,
    out: U64,
    nr: int,
) -> bool:
    """Copy pages and mark them accessed; True when it stopped since there are enough to activate.

    When one read after the other takes parts of the same page, only the first marks it.
    """
    row = 0
    for i in range(nr):
        pos = io[R_POS]
        index = pos >> _PAGE_SHIFT
        if i == 0 or index & XA_CHUNK_MASK == 0:
            row = xa_leaf(files.xa, number, index)
        pfn = int(files.xa.slots[row, index & XA_CHUNK_MASK])
        marked = MARK_DONE
        if i or (io[R_PREV] - 1) >> _PAGE_SHIFT != index:
            marked = folio_mark_accessed(mem, lruvec, cpu, pfn)
        copied = min(io[R_CALL_END], (index + 1) << _PAGE_SHIFT) - pos
        io[R_NS] += io[R_COPY_NS] * copied >> _PAGE_SHIFT
        io[R_POS] = pos + copied
        io[R_PREV] = io[R_POS]
        if len(out) and (io[R_NR_OUT] == 0 or pos & (_PAGE_SIZE - 1) == 0):
            out[io[R_NR_OUT]] = mem.pages.token[pfn]
            io[R_NR_OUT] += 1
        if marked == MARK_ACTIVATED:
            io[R_NR_ACTIVATED] += 1
        if marked == MARK_FULL:
            return True
    return False
