"""open, close, read, posix_fadvise, mincore and drop_caches: what a program does with files.

Linux: fs/open.c, fs/read_write.c, mm/fadvise.c, mm/mincore.c, fs/drop_caches.c, 6.1.
Units: bytes.
"""

import errno
from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from typing import Final

import attrs
import numpy as np

from kernelsim.actors.file.truncate import advise_dontneed, drop_caches
from kernelsim.actors.process.calls.access import store_range
from kernelsim.actors.process.calls.call import Call
from kernelsim.actors.process.calls.caller import Caller
from kernelsim.actors.process.calls.effect import Effect, StoreRun, Stores, page_range
from kernelsim.actors.space.shmem import shmem_accessed, shmem_swapin_range
from kernelsim.actors.space.unmap_mapping import truncate_setsize
from kernelsim.fs.errseq import errseq_sample
from kernelsim.fs.file import OpenFile
from kernelsim.fs.inode import Inode
from kernelsim.mm.core.mem import I64
from kernelsim.mm.file.filemap import incore_pages
from kernelsim.mm.file.readahead import VM_READAHEAD_PAGES
from kernelsim.mm.space.mm_struct import MmStruct
from kernelsim.units import PAGE_SHIFT, PAGE_SIZE

FIRST_FD: Final = 3  # the three before are open already
HERE: Final = -1  # offset of a read at the file's position
MAX_OFFSET: Final = (1 << 63) - 1  # loff_t
ADVICE: Final = ("normal", "random", "sequential", "willneed", "dontneed")


@attrs.frozen
class Open:
    """Open a file; answered with a descriptor, or a negative errno.

    Attributes:
        path: Its name.
        create: Make it if there is none (O_CREAT).
        truncate: Make it empty (O_TRUNC).
        mode: For what: "rw", "r" or "w".
    """

    path: str
    create: bool = False
    truncate: bool = False
    mode: str = "rw"


@attrs.frozen
class Close:
    """Close a descriptor; answered with 0 or a negative errno."""

    fd: int


@attrs.frozen
class Read:
    """Read from a file; answered with the bytes that were read, or a negative errno.

    Attributes:
        fd: Descriptor.
        count: Bytes wanted.
        offset: Where, as pread has it; HERE for where the last read ended.
        block: Bytes of each call, when the program reads in a loop; 0 for one call.
        buffer: Address of the memory that gets what is read; 0 for memory that is always there.
    """

    fd: int
    count: int
    offset: int = HERE
    block: int = 0
    buffer: int = 0


@attrs.frozen
class Fadvise:
    """posix_fadvise: say how a file will be used; answered with 0 or a negative errno.

    Attributes:
        fd: Descriptor.
        advice: One of ADVICE.
        offset: First byte.
        length: Bytes; 0 for up to the end.
    """

    fd: int
    advice: str
    offset: int = 0
    length: int = 0


@attrs.frozen
class Fstat:
    """Ask how long a file is; answered with the bytes, or a negative errno."""

    fd: int


@attrs.frozen
class Mincore:
    """Map a file, ask mincore for it, unmap it; answered with the pages in memory, or an errno."""

    fd: int


@attrs.frozen
class DropCaches:
    """Write to /proc/sys/vm/drop_caches: 1 pages of files, 2 objects of the kernel, 3 both."""

    what: int


async def open_file(caller: Caller, message: Open) -> int:
    """Give a file the lowest free descriptor.

    Source: Linux 6.1 fs/open.c:do_sys_openat2
    """
    await caller.enter_kernel()
    kernel = caller.kernel
    inode: Inode | int | None = kernel.files.by_path.get(message.path)
    if inode is None and message.create:
        inode = kernel.files.create(message.path)
    if not isinstance(inode, Inode):
        return -errno.ENOENT if inode is None else inode
    kernel.spaces.add(inode.number)
    if message.truncate:
        await truncate_setsize(caller.current, inode, 0, caller.token)
    inode.nr_open += 1
    files = caller.entry.files
    fd = next(fd for fd in range(FIRST_FD, FIRST_FD + len(files) + 1) if fd not in files)
    files[fd] = OpenFile(
        inode,
        wb_err=errseq_sample(inode.wb_err),
        can_read="r" in message.mode,
        can_write="w" in message.mode,
    )
    return fd


async def close_file(caller: Caller, message: Close) -> int:
    """Let a descriptor go.

    Source: Linux 6.1 fs/open.c:close_fd
    """
    await caller.enter_kernel()
    file = caller.entry.files.pop(message.fd, None)
    if file is None:
        return -errno.EBADF
    file.inode.nr_open -= 1
    return 0


async def read(caller: Caller, message: Read) -> int:
    """Read, at the file's position or elsewhere.

    Source: Linux 6.1 fs/read_write.c:ksys_read, :ksys_pread64
    """
    file, error = caller.entry.files.get(message.fd), _refusal(caller, message)
    if error or file is None:
        await caller.enter_kernel()
        return error
    pos = file.pos if message.offset == HERE else message.offset
    count, block = message.count, message.block or max(message.count, 1)
    if count == 0 or pos >= file.inode.size:
        await caller.enter_kernel()
        return 0
    copied = None
    if message.buffer:
        room = _writable_bytes(caller.mm, message.buffer, min(block, count))
        if not room:
            await caller.enter_kernel()
            return -errno.EFAULT
        count = room if room < min(block, count) else count  # what fits, and no more
        copied = partial(_fill_buffer, caller, message.buffer, block)
    if file.inode.is_shmem:
        done, error = await _read_shmem(caller, file.inode, pos, count, copied)
    else:
        done, error = await caller.reader.read(file, pos, count, block, copied)
    if message.offset == HERE:
        file.pos += done
    return done or -error


def _refusal(caller: Caller, message: Read) -> int:
    """Return the errno of a read that is not even begun, negated; 0 for none.

    Source: Linux 6.1 fs/read_write.c:ksys_pread64, :vfs_read, :rw_verify_area
    """
    if message.offset != HERE and not 0 <= message.offset <= MAX_OFFSET:
        return -errno.EINVAL
    file = caller.entry.files.get(message.fd)
    if file is None or not file.can_read:
        return -errno.EBADF
    end = message.buffer + (message.block or message.count)
    if message.buffer and end > caller.mm.map.task_size:
        return -errno.EFAULT
    sizes = (message.count, message.block)
    return -errno.EINVAL if min(sizes) < 0 or max(sizes) > MAX_OFFSET else 0


def _writable_bytes(mm: MmStruct, start: int, length: int) -> int:
    """Return how many bytes of a buffer can be stored to, from its start on."""
    at = start
    for piece in mm.map.overlapping(start, start + length):
        if piece.start != at or not piece.permits(write=True):
            break
        at = piece.end
    return at - start


async def _read_shmem(
    caller: Caller,
    inode: Inode,
    pos: int,
    count: int,
    copied: Callable[[int, int], Awaitable[None]] | None,
) -> tuple[int, int]:
    """Read from a file that lies in memory; return the bytes, and an errno. A hole gets no page.

    Source: Linux 6.1 mm/shmem.c:shmem_file_read_iter
    """
    await caller.enter_kernel()
    nr, latency = min(count, inode.size - pos), caller.kernel.spec.latency
    first, last, slots = pos // PAGE_SIZE, (pos + nr - 1) // PAGE_SIZE, caller.kernel.swap.map
    end = await shmem_swapin_range(caller.current, inode, first, last, range(len(slots)))
    nr = max(min(nr, end * PAGE_SIZE - pos), 0)
    await shmem_accessed(caller.current, inode, -(-pos // PAGE_SIZE), (pos + nr - 1) // PAGE_SIZE)
    await caller.task.compute(latency.page_copy_ns * -(-nr // PAGE_SIZE))
    if copied is not None:
        await copied(0, nr)
    return nr, 0 if end > last else errno.EIO


async def _fill_buffer(caller: Caller, buffer: int, block: int, first: int, nr: int) -> None:
    """Store to the pages of a buffer what came, bytes `first` on; a page out of memory faults.

    Source: Linux 6.1 lib/iov_iter.c:copy_page_to_iter
    """
    start = first % block
    for low, high in ((start, min(start + nr, block)), (0, min(start + nr - block, start))):
        if low < high:
            await store_range(caller, buffer + low, high - low)


def _buffer_stores(value: Read, answer: int | None) -> Iterable[Stores]:
    if value.buffer and answer is not None and answer > 0:
        nr = min(value.block or answer, answer)
        pages = page_range(value.buffer, nr)
        yield StoreRun(pages.first, pages.end - pages.first, 1)


async def fadvise(caller: Caller, message: Fadvise) -> int:
    """Note how a file will be used, or act on it at once.

    Source: Linux 6.1 mm/fadvise.c:generic_fadvise
    """
    await caller.enter_kernel()
    file = caller.entry.files.get(message.fd)
    if file is None:
        return -errno.EBADF
    if message.length < 0 or message.advice not in ADVICE:
        return -errno.EINVAL
    advice, size = message.advice, file.inode.size
    end = message.offset + message.length if message.length else size
    if advice == "willneed":
        first = max(message.offset, 0) >> PAGE_SHIFT  # no page lies outside of the file
        last = min(end - 1, size - 1) >> PAGE_SHIFT
        await caller.reader.advise_willneed(file, first, max(0, last + 1 - first))
    elif advice == "dontneed":
        # Pages that are only partly in the range stay, but for the last one of the file.
        first = -(-max(message.offset, 0) // PAGE_SIZE)
        last = (end - 1) >> PAGE_SHIFT if end >= size else (end >> PAGE_SHIFT) - 1
        await advise_dontneed(caller.current, file.inode, first, last)
    else:
        file.is_random = advice == "random"
        file.ra.ra_pages = VM_READAHEAD_PAGES * (2 if advice == "sequential" else 1)
    return 0


async def fstat(caller: Caller, message: Fstat) -> int:
    """Tell the size of a file.

    Source: Linux 6.1 fs/stat.c:vfs_fstat
    """
    await caller.enter_kernel()
    file = caller.entry.files.get(message.fd)
    return -errno.EBADF if file is None else file.inode.size


async def mincore(caller: Caller, message: Mincore) -> I64 | int:
    """Tell which pages of a file are in memory.

    Source: Linux 6.1 mm/mincore.c:mincore_page
    """
    await caller.enter_kernel()
    kernel, file = caller.kernel, caller.entry.files.get(message.fd)
    if file is None:
        return -errno.EBADF
    found = np.zeros(kernel.spaces.nrpages(file.inode.number), np.int64)
    nr = incore_pages(
        kernel.mem, kernel.spaces.mappings, file.inode.number, file.inode.nr_pages, found
    )
    return found[:nr]


async def drop(caller: Caller, message: DropCaches) -> int:
    """Drop caches."""
    await caller.enter_kernel()
    if not 1 <= message.what <= DROP_CACHES_MAX:
        return -errno.EINVAL
    await drop_caches(caller.current, message.what)
    return 0


DROP_CACHES_MAX: Final = 4
CALLS: Final = (
    Call(
        name="open",
        value=Open,
        handler=open_file,
        returns="number",
        errors=(errno.ENOENT, errno.ENOSPC),
        form="path",
    ),
    Call(name="close", value=Close, handler=close_file, errors=(errno.EBADF,), form="fd"),
    Call(
        name="read",
        value=Read,
        handler=read,
        returns="number",
        errors=(errno.EBADF, errno.EINVAL, errno.EIO, errno.EFAULT),
        form="fd size",
        effect=Effect(stores=_buffer_stores),
    ),
    Call(
        name="fadvise",
        value=Fadvise,
        handler=fadvise,
        errors=(errno.EBADF, errno.EINVAL),
        form="fd advice",
        words=ADVICE,
    ),
    Call(
        name="fstat",
        value=Fstat,
        handler=fstat,
        returns="number",
        errors=(errno.EBADF,),
        form="fd",
    ),
    Call(
        name="mincore",
        value=Mincore,
        handler=mincore,
        returns="result",
        errors=(errno.EBADF,),
        form="fd",
    ),
    Call(
        name="drop_caches",
        value=DropCaches,
        handler=drop,
        errors=(errno.EINVAL,),
        form="number",
    ),
)
