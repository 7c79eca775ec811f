"""Reading a file through the page cache, in the time of the task that reads.

Linux: mm/filemap.c:filemap_read, mm/readahead.c, 6.1.
What is in memory is copied in compiled runs (mm/file/filemap_read.py), up to the next event of
anybody else, the end of the task's time slice or a page that needs more: one to be read, one at
which to read ahead, one to wait for.
Units: bytes of the file, pages, ns.
"""

from collections.abc import Awaitable, Callable
from typing import Final

import numpy as np

from kernelsim.actors.alloc.page_allocator import alloc_context
from kernelsim.actors.core.current import Current
from kernelsim.actors.core.lock_run import LockRun
from kernelsim.actors.core.lru_add import activate_drain
from kernelsim.actors.core.page_reads import wait_on_page_read
from kernelsim.actors.file.page_io import read_again, read_run, read_window
from kernelsim.actors.file.read_stream import ReadStream
from kernelsim.fs.file import OpenFile
from kernelsim.fs.inode import Inode
from kernelsim.mm.burst.file_read import read_activating
from kernelsim.mm.burst.lock_run import NR_LR_FIELDS
from kernelsim.mm.burst.read_stream import READ_ENTERED
from kernelsim.mm.core.mem import PG_locked, PG_readahead, PG_reclaim, PG_uptodate, PG_writeback
from kernelsim.mm.core.swap import ALL_FLAGS
from kernelsim.mm.core.xarray import xa_load
from kernelsim.mm.file.address_space import page_key
from kernelsim.mm.file.filemap_read import (
    R_BLOCK,
    R_CALL_END,
    R_CALL_NS,
    R_COPY_NS,
    R_END,
    R_INDEX,
    R_LIMIT_NS,
    R_NR_ACTIVATED,
    R_NR_OUT,
    R_NS,
    R_POS,
    R_PREV,
    READ_ACTIVATE,
    READ_DONE,
    READ_FAILED,
    READ_LOCKED,
    READ_MARKED,
    READ_MISSING,
    filemap_read_run,
    new_read,
)
from kernelsim.mm.file.readahead import Window, async_readahead, forced_windows, sync_readahead
from kernelsim.mm.page.alloc_context import AllocContext
from kernelsim.mm.page.gfp import GFP_HIGHUSER_MOVABLE, Gfp
from kernelsim.trace.kmem import mm_page_alloc
from kernelsim.units import PAGE_SHIFT, PAGE_SIZE

READAHEAD_GFP: Final = GFP_HIGHUSER_MOVABLE | Gfp.NORETRY | Gfp.NOWARN
NOTED_PAGES: Final = 4096  # pages whose content is told to a checker at once


Copied = Callable[[int, int], Awaitable[None]]


class FileReader:
    """The kernel side of one task that reads files.

    Args:
        current: The task.
    """

    def __init__(self, current: Current) -> None:
        self._current = current
        self._kernel, self._task = current
        self._io = new_read()
        self._locks = LockRun(current, np.zeros(NR_LR_FIELDS, np.int64), mm_page_alloc)
        self._stream = ReadStream(current)
        self._out = np.zeros(NOTED_PAGES if self._kernel.is_observed else 0, np.uint64)

    async def read(
        self, file: OpenFile, pos: int, nr_bytes: int, block: int, copied: Copied | None
    ) -> tuple[int, int]:
        """Read from a position on, `block` bytes a call; return the bytes read and an errno.

        `copied` is told what came: the first byte, counted from `pos`, and how many. It ends at the
        end of the file, after an error, or when the task is being killed.

        Source: Linux 6.1 mm/filemap.c:filemap_read
        """
        kernel, task, io = self._kernel, self._task, self._io
        latency = kernel.spec.latency
        end = min(pos + nr_bytes, file.inode.size)
        io[:] = 0
        io[R_POS], io[R_END], io[R_BLOCK] = pos, end, block
        io[R_CALL_END], io[R_PREV] = pos, file.ra.prev_pos
        io[R_COPY_NS], io[R_CALL_NS] = latency.page_copy_ns, latency.syscall_entry_ns
        error = 0
        while not error and not task.killed:
            io[R_END] = max(io[R_POS], min(end, file.inode.size))  # it may be shorter by now
            io[R_CALL_END] = min(io[R_CALL_END], io[R_END])
            io[R_LIMIT_NS] = self._time_left_ns()
            first = int(io[R_POS])
            why = self._copy(file.inode, is_plain=copied is None)
            file.ra.prev_pos = int(io[R_PREV])
            nr_out = int(io[R_NR_OUT])
            if nr_out:
                kernel.observer.delivered(file.inode, first >> PAGE_SHIFT, self._out[:nr_out])
                kernel.observer.activated(int(io[R_NR_ACTIVATED]))
            # Differs from Linux: What a read copies does not pass the memory controllers.
            await self._spend(why)
            if copied is not None and io[R_POS] > first:
                await copied(first - pos, int(io[R_POS]) - first)
            if why == READ_LOCKED and copied is None:
                why = await self._stream_on(file)
            if why == READ_DONE:
                break
            error = await self._help(file, why)
        return int(io[R_POS]) - pos, error

    def _copy(self, inode: Inode, *, is_plain: bool) -> int:
        """Copy what is in memory; return what stopped it, READ_*.

        A read that tells nobody what came goes on when the pages to be activated are enough.
        """
        kernel, task, io = self._kernel, self._task, self._io
        files = kernel.spaces.mappings
        if not is_plain or not self._locks.begin():
            return filemap_read_run(
                kernel.mem, files, kernel.lruvec, task.cpu.number, inode.number, io, self._out
            )
        why = read_activating(
            kernel.mem, files, kernel.lruvec, kernel.burst, inode.number, io, self._out,
            self._locks.run,
        )  # fmt: skip
        task.stime_ns += self._locks.end()
        return why

    async def _spend(self, why: int) -> None:
        """Let what was copied take its time.

        A batch that is full is emptied before anybody else may run on this CPU and fill it.
        """
        is_full = why == READ_ACTIVATE
        await self._task.compute(int(self._io[R_NS]), resched=not is_full)
        if is_full:
            await activate_drain(self._current)

    async def _stream_on(self, file: OpenFile) -> int:
        """Go on as far as nobody can notice where the task would wait; return READ_*."""
        stream, context = self._stream, self._context(READAHEAD_GFP)
        why = stream.go_on(file, self._io, context)
        if stream.has_acted:
            file.ra.prev_pos = int(self._io[R_PREV])
            await self._spend(why)
        if why == READ_ENTERED:
            await read_run(self._current, file.inode, stream.entered(), context)
        return why

    async def advise_willneed(self, file: OpenFile, index: int, nr_pages: int) -> None:
        """Start reading a range, and wait for none of it.

        Source: Linux 6.1 mm/fadvise.c:generic_fadvise, mm/readahead.c:force_page_cache_ra
        """
        for window in forced_windows(index, nr_pages, file.ra.ra_pages):
            await read_window(self._current, file.inode, window, self._context(READAHEAD_GFP))

    def _time_left_ns(self) -> int:
        """Return how long the task may go on before anybody else can notice."""
        clock, state = self._kernel.engine.clock, self._task.cpu.state
        until_ns = clock.horizon_ns
        if state.run_queue:
            until_ns = min(until_ns, state.slice_end_ns)
        return max(0, until_ns - clock.now_ns)

    async def _help(self, file: OpenFile, why: int) -> int:
        """Do what lets a read go on; return an errno, 0 for none."""
        kernel, index = self._kernel, int(self._io[R_INDEX])
        number = file.inode.number
        pfn = xa_load(kernel.spaces.pool.xa, number, index)
        if why == READ_MISSING:
            await self._read_missing(file, index)
        elif why == READ_MARKED:
            await self._read_ahead(file, index)
        elif why == READ_LOCKED:
            await wait_on_page_read(self._current, page_key(number, index), pfn)
        elif why == READ_FAILED:
            return await self._read_failed(file.inode, index, pfn)
        return 0

    async def _read_failed(self, inode: Inode, index: int, pfn: int) -> int:
        """Read a page again that is not what it should be, if that is still so; return an errno."""
        flags = int(self._kernel.mem.pages.flags[pfn]) if pfn > 0 else PG_uptodate
        if flags & PG_locked:
            await wait_on_page_read(self._current, page_key(inode.number, index), pfn)
        elif not flags & PG_uptodate:
            return await read_again(self._current, inode, index, pfn)
        return 0

    def _nr_wanted(self, index: int) -> int:
        return (int(self._io[R_CALL_END]) + PAGE_SIZE - 1 >> PAGE_SHIFT) - index

    async def _read_missing(self, file: OpenFile, index: int) -> None:
        """Read a page that is missing, with its window; then the page alone if that had no room.

        Source: Linux 6.1 mm/filemap.c:filemap_get_pages, :filemap_create_folio
        """
        kernel, inode, nr = self._kernel, file.inode, self._nr_wanted(index)
        files = kernel.spaces.mappings
        if file.is_random:
            windows = forced_windows(index, nr, file.ra.ra_pages)
        else:
            windows = [sync_readahead(files, inode.number, file.ra, index, nr)]
        for window in windows:
            await read_window(self._current, inode, window, self._context(READAHEAD_GFP))
        if xa_load(kernel.spaces.pool.xa, inode.number, index) <= 0:
            alone, context = Window(index, 1, -1), self._context(GFP_HIGHUSER_MOVABLE)
            await read_window(self._current, inode, alone, context)

    async def _read_ahead(self, file: OpenFile, index: int) -> None:
        nr, context = self._nr_wanted(index), self._context(READAHEAD_GFP)
        await page_cache_async_ra(self._current, file, index, nr, context)

    def _context(self, gfp: Gfp) -> AllocContext:
        return alloc_context(self._current, gfp)


async def page_cache_async_ra(
    current: Current, file: OpenFile, index: int, nr_wanted: int, context: AllocContext
) -> None:
    """Take the mark off a page, and start to read the window that it stands for.

    Source: Linux 6.1 mm/readahead.c:page_cache_async_ra
    """
    kernel, number = current.kernel, file.inode.number
    flags, pfn = kernel.mem.pages.flags, xa_load(kernel.spaces.pool.xa, number, index)
    if pfn <= 0:  # dropped meanwhile
        return
    flags[pfn] &= np.uint32(ALL_FLAGS ^ PG_readahead)
    if int(flags[pfn]) & PG_writeback:  # one bit of Linux has both meanings, now it is the other
        return
    flags[pfn] &= np.uint32(ALL_FLAGS ^ PG_reclaim)
    window = async_readahead(kernel.spaces.mappings, number, file.ra, index, nr_wanted)
    if window is not None:
        await read_window(current, file.inode, window, context)
