"""An address space: its mappings, its sizes, its limits, and the system calls that change them.

Linux: include/linux/mm_types.h:mm_struct; mm/mmap.c (6.1).

Interface: a method that a system call uses returns a `VmChange`; its `result` is the address (0
where Linux returns 0) or a negative errno; after an error nothing has changed. `unmapped`
pieces still have page-table entries: the caller zaps them (`unmap_range`), unlinks them from their
files, and may free tables between `floor` and `ceiling`. `mm.number` indexes `Mms`, which the
registry (mm_registry.py) keeps; page-table state lives there.
Units: addresses and lengths in bytes, sizes of the whole (`total_vm` …) in pages.
"""

import errno
from typing import Final

import attrs

from kernelsim.mm.space.mmap import (
    MMAP_MIN_ADDR,
    STACK_GUARD_GAP,
    MappedFile,
    VmaMap,
    VmArea,
    VmChange,
    get_unmapped_area,
    page_align,
    thp_get_unmapped_area,
)
from kernelsim.mm.space.util import OVERCOMMIT_NEVER, CommitAccount
from kernelsim.mm.space.vm_flags import (
    MAP_LOCKED,
    MAP_NORESERVE,
    MAP_PRIVATE,
    MAP_SHARED,
    PROT_READ,
    PROT_WRITE,
    VM_ACCESS_FLAGS,
    VM_DATA_DEFAULT_FLAGS,
    VM_MAY_ALL,
    VmFlag,
    calc_vm_prot_bits,
    is_accountable,
    is_data_mapping,
)
from kernelsim.units import MIB, PAGE_SHIFT, PAGE_SIZE

RLIM_INFINITY: Final = (1 << 64) - 1


@attrs.define
class Rlimits:
    """Resource limits in bytes; `RLIM_INFINITY` is none."""

    stack: int = 8 * MIB
    data: int = RLIM_INFINITY
    address_space: int = RLIM_INFINITY
    memlock: int = 8 * MIB


@attrs.define(kw_only=True)
class MmStruct:
    """One address space, of one process or of several: `mm_users` counts them."""

    number: int
    ctx_id: int
    """Unlike `number` never used again; tells TLB entries of different address spaces apart."""
    owner_pid: int
    commit: CommitAccount
    rlimits: Rlimits = attrs.Factory(Rlimits)
    cap_sys_admin: bool = True
    cap_ipc_lock: bool = True

    map: VmaMap = attrs.Factory(VmaMap)
    mmap_base: int = 0
    start_code: int = 0
    end_code: int = 0
    start_data: int = 0
    end_data: int = 0
    start_brk: int = 0
    brk: int = 0
    start_stack: int = 0
    stack_top: int = 0
    """First address above the stack and the program's arguments."""
    vdso_draw: int = -1
    """Where between stack and the end of its 2 MiB the vDSO is to lie, of 2**32; below 0: not."""

    total_vm: int = 0
    data_vm: int = 0
    exec_vm: int = 0
    stack_vm: int = 0
    locked_vm: int = 0
    hiwater_vm: int = 0
    def_flags: VmFlag = VmFlag.VM_NONE
    """Given to every new mapping: VM_LOCKED after mlockall(MCL_FUTURE)."""

    cpu_bitmap: int = 0
    """Bit n: CPU n has this address space loaded, and is to hear of its flushes (mm_cpumask)."""
    tlb_gen: int = 1
    """How often translations were changed; a CPU whose TLB is behind flushes before it goes on."""
    mm_users: int = 1  # processes that use it; several with CLONE_VM
    lru_gen_bitmap: int = -1
    """Bit n: it ran since its page tables were walked for pages of node n (lru_gen_use_mm)."""

    oom_reap_queued: bool = False
    """MMF_OOM_REAP_QUEUED: the OOM reaper is to look at it, and is told once."""
    unstable: bool = False
    """MMF_UNSTABLE: the OOM reaper takes its pages; no fault may put one there any more."""
    oom_skip: bool = False
    """MMF_OOM_SKIP: nothing is to be had here any more, so the OOM killer looks elsewhere."""

    def mmap(
        self,
        length: int,
        prot: int = PROT_READ | PROT_WRITE,
        map_flags: int = MAP_PRIVATE,
        *,
        address: int = 0,
        file: MappedFile | None = None,
        pgoff: int = 0,
    ) -> VmChange:
        """Make a mapping; without MAP_FIXED `address` is a hint.

        Source: Linux 6.1 mm/mmap.c:do_mmap, :mmap_region
        """
        if length <= 0:
            return VmChange(-errno.EINVAL)
        length = page_align(length)
        if length > self.map.task_size or len(self.map) > self.commit.sysctl.vm_max_map_count:
            return VmChange(-errno.ENOMEM)
        where = (self.map, self.mmap_base, address, length, map_flags)
        if file is not None and file.number:
            start = thp_get_unmapped_area(*where, pgoff << PAGE_SHIFT)
        else:
            start = get_unmapped_area(*where)
        if start < 0:
            return VmChange(start)
        flags = calc_vm_prot_bits(prot) | self.def_flags | VM_MAY_ALL
        if map_flags & MAP_LOCKED:
            flags |= VmFlag.VM_LOCKED
        if flags & VmFlag.VM_LOCKED and not self.may_lock(length >> PAGE_SHIFT):
            return VmChange(-errno.EAGAIN)
        if map_flags & MAP_SHARED:
            flags |= VmFlag.VM_SHARED | VmFlag.VM_MAYSHARE
        overcommit = self.commit.sysctl.vm_overcommit_memory
        if map_flags & MAP_NORESERVE and overcommit != OVERCOMMIT_NEVER:
            flags |= VmFlag.VM_NORESERVE
        if file is None:
            pgoff = 0 if flags & VmFlag.VM_SHARED else start >> PAGE_SHIFT
        return self.mmap_region(VmArea(start, start + length, flags, file, pgoff))

    def mmap_region(self, vma: VmArea) -> VmChange:
        """Put a mapping in place of what is there, within the limits, and account for it.

        Source: Linux 6.1 mm/mmap.c:mmap_region
        """
        replaced = sum(old.nr_pages for old in self.map.overlapping(vma.start, vma.end))
        if not self.may_expand_vm(vma.flags, vma.nr_pages - replaced):
            return VmChange(-errno.ENOMEM)
        if replaced and self.count_would_burst(vma.start, vma.end):
            return VmChange(-errno.ENOMEM)
        # Differs from Linux: mmap charges the new mapping before the old one goes, so that a
        # refused MAP_FIXED leaves the old one whole.
        if is_accountable(vma.flags):
            if not self.charge(vma.nr_pages):
                return VmChange(-errno.ENOMEM)
            vma = attrs.evolve(vma, flags=vma.flags | VmFlag.VM_ACCOUNT)
        gone = self.munmap(vma.start, vma.end - vma.start) if replaced else VmChange(0)
        self.map.insert(vma)
        self.vm_stat_account(vma.flags, vma.nr_pages)
        return attrs.evolve(gone, result=vma.start)

    def munmap(self, start: int, length: int) -> VmChange:
        """Unmap a range; holes in it are no error.

        Source: Linux 6.1 mm/mmap.c:do_mas_munmap
        """
        length = page_align(length)
        if start % PAGE_SIZE or start < 0 or not 0 < length <= self.map.task_size - start:
            return VmChange(-errno.EINVAL)
        end = start + length
        if self.count_would_burst(start, end):
            return VmChange(-errno.ENOMEM)
        self.hiwater_vm = max(self.hiwater_vm, self.total_vm)
        removed = self.map.unmap(start, end)
        for vma in removed:
            self.vm_stat_account(vma.flags, -vma.nr_pages)
            if vma.flags & VmFlag.VM_ACCOUNT:
                self.commit.uncharge(vma.nr_pages)
        below, above = self.map.find_vma_prev(start), self.map.find_vma(start)
        return VmChange(
            0,
            tuple(removed),
            floor=below.end if below else 0,
            ceiling=above.start if above else self.map.task_size + PAGE_SIZE,
        )

    def count_would_burst(self, start: int, end: int) -> bool:
        """Tell whether a hole inside one mapping would make one too many."""
        vma = self.map.find_vma_intersection(start, end)
        inside = vma is not None and vma.start < start and end < vma.end
        return inside and len(self.map) >= self.commit.sysctl.vm_max_map_count

    def set_brk(self, brk: int) -> VmChange:
        """Move the end of the heap; the result is the new end, the old one when it cannot be.

        Source: Linux 6.1 mm/mmap.c:brk, :do_brk_flags
        """
        kept = VmChange(self.brk)
        if brk < self.start_brk:
            return kept
        data_bytes = brk - self.start_brk + self.end_data - self.start_data
        if data_bytes > self.rlimits.data:
            return kept
        old_end, new_end = page_align(self.brk), page_align(brk)
        change = VmChange(brk)
        if new_end < old_end:
            change = attrs.evolve(self.munmap(new_end, old_end - new_end), result=brk)
        elif new_end > old_end:
            above = self.map.find_vma(old_end)
            if new_end > self.map.task_size or (above and new_end + PAGE_SIZE > above.start_gap):
                return kept
            if len(self.map) > self.commit.sysctl.vm_max_map_count:
                return kept
            flags = VM_DATA_DEFAULT_FLAGS | self.def_flags
            locked = flags & VmFlag.VM_LOCKED
            if locked and not self.may_lock((new_end - old_end) >> PAGE_SHIFT):
                return kept
            if self.mmap_region(
                VmArea(old_end, new_end, flags, None, old_end >> PAGE_SHIFT)
            ).failed:
                return kept
        self.brk = brk
        return change

    def expand_stack(self, address: int) -> VmArea | None:
        """Let the stack above an address grow down to it; None when it may not (SIGSEGV).

        Source: Linux 6.1 mm/mmap.c:expand_downwards, :acct_stack_growth
        """
        vma = self.map.find_vma(address)
        start = address & -PAGE_SIZE
        if vma is None or not vma.flags & VmFlag.VM_GROWSDOWN or start < MMAP_MIN_ADDR:
            return None
        below = self.map.find_vma_prev(address)
        if below and not below.flags & VmFlag.VM_GROWSDOWN and below.flags & VM_ACCESS_FLAGS:
            if start - below.end < STACK_GUARD_GAP:
                return None
        grow = (vma.start - start) >> PAGE_SHIFT
        if vma.end - start > self.rlimits.stack or not self.may_expand_vm(vma.flags, grow):
            return None
        if vma.flags & VmFlag.VM_LOCKED and not self.may_lock(grow):
            return None
        if vma.flags & VmFlag.VM_ACCOUNT and not self.charge(grow):
            return None
        self.map.remove(vma.start, vma.end)
        self.vm_stat_account(vma.flags, grow)
        return self.map.insert(attrs.evolve(vma, start=start, pgoff=vma.pgoff - grow))

    def fault_vma(self, address: int, *, write: bool) -> VmArea | None:
        """Return the mapping an access goes to, growing the stack for it; None means SIGSEGV.

        Source: Linux 6.1 arch/x86/mm/fault.c:do_user_addr_fault
        """
        vma = self.map.find_vma(address)
        if vma is not None and address < vma.start:
            vma = self.expand_stack(address)
        return vma if vma is not None and vma.permits(write=write) else None

    def exit_mmap(self) -> VmChange:
        """Unmap everything.

        Source: Linux 6.1 mm/mmap.c:exit_mmap
        """
        return self.munmap(0, self.map.task_size)

    def vma_name(self, vma: VmArea) -> str:
        """Return what maps shows for a mapping without a file: [heap], [stack] or nothing.

        Source: Linux 6.1 fs/proc/task_mmu.c:show_map_vma
        """
        if vma.file is not None:
            return ""
        if vma.start <= self.brk and vma.end >= self.start_brk:
            return "[heap]"
        return "[stack]" if vma.start <= self.start_stack <= vma.end else ""

    def may_expand_vm(self, flags: VmFlag, nr_pages: int) -> bool:
        """Tell whether the limits of the process allow so many pages more.

        Source: Linux 6.1 mm/mmap.c:may_expand_vm
        """
        if (self.total_vm + nr_pages) << PAGE_SHIFT > self.rlimits.address_space:
            return False
        data_bytes = (self.data_vm + nr_pages) << PAGE_SHIFT
        return not is_data_mapping(flags) or data_bytes <= self.rlimits.data

    def may_lock(self, nr_pages: int) -> bool:
        """Tell whether so many pages more may be locked.

        Source: Linux 6.1 mm/mmap.c:mlock_future_check
        """
        locked_bytes = (self.locked_vm + nr_pages) << PAGE_SHIFT
        return self.cap_ipc_lock or locked_bytes <= self.rlimits.memlock

    def charge(self, nr_pages: int) -> bool:
        """Promise pages to this address space if overcommit allows."""
        return self.commit.charge(
            nr_pages, mm_total_vm=self.total_vm, cap_sys_admin=self.cap_sys_admin
        )

    def vm_stat_account(self, flags: VmFlag, nr_pages: int) -> None:
        """Add a mapping's pages to the sizes of the address space, or take them off.

        Source: Linux 6.1 mm/mmap.c:vm_stat_account
        """
        self.total_vm += nr_pages
        if flags & VmFlag.VM_LOCKED:
            self.locked_vm += nr_pages
        if flags & VmFlag.VM_EXEC and not flags & (VmFlag.VM_WRITE | VmFlag.VM_GROWSDOWN):
            self.exec_vm += nr_pages
        elif flags & VmFlag.VM_GROWSDOWN:
            self.stack_vm += nr_pages
        elif is_data_mapping(flags):
            self.data_vm += nr_pages
