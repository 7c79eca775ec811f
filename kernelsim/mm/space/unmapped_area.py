"""Where a mapping goes: at the address that is asked for, or in a hole that is large enough.

Linux: arch/x86/kernel/sys_x86_64.c, mm/mmap.c:get_unmapped_area, 6.1.

Interface: `get_unmapped_area`, for files on disks `thp_get_unmapped_area`.
Units: bytes.
"""

import errno
from typing import Final

from kernelsim.mm.space.mmap import MMAP_MIN_ADDR, page_align
from kernelsim.mm.space.vm_flags import MAP_32BIT, MAP_FIXED, MAP_FIXED_NOREPLACE
from kernelsim.mm.space.vma_map import VmaMap
from kernelsim.units import MIB, PAGE_SIZE

PMD_SIZE: Final = 2 * MIB  # arch/x86/include/asm/pgtable_64_types.h
LOW_BEGIN: Final = 0x4000_0000  # where MAP_32BIT mappings go; sys_x86_64.c:find_start_end
LOW_END: Final = 0x8000_0000


def thp_get_unmapped_area(
    areas: VmaMap,
    mmap_base: int,
    address: int,
    length: int,
    map_flags: int,
    offset: int,
    *,
    lowest: int = MMAP_MIN_ADDR,
) -> int:
    """Choose where a mapping of a file goes: aligned as a huge page of it would have to be.

    Args and result are those of `get_unmapped_area`; `offset` is the first byte of the file.

    Source: Linux 6.1 mm/huge_memory.c:thp_get_unmapped_area, the one of ext4
    """
    # Differs from Linux: That is 2 MiB also on i386 without PAE, whose huge pages have 4 MiB.
    is_fixed = map_flags & (MAP_FIXED | MAP_FIXED_NOREPLACE)
    aligned = -(-offset // PMD_SIZE) * PMD_SIZE
    if not is_fixed and offset + length - aligned >= PMD_SIZE:
        nr_bytes = length + PMD_SIZE
        start = get_unmapped_area(areas, mmap_base, address, nr_bytes, map_flags, lowest=lowest)
        if start >= 0:
            return start if start == address else start + (offset - start) % PMD_SIZE
    return get_unmapped_area(areas, mmap_base, address, length, map_flags, lowest=lowest)


def get_unmapped_area(
    areas: VmaMap,
    mmap_base: int,
    address: int,
    length: int,
    map_flags: int,
    *,
    lowest: int = MMAP_MIN_ADDR,
) -> int:
    """Choose where a mapping goes; return its address or a negative errno.

    Args:
        areas: What is mapped.
        mmap_base: Mappings without a place of their own go below it.
        address: Where the caller wants it: a hint, but for MAP_FIXED; 0 for anywhere.
        length: Bytes, whole pages.
        map_flags: MAP_* bits.
        lowest: The caller has no right to a place of its choice below this address.

    Source: Linux 6.1 mm/mmap.c:get_unmapped_area, security/commoncap.c:cap_mmap_addr,
        arch/x86/kernel/sys_x86_64.c:arch_get_unmapped_area_topdown, mm/mmap.c:do_mmap
    """
    task_size = areas.task_size
    if length > task_size:
        return -errno.ENOMEM
    if map_flags & (MAP_FIXED | MAP_FIXED_NOREPLACE):
        if address > task_size - length:
            return -errno.ENOMEM
        if address % PAGE_SIZE:
            return -errno.EINVAL
        if address < lowest:
            return -errno.EPERM
        taken = areas.find_vma_intersection(address, address + length)
        if map_flags & MAP_FIXED_NOREPLACE and taken is not None:
            return -errno.EEXIST
        return address
    if address:
        address = max(address & -PAGE_SIZE, MMAP_MIN_ADDR)
    if map_flags & MAP_32BIT:
        return _low_area(areas, address, length)
    if address and address <= task_size - length and _is_free(areas, address, length):
        return address
    start = areas.unmapped_area_topdown(length, MMAP_MIN_ADDR, mmap_base)
    if not start:
        start = areas.unmapped_area_bottomup(length, page_align(task_size // 3), task_size)
    return start or -errno.ENOMEM


def _low_area(areas: VmaMap, address: int, length: int) -> int:
    """Choose where a mapping goes that a 32-bit address must reach, from the bottom up.

    Source: Linux 6.1 arch/x86/kernel/sys_x86_64.c:arch_get_unmapped_area
    """
    if length > LOW_END:
        return -errno.ENOMEM
    if address and address <= LOW_END - length and _is_free(areas, address, length):
        return address
    return areas.unmapped_area_bottomup(length, LOW_BEGIN, LOW_END) or -errno.ENOMEM


def _is_free(areas: VmaMap, address: int, length: int) -> bool:
    """Tell whether a hint can be taken: nothing is there, nor a stack close above."""
    above = areas.find_vma(address)
    return above is None or address + length <= above.start_gap
