"""Change permissions, flags or policy of mapped ranges.

Linux: mm/mprotect.c, mm/mlock.c:apply_vma_lock_flags, mm/madvise.c, mm/mempolicy.c:mbind_range
(6.1).
Differs: PROT_NONE clears the user bit of an entry and leaves it present.
Interface: `do_mprotect` changes the mappings, then `change_protection` the page-table entries, then
the caller flushes TLBs. `set_vma_flags` and `set_vma_policy` change mappings only.
Units: addresses and lengths in bytes.
"""

import errno

import attrs

from kernelsim.hw.leaf import leaf
from kernelsim.mm.core.mem import Mem, PG_anon_exclusive
from kernelsim.mm.space.mm_struct import MmStruct
from kernelsim.mm.space.mmap import VmArea, VmChange, page_align
from kernelsim.mm.space.pgtable import (
    _PAGE_DIRTY,
    _PAGE_PRESENT,
    _PAGE_RW,
    _PAGE_SPECIAL,
    _PAGE_USER,
    PT_BITS,
    Mms,
    PageTables,
    get_pte,
    pte_pfn,
    walk,
)
from kernelsim.mm.space.vm_flags import VM_ACCESS_FLAGS, VmFlag, calc_vm_prot_bits, is_accountable
from kernelsim.units import PAGE_SIZE


def do_mprotect(mm: MmStruct, start: int, length: int, prot: int) -> VmChange:
    """Change the permissions of a range that is wholly mapped.

    Source: Linux 6.1 mm/mprotect.c:do_mprotect_pkey, :mprotect_fixup
    """
    end = start + page_align(length)
    if start % PAGE_SIZE or end > mm.map.task_size:
        return VmChange(-errno.EINVAL if start % PAGE_SIZE else -errno.ENOMEM)
    if not mm.map.covers(start, end):
        return VmChange(-errno.ENOMEM)
    access = calc_vm_prot_bits(prot)
    pieces, charged = [], 0
    for vma in mm.map.overlapping(start, end):
        # VM_MAYREAD … are the access flags four bits higher.
        if access & ~VmFlag((vma.flags >> 4) & VM_ACCESS_FLAGS):
            return VmChange(-errno.EACCES)
        flags = (vma.flags & ~VM_ACCESS_FLAGS) | access
        if is_accountable(flags) and not flags & VmFlag.VM_ACCOUNT:
            charged += vma.nr_pages
            flags |= VmFlag.VM_ACCOUNT
        pieces.append(attrs.evolve(vma, flags=flags))
    refused = replace_areas(mm, pieces, start, end, charged)
    return VmChange(-refused if refused else 0)


def set_vma_flags(
    mm: MmStruct,
    start: int,
    length: int,
    *,
    add: VmFlag = VmFlag.VM_NONE,
    drop: VmFlag = VmFlag.VM_NONE,
) -> VmChange:
    """Set and clear flags of a range that is wholly mapped (mlock, madvise).

    Source: Linux 6.1 mm/mlock.c:apply_vma_lock_flags, mm/madvise.c:madvise_update_vma
    """
    end = start + page_align(length)
    if start % PAGE_SIZE:
        return VmChange(-errno.EINVAL)
    old = mm.map.overlapping(start, end)
    pieces = [attrs.evolve(vma, flags=(vma.flags & ~drop) | add) for vma in old]
    if not mm.map.covers(start, end):
        return VmChange(-errno.ENOMEM)
    if add & VmFlag.VM_LOCKED:
        fresh = sum(vma.nr_pages for vma in old if not vma.flags & VmFlag.VM_LOCKED)
        if not mm.may_lock(fresh):
            return VmChange(-errno.ENOMEM)
    refused = replace_areas(mm, pieces, start, end, 0)
    return VmChange(-refused if refused else 0)


def set_vma_policy(mm: MmStruct, start: int, length: int, policy: object) -> VmChange:
    """Give a range a memory policy of its own, or None to take it away; holes are EFAULT.

    Source: Linux 6.1 mm/mempolicy.c:mbind_range
    """
    end = start + page_align(length)
    if start % PAGE_SIZE:
        return VmChange(-errno.EINVAL)
    if not mm.map.covers(start, end):
        return VmChange(-errno.EFAULT)
    pieces = [attrs.evolve(v, policy=policy) for v in mm.map.overlapping(start, end)]
    refused = replace_areas(mm, pieces, start, end, 0)
    return VmChange(-refused if refused else 0)


def replace_areas(mm: MmStruct, pieces: list[VmArea], start: int, end: int, charged: int) -> int:
    """Put changed pieces in place and account for them; return 0 or an errno."""
    if len(mm.map) + mm.map.splits_needed(start, end) > mm.max_map_count + 1:
        return errno.ENOMEM
    if charged and not mm.charge(charged):
        return errno.ENOMEM
    for vma in mm.map.overlapping(start, end):
        mm.vm_stat_account(vma.flags, -vma.nr_pages)
    mm.map.replace(pieces)
    for vma in pieces:
        mm.vm_stat_account(vma.flags, vma.nr_pages)
    return 0


@leaf
def change_protection(
    mem: Mem,
    pt: PageTables,
    mms: Mms,
    mm: int,
    vpn: int,
    nr: int,
    readable: bool,
    writable: bool,
) -> int:
    """Set the permissions of `nr` pages of a private mapping.

    An entry becomes writable at once only when its page is dirty and this mm's alone; the
    others wait for a write fault.

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
            if pte & _PAGE_PRESENT:
                new = pte & ~(_PAGE_RW | _PAGE_USER)
                if readable:
                    new |= _PAGE_USER
                own = pte & _PAGE_SPECIAL == 0 and pages.flags[pte_pfn(pte)] & PG_anon_exclusive
                if writable and own and pte & _PAGE_DIRTY:
                    new |= _PAGE_RW
                if new != pte:
                    entry[row, vpn & mask] = new
                    changed += 1
            vpn += 1
        vpn = end
    return changed
