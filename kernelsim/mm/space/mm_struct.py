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
from collections.abc import Callable
from typing import Final

import attrs

from kernelsim.mm.core.kernel_objects import KernelObjects
from kernelsim.mm.space.mmap import MMAP_MIN_ADDR, MappedFile, VmArea, VmChange, page_align
from kernelsim.mm.space.mmap_flags import flags_of_kind
from kernelsim.mm.space.unmapped_area import get_unmapped_area, thp_get_unmapped_area
from kernelsim.mm.space.util import OVERCOMMIT_NEVER, CommitAccount
from kernelsim.mm.space.vm_flags import (
    MAP_LOCKED,
    MAP_NORESERVE,
    MAP_PRIVATE,
    PROT_READ,
    PROT_WRITE,
    VM_MAY_ALL,
    VmFlag,
    calc_vm_flag_bits,
    calc_vm_prot_bits,
    is_accountable,
    is_data_mapping,
)
from kernelsim.mm.space.vma_map import VmaMap
from kernelsim.units import MIB, PAGE_SHIFT, PAGE_SIZE

RLIM_INFINITY: Final = (1 << 64) - 1
WORD_32: Final = 1 << 32
ZeroSetup = Callable[[int, VmFlag], MappedFile | None]  # of pages and flags; None: not enough


@attrs.define
class Rlimits:
    """Resource limits in bytes; `RLIM_INFINITY` is none. `_max` is the hard limit of each.

    Source: Linux 6.1 include/asm-generic/resource.h:INIT_RLIMITS
    """

    stack: int = 8 * MIB
    data: int = RLIM_INFINITY
    address_space: int = RLIM_INFINITY
    memlock: int = 8 * MIB
    stack_max: int = RLIM_INFINITY
    data_max: int = RLIM_INFINITY
    address_space_max: int = RLIM_INFINITY
    memlock_max: int = 8 * MIB


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
    cap_sys_rawio: bool = True
    tlb_flush_pending: set[int] = attrs.Factory(set)
    """Pages whose entries now lead to copies, of which TLBs are still to hear."""

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
    objects: KernelObjects | None = None
    """What the kernel has of it in slabs."""
    image_rss_pages: int = 0
    """Page cache of the program's file that counts as mapped without entries."""
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
        zero_setup: ZeroSetup | None = None,
    ) -> VmChange:
        """Make a mapping; without MAP_FIXED `address` is a hint.

        Args:
            length: Bytes.
            prot: PROT_* bits.
            map_flags: MAP_* bits.
            address: Where.
            file: What is mapped; None for memory.
            pgoff: First page of the file.
            zero_setup: Makes the file of a shared mapping of memory.

        Source: Linux 6.1 mm/mmap.c:do_mmap, :mmap_region
        """
        if length <= 0:
            return VmChange(-errno.EINVAL)
        length = page_align(length)
        if length > 1 << 63 or len(self.map) > self.commit.sysctl.vm_max_map_count:
            return VmChange(-errno.ENOMEM)
        # A page number of 64 bits cannot overflow: the offset that it is of is a word itself.
        if self.map.task_size < WORD_32 <= pgoff + (length >> PAGE_SHIFT):
            return VmChange(-errno.EOVERFLOW)
        start = self.get_unmapped_area(address, length, map_flags, file, pgoff)
        if start < 0:
            return VmChange(start)
        flags = calc_vm_prot_bits(prot) | calc_vm_flag_bits(map_flags) | self.def_flags | VM_MAY_ALL
        if map_flags & MAP_LOCKED and not (self.cap_ipc_lock or self.rlimits.memlock):
            return VmChange(-errno.EPERM)
        if flags & VmFlag.VM_LOCKED and not self.may_lock(length >> PAGE_SHIFT):
            return VmChange(-errno.EAGAIN)
        if file is not None and pgoff > (file.max_bytes - length) >> PAGE_SHIFT:
            return VmChange(-errno.EOVERFLOW)
        all_flags = flags_of_kind(flags, prot, map_flags, file)
        if all_flags < 0:
            return VmChange(all_flags)
        flags = VmFlag(all_flags)
        overcommit = self.commit.sysctl.vm_overcommit_memory
        if map_flags & MAP_NORESERVE and overcommit != OVERCOMMIT_NEVER:
            flags |= VmFlag.VM_NORESERVE
        if file is None:
            pgoff = 0 if flags & VmFlag.VM_SHARED else start >> PAGE_SHIFT
        return self.mmap_region(VmArea(start, start + length, flags, file, pgoff), zero_setup)

    def get_unmapped_area(
        self, address: int, length: int, map_flags: int, file: MappedFile | None, pgoff: int
    ) -> int:
        """Choose where a mapping goes; return its address or a negative errno.

        Source: Linux 6.1 mm/mmap.c:get_unmapped_area
        """
        where = (self.map, self.mmap_base, address, length, map_flags)
        lowest = 0 if self.cap_sys_rawio else MMAP_MIN_ADDR
        if file is not None and file.is_on_disk:
            return thp_get_unmapped_area(*where, pgoff << PAGE_SHIFT, lowest=lowest)
        return get_unmapped_area(*where, lowest=lowest)

    def mmap_region(self, vma: VmArea, zero_setup: ZeroSetup | None = None) -> VmChange:
        """Put a mapping in place of what is there, within the limits, and account for it.

        What was there is gone, too, if there is not enough for the new one.

        Source: Linux 6.1 mm/mmap.c:mmap_region
        """
        replaced = sum(old.nr_pages for old in self.map.overlapping(vma.start, vma.end))
        if not self.may_expand_vm(vma.flags, vma.nr_pages):
            if not self.may_expand_vm(vma.flags, vma.nr_pages - replaced):
                return VmChange(-errno.ENOMEM)
        gone = self.munmap(vma.start, vma.end - vma.start) if replaced else VmChange(0)
        if gone.failed:
            return VmChange(-errno.ENOMEM)
        if is_accountable(vma.flags):
            if not self.charge(vma.nr_pages):
                return attrs.evolve(gone, result=-errno.ENOMEM)
            vma = attrs.evolve(vma, flags=vma.flags | VmFlag.VM_ACCOUNT)
        if vma.is_anonymous and vma.flags & VmFlag.VM_SHARED and zero_setup is not None:
            file = zero_setup(vma.nr_pages, vma.flags)
            if file is None:
                return attrs.evolve(gone, result=-errno.ENOMEM)
            vma = attrs.evolve(vma, file=file)
        self.map.insert(vma)
        self.vm_stat_account(vma.flags, vma.nr_pages)
        self.count_locked(vma.flags, vma.nr_pages)
        return attrs.evolve(gone, result=vma.start)

    def munmap(self, start: int, length: int) -> VmChange:
        """Unmap a range; holes in it are no error.

        Source: Linux 6.1 mm/mmap.c:do_mas_munmap, :do_mas_align_munmap
        """
        length = page_align(length)
        if start % PAGE_SIZE or start < 0 or not 0 < length <= self.map.task_size - start:
            return VmChange(-errno.EINVAL)
        end = start + length
        if self.count_would_burst(start, end):
            return VmChange(-errno.ENOMEM)
        # Differs from Linux: One that cannot be cut at its end is not cut at its start, either.
        if any(self.is_unsplittable(address) for address in (start, end)):
            return VmChange(-errno.EINVAL)
        self.hiwater_vm = max(self.hiwater_vm, self.total_vm)
        removed = self.map.unmap(start, end)
        nr_accounted = 0
        for vma in removed:
            self.vm_stat_account(vma.flags, -vma.nr_pages)
            self.count_locked(vma.flags, -vma.nr_pages)
            if vma.flags & VmFlag.VM_ACCOUNT:
                nr_accounted += vma.nr_pages
        self.commit.uncharge(nr_accounted)
        below, above = self.map.find_vma_prev(start), self.map.find_vma(start)
        return VmChange(
            0,
            tuple(removed),
            floor=below.end if below else 0,
            ceiling=above.start if above else self.map.task_size + PAGE_SIZE,
        )

    def is_unsplittable(self, address: int) -> bool:
        """Tell whether a mapping lies around an address that is not to be cut.

        Source: Linux 6.1 mm/mmap.c:special_mapping_split
        """
        vma = self.map.find_vma(address)
        inside = vma is not None and vma.start < address
        return inside and vma is not None and vma.file is not None and vma.file.is_special

    def count_would_burst(self, start: int, end: int) -> bool:
        """Tell whether a hole inside one mapping would make one too many."""
        vma = self.map.find_vma_intersection(start, end)
        inside = vma is not None and vma.start < start and end < vma.end
        return inside and len(self.map) >= self.commit.sysctl.vm_max_map_count

    def split_vma(self, address: int) -> int:
        """Cut a mapping in two at an address; return 0 or a negative errno.

        Source: Linux 6.1 mm/mmap.c:split_vma
        """
        vma = self.map.find_vma(address)
        if vma is None or vma.start >= address:
            return 0
        if len(self.map) >= self.commit.sysctl.vm_max_map_count:
            return -errno.ENOMEM
        if self.is_unsplittable(address):
            return -errno.EINVAL
        self.map.split(address)
        return 0

    def change_flags(self, vma: VmArea, flags: VmFlag) -> int:
        """Give a piece of a mapping other flags; return 0 or a negative errno.

        It joins its neighbours if that can be. If there are too many mappings to cut it out, a cut
        that was made stays.

        Source: Linux 6.1 mm/mprotect.c:mprotect_fixup, mm/mlock.c:mlock_fixup,
            mm/madvise.c:madvise_update_vma
        """
        piece = attrs.evolve(vma, flags=flags)
        if self.map.vma_merge(piece) is not None:
            return 0
        error = self.split_vma(vma.start) or self.split_vma(vma.end)
        if not error:
            self.map.place(piece)
        return error

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

    def anon_vma_prepare(self, vma: VmArea) -> VmArea:
        """Let a mapping, or the one a piece lies in, hold pages of its own; return what was given.

        Source: Linux 6.1 mm/rmap.c:anon_vma_prepare
        """
        if vma.anon_vma is None and not vma.flags & VmFlag.VM_SHARED:
            whole = self.map.find_vma(vma.start)
            assert whole is not None, "a mapping that is stored to is there"
            whole = self.map.anon_vma_prepare(whole)
            vma = attrs.evolve(vma, anon_vma=whole.anon_vma, anon_chain=whole.anon_chain)
        return vma

    def set_capabilities(self, *, has_them: bool) -> None:
        """Have those of root, or none."""
        self.cap_sys_admin = self.cap_ipc_lock = self.cap_sys_rawio = has_them

    def vm_stat_account(self, flags: VmFlag, nr_pages: int) -> None:
        """Add a mapping's pages to the sizes of the address space, or take them off.

        Source: Linux 6.1 mm/mmap.c:vm_stat_account
        """
        self.total_vm += nr_pages
        if flags & VmFlag.VM_EXEC and not flags & (VmFlag.VM_WRITE | VmFlag.VM_GROWSDOWN):
            self.exec_vm += nr_pages
        elif flags & VmFlag.VM_GROWSDOWN:
            self.stack_vm += nr_pages
        elif is_data_mapping(flags):
            self.data_vm += nr_pages

    def count_locked(self, flags: VmFlag, nr_pages: int) -> None:
        """Count pages of locked mappings that come or go."""
        if flags & VmFlag.VM_LOCKED:
            self.locked_vm += nr_pages
