"""madvise, msync, mincore: what a program says of its mappings, and what it asks.

Linux: mm/madvise.c, mm/msync.c, mm/mincore.c, 6.1.
Units: bytes.
"""

import errno
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final

import attrs
import numpy as np

from kernelsim.actors.alloc.page_allocator import vma_context
from kernelsim.actors.core.lru_add import lru_add_drain
from kernelsim.actors.core.tlb_flush import flush_tlb_mm_range
from kernelsim.actors.file.write_inode import fsync as fsync_file
from kernelsim.actors.process.calls.call import Call, MmapLocking
from kernelsim.actors.process.calls.caller import Caller
from kernelsim.actors.process.calls.effect import Effect, PageRange, PageRanges, page_range
from kernelsim.actors.space.lazy_free import free_lazily
from kernelsim.actors.space.mmu_gather import unmap_vmas
from kernelsim.actors.space.pageout import reclaim_pages
from kernelsim.actors.space.punch_hole import punch_hole, shmem_punch_hole
from kernelsim.actors.space.shmem import ZERO_PATH, shmem_willneed
from kernelsim.actors.space.swap_in import SwapIn
from kernelsim.fs.file import OpenFile
from kernelsim.mm.file.mincore import mincore_range
from kernelsim.mm.page.alloc_context import AllocContext
from kernelsim.mm.page.gfp import GFP_HIGHUSER_MOVABLE
from kernelsim.mm.space.madvise import FLAG_ADVICE, advised_flags, age_pages
from kernelsim.mm.space.mm_struct import MmStruct
from kernelsim.mm.space.mmap import VmArea, page_align
from kernelsim.mm.space.vm_flags import VmFlag
from kernelsim.units import PAGE_SIZE

MS_ASYNC: Final = 1
MS_INVALIDATE: Final = 2
MS_SYNC: Final = 4
ADDRESS_END: Final = 1 << 64
CANNOT_AGE: Final = VmFlag.VM_LOCKED | VmFlag.VM_PFNMAP | VmFlag.VM_HUGETLB


@attrs.frozen
class Madvise:
    """Say how a range will be used; answered with 0 or a negative errno.

    Attributes:
        address: First byte.
        length: Bytes.
        advice: As in madvise(2), without MADV_ and in small letters; another is EINVAL.
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
        flags: MS_SYNC waits until the disks have it, MS_ASYNC leaves it to the flushers.
    """

    address: int
    length: int
    flags: int = MS_SYNC


@attrs.frozen
class MincoreRange:
    """Ask which pages of a range are in memory; answered with bytes of 0 and 1, or an errno."""

    address: int
    length: int


async def madvise(caller: Caller, message: Madvise) -> int:
    """Act on advice, mapping by mapping, up to one that refuses; a hole is only told at the end.

    Source: Linux 6.1 mm/madvise.c:do_madvise, :madvise_walk_vmas
    """
    await caller.enter_kernel()
    advice, at = message.advice, message.address
    if advice not in ADVICE or at % PAGE_SIZE:
        return -errno.EINVAL
    length = page_align(message.length) % ADDRESS_END
    if (message.length and not length) or at + length >= ADDRESS_END:
        return -errno.EINVAL
    end, hole = at + length, 0
    while at < end:
        vma = caller.mm.map.find_vma(at)
        if vma is None:
            return -errno.ENOMEM
        if at < vma.start:
            hole, at = -errno.ENOMEM, vma.start
            continue
        piece = vma.part(at, min(vma.end, end))
        error = await _behave(caller, piece, advice)
        if error:
            return error
        at = piece.end
    return hole


async def _behave(caller: Caller, vma: VmArea, advice: str) -> int:
    """Act on advice about a piece of a mapping; return 0 or a negative errno.

    Source: Linux 6.1 mm/madvise.c:madvise_vma_behavior
    """
    if advice not in FLAG_ADVICE:
        return await ACTIONS[advice](caller, vma)
    flags = advised_flags(vma, advice)
    if flags < 0:
        return int(flags)
    if flags == vma.flags:
        return 0
    error = caller.mm.change_flags(vma, VmFlag(flags))
    return -errno.EAGAIN if error == -errno.ENOMEM else error


async def _dontneed(caller: Caller, vma: VmArea) -> int:
    """Drop pages, which then read as zero, or as the file.

    Source: Linux 6.1 mm/madvise.c:madvise_dontneed_free
    """
    if vma.flags & (VmFlag.VM_LOCKED | VmFlag.VM_PFNMAP):
        return -errno.EINVAL
    return await _dontneed_locked(caller, vma)


async def _dontneed_locked(caller: Caller, vma: VmArea) -> int:
    """Drop pages of mappings that may be locked."""
    if vma.flags & VmFlag.VM_PFNMAP:
        return -errno.EINVAL
    caller.task.rss_stat.sync()
    await caller.unlock_pages(vma)
    await unmap_vmas(caller.current, caller.mm, [vma])
    caller.kernel.observer.emptied(caller.task.pid, vma.vpn, vma.vpn + vma.nr_pages)
    return 0


async def _free(caller: Caller, vma: VmArea) -> int:
    """Let reclaim drop pages instead of swapping them, unless they are stored to before that.

    Source: Linux 6.1 mm/madvise.c:madvise_free_single_vma
    """
    if vma.flags & (VmFlag.VM_LOCKED | VmFlag.VM_PFNMAP) or not vma.is_anonymous:
        return -errno.EINVAL
    await free_lazily(caller.current, caller.mm, vma)
    return 0


async def _remove(caller: Caller, vma: VmArea) -> int:
    """Punch a hole into a file where a mapping shows it.

    Source: Linux 6.1 mm/madvise.c:madvise_remove
    """
    opened = vma.file.opened if vma.file is not None else None
    if vma.flags & VmFlag.VM_LOCKED or not isinstance(opened, OpenFile):
        return -errno.EINVAL
    may_write = VmFlag.VM_SHARED | VmFlag.VM_MAYWRITE
    if vma.flags & may_write != may_write:
        return -errno.EACCES
    punch = shmem_punch_hole if opened.inode.is_shmem else punch_hole
    await punch(caller.current, opened.inode, vma.pgoff, vma.nr_pages)
    return 0


async def _cold(caller: Caller, vma: VmArea) -> int:
    """Let reclaim take pages first that nobody else maps.

    Source: Linux 6.1 mm/madvise.c:madvise_cold
    """
    return await _age(caller, vma)


async def _pageout(caller: Caller, vma: VmArea) -> int:
    """Forget that pages were used which no other process maps, and take them out of memory.

    Source: Linux 6.1 mm/madvise.c:madvise_pageout
    """
    error = await _age(caller, vma)
    if not error:
        await reclaim_pages(caller.current, caller.mm, vma)
    return error


async def _age(caller: Caller, vma: VmArea) -> int:
    # Differs from Linux: MADV_COLD forgets that pages were used; they keep their places on the
    # lists.
    if vma.flags & CANNOT_AGE:
        return -errno.EINVAL
    await lru_add_drain(caller.current)
    aged = age_pages(*caller.kernel.space, caller.mm.number, vma.vpn, vma.nr_pages)
    if aged:
        await flush_tlb_mm_range(caller.current, caller.mm, vma.vpn, vma.nr_pages)
    return 0


async def _willneed(caller: Caller, vma: VmArea) -> int:
    """Start to read what a mapping shows of a file, or has in swap.

    Source: Linux 6.1 mm/madvise.c:madvise_willneed
    """
    opened = vma.file.opened if vma.file is not None else None
    if isinstance(opened, OpenFile) and not opened.inode.is_shmem:
        await caller.reader.advise_willneed(opened, vma.pgoff, vma.nr_pages)
    elif isinstance(opened, OpenFile):
        last = vma.pgoff + vma.nr_pages  # Linux takes one more than it was asked for
        await shmem_willneed(caller.current, opened.inode, vma.pgoff, last)
    else:
        await SwapIn(caller.current, caller.mm, partial(_swap_context, caller)).willneed(vma)
    return 0


def _swap_context(caller: Caller, vma: VmArea, vpn: int) -> AllocContext:
    return vma_context(caller.current, vma, vpn, GFP_HIGHUSER_MOVABLE)


async def _collapse(_caller: Caller, _vma: VmArea) -> int:
    """Refuse: nothing here can become a huge page.

    Source: Linux 6.1 mm/khugepaged.c:madvise_collapse
    """
    return -errno.EINVAL


async def _populate_read(caller: Caller, vma: VmArea) -> int:
    """Bring in pages as loads would."""
    return await _populate(caller, vma, write=False)


async def _populate_write(caller: Caller, vma: VmArea) -> int:
    """Bring in pages as stores would."""
    return await _populate(caller, vma, write=True)


async def _populate(caller: Caller, vma: VmArea, *, write: bool) -> int:
    """Bring in pages; return 0 or a negative errno.

    Source: Linux 6.1 mm/madvise.c:madvise_populate, mm/gup.c:faultin_vma_page_range
    """
    wanted = VmFlag.VM_WRITE if write else VmFlag.VM_READ
    if vma.flags & (VmFlag.VM_IO | VmFlag.VM_PFNMAP) or not vma.flags & wanted:
        return -errno.EINVAL
    return await caller.populate_piece(vma, write=write)


async def msync(caller: Caller, message: Msync) -> int:
    """Write what was stored to the shared mappings of a range.

    Source: Linux 6.1 mm/msync.c:msync
    """
    await caller.enter_kernel()
    flags, at = message.flags, message.address
    if flags & ~(MS_ASYNC | MS_INVALIDATE | MS_SYNC) or at % PAGE_SIZE:
        return -errno.EINVAL
    if flags & MS_ASYNC and flags & MS_SYNC:
        return -errno.EINVAL
    end, hole = at + page_align(message.length) % ADDRESS_END, 0
    if end > ADDRESS_END:
        return -errno.ENOMEM
    while at < end:
        vma = caller.mm.map.find_vma(at)
        if vma is None:
            return -errno.ENOMEM
        if at < vma.start:
            if flags == MS_ASYNC:
                return -errno.ENOMEM
            hole, at = -errno.ENOMEM, vma.start
            continue
        if flags & MS_INVALIDATE and vma.flags & VmFlag.VM_LOCKED:
            return -errno.EBUSY
        error = await _sync_piece(caller, vma.part(at, min(vma.end, end)), flags)
        if error:
            return error
        at = vma.end
    return hole


async def _sync_piece(caller: Caller, vma: VmArea, flags: int) -> int:
    """Write a piece of a shared mapping of a file on a disk; return 0 or a negative errno."""
    if not flags & MS_SYNC or vma.file is None or not vma.flags & VmFlag.VM_SHARED:
        return 0
    opened = vma.file.opened
    if not isinstance(opened, OpenFile) or opened.inode.is_shmem:
        return 0
    return -await fsync_file(caller.current, opened, vma.pgoff, vma.pgoff + vma.nr_pages - 1)


async def mincore(caller: Caller, message: MincoreRange) -> bytes | int:
    """Tell which pages of a range are in memory.

    Source: Linux 6.1 mm/mincore.c:mincore, :do_mincore
    """
    await caller.enter_kernel()
    kernel, at = caller.kernel, message.address
    if at % PAGE_SIZE:
        return -errno.EINVAL
    end = at + page_align(message.length)
    if message.length < 0 or end > caller.mm.map.task_size:
        return -errno.ENOMEM
    answer = bytearray()
    while at < end:
        vma = caller.mm.map.find_vma_intersection(at, at + 1)
        if vma is None:
            return -errno.ENOMEM
        piece = vma.part(at, min(vma.end, end))
        found = np.ones(piece.nr_pages, np.uint8)
        is_own = vma.file is None or vma.file.path == ZERO_PATH or not caller.entry.uid
        if is_own:  # all files are root's; of one that it may not write it is told nothing
            mincore_range(
                *kernel.space, kernel.swap, kernel.spaces.mappings, caller.mm.number, piece.vpn,
                piece.nr_pages, piece.file_number, piece.pgoff, found,
            )  # fmt: skip
        answer += found.tobytes()
        at = piece.end
    return bytes(answer)


ACTIONS: Final[dict[str, Callable[[Caller, VmArea], Awaitable[int]]]] = {
    "dontneed": _dontneed,
    "dontneed_locked": _dontneed_locked,
    "free": _free,
    "remove": _remove,
    "cold": _cold,
    "pageout": _pageout,
    "willneed": _willneed,
    "collapse": _collapse,
    "populate_read": _populate_read,
    "populate_write": _populate_write,
}
# Differs from Linux: MADV_HWPOISON and MADV_SOFT_OFFLINE are no advice here: EINVAL.
ADVICE: Final = (*FLAG_ADVICE, *ACTIONS)


def _madvise_lock(value: Madvise) -> MmapLocking:
    # Source: Linux 6.1 mm/madvise.c:madvise_need_mmap_write
    return "read" if value.advice in ACTIONS else "write_killable"


def _dropped_leaves(_mm: MmStruct, value: Madvise) -> PageRanges:
    is_dropped = value.advice in ("dontneed", "dontneed_locked")
    if is_dropped and value.address % PAGE_SIZE == 0:
        return (page_range(value.address, value.length),)
    return ()


def _freed(value: Madvise) -> PageRange | None:
    if value.advice == "free" and value.address % PAGE_SIZE == 0 and value.length > 0:
        return page_range(value.address, value.length)
    return None


def _dropped(_value: Madvise, answer: int | None, leaving: PageRanges) -> PageRanges:
    return leaving if answer in (0, -errno.ENOMEM) else ()  # with a hole, the rest is dropped too


_MADVISE_ERRORS: Final = (
    errno.ENOMEM, errno.EINVAL, errno.EAGAIN, errno.EFAULT, errno.EACCES,
)  # fmt: skip
CALLS: Final = (
    Call(
        name="madvise",
        mmap_lock=_madvise_lock,
        value=Madvise,
        handler=madvise,
        errors=_MADVISE_ERRORS,
        form="region advice",
        steps={"madvise": {}},
        words=ADVICE,
        effect=Effect(leaves=_dropped_leaves, drops=_dropped, frees=_freed),
    ),
    Call(
        name="msync",
        mmap_lock="read",
        value=Msync,
        handler=msync,
        errors=(errno.EINVAL, errno.ENOMEM, errno.EIO, errno.ENOSPC, errno.EBUSY),
        form="region",
        steps={"msync": {}},
    ),
    Call(
        name="mincore of a range",
        mmap_lock="read",
        value=MincoreRange,
        handler=mincore,
        returns="result",
        errors=(errno.EINVAL, errno.ENOMEM),
    ),
)
