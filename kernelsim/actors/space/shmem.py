"""Memory that address spaces share: its file is made with its mapping and goes with the last one.

Linux: mm/shmem.c: shmem_zero_setup, shmem_get_folio, shmem_evict_inode, shmem_fallocate, 6.1.
It is charged whole when it is made, or page by page with MAP_NORESERVE.
Units: pages of the file.
"""

import errno
from collections.abc import Iterable

import numpy as np

from kernelsim.actors.alloc.page_allocator import alloc_context, alloc_pages
from kernelsim.actors.alloc.slab import settle_slabs
from kernelsim.actors.core.current import Current
from kernelsim.actors.core.free_pages import free_frames
from kernelsim.actors.core.inode_lock import inode_lock
from kernelsim.actors.core.kernel import Kernel
from kernelsim.actors.core.lru_add import activate_drain, folio_add_lru, lru_add_drain
from kernelsim.actors.core.memory_access import clear_pages
from kernelsim.actors.core.swap_io import wait_on_swap_writeback
from kernelsim.actors.file.truncate import release_dropped
from kernelsim.actors.reclaim.zram_io import zram_slot_free_notify
from kernelsim.actors.space.swap_read import SwapReader
from kernelsim.fs.file import OpenFile
from kernelsim.fs.inode import Inode
from kernelsim.mm.core.mem import I64, PAGEVEC_SIZE, PG_dirty, PG_locked, PG_uptodate, PG_writeback
from kernelsim.mm.core.xarray import xa_load
from kernelsim.mm.file.shmem import (
    mark_shmem_accessed,
    next_swapped,
    shmem_add_to_page_cache,
    shmem_slot,
    shmem_swapin_folio,
    shmem_undo_range,
)
from kernelsim.mm.page.alloc_context import AllocContext
from kernelsim.mm.page.gfp import GFP_HIGHUSER_MOVABLE
from kernelsim.mm.space.mm_struct import MmStruct
from kernelsim.mm.space.mmap import MappedFile, VmArea
from kernelsim.mm.space.vm_flags import VmFlag
from kernelsim.units import PAGE_SHIFT

ZERO_PATH = "/dev/zero (deleted)"
ZERO_DEVICE = (0, 1)
TMPFS_DEVICE = (0, 25)  # any that is no disk


def shmem_zero_setup(
    kernel: Kernel, mm: MmStruct, nr_pages: int, flags: VmFlag
) -> MappedFile | None:
    """Make the file of a shared mapping of memory; None if so much may not be promised.

    Source: Linux 6.1 mm/shmem.c:shmem_zero_setup, :__shmem_file_setup
    """
    is_charged = not flags & VmFlag.VM_NORESERVE
    if is_charged and not mm.charge(nr_pages):
        return None
    inode = kernel.files.create_shmem(ZERO_PATH, nr_pages << PAGE_SHIFT, is_charged=is_charged)
    kernel.spaces.add(inode.number)
    return shmem_file(OpenFile(inode))


def shmem_file(opened: OpenFile) -> MappedFile:
    """Return an open file that lies in memory as mappings have it."""
    inode = opened.inode
    return MappedFile(
        inode.path,
        inode.number,
        ZERO_DEVICE if inode.path == ZERO_PATH else TMPFS_DEVICE,
        inode.number,
        opened,
        can_read=opened.can_read,
        can_write=opened.can_write,
    )


async def shmem_get_folio(
    current: Current,
    mm: MmStruct,
    inode: Inode,
    index: int,
    context: AllocContext,
    *,
    extends: bool,
) -> int:
    """Return a page of shared memory, made if there is none yet; else a negative errno.

    Whoever does not hold the lock of the file must look again: it may have gone by the return.

    Args:
        current: The task that wants it.
        mm: Its address space.
        inode: The file.
        index: Page of it.
        context: What it is allocated by.
        extends: It may lie behind the end of the file, which is about to move (SGP_WRITE).

    Returns:
        The page; -ENOSPC if none can be had, -EIO if it cannot be read from swap.

    Source: Linux 6.1 mm/shmem.c:shmem_get_folio_gfp
    """
    kernel, number = current.kernel, inode.number
    await shmem_swapin(current, inode, index, context)
    pfn = int(xa_load(kernel.spaces.pool.xa, number, index))
    if pfn:
        return pfn if pfn > 0 else -errno.EIO
    if not inode.is_charged and not mm.charge(1):
        return -errno.ENOSPC
    commit, nr_charged = kernel.mms.commit, int(not inode.is_charged)
    commit.in_flight_pages += nr_charged
    pfns = np.zeros(1, np.int64)
    grant = await alloc_pages(current, context, 1, pfns)
    if grant.nr:
        await clear_pages(current, grant.nid, 1)
    commit.in_flight_pages -= nr_charged
    pfn = int(xa_load(kernel.spaces.pool.xa, number, index))
    is_behind = not extends and index >= inode.nr_pages  # the file was cut off meanwhile
    if pfn or not grant.nr or is_behind:  # or another task has made it, or this one is killed
        commit.uncharge(nr_charged)
        await free_frames(current, pfns, grant.nr)
        return pfn if pfn > 0 else -errno.ENOSPC
    kernel.spaces.pool.reserve(1)
    shmem_add_to_page_cache(kernel.mem, kernel.spaces.mappings, number, index, int(pfns[0]))
    inode.alloced += 1
    shmem_recalc_inode(kernel, inode)
    kernel.placed(1)
    await folio_add_lru(current, int(pfns[0]))
    await settle_slabs(current)
    return int(pfns[0])


def shmem_recalc_inode(kernel: Kernel, inode: Inode) -> None:
    """Take back what was promised for pages that reclaim has dropped since, as they held zeros.

    Source: Linux 6.1 mm/shmem.c:shmem_recalc_inode
    """
    spaces, number = kernel.spaces, inode.number
    freed = inode.alloced - spaces.nrpages(number) - spaces.swapped(number)
    inode.alloced -= freed
    if not inode.is_charged:
        kernel.mms.commit.uncharge(freed)


async def shmem_swapin(
    current: Current, inode: Inode, index: int, context: AllocContext
) -> tuple[int, bool]:
    """Bring a page back from swap, if it is there, with what lies around it on the disk.

    It may be in swap again by the return, if that cannot be read or the task is being killed.

    Returns:
        0 or -EIO, and whether the disk was read.

    Source: Linux 6.1 mm/shmem.c:shmem_swapin_folio, :shmem_swapin
    """
    kernel, task = current
    spaces, swap, reader = kernel.spaces, kernel.swap, SwapReader(current)
    was_read = False
    while (slot := shmem_slot(spaces.mappings, inode.number, index)) and not task.killed:
        pfn = int(swap.cache_pfn[slot])
        flags = int(kernel.mem.pages.flags[pfn]) if pfn else 0
        if not pfn:
            was_read = True
            await reader.read(context, slot, reader.choose_cluster(slot))
            await reader.wait_for(slot)
        elif flags & PG_locked:
            await reader.wait_for(slot)
        elif flags & PG_writeback:
            await wait_on_swap_writeback(current, pfn)
        elif not flags & PG_uptodate:
            return -errno.EIO, was_read
        else:
            kernel.cluster_readahead.hits += shmem_swapin_folio(
                kernel.mem, swap, spaces.mappings, inode.number, index
            )
            shmem_recalc_inode(kernel, inode)
            await zram_slot_free_notify(current)
    return 0, was_read


async def shmem_swapin_range(
    current: Current, inode: Inode, first: int, last: int, slots: range
) -> int:
    """Bring back what a file has of pages `first` … `last` in some slots.

    Returns:
        The first page that cannot be read; `last + 1` if all are there, or the task is killed.

    Source: Linux 6.1 mm/shmem.c:shmem_unuse_inode
    """
    kernel, index = current.kernel, first
    while not current.task.killed:
        files = kernel.spaces.mappings
        index = next_swapped(files, inode.number, index, last, slots.start, slots.stop)
        if index < 0:
            break
        context = alloc_context(current, GFP_HIGHUSER_MOVABLE)
        error, _ = await shmem_swapin(current, inode, index, context)
        if error:
            return index
    return last + 1


async def shmem_willneed(current: Current, inode: Inode, first: int, last: int) -> None:
    """Start to read what a file has of pages `first` … `last` in swap; wait for none of it.

    Source: Linux 6.1 mm/madvise.c:shmem_swapin_range
    """
    kernel, task = current
    reader, context = SwapReader(current), alloc_context(current, GFP_HIGHUSER_MOVABLE)
    index, nr_slots = first - 1, len(kernel.swap.map)
    while not task.killed:
        files = kernel.spaces.mappings
        index = next_swapped(files, inode.number, index + 1, last, 0, nr_slots)
        if index < 0:
            break
        reader.slots[0] = slot = shmem_slot(files, inode.number, index)
        if not kernel.swap.cache_pfn[slot]:
            await reader.read(context, slot, 1)


async def shmem_fault(
    current: Current, mm: MmStruct, inode: Inode, index: int, context: AllocContext
) -> tuple[int, int]:
    """Return a page for a fault, to be mapped in the same step, and major faults: 0 or 1.

    There is none, 0, if no page can be had, behind the end of the file, and when the process ends.

    Source: Linux 6.1 mm/shmem.c:shmem_fault
    """
    majflt = 0
    while not current.task.killed and not mm.unstable and index < inode.nr_pages:
        pfn = int(xa_load(current.kernel.spaces.pool.xa, inode.number, index))
        if pfn > 0:
            return pfn, majflt
        if pfn:
            error, was_read = await shmem_swapin(current, inode, index, context)
            majflt |= was_read
        else:
            pfn = await shmem_get_folio(current, mm, inode, index, context, extends=False)
            error = min(pfn, 0)
        if error and index < inode.nr_pages:
            break
    return 0, majflt


async def shmem_write(
    current: Current, mm: MmStruct, inode: Inode, pos: int, nr_bytes: int, token: int
) -> tuple[int, int]:
    """Write bytes that leave `token` in each page; return how many were, and an errno.

    Source: Linux 6.1 mm/shmem.c:shmem_write_begin, :shmem_write_end
    """
    kernel, task = current
    at, end = pos, pos + nr_bytes
    async with inode_lock(current, inode):
        while at < end and not task.killed:
            index = at >> PAGE_SHIFT
            context = alloc_context(current, GFP_HIGHUSER_MOVABLE)
            pfn = await shmem_get_folio(current, mm, inode, index, context, extends=True)
            if pfn < 0:
                return at - pos, -pfn
            kernel.mem.pages.token[pfn] = token
            kernel.mem.pages.flags[pfn] |= np.uint32(PG_dirty)
            at = min((index + 1) << PAGE_SHIFT, end)
            inode.size = max(inode.size, at)
            kernel.observer.wrote(inode, index, 1, token)
            await shmem_accessed(current, inode, index, index)
            await task.compute(kernel.spec.latency.page_copy_ns)
    return at - pos, 0


async def shmem_accessed(current: Current, inode: Inode, first: int, last: int) -> None:
    """Mark pages `first` … `last` of shared memory used, those that are in memory.

    Source: Linux 6.1 mm/shmem.c:shmem_get_folio_gfp, :shmem_file_read_iter
    """
    (kernel, task), index = current, first
    while index <= last:
        nr_activated, index = mark_shmem_accessed(
            kernel.mem, kernel.spaces.mappings, kernel.lruvec, task.cpu.number, inode.number, index,
            last,
        )  # fmt: skip
        kernel.observer.activated(nr_activated)
        if kernel.mem.activate_batch[task.cpu.number, 0] == PAGEVEC_SIZE:
            await activate_drain(current)


async def shmem_drop_range(current: Current, inode: Inode, first: int, last: int) -> None:
    """Free pages `first` … `last` of shared memory, which no mapping shows any more.

    Source: Linux 6.1 mm/shmem.c:shmem_undo_range
    """
    await lru_add_drain(current)
    await release_taken(current, take_shmem_pages(current.kernel, inode, first, last))


def take_shmem_pages(kernel: Kernel, inode: Inode, first: int, last: int) -> I64:
    """Take pages `first` … `last` out of memory and swap, none of which is mapped.

    Returns:
        Those that are to be released when no TLB has them any more.
    """
    spaces, number = kernel.spaces, inode.number
    pfns = np.zeros(spaces.nrpages(number) + spaces.swapped(number), np.int64)
    nr = shmem_undo_range(kernel.mem, kernel.swap, spaces.mappings, number, first, last, pfns)
    shmem_recalc_inode(kernel, inode)
    return pfns[:nr]


async def release_taken(current: Current, pfns: I64) -> None:
    """Free pages that `take_shmem_pages` took out, and what their slots held."""
    await release_dropped(current, pfns)
    await zram_slot_free_notify(current)


async def shmem_evict(current: Current, areas: Iterable[VmArea]) -> None:
    """Free the files of shared memory which the last mapping has gone of.

    Source: Linux 6.1 mm/shmem.c:shmem_evict_inode
    """
    kernel = current.kernel
    for number in sorted({vma.file_number for vma in areas}):
        inode = kernel.files.inodes.get(number)
        if inode is None or not inode.is_shmem or inode.path != ZERO_PATH:
            continue
        if kernel.mms.i_mmap.mappings(number):
            continue
        await lru_add_drain(current)
        if kernel.files.inodes.pop(number, None) is None:  # another task has done it meanwhile
            continue
        pfns = take_shmem_pages(kernel, inode, 0, max(inode.nr_pages - 1, 0))
        if inode.is_charged:
            kernel.mms.commit.uncharge(inode.nr_pages)
        await release_taken(current, pfns)
