"""Dropping what is cached of files, in the time of the task that asks for it.

Linux: mm/truncate.c, mm/fadvise.c, fs/drop_caches.c, 6.1.
Units: pages of a file.
"""

from typing import Final

import numpy as np

from kernelsim.actors.alloc.slab import settle_slabs
from kernelsim.actors.core.current import Current
from kernelsim.actors.core.free_pages import release
from kernelsim.actors.core.kernel import Kernel
from kernelsim.actors.core.lru_add import lru_add_drain, lru_add_drain_all
from kernelsim.actors.core.page_reads import wait_on_page_read
from kernelsim.actors.core.tlb_flush import try_to_unmap_flush
from kernelsim.actors.core.writeback_wait import filemap_fdatawait_range
from kernelsim.fs.inode import HOLE, Inode
from kernelsim.mm.core.mem import I64
from kernelsim.mm.core.vmstat import DROP_PAGECACHE, DROP_SLAB
from kernelsim.mm.core.xarray import xa_load
from kernelsim.mm.file.address_space import page_key
from kernelsim.mm.file.dirty_pages import LAST_INDEX
from kernelsim.mm.file.truncate import invalidate_mapping_pages, truncate_pages

DROP_BATCH_PAGES: Final = 512  # dropped before others get a turn
DROP_PAGES: Final = 1  # bits of what is written to drop_caches
DROP_OBJECTS: Final = 2


async def invalidate_pages(current: Current, inode: Inode, first: int, last: int) -> int:
    """Drop clean pages of a file that nobody uses; return how many.

    Source: Linux 6.1 mm/truncate.c:invalidate_mapping_pages
    """
    kernel, task = current
    spaces, dropped = kernel.spaces, 0
    pfns = np.zeros(DROP_BATCH_PAGES, np.int64)
    while first <= last:
        nr, first = invalidate_mapping_pages(
            kernel.mem, spaces.mappings, inode.number, first, last, pfns
        )
        await release_dropped(current, pfns[:nr])
        dropped += nr
        await task.compute(kernel.spec.latency.pte_set_ns * nr)
    return dropped


async def advise_dontneed(current: Current, inode: Inode, first: int, last: int) -> None:
    """Drop a range of a file, also pages that wait in the batches of other CPUs.

    Source: Linux 6.1 mm/fadvise.c:generic_fadvise
    """
    if inode.is_shmem:  # it has no other place
        return
    await lru_add_drain(current)
    await invalidate_pages(current, inode, first, last)
    mem = current.kernel.mem
    if mem.lru_batch[:, 0].any() or mem.activate_batch[:, 0].any():
        await lru_add_drain_all(current)
        await invalidate_pages(current, inode, first, last)


async def drop_caches(current: Current, what: int) -> None:
    """Drop what is cached of all files (1), objects of the kernel (2), or both (3).

    Source: Linux 6.1 fs/drop_caches.c:drop_caches_sysctl_handler
    """
    kernel = current.kernel
    if what & DROP_PAGES:
        await lru_add_drain_all(current)
        for inode in [each for each in kernel.files.inodes.values() if not each.is_shmem]:
            await invalidate_pages(current, inode, 0, max(inode.nr_pages - 1, 0))
        kernel.mem.vm_event[DROP_PAGECACHE] += 1
    if what & DROP_OBJECTS:  # there are none whose number is known
        kernel.mem.vm_event[DROP_SLAB] += 1


async def truncate_inode_pages(current: Current, inode: Inode) -> None:
    """Drop the pages of a file behind its end, which has moved, when they are not being written.

    No mapping shows them any more.

    Source: Linux 6.1 fs/ext4/inode.c:ext4_setattr, mm/truncate.c:truncate_inode_pages
    """
    kernel, task = current
    await lru_add_drain(current)
    first = index = inode.nr_pages
    pfns, dirty = np.zeros(DROP_BATCH_PAGES, np.int64), np.zeros(DROP_BATCH_PAGES, np.int64)
    while index >= 0:
        nr, nr_dirty, dropped, index = truncate_pages(
            kernel.mem, kernel.spaces.mappings, inode.number, index, LAST_INDEX, pfns, dirty
        )
        forget_dirty(kernel, inode, dirty[:nr_dirty])
        await release_dropped(current, pfns[:nr])
        await task.compute(kernel.spec.latency.pte_set_ns * dropped)
        if index >= 0 and dropped < len(pfns):
            await wait_on_page_io(current, inode, index)
    kernel.observer.truncated(inode, first)
    kernel.files.filesystems[inode.device].release(inode, first)
    inode.disk[first:] = 0


async def wait_on_page_io(current: Current, inode: Inode, index: int) -> None:
    """Wait until a page of a file is read, or written."""
    pfn = int(xa_load(current.kernel.spaces.pool.xa, inode.number, index))
    await wait_on_page_read(current, page_key(inode.number, index), pfn)
    await filemap_fdatawait_range(current, inode, index, index)


def forget_dirty(kernel: Kernel, inode: Inode, indexes: I64) -> None:
    """Take note that pages which were dirty will not be written; those of holes took no block."""
    kernel.backing_devs[inode.device].cleaned(len(indexes))
    holes = [page for page in indexes.tolist() if inode.map_blocks(page, 1)[0] == HOLE]
    kernel.files.filesystems[inode.device].unreserve(len(holes))


async def release_dropped(current: Current, pfns: I64) -> None:
    """Free pages that are in no page cache any more, and in no TLB.

    A process that has just unmapped one may have its flush still before it.
    """
    if len(pfns) and current.kernel.mms.mms.tlb_flush_batched.any():
        await try_to_unmap_flush(current, 1)
    await release(current, pfns)
    await settle_slabs(current)
