"""Change the permissions of mapped ranges, and of their page-table entries.

Linux: mm/mprotect.c, 6.1.
Differs: PROT_NONE clears the user bit of an entry and leaves it present.

Interface: `do_mprotect` changes the mappings; then the caller has `change_protection` change the
entries of each piece, and flushes TLBs.
Units: addresses and lengths in bytes; pages.
"""

import errno
from typing import Final

import attrs

from kernelsim.hw.leaf import leaf
from kernelsim.mm.core.mem import Mem, PG_anon, PG_anon_exclusive, PG_swapbacked
from kernelsim.mm.space.mm_struct import MmStruct
from kernelsim.mm.space.mmap import VmArea, page_align
from kernelsim.mm.space.pgtable import (
    _PAGE_DIRTY,
    _PAGE_NX,
    _PAGE_PRESENT,
    _PAGE_RW,
    _PAGE_SPECIAL,
    _PAGE_USER,
    PT_BITS,
    Mms,
    PageTables,
    get_pte,
    maps_page,
    pte_pfn,
    walk,
)
from kernelsim.mm.space.vm_flags import (
    PROT_EXEC,
    PROT_GROWSDOWN,
    PROT_GROWSUP,
    PROT_READ,
    PROT_SEM,
    PROT_WRITE,
    VM_ACCESS_FLAGS,
    VmFlag,
    calc_vm_prot_bits,
)
from kernelsim.units import PAGE_SIZE

_NOT_CHARGED: Final = (
    VmFlag.VM_ACCOUNT | VmFlag.VM_WRITE | VmFlag.VM_SHARED | VmFlag.VM_NORESERVE
)  # a mapping with any of these is charged already, or never


@attrs.frozen
class ProtectChange:
    """What a call did to the permissions of mappings.

    Attributes:
        result: 0, or a negative errno.
        pieces: Pieces that have other permissions now, with their new flags.
        populate: Those of them that are locked and may be written from now on.
    """

    result: int
    pieces: tuple[VmArea, ...] = ()
    populate: tuple[VmArea, ...] = ()


def do_mprotect(mm: MmStruct, start: int, length: int, prot: int) -> ProtectChange:
    """Change the permissions of a range, mapping by mapping, up to the first that refuses.

    Source: Linux 6.1 mm/mprotect.c:do_mprotect_pkey
    """
    grows = prot & (PROT_GROWSDOWN | PROT_GROWSUP)
    prot &= ~grows
    if grows == PROT_GROWSDOWN | PROT_GROWSUP or start % PAGE_SIZE:
        return ProtectChange(-errno.EINVAL)
    if not length:
        return ProtectChange(0)
    end = (start + page_align(length)) % (1 << 64)
    if end <= start:
        return ProtectChange(-errno.ENOMEM)
    if prot & ~(PROT_READ | PROT_WRITE | PROT_EXEC | PROT_SEM):
        return ProtectChange(-errno.EINVAL)
    first = mm.map.find_vma(start)
    if first is None:
        return ProtectChange(-errno.ENOMEM)
    if grows == PROT_GROWSDOWN:
        if first.start >= end:
            return ProtectChange(-errno.ENOMEM)
        if not first.flags & VmFlag.VM_GROWSDOWN:
            return ProtectChange(-errno.EINVAL)
        start = first.start
    elif first.start > start:
        return ProtectChange(-errno.ENOMEM)
    elif grows == PROT_GROWSUP:  # nothing grows up on x86
        return ProtectChange(-errno.EINVAL)
    return _protect_range(mm, start, end, calc_vm_prot_bits(prot))


def _protect_range(mm: MmStruct, start: int, end: int, access: VmFlag) -> ProtectChange:
    """Give a range other permissions up to its first hole."""
    pieces, populate, at, error = [], [], start, 0
    for vma in mm.map.overlapping(start, end):
        if vma.start != at:
            break
        flags = vma.flags & ~VM_ACCESS_FLAGS | access
        if flags & ~VmFlag(flags >> 4) & VM_ACCESS_FLAGS:  # VM_MAYREAD … lie four bits higher
            error = -errno.EACCES
            break
        error, flags = mprotect_fixup(mm, vma, flags)
        if error:
            break
        at = vma.end
        if flags != vma.flags:
            changed = attrs.evolve(vma, flags=flags)
            pieces.append(changed)
            was = vma.flags & (VmFlag.VM_WRITE | VmFlag.VM_SHARED | VmFlag.VM_LOCKED)
            if was == VmFlag.VM_LOCKED and flags & VmFlag.VM_WRITE:
                populate.append(changed)
                if not flags & VmFlag.VM_LOCKONFAULT:  # its pages come before the next piece
                    mm.anon_vma_prepare(changed)
    if not error and at < end:
        error = -errno.ENOMEM
    return ProtectChange(error, tuple(pieces), tuple(populate))


def mprotect_fixup(mm: MmStruct, vma: VmArea, flags: VmFlag) -> tuple[int, VmFlag]:
    """Give a piece of a mapping other flags, and charge for it if it can be written now.

    Returns:
        0 or a negative errno, and the flags it got.

    Source: Linux 6.1 mm/mprotect.c:mprotect_fixup
    """
    if flags == vma.flags:
        return 0, flags
    charged = 0
    if flags & VmFlag.VM_WRITE:
        nr_pages = vma.nr_pages
        was_possible = mm.may_expand_vm(vma.flags, nr_pages)
        if was_possible and not mm.may_expand_vm(flags, nr_pages):
            return -errno.ENOMEM, flags
        if not vma.flags & _NOT_CHARGED:
            if not mm.charge(nr_pages):
                return -errno.ENOMEM, flags
            charged = nr_pages
            flags |= VmFlag.VM_ACCOUNT
    error = mm.change_flags(vma, flags)
    if error:
        mm.commit.uncharge(charged)
        return error, flags
    mm.vm_stat_account(vma.flags, -vma.nr_pages)
    mm.vm_stat_account(flags, vma.nr_pages)
    return 0, flags


@leaf
def change_protection(
    mem: Mem, pt: PageTables, mms: Mms, mm: int, vpn: int, nr: int, access: int, shared: bool
) -> int:
    """Set the permissions of the entries of `nr` pages of a mapping.

    An entry may be written to at once only when no fault has to see the first store: it maps a page
    of this mm's alone that was stored to already, or shared memory without a disk.

    Args:
        mem: Memory.
        pt: All page tables.
        mms: All address spaces.
        mm: Number of the address space.
        vpn: First page.
        nr: Pages.
        access: VM_READ, VM_WRITE, VM_EXEC.
        shared: The mapping is shared.

    Returns:
        Present entries that changed; 0 means no TLB flush is needed.

    Source: Linux 6.1 mm/mprotect.c:change_pte_range, :can_change_pte_writable
    """
    entry, pages = pt.entry, mem.pages
    mask = (1 << pt.state[PT_BITS]) - 1
    limit = vpn + nr
    changed = 0
    while vpn < limit:
        row, end = walk(entry, pt.state, pages.private, int(mms.pgd_row[mm]), vpn)
        end = min(end, limit)
        while row and vpn < end:
            pte = get_pte(entry, row, vpn & mask)
            if pte & (_PAGE_PRESENT | _PAGE_SPECIAL):
                new = pte & ~(_PAGE_RW | _PAGE_USER | _PAGE_NX)
                if access:
                    new |= _PAGE_USER
                if access & VM_EXEC == 0:
                    new |= _PAGE_NX
                if access & VM_WRITE and maps_page(pte):
                    flags = pages.flags[pte_pfn(pte)]
                    if flags & PG_anon:
                        writable = flags & PG_anon_exclusive != 0 and pte & _PAGE_DIRTY != 0
                    else:
                        writable = shared and (flags & PG_swapbacked != 0 or pte & _PAGE_DIRTY != 0)
                    if writable:
                        new |= _PAGE_RW
                if new != pte:
                    entry[row, vpn & mask] = new
                    changed += 1
            vpn += 1
        vpn = end
    return changed


VM_WRITE: Final = int(VmFlag.VM_WRITE)
VM_EXEC: Final = int(VmFlag.VM_EXEC)
