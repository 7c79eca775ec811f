"""Bringing in the pages of a range that are not there yet.

Linux: mm/gup.c:__mm_populate, 6.1.
It runs in the time of the task that makes the system call.
Units: bytes for addresses; pages.
"""

import errno
from typing import Final

import attrs

from kernelsim.actors.core.current import Current
from kernelsim.actors.core.lru_add import activate_drain
from kernelsim.actors.space.accesses import Accesses
from kernelsim.mm.core.mem import PAGEVEC_SIZE
from kernelsim.mm.space.mm_struct import MmStruct
from kernelsim.mm.space.mmap import VmArea
from kernelsim.mm.space.vm_flags import VM_ACCESS_FLAGS, VmFlag
from kernelsim.mm.swap.gup import mark_range_accessed, missing_pages
from kernelsim.units import PAGE_SHIFT

NEVER_POPULATED: Final = VmFlag.VM_IO | VmFlag.VM_PFNMAP


@attrs.define
class _Counts:
    """Faults of pages brought in, which only the process counts."""

    minflt: int = 0
    majflt: int = 0
    signal: int = 0


async def mm_populate(
    accesses: Accesses,
    current: Current,
    mm: MmStruct,
    start: int,
    end: int,
    *,
    ignore_errors: bool,
) -> int:
    """Bring in the pages of a range that are not there; stop when the task is being killed.

    A page that cannot be had raises no signal; it ends its mapping, or all.

    Returns:
        0, or -EFAULT if one could not be had and errors are not ignored.

    Source: Linux 6.1 mm/gup.c:__mm_populate, :populate_vma_page_range
    """
    for vma in mm.map.overlapping(start, end):
        if vma.flags & (VmFlag.VM_LOCKONFAULT | NEVER_POPULATED):
            continue
        is_own = vma.flags & (VmFlag.VM_WRITE | VmFlag.VM_SHARED) == VmFlag.VM_WRITE
        error = -errno.EFAULT
        if vma.flags & VM_ACCESS_FLAGS:
            error = await populate_vma_page_range(accesses, current, mm, vma, write=is_own)
        if error and not ignore_errors:
            return error
    return 0


async def populate_vma_page_range(
    accesses: Accesses, current: Current, mm: MmStruct, vma: VmArea, *, write: bool
) -> int:
    """Fault in the missing pages of a mapping, for reading or for writing; return 0 or -EFAULT.

    Source: Linux 6.1 mm/gup.c:populate_vma_page_range, :__get_user_pages
    """
    # Differs from Linux: Each page of memory that is brought in is accessed as its program would.
    kernel, task = current
    first, last, counts = vma.vpn, vma.end >> PAGE_SHIFT, _Counts()
    vpn = first
    if write:
        vma = mm.anon_vma_prepare(vma)
    while not task.killed:
        vpn, nr, held = missing_pages(*kernel.space, kernel.swap, mm.number, vpn, last, write)
        if not nr:
            break
        if vma.file_number:
            whole = mm.map.find_vma(vpn << PAGE_SHIFT)  # faults look around in all of it
            assert whole is not None, "the mapping that is populated stays"
            done = await accesses.fault_in(whole, vpn, counts, write=write)
        else:
            done = await accesses.run(vma, vpn, nr, 1, held, counts, write=write)
        if counts.signal:
            last = vpn + done
            break
    await _mark_accessed(current, mm, first, last)
    return -errno.EFAULT if counts.signal else 0


async def _mark_accessed(current: Current, mm: MmStruct, vpn: int, last: int) -> None:
    """Mark pages of a range accessed, both those that were there and those that have come."""
    kernel, task = current
    while vpn < last:
        nr_activated, vpn = mark_range_accessed(
            *kernel.space, kernel.lruvec, task.cpu.number, mm.number, vpn, last
        )
        kernel.observer.activated(nr_activated)
        if kernel.mem.activate_batch[task.cpu.number, 0] == PAGEVEC_SIZE:
            await activate_drain(current)
