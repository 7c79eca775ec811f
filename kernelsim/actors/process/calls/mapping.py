"""mmap, munmap, brk, madvise: the calls that change what is mapped.

Linux: mm/mmap.c, mm/madvise.c, 6.1.
Units: bytes.
"""

import errno
from typing import Final

import attrs

from kernelsim.actors.process.calls.call import Call
from kernelsim.actors.process.calls.caller import Caller
from kernelsim.actors.process.calls.effect import Effect, PageRange, page_range
from kernelsim.actors.space.mmu_gather import unmap_vmas
from kernelsim.mm.space.mm_struct import MmStruct
from kernelsim.mm.space.mmap import page_align
from kernelsim.mm.space.vm_flags import (
    MAP_FIXED,
    MAP_LOCKED,
    MAP_NORESERVE,
    MAP_PRIVATE,
    VmFlag,
)
from kernelsim.units import PAGE_SIZE


@attrs.frozen
class Mmap:
    """Map anonymous private memory; answered with the address, or a negative errno.

    Attributes:
        length: Bytes.
        noreserve: MAP_NORESERVE.
        address: Where, replacing what is there (MAP_FIXED); 0 for where the kernel likes.
        populate: MAP_POPULATE: its pages are brought in.
        locked: MAP_LOCKED: its pages are brought in, and stay.
    """

    length: int
    noreserve: bool = False
    address: int = 0
    populate: bool = False
    locked: bool = False


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
    """MADV_DONTNEED on a range; answered with 0 or a negative errno."""

    address: int
    length: int
    advice: str = "dontneed"


async def mmap(caller: Caller, message: Mmap) -> int:
    """Map anonymous memory."""
    await caller.enter_kernel()
    flags = MAP_PRIVATE | (MAP_NORESERVE if message.noreserve else 0)
    flags |= MAP_FIXED if message.address else 0
    flags |= MAP_LOCKED if message.locked else 0
    change = caller.mm.mmap(message.length, map_flags=flags, address=message.address)
    address = await caller.finish(change)
    if address >= 0:
        end = page_align(address + message.length)
        await _populate(caller, address, end, asked_for=message.populate)
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
    brk = await caller.finish(caller.mm.set_brk(before + message.increment))
    if brk > before:
        await _populate(caller, page_align(before), page_align(brk))
    return brk


async def madvise(caller: Caller, message: Madvise) -> int:
    """Drop the pages of a range; they read as zero afterwards.

    A locked mapping ends it: what lies before it has been dropped.

    Source: Linux 6.1 mm/madvise.c:madvise_dontneed_free, :madvise_walk_vmas
    """
    await caller.enter_kernel()
    if message.address % PAGE_SIZE:
        return -errno.EINVAL
    end = message.address + -(-message.length // PAGE_SIZE) * PAGE_SIZE
    caller.task.rss_stat.sync()
    for vma in caller.mm.map.overlapping(message.address, end):
        if vma.flags & VmFlag.VM_LOCKED:
            return -errno.EINVAL
        await unmap_vmas(caller.current, caller.mm, [(vma.start, vma.end)])
    # What is mapped has been dropped; that there was a hole is only told.
    return 0 if caller.mm.map.covers(message.address, end) else -errno.ENOMEM


def _range_leaves(_mm: MmStruct, value: Mmap | Munmap | Madvise) -> PageRange | None:
    if value.address and value.address % PAGE_SIZE == 0:
        return page_range(value.address, value.length)
    return None


def _heap_leaves(mm: MmStruct, value: Brk) -> PageRange | None:
    # A program knows where its heap ends; this asks as the program could, with sbrk(0).
    if value.increment >= 0:
        return None
    return PageRange(-(-(mm.brk + value.increment) // PAGE_SIZE), -(-mm.brk // PAGE_SIZE))


def _mapped_is_new(value: Mmap, answer: int | None, _leaving: object) -> PageRange | None:
    # Whatever was there, it is new now.
    return None if answer is None or answer < 0 else page_range(answer, value.length)


def _heap_dropped(_value: Brk, answer: int, leaving: PageRange | None) -> PageRange | None:
    has_shrunk = leaving is not None and -(-answer // PAGE_SIZE) == leaving.first
    return leaving if has_shrunk else None


def _if_answered(*answers: int) -> Effect:
    # The range is dropped if the answer is one of these.
    return Effect(
        leaves=_range_leaves,
        drops=lambda _value, answer, leaving: leaving if answer in answers else None,
    )


CALLS: Final = (
    Call(
        name="mmap",
        value=Mmap,
        handler=mmap,
        returns="mapping",
        errors=(errno.EPERM, errno.EAGAIN, errno.ENOMEM, errno.EEXIST, errno.EINVAL),
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
        words=("dontneed",),
        effect=_if_answered(0, -errno.ENOMEM),  # with a hole in it, the rest is dropped too
    ),
)
