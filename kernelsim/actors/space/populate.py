"""Bringing in the pages of a range that are not there yet.

Linux: mm/gup.c:__mm_populate, 6.1.
It runs in the time of the task that makes the system call.
Units: bytes for addresses; pages.
"""

import errno

import attrs

from kernelsim.actors.core.current import Current
from kernelsim.actors.space.accesses import Accesses
from kernelsim.mm.space.mm_struct import MmStruct
from kernelsim.mm.space.mmap import VmArea
from kernelsim.mm.space.pgtable import pte_at
from kernelsim.mm.space.vm_flags import VmFlag
from kernelsim.mm.swap.gup import mark_range_accessed, missing_pages
from kernelsim.units import PAGE_SHIFT


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
        if vma.flags & VmFlag.VM_LOCKONFAULT:
            continue
        error = await _populate(accesses, current, mm, vma)
        if error and not ignore_errors:
            return error
    return 0


async def _populate(accesses: Accesses, current: Current, mm: MmStruct, vma: VmArea) -> int:
    """Fault in the missing pages of a mapping: for writing, where it may be written, to end COW."""
    # Differs from Linux: Each page that is brought in is accessed as its program would; one of a
    # file that is to be copied is mapped before.
    kernel, task = current
    write = vma.flags & (VmFlag.VM_WRITE | VmFlag.VM_SHARED) == VmFlag.VM_WRITE
    vpn, last, counts = vma.vpn, vma.end >> PAGE_SHIFT, _Counts()
    while not task.killed:
        vpn, nr, held = missing_pages(*kernel.space, kernel.swap, mm.number, vpn, last, write)
        if not nr:
            return 0
        is_of_file = vma.file_number != 0 and not pte_at(*kernel.space, mm.number, vpn)
        is_store = write and not is_of_file
        done = await accesses.run(vma, vpn, nr, 1, held, counts, write=is_store)
        mark_range_accessed(*kernel.space, mm.number, vpn, done)
        if counts.signal:
            return -errno.EFAULT
    return 0
