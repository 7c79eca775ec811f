"""A file becomes shorter: what mappings show of the part that goes is unmapped first.

Linux: mm/truncate.c:truncate_setsize, mm/memory.c:unmap_mapping_range, 6.1.
Units: bytes, pages of the file.
"""

from kernelsim.actors.core.current import Current
from kernelsim.actors.core.inode_lock import inode_lock
from kernelsim.actors.file.truncate import truncate_inode_pages
from kernelsim.actors.space.mlock import mlock_vma_pages_range
from kernelsim.actors.space.mmu_gather import unmap_vmas
from kernelsim.fs.inode import Inode
from kernelsim.mm.space.i_mmap import FV_MM
from kernelsim.mm.space.mlock import is_locked
from kernelsim.mm.space.mm_struct import MmStruct
from kernelsim.mm.space.mmap import VmArea
from kernelsim.units import PAGE_SHIFT


async def truncate_setsize(current: Current, inode: Inode, size: int) -> None:
    """Make a file end at `size` bytes; what is behind that goes, from mappings, too.

    Source: Linux 6.1 mm/truncate.c:truncate_setsize, :truncate_pagecache, fs/open.c:do_truncate
    """
    async with inode_lock(current, inode):
        shrinks, inode.size = size < inode.size, size  # from here on, faults behind it are SIGBUS
        if shrinks:
            current.kernel.observer.cuts(inode)
            await unmap_mapping_range(current, inode)
            await truncate_inode_pages(current, inode)


async def unmap_mapping_range(current: Current, inode: Inode) -> None:
    """Unmap the pages of a file behind its end, private copies of them, too.

    Source: Linux 6.1 mm/memory.c:unmap_mapping_range
    """
    kernel = current.kernel
    for number in sorted({row[FV_MM] for row in kernel.mms.i_mmap.mappings(inode.number)}):
        mm = kernel.mms.by_number.get(number)
        at = 0
        while mm is not None and (vma := _next_behind(mm, inode, at)) is not None:
            if (released := kernel.reaped_mms.get(number)) is not None:
                async with current.task.off_cpu():
                    await released.wait()
                mm = kernel.mms.by_number.get(number)  # it may have ended meanwhile
                continue
            at = vma.end
            await _zap_other(current, mm, vma)
            mm = kernel.mms.by_number.get(number)


def _next_behind(mm: MmStruct, inode: Inode, at: int) -> VmArea | None:
    """Return the next piece of a mapping, from an address on, that lies behind its file's end."""
    for vma in mm.map:
        start = vma.start + (max(0, inode.nr_pages - vma.pgoff) << PAGE_SHIFT)
        if vma.file_number == inode.number and max(start, at) < vma.end:
            return vma.part(max(start, at, vma.start), vma.end)
    return None


async def _zap_other(current: Current, mm: MmStruct, vma: VmArea) -> None:
    """Unmap pages of whatever process; its page tables stay meanwhile, as under i_mmap_rwsem."""
    kernel = current.kernel
    released = kernel.engine.wait_queue(
        f"i_mmap_rwsem of file {vma.file_number}", waker=current.task.name
    )
    kernel.reaped_mms[mm.number] = released
    if is_locked(vma):
        await mlock_vma_pages_range(current, mm, vma.start, vma.end, locks=False)
    await unmap_vmas(current, mm, [vma])
    del kernel.reaped_mms[mm.number]
    released.wake_all()
