"""One mapping: which page numbers it covers, and what they mean.

Linux: include/linux/mm_types.h:vm_area_struct, mm/mmap.c (6.1).

Interface: `VmArea`, a value; vma_map.py has all of an address space. `VmChange` says what a call
has done to them.
Units: addresses and lengths in bytes, multiples of PAGE_SIZE; `end` is the first address behind.
"""

from typing import Final

import attrs

from kernelsim.mm.page.mempolicy import Mempolicy
from kernelsim.mm.space.anon_vma import AnonChain, AnonVma
from kernelsim.mm.space.vm_flags import VM_ACCESS_FLAGS, VM_SPECIAL, VmFlag
from kernelsim.units import KIB, PAGE_SHIFT, PAGE_SIZE

TASK_SIZE: Final = (1 << 47) - PAGE_SIZE  # x86-64; arch/x86/include/asm/page_64_types.h
STACK_GUARD_GAP: Final = 256 * PAGE_SIZE  # below a stack; mm/mmap.c:stack_guard_gap
MMAP_MIN_ADDR: Final = 64 * KIB  # vm.mmap_min_addr
# Differs from Linux: The name of an area stands in the column of a 64-bit kernel; a 32-bit kernel
# puts it into column 49.


@attrs.frozen
class MappedFile:
    """The file behind a mapping, as /proc/pid/maps shows it."""

    path: str
    inode: int = 0
    device: tuple[int, int] = (0, 0)
    """Major and minor number."""
    number: int = 0
    """Of its page cache; 0 for a file without one, whose pages are made as anonymous ones are."""
    opened: object = None
    """The open file it was mapped through (vm_file), which has the readahead state."""
    can_read: bool = True
    can_write: bool = True
    """It was opened for reading, for writing (FMODE_READ, FMODE_WRITE)."""
    max_bytes: int = (1 << 63) - 1
    """No file of its file system may be longer (s_maxbytes)."""
    is_on_disk: bool = False
    is_special: bool = False
    """A mapping that the kernel has made, such as [vdso], which is not to be cut in two."""


@attrs.frozen
class VmArea:
    """One mapping, [start, end)."""

    start: int
    end: int
    flags: VmFlag
    file: MappedFile | None = None
    """None for anonymous memory."""
    pgoff: int = 0
    """Page of the file at `start`; for anonymous memory the page number it was made at."""
    policy: Mempolicy | None = None
    """Memory policy set with mbind; None means the task's."""
    anon_vma: AnonVma | None = None
    """Whose anonymous pages it may hold; None before the first."""
    anon_chain: AnonChain = ()
    """`anon_vma`, and those of the areas it was copied from by fork."""

    @property
    def nr_pages(self) -> int:
        """Length in pages."""
        return (self.end - self.start) >> PAGE_SHIFT

    @property
    def vpn(self) -> int:
        """First page number."""
        return self.start >> PAGE_SHIFT

    @property
    def file_number(self) -> int:
        """Number of the page cache behind it; 0 for anonymous memory."""
        return self.file.number if self.file is not None else 0

    def index_of(self, vpn: int) -> int:
        """Return the page of the file that belongs to a page of the mapping.

        Source: Linux 6.1 include/linux/pagemap.h:linear_page_index
        """
        return self.pgoff + vpn - self.vpn

    @property
    def start_gap(self) -> int:
        """Lowest address nothing else may use: a stack has a guard gap below it.

        Source: Linux 6.1 include/linux/mm.h:vm_start_gap
        """
        if self.flags & VmFlag.VM_GROWSDOWN:
            return max(self.start - STACK_GUARD_GAP, 0)
        return self.start

    def permits(self, *, write: bool) -> bool:
        """Tell whether a read or a write is allowed; on x86 what is writable is readable.

        Source: Linux 6.1 arch/x86/mm/fault.c:access_error
        """
        wanted = VmFlag.VM_WRITE if write else VM_ACCESS_FLAGS
        return bool(self.flags & wanted)

    def part(self, start: int, end: int) -> "VmArea":
        """Return the piece of this mapping between two addresses inside it."""
        pgoff = self.pgoff + ((start - self.start) >> PAGE_SHIFT)
        return attrs.evolve(self, start=start, end=end, pgoff=pgoff)

    @property
    def is_anonymous(self) -> bool:
        """Tell whether it shows no file (vma_is_anonymous)."""
        return self.file is None

    def is_compatible(self, after: "VmArea") -> bool:
        """Tell whether a mapping right behind could become part of it with other permissions.

        Source: Linux 6.1 mm/mmap.c:anon_vma_compatible
        """
        return (
            not (self.flags ^ after.flags) & ~VM_ACCESS_FLAGS
            and self.file == after.file
            and self.policy == after.policy
            and self.pgoff + self.nr_pages == after.pgoff
        )

    def merges_with(self, after: "VmArea") -> bool:
        """Tell whether a mapping that starts where this one ends can become part of it.

        Their anon_vmas may still keep them apart.

        Source: Linux 6.1 mm/mmap.c:is_mergeable_vma, :can_vma_merge_after
        """
        return (
            self.end == after.start
            and self.flags == after.flags
            and not self.flags & VM_SPECIAL
            and self.file == after.file
            and self.policy == after.policy
            and self.pgoff + self.nr_pages == after.pgoff
        )


def page_align(address: int) -> int:
    """Round up to a page."""
    return (address + PAGE_SIZE - 1) & -PAGE_SIZE


@attrs.frozen
class VmChange:
    """What a system call did to an address space."""

    result: int
    """Address or 0, or a negative errno."""
    unmapped: tuple[VmArea, ...] = ()
    """Pieces that are gone and whose page-table entries must go."""
    floor: int = 0
    """Page tables that serve only addresses in [floor, ceiling) may be freed. Bytes."""
    ceiling: int = 0

    def hull(self) -> tuple[int, int]:
        """Return the pages [first, end) from the first piece that is gone to the last."""
        first = min(vma.vpn for vma in self.unmapped)
        return first, max(vma.vpn + vma.nr_pages for vma in self.unmapped)

    @property
    def failed(self) -> bool:
        """Tell whether the call failed; then `-result` is the errno."""
        return self.result < 0
