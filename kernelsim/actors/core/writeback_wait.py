"""Sleeping until pages of a file have been written.

Linux: mm/page-writeback.c:folio_wait_writeback, mm/filemap.c:__filemap_fdatawait_range, 6.1.
Units: pages of the file, ns.
"""

from kernelsim.actors.core.current import Current
from kernelsim.fs.inode import Inode
from kernelsim.mm.core.xarray import PAGECACHE_TAG_WRITEBACK, xa_next_marked


async def filemap_fdatawait_range(current: Current, inode: Inode, first: int, last: int) -> None:
    """Sleep until no page of a range is on its way to the disk.

    Pages that leave later, behind those already passed, are not waited for.

    Source: Linux 6.1 mm/filemap.c:__filemap_fdatawait_range
    """
    kernel, task = current
    tag = PAGECACHE_TAG_WRITEBACK
    began_ns = kernel.engine.now_ns
    at = xa_next_marked(kernel.spaces.pool.xa, inode.number, first, last, tag)
    if at < 0:
        return
    queue = kernel.backing_devs[inode.device].queue_of(inode)
    async with task.off_cpu(in_iowait=True):
        while at >= 0:
            await queue.wait()
            at = xa_next_marked(kernel.spaces.pool.xa, inode.number, at, last, tag)
    task.waits.io_ns += kernel.engine.now_ns - began_ns


async def inode_sleep_on_writeback(current: Current, inode: Inode) -> None:
    """Sleep until nobody writes the pages of a file (I_SYNC).

    Source: Linux 6.1 fs/fs-writeback.c:inode_sleep_on_writeback, :inode_wait_for_writeback
    """
    queue = current.kernel.backing_devs[inode.device].queue_of(inode)
    if inode.is_syncing:
        async with current.task.off_cpu():
            while inode.is_syncing:
                await queue.wait()
