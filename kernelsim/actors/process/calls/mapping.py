"""mmap, munmap, brk, madvise: the calls that change what is mapped.

Linux: mm/mmap.c, mm/madvise.c, 6.1.
Units: bytes.
"""

import errno
from collections.abc import Iterable
from typing import Final

import attrs

from kernelsim.actors.process.calls.access import store_range
from kernelsim.actors.process.calls.call import Call
from kernelsim.actors.process.calls.caller import Caller
from kernelsim.actors.process.calls.effect import (
    Effect,
    PageRange,
    StoreRun,
    Stores,
    page_range,
)
from kernelsim.actors.space.mmu_gather import zap
from kernelsim.mm.space.gup import mark_range_accessed
from kernelsim.mm.space.mm_struct import MmStruct
from kernelsim.mm.space.vm_flags import MAP_FIXED, MAP_NORESERVE, MAP_PRIVATE
from kernelsim.units import PAGE_SHIFT, PAGE_SIZE


@attrs.frozen
class Mmap:
    """Map anonymous private memory; answered with the address, or a negative errno.

    Attributes:
        length: Bytes.
        noreserve: MAP_NORESERVE.
        address: Where, replacing what is there (MAP_FIXED); 0 for where the kernel likes.
        populate: MAP_POPULATE.
    """

    length: int
    noreserve: bool = False
    address: int = 0
    populate: bool = False


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
    address = await caller.finish(
        caller.mm.mmap(message.length, map_flags=flags, address=message.address)
    )
    if message.populate and address > 0:
        await _populate(caller, address, message.length)
    return address


async def _populate(caller: Caller, address: int, length: int) -> None:
    """Give each page of a new mapping memory, and note that it was used.

    Source: Linux 6.1 mm/gup.c:populate_vma_page_range, which has FOLL_TOUCH
    """
    # Differs from Linux: What the kernel puts in a page it populates counts as a store.
    await store_range(caller, address, length)
    vpn, nr = address >> PAGE_SHIFT, -(-length // PAGE_SIZE)
    mark_range_accessed(*caller.kernel.space, caller.mm.number, vpn, nr)


def _populated(value: Mmap, answer: int | None) -> Iterable[Stores]:
    if value.populate and answer is not None and answer > 0:
        yield StoreRun(answer >> PAGE_SHIFT, -(-value.length // PAGE_SIZE), 1)


async def munmap(caller: Caller, message: Munmap) -> int:
    """Unmap, and free what was there."""
    await caller.enter_kernel()
    return await caller.finish(caller.mm.munmap(message.address, message.length))


async def brk(caller: Caller, message: Brk) -> int:
    """Grow or shrink the heap."""
    await caller.enter_kernel()
    return await caller.finish(caller.mm.set_brk(caller.mm.brk + message.increment))


async def madvise(caller: Caller, message: Madvise) -> int:
    """Drop the pages of a range; they read as zero afterwards."""
    await caller.enter_kernel()
    if message.address % PAGE_SIZE:
        return -errno.EINVAL
    end = message.address + -(-message.length // PAGE_SIZE) * PAGE_SIZE
    caller.task.rss_stat.sync()
    await zap(caller.current, caller.mm, message.address, end)
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
        effect=Effect(leaves=_range_leaves, drops=_mapped_is_new, stores=_populated),
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
