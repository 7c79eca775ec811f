"""Reads of a file that come from a disk, window after window, while nobody else acts.

Linux: mm/filemap.c:filemap_read, mm/readahead.c, 6.1.
What is said in stream_steps.py of a lone reader, in a row: it sleeps, is woken, copies, comes to
the mark of the next window, sends for the one behind that, copies on, and sleeps again. Each window
takes the steps it takes by messages, to the last nanosecond.

Interface: `read_stream` begins and ends where the task is about to wait for a page, or where it
stopped for something that takes more than this.
Units: ns, pages.
"""

from typing import Final

import numpy as np

from kernelsim.hw.leaf import leaf
from kernelsim.mm.burst.cache_pages import (
    CR_AT,
    CR_END,
    CR_FILE,
    CR_HAVE,
    CR_MARK,
    CR_NR_PLACED,
    CR_SWAP_FREE,
    fill_run,
)
from kernelsim.mm.burst.columns import Burst
from kernelsim.mm.burst.lock_run import (
    HOLDS_MAX,
    LR_ALLOC_NS,
    LR_CPU,
    LR_NID,
    LR_NOW_NS,
    LR_NUMBER,
    LR_NUMBER_END,
    LR_UNTIL_NS,
)
from kernelsim.mm.burst.slab_pages import settle_slabs
from kernelsim.mm.burst.stream_steps import (
    FLIGHT_MAX,
    ST_CHARGED,
    ST_CPU,
    ST_DEPTH,
    ST_EXTENT_END,
    ST_FILE,
    ST_FOLIO_NS,
    ST_LOCK_NS,
    ST_MOST,
    ST_NID,
    ST_NOW,
    ST_NR_AT_DEVICE,
    ST_NR_FLIGHT,
    ST_NR_IN_FLIGHT,
    ST_NR_PAGES,
    ST_NUMBER,
    ST_NUMBER_END,
    ST_RA_ASYNC,
    ST_RA_PAGES,
    ST_RA_SIZE,
    ST_RA_START,
    ST_ROOM,
    ST_SUBMIT_NS,
    ST_SWAP_FREE,
    Stream,
    end_read,
    horizon,
    sleep,
    spend,
    submit,
    wake,
    wake_time,
)
from kernelsim.mm.core.mem import (
    I64,
    I64_2D,
    U64,
    Mem,
    PG_readahead,
    PG_workingset,
    PG_writeback,
)
from kernelsim.mm.core.swap import ALL_FLAGS
from kernelsim.mm.core.vmstat import PGPGIN
from kernelsim.mm.core.xarray import XA_NR_FREE, xa_load
from kernelsim.mm.core.xarray_pool import rows_wanted
from kernelsim.mm.file.address_space import FileMappings
from kernelsim.mm.file.filemap import page_cache_next_page
from kernelsim.mm.file.filemap_read import (
    R_CALL_END,
    R_INDEX,
    R_LIMIT_NS,
    R_NS,
    READ_LOCKED,
    READ_MARKED,
    filemap_read_run,
)
from kernelsim.mm.file.readahead import is_expected, largest_window, next_window
from kernelsim.units import PAGE_SHIFT

READ_ENTERED: Final = 7  # a window is allocated in part; `Stream.run` tells how far
EVENTS_MAX: Final = 16  # of a window, besides its requests and what it is allocated by

_SENT: Final = 0


@leaf
def read_stream(
    mem: Mem, files: FileMappings, lruvec: I64_2D, burst: Burst, slabs: I64_2D, stream: Stream,
    io: I64, out: U64, disk: U64,
) -> int:  # fmt: skip
    """Go on with a read that is about to wait for page `R_INDEX`.

    Args:
        mem: Memory.
        files: All files.
        lruvec: What reclaim remembers of each node.
        burst: Locks and costs.
        slabs: What slabs of each cache are served by, R_*.
        stream: The reader, its CPU and its disk.
        io: State of the read; `R_NS` is what it has taken and the task has not computed yet.
        out: Has no room: nobody is to be told what the pages hold.
        disk: What the device holds of each page.

    Returns:
        READ_*; READ_LOCKED where it began if nothing was done.
    """
    state = stream.state
    why = READ_LOCKED
    while why == READ_LOCKED and can_wait(mem, files, burst, stream, int(io[R_INDEX])):
        at_ns = wake_time(stream, int(io[R_INDEX]))
        if at_ns < 0:
            break
        sleep(stream)
        end_read(mem, files, stream, disk, at_ns)
        wake(stream, at_ns)
        why = READ_MARKED
        while why == READ_MARKED:
            until_ns = horizon(stream)
            io[R_LIMIT_NS] = until_ns - state[ST_NOW]
            why = filemap_read_run(
                mem, files, lruvec, int(state[ST_CPU]), int(state[ST_FILE]), io, out
            )
            if state[ST_NOW] + io[R_NS] >= until_ns or why not in (READ_MARKED, READ_LOCKED):
                return why
            spend(stream, int(io[R_NS]))
            io[R_NS] = 0
            if why == READ_MARKED:
                nr_wanted = -(-int(io[R_CALL_END]) >> PAGE_SHIFT) - int(io[R_INDEX])
                sent = read_ahead(
                    mem, files, lruvec, burst, slabs, stream, int(io[R_INDEX]), nr_wanted, len(disk)
                )
                if sent != _SENT:
                    return sent
    return why


@leaf
def can_wait(mem: Mem, files: FileMappings, burst: Burst, stream: Stream, index: int) -> bool:
    """Tell whether a wait for a page is only that, and what follows has room."""
    if burst.notes[0, 0]:  # a zone crossed a mark, which is told in its turn
        return False
    if stream.state[ST_NUMBER] + EVENTS_MAX + 2 * HOLDS_MAX >= stream.state[ST_NUMBER_END]:
        return False
    pfn = xa_load(files.xa, int(stream.state[ST_FILE]), index)
    return pfn > 0 and not mem.pages.flags[pfn] & PG_workingset  # else that is thrashing


@leaf
def read_ahead(
    mem: Mem, files: FileMappings, lruvec: I64_2D, burst: Burst, slabs: I64_2D, stream: Stream,
    index: int, nr_wanted: int, nr_disk: int,
) -> int:  # fmt: skip
    """Send for the window that the mark of a page stands for; return READ_*, or _SENT.

    Source: Linux 6.1 mm/readahead.c:page_cache_async_ra, :do_page_cache_ra, :read_pages
    """
    state = stream.state
    number = int(state[ST_FILE])
    pfn = xa_load(files.xa, number, index)
    largest = largest_window(int(state[ST_RA_PAGES]), nr_wanted)
    old_start, old_size = int(state[ST_RA_START]), int(state[ST_RA_SIZE])
    if mem.pages.flags[pfn] & PG_writeback:
        return READ_MARKED
    if not is_expected(old_start, old_size, int(state[ST_RA_ASYNC]), index):
        return READ_MARKED
    start, size, async_size = next_window(old_start, old_size, index, largest)
    end = min(start + size, int(state[ST_NR_PAGES]))
    mark = end - async_size
    nr = end - start
    if not has_place(files, stream, start, end, nr_disk):
        return READ_MARKED
    nr_bios = -(-nr // int(state[ST_MOST]))
    after_ns = nr * int(state[ST_FOLIO_NS]) + nr_bios * int(state[ST_SUBMIT_NS])
    if state[ST_NOW] + after_ns >= horizon(stream):
        return READ_MARKED
    mem.pages.flags[pfn] &= np.uint32(ALL_FLAGS ^ PG_readahead)
    state[ST_RA_START] = start
    state[ST_RA_SIZE] = size
    state[ST_RA_ASYNC] = async_size
    if not fill_window(mem, files, lruvec, burst, slabs, stream, start, end, mark, after_ns):
        return READ_ENTERED
    spend(stream, nr * int(state[ST_FOLIO_NS]))
    mem.vm_event[PGPGIN] += 4 * nr
    while nr > 0:
        part = min(nr, int(state[ST_MOST]))
        submit(stream, start, end - nr, part)
        nr -= part
    return _SENT


@leaf
def has_place(files: FileMappings, stream: Stream, start: int, end: int, nr_disk: int) -> bool:
    """Tell whether a window is one whole gap of the cache, and one piece of a disk with room."""
    state = stream.state
    nr = end - start
    nr_bios = -(-nr // int(state[ST_MOST]))
    if nr <= 0 or nr > len(stream.pfns) or end > min(nr_disk, int(state[ST_EXTENT_END])):
        return False
    is_full = state[ST_NR_AT_DEVICE] + nr_bios > state[ST_DEPTH]
    if is_full or state[ST_NR_IN_FLIGHT] + nr_bios > state[ST_ROOM]:
        return False
    if state[ST_NR_FLIGHT] + nr_bios > FLIGHT_MAX:
        return False
    if files.xa.state[XA_NR_FREE] < rows_wanted(nr):
        return False
    return page_cache_next_page(files, int(state[ST_FILE]), start, end) == end


@leaf
def fill_window(
    mem: Mem, files: FileMappings, lruvec: I64_2D, burst: Burst, slabs: I64_2D, stream: Stream,
    start: int, end: int, mark: int, after_ns: int,
) -> bool:  # fmt: skip
    """Allocate and enter the pages of a window; False if that, or a slab of theirs, takes messages.

    It ends so early that there is time for what follows.
    """
    state, run = stream.state, stream.run
    run[:] = 0
    run[LR_CPU] = state[ST_CPU]
    run[LR_NID] = state[ST_NID]
    run[LR_UNTIL_NS] = horizon(stream) - after_ns
    run[LR_NUMBER_END] = state[ST_NUMBER_END]
    run[LR_NOW_NS] = state[ST_NOW]
    run[LR_NUMBER] = state[ST_NUMBER]
    run[CR_FILE] = state[ST_FILE]
    run[CR_SWAP_FREE] = state[ST_SWAP_FREE]
    run[CR_AT] = start
    run[CR_END] = end
    run[CR_MARK] = mark
    fill_run(mem, files, lruvec, burst, stream.request, slabs, stream.pfns, run)
    is_whole = run[CR_NR_PLACED] == end - start and run[CR_HAVE] == end - start
    if is_whole:
        is_whole = settle_slabs(mem, burst, slabs, run, False)
    state[ST_CHARGED] += run[LR_NOW_NS] - state[ST_NOW]
    state[ST_NOW] = run[LR_NOW_NS]
    state[ST_NUMBER] = run[LR_NUMBER]
    state[ST_LOCK_NS] += run[LR_ALLOC_NS]
    return is_whole
