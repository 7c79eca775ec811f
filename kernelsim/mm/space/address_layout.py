"""What an address space looks like on each architecture: its size, and the shape of its tables.

Linux: arch/x86/include/asm/page_*_types.h, pgtable_*_types.h, processor.h and elf.h,
arch/x86/Kconfig, 6.1.
Differs: The three or four PMDs that PAE makes with the PGD come when they are needed, and its PGD
takes a whole page as with PTI. A 32-bit kernel keeps 1 GiB for itself (VMSPLIT_3G).
Interface: `ADDRESS_LAYOUTS` by the machine's arch.
Units: bytes.
"""

from typing import Final

import attrs

from kernelsim.hw.paging import MODES, PagingMode
from kernelsim.mm.space.mmap import TASK_SIZE


@attrs.frozen(kw_only=True)
class AddressLayout:
    """An architecture's.

    Attributes:
        table_bits: Address bits a level of the page tables translates.
        table_levels: Levels of page tables.
        paging: How its processors translate.
        task_size: First address behind those of a process.
        image_start: Where programs that are not position independent lie.
        mmap_rnd_bits: CONFIG_ARCH_MMAP_RND_BITS: mappings begin up to so many bits of pages lower.
        stack_rnd_pages: __STACK_RND_MASK: the stack begins up to so many pages lower.
        has_vdso_by_stack: The vDSO lies at random above the stack (arch/x86/entry/vdso/vma.c).
    """

    table_bits: int
    table_levels: int
    paging: PagingMode
    task_size: int
    image_start: int
    mmap_rnd_bits: int
    stack_rnd_pages: int
    has_vdso_by_stack: bool


_TASK_SIZE_32: Final = 0xC000_0000  # CONFIG_PAGE_OFFSET
_IMAGE_START_32: Final = 0x0804_8000  # where the linker puts them
ADDRESS_LAYOUTS: Final = {
    "x86_64": AddressLayout(
        table_bits=9,
        table_levels=4,
        paging=MODES["four levels"],
        task_size=TASK_SIZE,
        image_start=0x40_0000,
        mmap_rnd_bits=28,
        stack_rnd_pages=0x3F_FFFF,
        has_vdso_by_stack=True,
    ),
    "i386": AddressLayout(
        table_bits=10,
        table_levels=2,
        paging=MODES["two levels"],
        task_size=_TASK_SIZE_32,
        image_start=_IMAGE_START_32,
        mmap_rnd_bits=8,
        stack_rnd_pages=0x7FF,
        has_vdso_by_stack=False,
    ),
    "i386pae": AddressLayout(
        table_bits=9,
        table_levels=3,
        paging=MODES["PAE"],
        task_size=_TASK_SIZE_32,
        image_start=_IMAGE_START_32,
        mmap_rnd_bits=8,
        stack_rnd_pages=0x7FF,
        has_vdso_by_stack=False,
    ),
}
