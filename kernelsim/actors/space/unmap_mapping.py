"""A file becomes shorter: what mappings show of the part that goes is unmapped first.

Linux: mm/truncate.c:truncate_setsize, mm/memory.c:unmap_mapping_range, 6.1.
Units: bytes, pages of the file.
"""

import numpy as np

from kernelsim.actors.alloc.page_allocator import alloc_context
from kernelsim.actors.core.current import Current
from kernelsim.actors.core.inode_lock import inode_lock
from kernelsim.actors.core.kernel import Kernel
from kernelsim.actors.core.reaped_mm import wait_while_reaped
from kernelsim.actors.file.truncate import truncate_inode_pages
from kernelsim.actors.space.mlock import mlock_vma_pages_range
from kernelsim.actors.space.mmu_gather import unmap_vmas
from kernelsim.actors.space.shmem import shmem_drop_range, shmem_swapin
from kernelsim.fs.inode import Inode
from kernelsim.mm.core.mem import PG_dirty
from kernelsim.mm.core.xarray import xa_load
from kernelsim.mm.file.dirty_pages import LAST_INDEX, folio_mark_dirty
from kernelsim.mm.page.gfp import GFP_HIGHUSER_MOVABLE
from kernelsim.mm.space.i_mmap import FV_MM, FV_NEXT, FV_NR_PAGES, FV_PGOFF
from kernelsim.mm.space.mlock import is_locked
from kernelsim.mm.space.mm_struct import MmStruct
from kernelsim.mm.space.mmap import VmArea
from kernelsim.mm.space.vm_flags import VmFlag
from kernelsim.units import PAGE_SHIFT, PAGE_SIZE


async def truncate_setsize(current: Current, inode: Inode, size: int, token: int) -> None:
    """Make a file end at `size` bytes; what is behind that goes, from mappings, too.

    A page that it now ends in holds `token` from then on: its rest is zeroed.

    Source: Linux 6.1 mm/truncate.c:truncate_setsize, :truncate_pagecache, fs/open.c:do_truncate
    """
    async with inode_lock(current, inode):
        shrinks, inode.size = size < inode.size, size  # from here on, faults behind it are SIGBUS
        if not shrinks:
            return
        current.kernel.observer.cuts(inode)
        await unmap_mapping_range(current, inode)
        if inode.is_shmem:
            first = inode.nr_pages
            await shmem_drop_range(current, inode, first, LAST_INDEX)
            current.kernel.observer.truncated(inode, first)
        else:
            await truncate_inode_pages(current, inode)
        if size % PAGE_SIZE:
            await _zero_rest(current, inode, size >> PAGE_SHIFT, token)


async def _zero_rest(current: Current, inode: Inode, index: int, token: int) -> None:
    """Zero the rest of the page that a file ends in.

    Source: Linux 6.1 mm/truncate.c:truncate_inode_pages_range,
        fs/ext4/inode.c:ext4_block_truncate_page, mm/shmem.c:shmem_undo_range
    """
    # Differs from Linux: A page that is not in memory is left as the disk has it; Linux reads it,
    # and writes it back.
    kernel = current.kernel
    if inode.is_shmem:
        context = alloc_context(current, GFP_HIGHUSER_MOVABLE)
        await shmem_swapin(current, inode, index, context)
    pfn = int(xa_load(kernel.spaces.pool.xa, inode.number, index))
    if pfn <= 0:
        return
    kernel.mem.pages.token[pfn] = token
    if inode.is_shmem:
        kernel.mem.pages.flags[pfn] |= np.uint32(PG_dirty)
    elif folio_mark_dirty(kernel.mem, kernel.spaces.mappings, pfn):
        kernel.backing_devs[inode.device].dirtied(inode, 1)
    kernel.observer.wrote(inode, index, 1, token)


async def unmap_mapping_range(current: Current, inode: Inode) -> None:
    """Unmap the pages of a file behind its end, private copies of them, too.

    Also where a process has begun to unmap them itself: the file leads there until it is done.

    Source: Linux 6.1 mm/memory.c:unmap_mapping_range
    """
    kernel, done = current.kernel, set[tuple[int, ...]]()
    while (row := _next_behind(kernel, inode, done)) is not None:
        number, vpn, nr_pages, pgoff, flags = row
        if number in kernel.reaped_mms:
            await wait_while_reaped(current, number)
            continue  # it may have ended meanwhile
        done.add(row)
        start, end = vpn << PAGE_SHIFT, vpn + nr_pages << PAGE_SHIFT
        vma = VmArea(start, end, VmFlag(flags), None, pgoff)
        first = start + (max(0, inode.nr_pages - pgoff) << PAGE_SHIFT)
        await _zap_other(current, kernel.mms.by_number[number], vma.part(first, end), inode)


def _next_behind(
    kernel: Kernel, inode: Inode, done: set[tuple[int, ...]]
) -> tuple[int, ...] | None:
    """Return the next mapping that reaches behind its file's end: its FV_* but for the last."""
    rows = (tuple(row[:FV_NEXT]) for row in kernel.mms.i_mmap.mappings(inode.number))
    behind = (row for row in rows if row[FV_PGOFF] + row[FV_NR_PAGES] > inode.nr_pages)
    living = (row for row in behind if row[FV_MM] in kernel.mms.by_number)
    return min((row for row in living if row not in done), default=None)


async def _zap_other(current: Current, mm: MmStruct, vma: VmArea, inode: Inode) -> None:
    """Unmap pages of whatever process; its page tables stay meanwhile, as under i_mmap_rwsem."""
    kernel = current.kernel
    released = kernel.engine.wait_queue(
        f"i_mmap_rwsem of file {inode.number}", waker=current.task.name
    )
    kernel.reaped_mms[mm.number] = released
    if is_locked(vma):
        await mlock_vma_pages_range(current, mm, vma.start, vma.end, locks=False)
    await unmap_vmas(current, mm, [vma])
    del kernel.reaped_mms[mm.number]
    released.wake_all()
