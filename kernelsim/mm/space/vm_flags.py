"""Flags of mappings and of the system calls that make them.

Linux: include/linux/mm.h, include/uapi/asm-generic/mman*.h (6.1).
Interface: `VmFlag` members and the constants; names as in Linux.
"""

from enum import IntFlag
from typing import Final


class VmFlag(IntFlag):
    """Flags of a VMA; include/linux/mm.h."""

    VM_NONE = 0
    VM_READ = 0x1
    VM_WRITE = 0x2
    VM_EXEC = 0x4
    VM_SHARED = 0x8
    VM_MAYREAD = 0x10
    VM_MAYWRITE = 0x20
    VM_MAYEXEC = 0x40
    VM_MAYSHARE = 0x80
    VM_GROWSDOWN = 0x100
    VM_PFNMAP = 0x400
    VM_LOCKED = 0x2000
    VM_IO = 0x4000
    VM_SEQ_READ = 0x8000
    VM_RAND_READ = 0x10000
    VM_DONTCOPY = 0x20000
    VM_DONTEXPAND = 0x40000
    VM_LOCKONFAULT = 0x80000
    VM_ACCOUNT = 0x100000
    VM_NORESERVE = 0x200000
    VM_HUGETLB = 0x400000
    VM_WIPEONFORK = 0x2000000
    VM_DONTDUMP = 0x4000000
    VM_SOFTDIRTY = 0x8000000
    VM_MIXEDMAP = 0x10000000
    VM_HUGEPAGE = 0x20000000
    VM_NOHUGEPAGE = 0x40000000
    VM_MERGEABLE = 0x80000000


VM_READ_HINTS: Final = VmFlag.VM_SEQ_READ | VmFlag.VM_RAND_READ  # of madvise
VM_ACCESS_FLAGS: Final = VmFlag.VM_READ | VmFlag.VM_WRITE | VmFlag.VM_EXEC
VM_MAY_ALL: Final = VmFlag.VM_MAYREAD | VmFlag.VM_MAYWRITE | VmFlag.VM_MAYEXEC
VM_STACK_FLAGS: Final = VmFlag.VM_READ | VmFlag.VM_WRITE | VmFlag.VM_GROWSDOWN | VM_MAY_ALL
VM_DATA_DEFAULT_FLAGS: Final = VmFlag.VM_READ | VmFlag.VM_WRITE | VM_MAY_ALL
VM_SPECIAL: Final = (
    VmFlag.VM_IO | VmFlag.VM_DONTEXPAND | VmFlag.VM_PFNMAP | VmFlag.VM_MIXEDMAP
)  # such VMAs never merge

PROT_NONE: Final = 0
PROT_READ: Final = 1
PROT_WRITE: Final = 2
PROT_EXEC: Final = 4
PROT_FLAGS: Final = (
    (PROT_READ, VmFlag.VM_READ),
    (PROT_WRITE, VmFlag.VM_WRITE),
    (PROT_EXEC, VmFlag.VM_EXEC),
)

PROT_SEM: Final = 8  # of atomic operations; means nothing here
PROT_GROWSDOWN: Final = 0x0100_0000  # mprotect: from the start of a mapping that grows down
PROT_GROWSUP: Final = 0x0200_0000

MAP_SHARED: Final = 0x01
MAP_PRIVATE: Final = 0x02
MAP_SHARED_VALIDATE: Final = 0x03
MAP_TYPE: Final = 0x0F
MAP_FIXED: Final = 0x10
MAP_ANONYMOUS: Final = 0x20
MAP_32BIT: Final = 0x40
MAP_GROWSDOWN: Final = 0x100
MAP_DENYWRITE: Final = 0x800
MAP_EXECUTABLE: Final = 0x1000
MAP_LOCKED: Final = 0x2000
MAP_NORESERVE: Final = 0x4000
MAP_POPULATE: Final = 0x8000
MAP_NONBLOCK: Final = 0x1_0000
MAP_STACK: Final = 0x2_0000
MAP_HUGETLB: Final = 0x4_0000
MAP_FIXED_NOREPLACE: Final = 0x100000
LEGACY_MAP_MASK: Final = (
    MAP_SHARED | MAP_PRIVATE | MAP_FIXED | MAP_ANONYMOUS | MAP_DENYWRITE | MAP_EXECUTABLE
    | MAP_GROWSDOWN | MAP_LOCKED | MAP_NORESERVE | MAP_POPULATE | MAP_NONBLOCK | MAP_STACK
    | MAP_HUGETLB | MAP_32BIT
)  # fmt: skip
MAP_FLAGS: Final = (
    (MAP_GROWSDOWN, VmFlag.VM_GROWSDOWN),
    (MAP_LOCKED, VmFlag.VM_LOCKED),
)

# Letters of /proc/pid/smaps; fs/proc/task_mmu.c:show_smap_vma_flags
SMAPS_LETTERS: Final = (
    (VmFlag.VM_READ, "rd"),
    (VmFlag.VM_WRITE, "wr"),
    (VmFlag.VM_EXEC, "ex"),
    (VmFlag.VM_SHARED, "sh"),
    (VmFlag.VM_MAYREAD, "mr"),
    (VmFlag.VM_MAYWRITE, "mw"),
    (VmFlag.VM_MAYEXEC, "me"),
    (VmFlag.VM_MAYSHARE, "ms"),
    (VmFlag.VM_GROWSDOWN, "gd"),
    (VmFlag.VM_PFNMAP, "pf"),
    (VmFlag.VM_LOCKED, "lo"),
    (VmFlag.VM_IO, "io"),
    (VmFlag.VM_SEQ_READ, "sr"),
    (VmFlag.VM_RAND_READ, "rr"),
    (VmFlag.VM_DONTCOPY, "dc"),
    (VmFlag.VM_DONTEXPAND, "de"),
    (VmFlag.VM_LOCKONFAULT, "??"),
    (VmFlag.VM_ACCOUNT, "ac"),
    (VmFlag.VM_NORESERVE, "nr"),
    (VmFlag.VM_HUGETLB, "ht"),
    (VmFlag.VM_WIPEONFORK, "wf"),
    (VmFlag.VM_DONTDUMP, "dd"),
    (VmFlag.VM_SOFTDIRTY, "sd"),
    (VmFlag.VM_MIXEDMAP, "mm"),
    (VmFlag.VM_HUGEPAGE, "hg"),
    (VmFlag.VM_NOHUGEPAGE, "nh"),
    (VmFlag.VM_MERGEABLE, "mg"),
)


def calc_vm_flag_bits(map_flags: int) -> VmFlag:
    """Return the VMA flags of MAP_* bits.

    Source: Linux 6.1 include/linux/mman.h:calc_vm_flag_bits
    """
    flags = VmFlag.VM_NONE
    for bit, flag in MAP_FLAGS:
        if map_flags & bit:
            flags |= flag
    return flags


def calc_vm_prot_bits(prot: int) -> VmFlag:
    """Return the VMA flags of PROT_* bits."""
    flags = VmFlag.VM_NONE
    for bit, flag in PROT_FLAGS:
        if prot & bit:
            flags |= flag
    return flags


def is_data_mapping(flags: VmFlag) -> bool:
    """Tell whether a mapping counts as data: private, writable, no stack."""
    data = flags & (VmFlag.VM_WRITE | VmFlag.VM_SHARED | VmFlag.VM_GROWSDOWN)
    return data == VmFlag.VM_WRITE


def is_accountable(flags: VmFlag) -> bool:
    """Tell whether a new mapping is charged against overcommit.

    Source: Linux 6.1 mm/mmap.c:accountable_mapping
    """
    data = flags & (VmFlag.VM_WRITE | VmFlag.VM_SHARED | VmFlag.VM_NORESERVE)
    return data == VmFlag.VM_WRITE


def vma_has_recency(flags: VmFlag) -> bool:
    """Tell whether that a page of a mapping was used says that it will be used again.

    Source: Linux 6.1 mm/memory.c:lru_gen_enter_fault
    """
    return not flags & VM_READ_HINTS
