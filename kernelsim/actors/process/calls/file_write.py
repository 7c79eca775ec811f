"""write, fsync, fdatasync, sync, sync_file_range, ftruncate: what a program does to files.

Linux: fs/read_write.c, fs/sync.c, fs/open.c, 6.1.
Units: bytes.
"""

import errno
from typing import Final

import attrs

from kernelsim.actors.core.writeback_wait import filemap_fdatawait_range
from kernelsim.actors.core.writepages import do_writepages
from kernelsim.actors.file.file_write import MAX_LFS_FILESIZE
from kernelsim.actors.file.write_inode import fsync as fsync_file
from kernelsim.actors.file.write_inode import sync_all
from kernelsim.actors.process.calls.call import Call
from kernelsim.actors.process.calls.caller import Caller
from kernelsim.actors.process.calls.files import HERE, MAX_OFFSET
from kernelsim.actors.space.shmem import shmem_write
from kernelsim.actors.space.unmap_mapping import truncate_setsize
from kernelsim.fs.errseq import errseq_check_and_advance
from kernelsim.fs.fs_writeback import WritebackControl
from kernelsim.mm.file.dirty_pages import LAST_INDEX
from kernelsim.units import PAGE_SHIFT, PAGE_SIZE

MAX_RW_COUNT: Final = (1 << 31) - PAGE_SIZE  # of one call, include/linux/fs.h
RANGE_FLAGS: Final = ("wait_before", "write", "wait_after")  # SYNC_FILE_RANGE_*


@attrs.frozen
class Write:
    """Write to a file; answered with the bytes that were written, or a negative errno.

    Attributes:
        fd: Descriptor.
        count: Bytes.
        offset: Where, as pwrite has it; HERE for where the last read or write ended.
    """

    fd: int
    count: int
    offset: int = HERE


@attrs.frozen
class Fsync:
    """Write what is dirty of a file and wait for it; answered with 0 or a negative errno."""

    fd: int


@attrs.frozen
class Fdatasync:
    """The same, without what only describes the file."""

    fd: int


@attrs.frozen
class Sync:
    """Write all that is dirty, and wait for it; always answered with 0."""


@attrs.frozen
class SyncFileRange:
    """Write a range of a file, in steps; answered with 0 or a negative errno.

    Attributes:
        fd: Descriptor.
        offset: First byte.
        length: Bytes; 0 for up to the end.
        flags: Which steps: "wait_before write wait_after", any of them.
    """

    fd: int
    offset: int = 0
    length: int = 0
    flags: str = "write"


@attrs.frozen
class Ftruncate:
    """Make a file as long as said; answered with 0 or a negative errno."""

    fd: int
    length: int


async def write(caller: Caller, message: Write) -> int:
    """Write, at the file's position or elsewhere.

    Source: Linux 6.1 fs/read_write.c:ksys_write, :ksys_pwrite64
    """
    await caller.enter_kernel()
    if message.offset != HERE and not 0 <= message.offset <= MAX_OFFSET:
        return -errno.EINVAL
    file = caller.entry.files.get(message.fd)
    if file is None or not file.can_write:
        return -errno.EBADF
    if not 0 <= message.count <= MAX_OFFSET:
        return -errno.EINVAL
    pos = file.pos if message.offset == HERE else message.offset
    count = min(message.count, MAX_RW_COUNT)
    if file.inode.is_shmem:
        done, error = await shmem_write(
            caller.current, caller.mm, file.inode, pos, count, caller.token
        )
    else:
        done, error = await caller.writer.write(file.inode, pos, count, caller.token)
    if message.offset == HERE:
        file.pos += done
    return done or -error


async def fsync(caller: Caller, message: Fsync | Fdatasync) -> int:
    """Write a file and wait for it.

    Source: Linux 6.1 fs/sync.c:do_fsync, :vfs_fsync_range
    """
    await caller.enter_kernel()
    file = caller.entry.files.get(message.fd)
    if file is None:
        return -errno.EBADF
    if file.inode.is_shmem:
        return 0
    return -await fsync_file(caller.current, file, 0, LAST_INDEX)


async def sync(caller: Caller, _message: Sync) -> int:
    """Write everything.

    Source: Linux 6.1 fs/sync.c:ksys_sync
    """
    await caller.enter_kernel()
    await sync_all(caller.current)
    return 0


async def sync_file_range(caller: Caller, message: SyncFileRange) -> int:
    """Write a range, in the steps asked for.

    Source: Linux 6.1 fs/sync.c:sync_file_range
    """
    await caller.enter_kernel()
    file = caller.entry.files.get(message.fd)
    if file is None:
        return -errno.EBADF
    steps = message.flags.split()
    if message.offset < 0 or message.length < 0 or not set(steps) <= set(RANGE_FLAGS):
        return -errno.EINVAL
    if file.inode.is_shmem:  # it has no disk
        return 0
    inode, first = file.inode, message.offset >> PAGE_SHIFT
    end = message.offset + message.length
    last = (end - 1) >> PAGE_SHIFT if message.length else LAST_INDEX
    if "wait_before" in steps:
        await filemap_fdatawait_range(caller.current, inode, first, last)
    if "write" in steps:
        # Pages that are being written already are passed over, unless both waits are asked for.
        is_sync = len(steps) == len(RANGE_FLAGS)
        wbc = WritebackControl(first=first, last=last, is_sync=is_sync)
        await do_writepages(caller.current, inode, wbc)
    if "wait_after" in steps:
        await filemap_fdatawait_range(caller.current, inode, first, last)
    error, inode.wb_err = errseq_check_and_advance(inode.wb_err, file.wb_err)
    file.wb_err = inode.wb_err
    return -error


async def ftruncate(caller: Caller, message: Ftruncate) -> int:
    """Cut a file off, or let it grow by a hole.

    Source: Linux 6.1 fs/open.c:do_sys_ftruncate
    """
    await caller.enter_kernel()
    file = caller.entry.files.get(message.fd)
    if message.length < 0:
        return -errno.EINVAL
    if file is None:
        return -errno.EBADF
    if not file.can_write:
        return -errno.EINVAL
    if message.length > MAX_LFS_FILESIZE:
        return -errno.EFBIG
    await truncate_setsize(caller.current, file.inode, message.length, caller.token)
    return 0


_WRITE_ERRORS: Final = (errno.EIO, errno.ENOSPC)
CALLS: Final = (
    Call(
        name="write",
        value=Write,
        handler=write,
        returns="number",
        errors=(errno.EBADF, errno.EINVAL, errno.EFBIG, errno.ENOMEM, *_WRITE_ERRORS),
        form="fd size",
    ),
    Call(
        name="fsync",
        value=Fsync,
        handler=fsync,
        errors=(errno.EBADF, *_WRITE_ERRORS),
        form="fd",
    ),
    Call(
        name="fdatasync",
        value=Fdatasync,
        handler=fsync,
        errors=(errno.EBADF, *_WRITE_ERRORS),
        form="fd",
    ),
    Call(name="sync", value=Sync, handler=sync, form=""),
    Call(
        name="sync_file_range",
        value=SyncFileRange,
        handler=sync_file_range,
        errors=(errno.EBADF, errno.EINVAL, *_WRITE_ERRORS),
        form="fd",
    ),
    Call(
        name="ftruncate",
        value=Ftruncate,
        handler=ftruncate,
        errors=(errno.EBADF, errno.EINVAL, errno.EFBIG),
        form="fd size",
    ),
)
