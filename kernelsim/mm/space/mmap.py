"""The VMA map of one address space: which page numbers mean what.

Linux: include/linux/mm_types.h:vm_area_struct, mm/mmap.c (6.1).
Differs: The areas of a process are a sorted list with bisect instead of a maple tree. Neighbours
merge when flags, file and policy agree; anon_vma does not keep them apart.

Interface: `VmaMap` knows only intervals; limits and accounting are in mm_struct.py. A range that
came from `remove` keeps no reference to the map.
Units: addresses and lengths in bytes, multiples of PAGE_SIZE; `end` is the first address behind.
"""

import errno
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from typing import Final, Protocol

import attrs

from kernelsim.mm.page.mempolicy import Mempolicy
from kernelsim.mm.space.vm_flags import (
    MAP_FIXED,
    MAP_FIXED_NOREPLACE,
    VM_ACCESS_FLAGS,
    VM_SPECIAL,
    VmFlag,
)
from kernelsim.units import KIB, MIB, PAGE_SHIFT, PAGE_SIZE

TASK_SIZE: Final = (1 << 47) - PAGE_SIZE  # x86-64; arch/x86/include/asm/page_64_types.h
STACK_GUARD_GAP: Final = 256 * PAGE_SIZE  # below a stack; mm/mmap.c:stack_guard_gap
MMAP_MIN_ADDR: Final = 64 * KIB  # vm.mmap_min_addr
PMD_SIZE: Final = 2 * MIB  # arch/x86/include/asm/pgtable_64_types.h
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

    def merges_with(self, after: "VmArea") -> bool:
        """Tell whether a mapping that starts where this one ends can become part of it.

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

    @property
    def failed(self) -> bool:
        """Tell whether the call failed; then `-result` is the errno."""
        return self.result < 0


class FileMappingsOfMms(Protocol):
    """What wants to know which mappings of files come and go."""

    def vma_link_file(self, mm: int, vma: VmArea) -> None:
        """Enter a mapping of an address space."""

    def vma_unlink_file(self, mm: int, vma: VmArea) -> None:
        """Remove one."""


@attrs.define
class VmaMap:
    """The mappings of an address space, sorted, never overlapping."""

    areas: list[VmArea] = attrs.Factory(list)
    starts: list[int] = attrs.Factory(list)
    """`areas[i].start`, for bisect."""
    task_size: int = TASK_SIZE
    """First address behind those of a process."""
    # Searching from the top: every hole above `hole_cursor` is smaller than `hole_below_bytes`
    # or has been given away. Only `remove` makes holes, so a search may start at the cursor.
    hole_cursor: int = attrs.Factory(lambda self: self.task_size, takes_self=True)
    hole_below_bytes: int = 0
    mm: int = 0
    """Number of the address space."""
    i_mmap: FileMappingsOfMms | None = None
    """Is told of mappings of files."""
    nr_of_files: int = 0
    """Mappings of files that have a page cache."""

    def __len__(self) -> int:
        return len(self.areas)

    def __iter__(self) -> Iterator[VmArea]:
        return iter(self.areas)

    def find_vma(self, address: int) -> VmArea | None:
        """Return the first mapping that ends above an address; it may start above it too."""
        index = self.index_above(address)
        return self.areas[index] if index < len(self.areas) else None

    def find_vma_intersection(self, start: int, end: int) -> VmArea | None:
        """Return the first mapping that has an address in [start, end)."""
        vma = self.find_vma(start)
        return vma if vma is not None and vma.start < end else None

    def find_vma_prev(self, address: int) -> VmArea | None:
        """Return the last mapping that ends at or below an address."""
        index = self.index_above(address)
        return self.areas[index - 1] if index else None

    def index_above(self, address: int) -> int:
        """Return the position of the first mapping that ends above an address."""
        index = bisect_right(self.starts, address)
        if index and self.areas[index - 1].end > address:
            return index - 1
        return index

    def overlapping(self, start: int, end: int) -> list[VmArea]:
        """Return the pieces of mappings inside [start, end), ascending."""
        pieces = []
        for index in range(self.index_above(start), bisect_left(self.starts, end)):
            vma = self.areas[index]
            pieces.append(vma.part(max(vma.start, start), min(vma.end, end)))
        return pieces

    def covers(self, start: int, end: int) -> bool:
        """Tell whether every address of [start, end) is mapped."""
        return sum(vma.end - vma.start for vma in self.overlapping(start, end)) == end - start

    def insert(self, vma: VmArea) -> VmArea:
        """Add a mapping where there is none, merged with its neighbours; return what it became.

        Source: Linux 6.1 mm/mmap.c:vma_merge
        """
        index = bisect_left(self.starts, vma.start)
        before = self.areas[index - 1] if index else None
        after = self.areas[index] if index < len(self.areas) else None
        assert before is None or before.end <= vma.start, "a mapping overlaps the one below"
        assert after is None or vma.end <= after.start, "a mapping overlaps the one above"
        first, last = index, index
        if before is not None and before.merges_with(vma):
            vma = attrs.evolve(before, end=vma.end)
            first -= 1
        if after is not None and vma.merges_with(after):
            vma = attrs.evolve(vma, end=after.end)
            last += 1
        self._replace(first, last, [vma])
        return vma

    def _replace(self, first: int, last: int, vmas: list[VmArea]) -> None:
        """Put mappings in place of others."""
        before = [vma for vma in self.areas[first:last] if vma.file_number]
        after = [vma for vma in vmas if vma.file_number]
        self.nr_of_files += len(after) - len(before)
        if self.i_mmap is not None:
            for vma in before:
                self.i_mmap.vma_unlink_file(self.mm, vma)
            for vma in after:
                self.i_mmap.vma_link_file(self.mm, vma)
        self.areas[first:last] = vmas
        self.starts[first:last] = [vma.start for vma in vmas]

    def unmap(self, start: int, end: int) -> list[VmArea]:
        """Remove [start, end); files lead to what was removed until `unlink_file` of each piece."""
        removed = self.remove(start, end)
        if self.i_mmap is not None:
            for vma in removed:
                if vma.file_number:
                    self.i_mmap.vma_link_file(self.mm, vma)
        return removed

    def unlink_file(self, vma: VmArea) -> None:
        """Let its file not lead to a piece any more, whose page-table entries are gone.

        Source: Linux 6.1 mm/mmap.c:unlink_file_vma
        """
        if self.i_mmap is not None and vma.file_number:
            self.i_mmap.vma_unlink_file(self.mm, vma)

    def remove(self, start: int, end: int) -> list[VmArea]:
        """Remove [start, end); mappings at the ends are split. Return the pieces removed.

        Source: Linux 6.1 mm/mmap.c:do_mas_align_munmap
        """
        first, last = self.index_above(start), bisect_left(self.starts, end)
        if first >= last:
            return []
        removed = self.overlapping(start, end)
        kept = []
        if self.areas[first].start < start:
            kept.append(self.areas[first].part(self.areas[first].start, start))
        if self.areas[last - 1].end > end:
            kept.append(self.areas[last - 1].part(end, self.areas[last - 1].end))
        self._replace(first, last, kept)
        above = self.find_vma(end)
        self.hole_cursor = max(self.hole_cursor, above.start if above else self.task_size)
        return removed

    def unmapped_area_topdown(self, length: int, low: int, high: int) -> int:
        """Find the highest hole of `length` bytes in [low, high); return its address or 0.

        Source: Linux 6.1 mm/mmap.c:vm_unmapped_area
        """
        if length <= self.hole_below_bytes or self.hole_cursor > high:
            self.hole_cursor, self.hole_below_bytes = high, 0
        ceiling = self.hole_cursor
        index = bisect_left(self.starts, ceiling)
        if index < len(self.areas):
            ceiling = min(ceiling, self.areas[index].start_gap)
        while index >= 0:
            floor = max(self.areas[index - 1].end if index else 0, low)
            if ceiling - floor >= length:
                return ceiling - length
            index -= 1
            if index < 0:
                break
            self.hole_below_bytes = max(self.hole_below_bytes, ceiling - floor)
            self.hole_cursor = self.areas[index].start
            ceiling = min(ceiling, self.areas[index].start_gap)
        return 0

    def unmapped_area_bottomup(self, length: int, low: int, high: int) -> int:
        """Find the lowest hole of `length` bytes in [low, high); return its address or 0."""
        floor = low
        for index in range(self.index_above(low), len(self.areas)):
            if min(self.areas[index].start_gap, high) - floor >= length:
                return floor
            floor = max(floor, self.areas[index].end)
        return floor if high - floor >= length else 0


def thp_get_unmapped_area(
    areas: VmaMap, mmap_base: int, address: int, length: int, map_flags: int, offset: int
) -> int:
    """Choose where a mapping of a file goes: aligned as a huge page of it would have to be.

    Args and result are those of `get_unmapped_area`; `offset` is the first byte of the file.

    Source: Linux 6.1 mm/huge_memory.c:thp_get_unmapped_area, the one of ext4
    """
    # Differs from Linux: That is 2 MiB also on i386 without PAE, whose huge pages have 4 MiB.
    is_fixed = map_flags & (MAP_FIXED | MAP_FIXED_NOREPLACE)
    aligned = -(-offset // PMD_SIZE) * PMD_SIZE
    if not is_fixed and offset + length - aligned >= PMD_SIZE:
        start = get_unmapped_area(areas, mmap_base, address, length + PMD_SIZE, map_flags)
        if start >= 0:
            return start if start == address else start + (offset - start) % PMD_SIZE
    return get_unmapped_area(areas, mmap_base, address, length, map_flags)


def get_unmapped_area(
    areas: VmaMap, mmap_base: int, address: int, length: int, map_flags: int
) -> int:
    """Choose where a mapping goes; return its address or a negative errno.

    Args:
        areas: What is mapped.
        mmap_base: Mappings without a place of their own go below it.
        address: Where the caller wants it: a hint, but for MAP_FIXED; 0 for anywhere.
        length: Bytes, whole pages.
        map_flags: MAP_* bits.

    Source: Linux 6.1 arch/x86/kernel/sys_x86_64.c:arch_get_unmapped_area_topdown
    """
    task_size = areas.task_size
    if map_flags & (MAP_FIXED | MAP_FIXED_NOREPLACE):
        if address > task_size - length:
            return -errno.ENOMEM
        if address % PAGE_SIZE:
            return -errno.EINVAL
        if address < MMAP_MIN_ADDR:
            return -errno.EPERM
        taken = areas.find_vma_intersection(address, address + length)
        if map_flags & MAP_FIXED_NOREPLACE and taken is not None:
            return -errno.EEXIST
        return address
    if address:
        address = max(address & -PAGE_SIZE, MMAP_MIN_ADDR)
        above = areas.find_vma(address)
        below = areas.find_vma_prev(address)
        free = above is None or address + length <= above.start_gap
        if free and address <= task_size - length and (not below or address >= below.end):
            return address
    start = areas.unmapped_area_topdown(length, MMAP_MIN_ADDR, mmap_base)
    if not start:
        start = areas.unmapped_area_bottomup(length, page_align(task_size // 3), task_size)
    return start or -errno.ENOMEM
