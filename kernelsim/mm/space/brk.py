"""The mappings that grow: the heap upwards on demand, stacks downwards when they are touched.

Linux: mm/mmap.c: brk, do_brk_flags, expand_downwards; arch/x86/mm/fault.c, 6.1.

Interface: `set_brk`; `fault_vma` for every access of a program.
Units: bytes.
"""

import attrs

from kernelsim.mm.space.mm_struct import MmStruct
from kernelsim.mm.space.mmap import MMAP_MIN_ADDR, STACK_GUARD_GAP, VmArea, VmChange, page_align
from kernelsim.mm.space.vm_flags import VM_ACCESS_FLAGS, VM_DATA_DEFAULT_FLAGS, VmFlag
from kernelsim.units import PAGE_SHIFT, PAGE_SIZE


def set_brk(mm: MmStruct, brk: int) -> VmChange:
    """Move the end of the heap; the result is the new end, the old one when it cannot be.

    Source: Linux 6.1 mm/mmap.c:brk
    """
    kept = VmChange(mm.brk)
    if brk < mm.start_brk:
        return kept
    data_bytes = brk - mm.start_brk + mm.end_data - mm.start_data
    if data_bytes > mm.rlimits.data:
        return kept
    old_end, new_end = page_align(mm.brk), page_align(brk)
    change = VmChange(brk)
    if new_end < old_end:
        if mm.map.find_vma_intersection(new_end, old_end) is None:
            return kept
        change = attrs.evolve(mm.munmap(new_end, old_end - new_end), result=brk)
    elif new_end > old_end:
        above = mm.map.find_vma(old_end)
        if new_end > mm.map.task_size or (above and new_end + PAGE_SIZE > above.start_gap):
            return kept
        if not do_brk_flags(mm, old_end, new_end):
            return kept
    mm.brk = brk
    return change


def do_brk_flags(mm: MmStruct, start: int, end: int) -> bool:
    """Let the heap grow over a hole, as part of what it has already; tell whether it may.

    It never becomes part of the mapping above.

    Source: Linux 6.1 mm/mmap.c:do_brk_flags
    """
    nr_pages = (end - start) >> PAGE_SHIFT
    flags = VM_DATA_DEFAULT_FLAGS | VmFlag.VM_ACCOUNT | mm.def_flags
    if flags & VmFlag.VM_LOCKED and not mm.may_lock(nr_pages):
        return False
    if not mm.may_expand_vm(flags, nr_pages):
        return False
    if len(mm.map) > mm.commit.sysctl.vm_max_map_count or not mm.charge(nr_pages):
        return False
    vma = VmArea(start, end, flags, None, start >> PAGE_SHIFT)
    below = mm.map.find_vma_prev(start)
    is_heap = below is not None and below.end > mm.start_brk
    mm.map.append(vma) if is_heap else mm.map.place(vma)
    mm.vm_stat_account(flags, nr_pages)
    mm.count_locked(flags, nr_pages)
    return True


def expand_stack(mm: MmStruct, address: int) -> VmArea | None:
    """Let the stack above an address grow down to it; None when it may not (SIGSEGV).

    Source: Linux 6.1 mm/mmap.c:expand_downwards, :acct_stack_growth
    """
    vma = mm.map.find_vma(address)
    start = address & -PAGE_SIZE
    if vma is None or not vma.flags & VmFlag.VM_GROWSDOWN or start < MMAP_MIN_ADDR:
        return None
    below = mm.map.find_vma_prev(address)
    if below and not below.flags & VmFlag.VM_GROWSDOWN and below.flags & VM_ACCESS_FLAGS:
        if start - below.end < STACK_GUARD_GAP:
            return None
    vma = mm.anon_vma_prepare(vma)
    grow = (vma.start - start) >> PAGE_SHIFT
    if vma.end - start > mm.rlimits.stack or not mm.may_expand_vm(vma.flags, grow):
        return None
    if vma.flags & VmFlag.VM_LOCKED and not mm.may_lock(grow):
        return None
    if not mm.charge(grow):
        return None
    if not vma.flags & VmFlag.VM_ACCOUNT:
        mm.commit.never_returned_pages += grow
    mm.vm_stat_account(vma.flags, grow)
    mm.count_locked(vma.flags, grow)
    mm.map.remove(vma.start, vma.end)
    return mm.map.place(attrs.evolve(vma, start=start, pgoff=vma.pgoff - grow))


def fault_vma(mm: MmStruct, address: int, *, write: bool) -> VmArea | None:
    """Return the mapping an access goes to, growing the stack for it; None means SIGSEGV.

    Source: Linux 6.1 arch/x86/mm/fault.c:do_user_addr_fault
    """
    vma = mm.map.find_vma(address)
    if vma is not None and address < vma.start:
        vma = expand_stack(mm, address)
    return vma if vma is not None and vma.permits(write=write) else None
