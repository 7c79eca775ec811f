"""Writing to a file: into the page cache, in the time of the task that writes.

Linux: mm/filemap.c:generic_perform_write, fs/ext4/file.c:ext4_buffered_write_iter, 6.1.
Pages that are written whole need no read; one that is written in part is read first, unless nothing
of it is on the disk. What is written gets its place there later; only room is set aside for it now.
# Differs from Linux: Each page is stored to in one step.
Units: bytes of the file, pages, ns.
"""

import errno
from typing import Final

import numpy as np

from kernelsim.actors.alloc.page_allocator import alloc_context, alloc_pages
from kernelsim.actors.alloc.slab import settle_slabs
from kernelsim.actors.core.current import Current
from kernelsim.actors.core.free_pages import free_frames
from kernelsim.actors.core.inode_lock import inode_lock
from kernelsim.actors.core.lru_add import folio_batch_drain
from kernelsim.actors.core.page_reads import wait_on_page_read
from kernelsim.actors.file.balance_dirty import balance_dirty_pages_ratelimited
from kernelsim.actors.file.cache_burst import CacheBurst
from kernelsim.actors.file.page_io import read_again, read_window
from kernelsim.actors.tracing import trace, wants
from kernelsim.fs.inode import HOLE, Inode
from kernelsim.mm.core.mem import PAGEVEC_SIZE, PG_locked, PG_uptodate
from kernelsim.mm.core.xarray import xa_load
from kernelsim.mm.file.address_space import page_key
from kernelsim.mm.file.dirty_pages import folio_mark_dirty
from kernelsim.mm.file.filemap import (
    filemap_add_run,
    page_cache_next_miss,
    page_cache_next_page,
)
from kernelsim.mm.file.filemap_write import create_page_buffers, has_reservation, write_run
from kernelsim.mm.file.readahead import Window
from kernelsim.mm.page.gfp import GFP_HIGHUSER_MOVABLE, Gfp
from kernelsim.mm.swap.swap_area import SS_FREE
from kernelsim.trace.writeback import writeback_dirty_folio
from kernelsim.units import PAGE_SHIFT, PAGE_SIZE

WRITE_GFP: Final = GFP_HIGHUSER_MOVABLE | Gfp.WRITE
MAX_LFS_FILESIZE: Final = (1 << 44) - PAGE_SIZE  # the largest file of ext4 with blocks of 4 KiB


class FileWriter:
    """The kernel side of one task that writes files.

    Args:
        current: The task.
    """

    def __init__(self, current: Current) -> None:
        self._current = current
        self._kernel, self._task = current
        self._pfns = np.zeros(PAGEVEC_SIZE, np.int64)
        self._burst = CacheBurst(current)

    async def write(self, inode: Inode, pos: int, nr_bytes: int, token: int) -> tuple[int, int]:
        """Write bytes that leave `token` in each page; return how many were, and an errno.

        It ends early when the task is being killed, the device is full, or the file too large.

        Source: Linux 6.1 mm/filemap.c:generic_perform_write, under ext4_buffered_write_iter
        """
        async with inode_lock(self._current, inode):
            return await self._write(inode, pos, nr_bytes, token)

    async def _write(self, inode: Inode, pos: int, nr_bytes: int, token: int) -> tuple[int, int]:
        end = min(pos + nr_bytes, MAX_LFS_FILESIZE)
        if pos >= MAX_LFS_FILESIZE:
            return 0, errno.EFBIG
        at, error, most = pos, 0, PAGEVEC_SIZE
        bdi = self._kernel.backing_devs[inode.device]
        while at < end and not error and not self._task.killed:
            await settle_slabs(self._current)
            index, is_whole = at >> PAGE_SHIFT, at % PAGE_SIZE == 0 and end - at >= PAGE_SIZE
            if is_whole and most > 1 and (done := self._store_run(inode, index, end, token)):
                at += done << PAGE_SHIFT
                continue
            nr = min((end - at) >> PAGE_SHIFT if is_whole else 1, self._nr_at_once(), most)
            pfn = xa_load(self._kernel.spaces.pool.xa, inode.number, index)
            if pfn > 0:
                done, error = await self._store_cached(inode, index, nr, pfn, token, whole=is_whole)
            elif not is_whole and self._is_on_disk(inode, index):
                context = alloc_context(self._current, GFP_HIGHUSER_MOVABLE)
                await read_window(self._current, inode, Window(index, 1, -1), context)
                continue
            else:
                done, error = await self._store_new(inode, index, nr, token)
            if error == errno.ENOSPC and nr > 1:  # there may be room for the first of them
                error, most = 0, 1
            if done:
                at = min((index + done) << PAGE_SHIFT, end)
                inode.size = max(inode.size, at)
                await balance_dirty_pages_ratelimited(self._current, bdi)
        await settle_slabs(self._current)
        return at - pos, error

    def _store_run(self, inode: Inode, index: int, end: int, token: int) -> int:
        """Store to pages that are not in memory as far as nobody can notice; return how many."""
        context = alloc_context(self._current, WRITE_GFP)
        stop = end >> PAGE_SHIFT
        done, nr_new = self._burst.store_new(inode, index, stop, token, context)
        if done:
            self._account(inode, index, done, nr_new)
            inode.size = max(inode.size, index + done << PAGE_SHIFT)
        return done

    def _nr_at_once(self) -> int:
        """Return how many pages may be stored to until the limits have to be looked at."""
        task = self._task
        room = PAGEVEC_SIZE - int(self._kernel.mem.lru_batch[task.cpu.number, 0])
        return max(1, min(room, task.dirty.nr_dirtied_pause - task.dirty.nr_dirtied))

    def _is_on_disk(self, inode: Inode, index: int) -> bool:
        return index < inode.nr_pages and inode.map_blocks(index, 1)[0] != HOLE

    async def _store_cached(
        self, inode: Inode, index: int, nr: int, pfn: int, token: int, *, whole: bool
    ) -> tuple[int, int]:
        """Store to pages that are in memory; return how many, 0 to look again, and an errno."""
        kernel, number = self._kernel, inode.number
        flags = int(kernel.mem.pages.flags[pfn])
        if flags & PG_locked:
            await wait_on_page_read(self._current, page_key(number, index), pfn)
            return 0, 0
        if not flags & PG_uptodate and not whole:
            return 0, await read_again(self._current, inode, index, pfn)
        found = page_cache_next_miss(kernel.spaces.mappings, number, index, nr) - index
        found = next((n for n in range(1, found) if self._is_locked(number, index + n)), found)
        return await self._store(inode, index, found, token)

    def _is_locked(self, number: int, index: int) -> bool:
        pfn = xa_load(self._kernel.spaces.pool.xa, number, index)
        return bool(int(self._kernel.mem.pages.flags[pfn]) & PG_locked)

    async def _store_new(self, inode: Inode, index: int, nr: int, token: int) -> tuple[int, int]:
        """Store to pages that are not in memory; nothing of them has to be read."""
        kernel, task, number = self._kernel, self._task, inode.number
        nr = page_cache_next_page(kernel.spaces.mappings, number, index, index + nr) - index
        context = alloc_context(self._current, WRITE_GFP)
        grant = await alloc_pages(self._current, context, nr, self._pfns)
        if not grant.nr:
            return 0, errno.ENOMEM
        kernel.spaces.pool.reserve(grant.nr)
        error = self._reserve(inode, index, grant.nr)
        done = 0
        if not error:
            kernel.observer.caches(inode, index, self._pfns[: grant.nr])
            done = filemap_add_run(
                kernel.mem, kernel.spaces.mappings, kernel.lruvec, task.cpu.number, number,
                index, self._pfns, 0, grant.nr, -1, int(kernel.swap.state[SS_FREE]), False,
            )  # fmt: skip
            kernel.observer.cached(done)
            kernel.placed(done)
            if done < grant.nr:  # others have entered the rest meanwhile, or the batch is full
                kernel.files.filesystems[inode.device].unreserve(
                    self._nr_holes(inode, index + done, grant.nr - done)
                )
        if done:
            self._dirty(inode, index, done, token)
        if done < grant.nr:
            rest = self._pfns[done : grant.nr].copy()
            await free_frames(self._current, rest, len(rest))
        if kernel.mem.lru_batch[task.cpu.number, 0] == PAGEVEC_SIZE:
            await folio_batch_drain(self._current)
        await self._pay(done)
        return done, error

    async def _store(self, inode: Inode, index: int, nr: int, token: int) -> tuple[int, int]:
        error = self._reserve(inode, index, nr)
        if error:
            return 0, error
        self._dirty(inode, index, nr, token)
        await self._pay(nr)
        return nr, 0

    async def _pay(self, nr: int) -> None:
        latency = self._kernel.spec.latency
        await self._task.compute((latency.page_copy_ns + latency.write_begin_ns) * nr)

    def page_mkwrite(self, inode: Inode, index: int, pfn: int) -> int:
        """Let a page of a file be stored to through a mapping; return an errno, 0 for none.

        It becomes dirty in this step; the caller lets the stores through in the same one.

        Source: Linux 6.1 fs/ext4/inode.c:ext4_page_mkwrite, mm/memory.c:do_page_mkwrite
        """
        error = self._reserve(inode, index, 1)
        if not error:
            kernel = self._kernel
            create_page_buffers(kernel.mem, pfn)
            is_new = folio_mark_dirty(kernel.mem, kernel.spaces.mappings, pfn)
            self._account(inode, index, 1, int(is_new))
        return error

    def _dirty(self, inode: Inode, index: int, nr: int, token: int) -> None:
        """Let pages hold what the program stores; others may look at the file from here on."""
        kernel = self._kernel
        nr_new = write_run(kernel.mem, kernel.spaces.mappings, inode.number, index, nr, token)
        kernel.observer.wrote(inode, index, nr, token)
        self._account(inode, index, nr, nr_new)

    def _account(self, inode: Inode, index: int, nr: int, nr_new: int) -> None:
        """Count pages that were stored to, of which some were clean before."""
        kernel, task = self._kernel, self._task
        bdi = kernel.backing_devs[inode.device]
        if wants(task, writeback_dirty_folio):
            for page in range(index, index + nr):
                trace(task, writeback_dirty_folio(bdi.wb.name, inode.number, page))
        task.dirty.nr_dirtied += nr_new
        bdi.state.bdp_ratelimits[task.cpu.number] += nr_new
        bdi.dirtied(inode, nr_new)

    def _reserve(self, inode: Inode, index: int, nr: int) -> int:
        """Set room aside for pages that have neither a place on the device nor room; an errno."""
        needed = self._nr_holes(inode, index, nr)
        return -self._kernel.files.filesystems[inode.device].reserve(needed)

    def _nr_holes(self, inode: Inode, index: int, nr: int) -> int:
        kernel, needed, at = self._kernel, 0, index
        while at < index + nr:
            place, length = inode.map_blocks(at, index + nr - at)
            if place == HOLE:
                files = kernel.spaces.mappings
                needed += sum(
                    not has_reservation(kernel.mem, files, inode.number, page)
                    for page in range(at, at + length)
                )
            at += length
        return needed
