"""mmap, munmap, brk, madvise, msync: the calls that change what is mapped, or are about it.

Linux: mm/mmap.c, mm/madvise.c, mm/msync.c, 6.1.
Units: bytes.
"""

import errno
from typing import Final

import attrs

from kernelsim.actors.core.kernel import Kernel
from kernelsim.actors.file.write_inode import fsync as fsync_file
from kernelsim.actors.process.calls.call import Call
from kernelsim.actors.process.calls.caller import Caller
from kernelsim.actors.process.calls.effect import Effect, PageRange, page_range
from kernelsim.actors.space.mmu_gather import unmap_vmas
from kernelsim.fs.file import OpenFile
from kernelsim.mm.space.mm_struct import MmStruct
from kernelsim.mm.space.mmap import MappedFile, VmArea, page_align
from kernelsim.mm.space.vm_flags import (
    MAP_FIXED,
    MAP_LOCKED,
    MAP_NORESERVE,
    MAP_PRIVATE,
    MAP_SHARED,
    PROT_READ,
    PROT_WRITE,
    VmFlag,
)
from kernelsim.units import PAGE_SHIFT, PAGE_SIZE

DEV_SHIFT: Final = 20  # of the major number in a device's
NO_FILE: Final = -1
ADVICE: Final = ("dontneed", "normal", "random", "sequential", "willneed")
READ_FLAGS: Final = {
    "normal": VmFlag.VM_NONE,
    "random": VmFlag.VM_RAND_READ,
    "sequential": VmFlag.VM_SEQ_READ,
}


@attrs.frozen
class Mmap:
    """Map anonymous private memory or a file; answered with the address, or a negative errno.

    Attributes:
        length: Bytes.
        noreserve: MAP_NORESERVE.
        address: Where, replacing what is there (MAP_FIXED); 0 for where the kernel likes.
        populate: MAP_POPULATE: its pages are brought in.
        locked: MAP_LOCKED: its pages are brought in, and stay.
        fd: Descriptor of the file; NO_FILE for none.
        offset: First byte of the file.
        prot: PROT_* bits.
        shared: MAP_SHARED: stores go to the file; for a file only.
    """

    length: int
    noreserve: bool = False
    address: int = 0
    populate: bool = False
    locked: bool = False
    fd: int = NO_FILE
    offset: int = 0
    prot: int = PROT_READ | PROT_WRITE
    shared: bool = False


@attrs.frozen
class Munmap:
    """Unmap a range; answered with 0 or a negative errno."""

    address: int
    length: int


@attrs.frozen
class Brk:
    """Move the end of the heap by so many bytes; answered with the new end."""

    increment: int


@attrs.frozen
class Madvise:
    """Say how a range will be used; answered with 0 or a negative errno.

    Attributes:
        address: First byte.
        length: Bytes.
        advice: One of ADVICE.
    """

    address: int
    length: int
    advice: str = "dontneed"


@attrs.frozen
class Msync:
    """Write what was stored to shared mappings; answered with 0 or a negative errno.

    Attributes:
        address: First byte.
        length: Bytes.
        waits: MS_SYNC: until the disks have it; else MS_ASYNC, which leaves it to the flushers.
    """

    address: int
    length: int
    waits: bool = True


async def mmap(caller: Caller, message: Mmap) -> int:
    """Map anonymous memory, or a file.

    Source: Linux 6.1 mm/mmap.c:ksys_mmap_pgoff
    """
    await caller.enter_kernel()
    file = None
    if message.fd != NO_FILE:
        opened = caller.entry.files.get(message.fd)
        if opened is None:
            return -errno.EBADF
        file = mapped_file(caller.kernel, opened)
    if message.offset < 0 or message.offset % PAGE_SIZE:
        return -errno.EINVAL
    flags = MAP_SHARED if message.shared else MAP_PRIVATE
    flags |= MAP_NORESERVE if message.noreserve else 0
    flags |= MAP_FIXED if message.address else 0
    flags |= MAP_LOCKED if message.locked else 0
    change = caller.mm.mmap(
        message.length,
        message.prot,
        flags,
        address=message.address,
        file=file,
        pgoff=message.offset >> PAGE_SHIFT,
    )
    address = await caller.finish(change)
    if address >= 0:
        end = page_align(address + message.length)
        await _populate(caller, address, end, asked_for=message.populate)
    return address


def mapped_file(kernel: Kernel, opened: OpenFile) -> MappedFile:
    """Return an open file as mappings have it."""
    inode = opened.inode
    dev = kernel.devices[inode.device].dev
    device = (dev >> DEV_SHIFT, dev & (1 << DEV_SHIFT) - 1)
    return MappedFile(inode.path, inode.number, device, inode.number, opened)


async def _populate(caller: Caller, start: int, end: int, *, asked_for: bool = False) -> None:
    """Bring in the pages of a new mapping, if it is locked or that was asked for.

    Source: Linux 6.1 mm/mmap.c:do_mmap, :brk
    """
    vma = caller.mm.map.find_vma_intersection(start, end)
    if vma is not None and (asked_for or vma.flags & VmFlag.VM_LOCKED):
        await caller.populate(start, end)


async def munmap(caller: Caller, message: Munmap) -> int:
    """Unmap, and free what was there."""
    await caller.enter_kernel()
    return await caller.finish(caller.mm.munmap(message.address, message.length))


async def brk(caller: Caller, message: Brk) -> int:
    """Grow or shrink the heap."""
    await caller.enter_kernel()
    before = caller.mm.brk
    brk = await caller.finish(caller.mm.set_brk(before + message.increment))
    if brk > before:
        await _populate(caller, page_align(before), page_align(brk))
    return brk


async def madvise(caller: Caller, message: Madvise) -> int:
    """Drop the pages of a range, which then read as zero or as the file; or note how it is used.

    A locked mapping ends dropping: what lies before it has been dropped.

    Source: Linux 6.1 mm/madvise.c:madvise_vma_behavior, :madvise_walk_vmas
    """
    await caller.enter_kernel()
    if message.address % PAGE_SIZE:
        return -errno.EINVAL
    end = message.address + -(-message.length // PAGE_SIZE) * PAGE_SIZE
    for vma in caller.mm.map.overlapping(message.address, end):
        if message.advice in READ_FLAGS:
            madvise_update_vma(caller.mm, vma, READ_FLAGS[message.advice])
        elif message.advice == "willneed":
            await _willneed(caller, vma)
        elif vma.flags & VmFlag.VM_LOCKED:
            return -errno.EINVAL
        else:
            caller.task.rss_stat.sync()
            await unmap_vmas(caller.current, caller.mm, [vma])
    # What is mapped has been seen to; that there was a hole is only told.
    return 0 if caller.mm.map.covers(message.address, end) else -errno.ENOMEM


def madvise_update_vma(mm: MmStruct, vma: VmArea, read_flags: VmFlag) -> None:
    """Note how a piece of a mapping will be read.

    Source: Linux 6.1 mm/madvise.c:madvise_update_vma
    """
    flags = vma.flags & ~(VmFlag.VM_RAND_READ | VmFlag.VM_SEQ_READ) | read_flags
    if flags != vma.flags:
        mm.map.remove(vma.start, vma.end)
        mm.map.insert(attrs.evolve(vma, flags=flags))


async def _willneed(caller: Caller, vma: VmArea) -> None:
    """Start to read what a mapping shows of a file.

    Source: Linux 6.1 mm/madvise.c:madvise_willneed
    """
    # Differs from Linux: MADV_WILLNEED reads nothing of anonymous memory back from swap.
    if vma.file is not None and isinstance(vma.file.opened, OpenFile):
        await caller.reader.advise_willneed(vma.file.opened, vma.pgoff, vma.nr_pages)


async def msync(caller: Caller, message: Msync) -> int:
    """Write what was stored to the shared mappings of a range.

    Source: Linux 6.1 mm/msync.c:msync
    """
    await caller.enter_kernel()
    if message.address % PAGE_SIZE:
        return -errno.EINVAL
    end = message.address + -(-message.length // PAGE_SIZE) * PAGE_SIZE
    for vma in caller.mm.map.overlapping(message.address, end) if message.waits else ():
        if vma.file is None or not isinstance(vma.file.opened, OpenFile):
            continue
        if vma.flags & VmFlag.VM_SHARED:
            last = vma.pgoff + vma.nr_pages - 1
            error = await fsync_file(caller.current, vma.file.opened, vma.pgoff, last)
            if error:
                return -error
    return 0 if caller.mm.map.covers(message.address, end) else -errno.ENOMEM


def _dropped_leaves(mm: MmStruct, value: Madvise) -> PageRange | None:
    return _range_leaves(mm, value) if value.advice == "dontneed" else None


def _range_leaves(_mm: MmStruct, value: Mmap | Munmap | Madvise) -> PageRange | None:
    if value.address and value.address % PAGE_SIZE == 0:
        return page_range(value.address, value.length)
    return None


def _heap_leaves(mm: MmStruct, value: Brk) -> PageRange | None:
    # A program knows where its heap ends; this asks as the program could, with sbrk(0).
    if value.increment >= 0:
        return None
    return PageRange(-(-(mm.brk + value.increment) // PAGE_SIZE), -(-mm.brk // PAGE_SIZE))


def _mapped_is_new(_value: Mmap, answer: int | None, leaving: PageRange | None) -> PageRange | None:
    # Whatever was there before, it is new now. Elsewhere nothing was, and copies of a file's pages
    # that the call itself has made, of a locked mapping, are there already.
    return None if answer is None or answer < 0 else leaving


def _heap_dropped(_value: Brk, answer: int, leaving: PageRange | None) -> PageRange | None:
    has_shrunk = leaving is not None and -(-answer // PAGE_SIZE) == leaving.first
    return leaving if has_shrunk else None


def _if_answered(*answers: int) -> Effect:
    # The range is dropped if the answer is one of these.
    return Effect(
        leaves=_range_leaves,
        drops=lambda _value, answer, leaving: leaving if answer in answers else None,
    )


_MMAP_ERRORS: Final = (
    errno.EPERM, errno.EBADF, errno.EAGAIN, errno.ENOMEM, errno.EEXIST, errno.EINVAL,
)  # fmt: skip
CALLS: Final = (
    Call(
        name="mmap",
        value=Mmap,
        handler=mmap,
        returns="mapping",
        errors=_MMAP_ERRORS,
        form="new size",
        steps={"mmap": {}, "mmapnr": {"noreserve": True}},
        effect=Effect(leaves=_range_leaves, drops=_mapped_is_new),
    ),
    Call(
        name="munmap",
        value=Munmap,
        handler=munmap,
        errors=(errno.ENOMEM, errno.EINVAL),
        form="gone",
        steps={"munmap": {}},
        effect=_if_answered(0),
    ),
    Call(
        name="brk",
        value=Brk,
        handler=brk,
        returns="number",
        form="increment",
        effect=Effect(leaves=_heap_leaves, drops=_heap_dropped),
    ),
    Call(
        name="madvise",
        value=Madvise,
        handler=madvise,
        errors=(errno.ENOMEM, errno.EINVAL),
        form="region advice",
        steps={"madvise": {}},
        words=ADVICE,
        effect=attrs.evolve(
            _if_answered(0, -errno.ENOMEM),  # with a hole in it, the rest is dropped too
            leaves=_dropped_leaves,
        ),
    ),
    Call(
        name="msync",
        value=Msync,
        handler=msync,
        errors=(errno.EINVAL, errno.ENOMEM, errno.EIO, errno.ENOSPC),
        form="region",
        steps={"msync": {}},
    ),
)
