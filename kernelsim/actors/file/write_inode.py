"""Writing one file: its dirty pages, and what else the file system has to write of it.

Linux: fs/fs-writeback.c: __writeback_single_inode, sync_inode_metadata; fs/sync.c: vfs_fsync,
ksys_sync; mm/filemap.c: file_write_and_wait_range, 6.1.
Interface: `writeback_single_inode` for flushers; `fsync`, `write_and_wait` and `sync_all` for who
asks for it.
Units: pages of the file.
"""

from kernelsim.actors.core.backing_dev import BackingDev
from kernelsim.actors.core.current import Current
from kernelsim.actors.core.kernel import wakeup_flusher_threads
from kernelsim.actors.core.writeback_wait import (
    filemap_fdatawait_range,
    inode_sleep_on_writeback,
)
from kernelsim.actors.core.writepages import do_writepages
from kernelsim.fs.errseq import errseq_check_and_advance
from kernelsim.fs.file import OpenFile
from kernelsim.fs.fs_writeback import LONG_MAX, WbReason, WbWork, WritebackControl
from kernelsim.fs.inode import Inode
from kernelsim.mm.file.dirty_pages import LAST_INDEX, has_dirty_pages, is_under_writeback


async def writeback_single_inode(current: Current, inode: Inode, wbc: WritebackControl) -> int:
    """Write pages of a file that nobody else writes now; return what is left of `nr_to_write`.

    Source: Linux 6.1 fs/fs-writeback.c:__writeback_single_inode
    """
    kernel = current.kernel
    inode.is_syncing = True
    left = await do_writepages(current, inode, wbc)
    inode.is_dirty = has_dirty_pages(kernel.spaces.mappings, inode.number)
    inode.is_syncing = False
    kernel.backing_devs[inode.device].queue_of(inode).wake_all()
    return left


async def fsync(current: Current, file: OpenFile, first: int, last: int) -> int:
    """Write a range of a file and wait for it; return an errno that was not heard of yet, or 0.

    Source: Linux 6.1 mm/filemap.c:file_write_and_wait_range, :file_check_and_advance_wb_err
    """
    inode = file.inode
    await write_and_wait(current, inode, first, last)
    error, inode.wb_err = errseq_check_and_advance(inode.wb_err, file.wb_err)
    file.wb_err = inode.wb_err
    await _sync_inode(current, inode)
    return error


async def write_and_wait(current: Current, inode: Inode, first: int, last: int) -> None:
    """Write what is dirty in a range, and wait for all of it that is on its way.

    Source: Linux 6.1 mm/filemap.c:__filemap_fdatawrite_range, :filemap_fdatawait_range
    """
    wbc = WritebackControl(is_sync=True, nr_to_write=LONG_MAX, first=first, last=last)
    await do_writepages(current, inode, wbc)
    await filemap_fdatawait_range(current, inode, first, last)


async def _sync_inode(current: Current, inode: Inode) -> None:
    """Let a file that has nothing left to be written be clean.

    Source: Linux 6.1 fs/fs-writeback.c:sync_inode_metadata, :writeback_single_inode
    """
    kernel = current.kernel
    await inode_sleep_on_writeback(current, inode)
    files, number = kernel.spaces.mappings, inode.number
    if not has_dirty_pages(files, number) and not is_under_writeback(files, number):
        inode.is_dirty = False
        kernel.backing_devs[inode.device].dirty.remove(inode)


async def sync_all(current: Current) -> None:
    """Write everything that is dirty now, on all disks, and wait for it.

    Source: Linux 6.1 fs/sync.c:ksys_sync, fs/fs-writeback.c:sync_inodes_sb
    """
    kernel, task = current
    wakeup_flusher_threads(kernel, WbReason.WB_REASON_SYNC)
    for bdi in kernel.backing_devs.values():
        if bdi.pool is not None:
            await _sync_files(current, bdi)
            continue
        queued = bdi.queue_work(WbWork(reason=WbReason.WB_REASON_SYNC, is_sync=True))
        async with task.off_cpu(in_iowait=True):
            while not queued.is_done:
                await queued.done.wait()
        for inode in list(kernel.files.inodes.values()):
            if inode.device == bdi.device.name:
                await filemap_fdatawait_range(current, inode, 0, LAST_INDEX)


async def _sync_files(current: Current, bdi: BackingDev) -> None:
    """Write the files of a disk in one's own time, as before there were flushers.

    Source: Linux 2.6.31 fs/fs-writeback.c:sync_inodes_sb
    """
    for inode in list(current.kernel.files.inodes.values()):
        if inode.device == bdi.device.name:
            await write_and_wait(current, inode, 0, LAST_INDEX)
            await _sync_inode(current, inode)
