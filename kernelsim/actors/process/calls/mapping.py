"""mmap, munmap, brk: the calls that change what is mapped.

Linux: mm/mmap.c, 6.1.
Units: bytes.
"""

import errno
from functools import partial
from typing import Final

import attrs

from kernelsim.actors.process.calls.call import Call
from kernelsim.actors.process.calls.caller import Caller
from kernelsim.actors.process.calls.effect import Effect, PageRange, PageRanges, page_range
from kernelsim.actors.space.mapped_file import mapped_file
from kernelsim.actors.space.shmem import shmem_zero_setup
from kernelsim.mm.space.brk import set_brk
from kernelsim.mm.space.mm_struct import MmStruct
from kernelsim.mm.space.mmap import page_align
from kernelsim.mm.space.vm_flags import (
    MAP_ANONYMOUS,
    MAP_FIXED,
    MAP_HUGETLB,
    MAP_LOCKED,
    MAP_NONBLOCK,
    MAP_NORESERVE,
    MAP_POPULATE,
    MAP_PRIVATE,
    MAP_SHARED,
    PROT_READ,
    PROT_WRITE,
    VmFlag,
)
from kernelsim.units import PAGE_SHIFT, PAGE_SIZE

NO_FILE: Final = -1


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
        shared: MAP_SHARED: stores go to the file, or to memory that children share.
        flags: All MAP_* bits, in place of what the fields above say; `address` is a hint then,
            unless one is MAP_FIXED. 0 for those of the fields.
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
    flags: int = 0

    @property
    def map_flags(self) -> int:
        """Return all MAP_* bits."""
        if self.flags:
            return self.flags
        flags = MAP_SHARED if self.shared else MAP_PRIVATE
        flags |= MAP_NORESERVE if self.noreserve else 0
        flags |= MAP_FIXED if self.address else 0
        flags |= MAP_LOCKED if self.locked else 0
        flags |= MAP_POPULATE if self.populate else 0
        return flags | (MAP_ANONYMOUS if self.fd == NO_FILE else 0)


@attrs.frozen
class Munmap:
    """Unmap a range; answered with 0 or a negative errno."""

    address: int
    length: int


@attrs.frozen
class Brk:
    """Move the end of the heap by so many bytes; answered with the new end."""

    increment: int


async def mmap(caller: Caller, message: Mmap) -> int:
    """Map anonymous memory, or a file.

    Source: Linux 6.1 mm/mmap.c:ksys_mmap_pgoff
    """
    await caller.enter_kernel()
    file, map_flags = None, message.map_flags
    if message.offset < 0 or message.offset % PAGE_SIZE:
        return -errno.EINVAL
    if not map_flags & MAP_ANONYMOUS:
        opened = caller.entry.files.get(message.fd)
        if opened is None:
            return -errno.EBADF
        file = mapped_file(caller.kernel, opened)
    if map_flags & MAP_HUGETLB:  # no huge pages are set aside
        return -errno.ENOMEM if file is None else -errno.EINVAL
    change = caller.mm.mmap(
        message.length,
        message.prot,
        map_flags,
        address=message.address,
        file=file,
        pgoff=message.offset >> PAGE_SHIFT,
        zero_setup=partial(shmem_zero_setup, caller.kernel, caller.mm),
    )
    address = await caller.finish(change)
    if change.unmapped or address >= 0:
        for gone in _range_leaves(caller.mm, message):
            caller.kernel.observer.emptied(caller.task.pid, *gone)
    if address >= 0:
        end = page_align(address + message.length)
        asked_for = map_flags & (MAP_POPULATE | MAP_NONBLOCK) == MAP_POPULATE
        await _populate(caller, address, end, asked_for=asked_for)
    return address


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
    brk = await caller.finish(set_brk(caller.mm, before + message.increment))
    if brk > before:
        await _populate(caller, page_align(before), page_align(brk))
    return brk


def _range_leaves(_mm: MmStruct, value: Mmap | Munmap) -> PageRanges:
    if isinstance(value, Mmap) and not value.map_flags & MAP_FIXED:
        return ()
    if value.address % PAGE_SIZE == 0:
        return (page_range(value.address, value.length),)
    return ()


def _heap_leaves(mm: MmStruct, value: Brk) -> PageRanges:
    # A program knows where its heap ends; this asks as the program could, with sbrk(0).
    if value.increment >= 0:
        return ()
    return (PageRange(-(-(mm.brk + value.increment) // PAGE_SIZE), -(-mm.brk // PAGE_SIZE)),)


def _heap_dropped(_value: Brk, answer: int, leaving: PageRanges) -> PageRanges:
    return tuple(part for part in leaving if -(-answer // PAGE_SIZE) == part.first)


def _if_answered(*answers: int) -> Effect:
    # The range is dropped if the answer is one of these.
    return Effect(
        leaves=_range_leaves,
        drops=lambda _value, answer, leaving: leaving if answer in answers else (),
    )


_MMAP_ERRORS: Final = (
    errno.EPERM, errno.EBADF, errno.EAGAIN, errno.ENOMEM, errno.EACCES, errno.EEXIST, errno.EINVAL,
    errno.EOVERFLOW, errno.EOPNOTSUPP,
)  # fmt: skip
CALLS: Final = (
    Call(
        name="mmap",
        mmap_lock="write_killable",
        value=Mmap,
        handler=mmap,
        returns="mapping",
        errors=_MMAP_ERRORS,
        form="new size",
        steps={"mmap": {}, "mmapshared": {"shared": True}, "mmapnr": {"noreserve": True}},
        effect=Effect(leaves=_range_leaves),
    ),
    Call(
        name="munmap",
        mmap_lock="write_killable",
        value=Munmap,
        handler=munmap,
        errors=(errno.ENOMEM, errno.EINVAL),
        form="gone",
        steps={"munmap": {}},
        effect=_if_answered(0),
    ),
    Call(
        name="brk",
        mmap_lock="write_killable",
        value=Brk,
        handler=brk,
        returns="number",
        form="increment",
        effect=Effect(leaves=_heap_leaves, drops=_heap_dropped),
    ),
)
