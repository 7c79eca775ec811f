"""Holes in files: a range has no pages and no blocks any more, and reads as zeros.

Linux: mm/shmem.c:shmem_fallocate, fs/ext4/inode.c:ext4_punch_hole, mm/truncate.c, 6.1.
Mappings that show the range lose its pages, too, but for private copies.
Units: pages of the file.
"""

from typing import NamedTuple

import numpy as np

from kernelsim.actors.core.current import Current
from kernelsim.actors.core.inode_lock import inode_lock
from kernelsim.actors.core.kernel import Kernel
from kernelsim.actors.core.lru_add import lru_add_drain
from kernelsim.actors.core.tlb_flush import try_to_unmap_flush
from kernelsim.actors.file.truncate import forget_dirty, release_dropped, wait_on_page_io
from kernelsim.actors.file.write_inode import write_and_wait
from kernelsim.actors.space.shmem import release_taken, take_shmem_pages
from kernelsim.fs.inode import Inode
from kernelsim.mm.core.mem import I64
from kernelsim.mm.file.truncate import truncate_pages
from kernelsim.mm.space.i_mmap import FV_MM, FV_NR_PAGES, FV_PGOFF, FV_VPN
from kernelsim.mm.space.zap import zap_file_pages


class _Taken(NamedTuple):
    """What one step has taken out of a page cache."""

    pfns: I64  # to be released
    dropped: int
    busy: int  # the page it stopped at, which is on its way to or from the disk; -1 for none


async def punch_hole(current: Current, inode: Inode, first: int, nr: int) -> None:
    """Free pages of a file and what they take of its device; what is dirty is written before.

    Source: Linux 6.1 fs/ext4/inode.c:ext4_punch_hole, mm/truncate.c:truncate_pagecache_range
    """
    end = min(first + nr, inode.nr_pages)
    if first < end:
        await write_and_wait(current, inode, first, end - 1)
    async with inode_lock(current, inode):
        await lru_add_drain(current)
        while first < (end := min(first + nr, inode.nr_pages)):
            # Out of page tables and out of the file in one step, and out of its blocks in that
            # which is the last: no fault comes between (filemap_invalidate_lock).
            nr_zapped = _zap_shared(current.kernel, inode, first, end)
            taken = _take_pages(current.kernel, inode, first, end)
            if taken.busy < 0:
                current.kernel.files.filesystems[inode.device].release(inode, first, end)
                inode.disk[first:end] = 0
                current.kernel.observer.wrote(inode, first, end - first, 0)
            if nr_zapped:
                await try_to_unmap_flush(current, 1)
            await release_dropped(current, taken.pfns)
            await current.task.compute(current.kernel.spec.latency.pte_set_ns * taken.dropped)
            if taken.busy < 0:
                break
            await wait_on_page_io(current, inode, taken.busy)


async def shmem_punch_hole(current: Current, inode: Inode, first: int, nr: int) -> None:
    """Free pages of a file that lies in memory.

    Source: Linux 6.1 mm/shmem.c:shmem_fallocate
    """
    kernel = current.kernel
    async with inode_lock(current, inode):
        await lru_add_drain(current)
        # Out of page tables and out of the file in one step: no fault comes between.
        nr_zapped = _zap_shared(kernel, inode, first, first + nr)
        pfns = take_shmem_pages(kernel, inode, first, first + nr - 1)
        kernel.observer.wrote(inode, first, nr, 0)
        if nr_zapped:
            await try_to_unmap_flush(current, 1)
        await release_taken(current, pfns)


def _zap_shared(kernel: Kernel, inode: Inode, first: int, end: int) -> int:
    """Clear all entries of pages of a file, for a flush to come; return how many there were."""
    nr_zapped = 0
    for row in kernel.mms.i_mmap.mappings(inode.number):
        pgoff = row[FV_PGOFF]
        low, high = max(first, pgoff), min(end, pgoff + row[FV_NR_PAGES])
        if low < high:
            vpn = row[FV_VPN] + low - pgoff
            nr_zapped += zap_file_pages(*kernel.space, row[FV_MM], vpn, high - low)
    return nr_zapped


def _take_pages(kernel: Kernel, inode: Inode, first: int, end: int) -> _Taken:
    """Take pages of a file, none of which is mapped, out of its page cache."""
    pfns, dirty = np.zeros(end - first, np.int64), np.zeros(end - first, np.int64)
    nr, nr_dirty, dropped, busy = truncate_pages(
        kernel.mem, kernel.spaces.mappings, inode.number, first, end - 1, pfns, dirty
    )
    forget_dirty(kernel, inode, dirty[:nr_dirty])
    return _Taken(pfns[:nr], dropped, busy)
