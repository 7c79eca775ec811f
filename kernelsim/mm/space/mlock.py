"""Mappings that are locked: their flags, the limit of what may be locked, and their present pages.

Linux: mm/mlock.c, 6.1.
Interface: `do_mlock`, `do_munlock`, `do_mlockall` change the flags of mappings and account for
them; they return the pieces whose pages are to be marked or unmarked, which `mlock_pte_range` and
`munlock_pte_range` find batch by batch.
Units: addresses and lengths in bytes; virtual page numbers.
"""

import errno
from typing import Final

import attrs

from kernelsim.hw.leaf import leaf
from kernelsim.mm.core.mem import I64, Mem
from kernelsim.mm.core.mlock import mlock_folio
from kernelsim.mm.space.mm_struct import MmStruct
from kernelsim.mm.space.mmap import VmArea, page_align
from kernelsim.mm.space.pgtable import (
    PT_BITS,
    Mms,
    PageTables,
    get_pte,
    maps_page,
    pte_pfn,
    walk,
)
from kernelsim.mm.space.vm_flags import VM_SPECIAL, VmFlag
from kernelsim.units import PAGE_SHIFT, PAGE_SIZE

VM_LOCKED_MASK: Final = VmFlag.VM_LOCKED | VmFlag.VM_LOCKONFAULT
LOCKED: Final = int(VmFlag.VM_LOCKED)  # operators of flags take a microsecond each
LOCKED_OR_SPECIAL: Final = int(VmFlag.VM_LOCKED | VM_SPECIAL)


@attrs.frozen
class LockChange:
    """What a call did to the locks of mappings.

    Attributes:
        result: 0, or a negative errno.
        pieces: Mappings whose pages have become locked, or have ceased to be, with new flags.
    """

    result: int
    pieces: tuple[VmArea, ...] = ()


def is_locked(vma: VmArea) -> bool:
    """Tell whether pages of a mapping are marked as locked when they are mapped.

    Source: Linux 6.1 mm/internal.h:mlock_vma_folio
    """
    return int(vma.flags) & LOCKED_OR_SPECIAL == LOCKED


def can_do_mlock(mm: MmStruct) -> bool:
    """Tell whether a process may lock anything at all.

    Source: Linux 6.1 mm/mlock.c:can_do_mlock
    """
    return mm.cap_ipc_lock or mm.rlimits.memlock != 0


def do_mlock(mm: MmStruct, start: int, length: int, flags: VmFlag) -> LockChange:
    """Lock the mappings of a range: VM_LOCKED, and VM_LOCKONFAULT to wait for accesses.

    Source: Linux 6.1 mm/mlock.c:do_mlock
    """
    if not can_do_mlock(mm):
        return LockChange(-errno.EPERM)
    length = page_align(length + start % PAGE_SIZE) % (1 << 64)
    start &= -PAGE_SIZE
    locked = mm.locked_vm + (length >> PAGE_SHIFT)
    limit = mm.rlimits.memlock >> PAGE_SHIFT
    if locked > limit and not mm.cap_ipc_lock:
        locked -= sum(
            vma.nr_pages
            for vma in mm.map.overlapping(start, start + length)
            if vma.flags & VmFlag.VM_LOCKED
        )
        if locked > limit:
            return LockChange(-errno.ENOMEM)
    return apply_vma_lock_flags(mm, start, start + length, flags)


def do_munlock(mm: MmStruct, start: int, length: int) -> LockChange:
    """Unlock the mappings of a range.

    Source: Linux 6.1 mm/mlock.c:munlock
    """
    length = page_align(length + start % PAGE_SIZE) % (1 << 64)
    start &= -PAGE_SIZE
    return apply_vma_lock_flags(mm, start, start + length, VmFlag.VM_NONE)


def apply_vma_lock_flags(mm: MmStruct, start: int, end: int, flags: VmFlag) -> LockChange:
    """Give mappings other lock flags, from the start of a range up to its first hole.

    Source: Linux 6.1 mm/mlock.c:apply_vma_lock_flags
    """
    end %= 1 << 64
    if end <= start:
        return LockChange(0 if end == start else -errno.EINVAL)
    changed: list[VmArea] = []
    at = start
    for vma in mm.map.overlapping(start, end):
        if vma.start != at:
            break
        error, piece = mlock_fixup(mm, vma, vma.flags & ~VM_LOCKED_MASK | flags)
        changed += [piece] if piece is not None else []
        if error:
            return LockChange(error, tuple(changed))
        at = vma.end
    return LockChange(0 if at == end else -errno.ENOMEM, tuple(changed))


def mlock_fixup(mm: MmStruct, vma: VmArea, flags: VmFlag) -> tuple[int, VmArea | None]:
    """Give a piece of a mapping other lock flags.

    Returns:
        0 or a negative errno, and the piece if its pages are concerned.

    Source: Linux 6.1 mm/mlock.c:mlock_fixup
    """
    if flags == vma.flags or vma.flags & (VM_SPECIAL | VmFlag.VM_HUGETLB):
        return 0, None
    error = mm.change_flags(vma, flags)
    if error:
        return error, None
    was_locked = bool(vma.flags & VmFlag.VM_LOCKED)
    locks = bool(flags & VmFlag.VM_LOCKED)
    mm.locked_vm += (locks - was_locked) * vma.nr_pages
    return 0, attrs.evolve(vma, flags=flags) if locks != was_locked else None


def do_mlockall(mm: MmStruct, *, current: bool, future: bool, onfault: bool) -> LockChange:
    """Lock all mappings there are, those to come, or both.

    Source: Linux 6.1 mm/mlock.c:mlockall, :apply_mlockall_flags
    """
    if not current and not future:
        return LockChange(-errno.EINVAL)
    if not can_do_mlock(mm):
        return LockChange(-errno.EPERM)
    limit = mm.rlimits.memlock >> PAGE_SHIFT
    if current and mm.total_vm > limit and not mm.cap_ipc_lock:
        return LockChange(-errno.ENOMEM)
    flags = VM_LOCKED_MASK if onfault else VmFlag.VM_LOCKED
    mm.def_flags = mm.def_flags & ~VM_LOCKED_MASK | (flags if future else VmFlag.VM_NONE)
    return _fixup_all(mm, flags) if current else LockChange(0)


def do_munlockall(mm: MmStruct) -> LockChange:
    """Unlock all mappings there are, and those to come.

    Source: Linux 6.1 mm/mlock.c:munlockall
    """
    mm.def_flags &= ~VM_LOCKED_MASK
    return _fixup_all(mm, VmFlag.VM_NONE)


def _fixup_all(mm: MmStruct, flags: VmFlag) -> LockChange:
    pieces = [mlock_fixup(mm, vma, vma.flags & ~VM_LOCKED_MASK | flags)[1] for vma in list(mm.map)]
    return LockChange(0, tuple(piece for piece in pieces if piece is not None))


@leaf
def mlock_pte_range(
    mem: Mem, pt: PageTables, mms: Mms, mm: int, vpn: int, end_vpn: int, locks: bool, out: I64
) -> tuple[int, int]:
    """Collect present pages of [vpn, end_vpn) in `out`, as many as fit; mark them if they `locks`.

    The shared zero page is nobody's, and is left alone.

    Returns:
        How many there are, and the page to go on from: `end_vpn` when all is done.

    Source: Linux 6.1 mm/mlock.c:mlock_pte_range
    """
    entry, private, top = pt.entry, mem.pages.private, int(mms.pgd_row[mm])
    mask = (1 << pt.state[PT_BITS]) - 1
    found = 0
    while vpn < end_vpn:
        row, end = walk(entry, pt.state, private, top, vpn)
        end = min(end, end_vpn)
        while row and vpn < end:
            if found == len(out):
                return found, vpn
            pte = get_pte(entry, row, vpn & mask)
            if maps_page(pte):
                out[found] = pte_pfn(pte)
                found += 1
                if locks:
                    mlock_folio(mem, pte_pfn(pte))
            vpn += 1
        vpn = end
    return found, vpn
