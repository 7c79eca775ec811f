"""What an address space looks like on each architecture: its size, and the shape of its tables.

Linux: arch/x86/include/asm/page_*_types.h, pgtable_*_types.h and processor.h, 6.1.
Differs: The three or four PMDs that PAE makes with the PGD come when they are needed, and its PGD
takes a whole page as with PTI. A 32-bit kernel keeps 1 GiB for itself (VMSPLIT_3G).
Interface: `ADDRESS_LAYOUTS` by the machine's arch.
Units: bytes.
"""

from typing import Final

import attrs

from kernelsim.mm.space.mmap import TASK_SIZE


@attrs.frozen(kw_only=True)
class AddressLayout:
    """An architecture's.

    Attributes:
        table_bits: Address bits a level of the page tables translates.
        table_levels: Levels of page tables.
        task_size: First address behind those of a process.
        image_start: Where programs that are not position independent lie.
    """

    table_bits: int
    table_levels: int
    task_size: int
    image_start: int


_TASK_SIZE_32: Final = 0xC000_0000  # CONFIG_PAGE_OFFSET
_IMAGE_START_32: Final = 0x0804_8000  # where the linker puts them
ADDRESS_LAYOUTS: Final = {
    "x86_64": AddressLayout(
        table_bits=9, table_levels=4, task_size=TASK_SIZE, image_start=0x40_0000
    ),
    "i386": AddressLayout(
        table_bits=10, table_levels=2, task_size=_TASK_SIZE_32, image_start=_IMAGE_START_32
    ),
    "i386pae": AddressLayout(
        table_bits=9, table_levels=3, task_size=_TASK_SIZE_32, image_start=_IMAGE_START_32
    ),
}
