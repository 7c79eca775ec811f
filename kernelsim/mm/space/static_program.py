"""The static program that every process runs, and what its C library does before main.

Linux: arch/x86/entry/vdso/vma.c:map_vdso (6.1). Sizes as /proc showed them of the recording tool.
Units: bytes; pages.
"""

import attrs
import numpy as np

from kernelsim.mm.core.mem import I64
from kernelsim.mm.space.brk import set_brk
from kernelsim.mm.space.mm_struct import MmStruct
from kernelsim.mm.space.mmap import MappedFile, VmArea, page_align
from kernelsim.mm.space.unmapped_area import get_unmapped_area
from kernelsim.mm.space.vm_flags import VM_MAY_ALL, VmFlag
from kernelsim.units import PAGE_SHIFT, PAGE_SIZE

PMD_SIZE = 1 << 21  # what an entry of a table of tables of PTEs maps; x86_64

IMAGE_TEXT_BYTES = 808 << 10


IMAGE_DATA_BYTES = 40 << 10


IMAGE_BSS_BYTES = 344 << 10


IMAGE_HEAP_BYTES = 136 << 10  # what its libc asks for before main


IMAGE_FILE_PAGES = 190  # of text and data, mapped while it starts; they are page cache anyway


IMAGE_ANON_PAGES = 11  # of data, bss and heap, written while it starts


IMAGE_STACK_PAGES = 2


FORK_FAULTS = 22  # of the parent's pages that the child copies before exec


IMAGE_FILE_FAULTS = 19  # each maps 16 pages at most (fault_around_bytes), some at an edge fewer


@attrs.frozen(kw_only=True)
class StaticProgram:
    """A static program: what of it lies in memory.

    Attributes:
        path: Its file.
        text_bytes: Of its code.
        data_bytes: Of what is in the file.
        bss_bytes: Of what begins as zeros.
        has_libc: A C library runs before its main, and asks for a heap.
    """

    path: str = "/init"
    text_bytes: int = IMAGE_TEXT_BYTES
    data_bytes: int = IMAGE_DATA_BYTES
    bss_bytes: int = IMAGE_BSS_BYTES
    has_libc: bool = True


DEFAULT_PROGRAM = StaticProgram()
VDSO_FLAGS = {
    "[vdso]": VmFlag.VM_READ | VmFlag.VM_EXEC | VM_MAY_ALL | VmFlag.VM_DONTEXPAND,
    "[vvar]": VmFlag.VM_READ | VmFlag.VM_MAYREAD | VmFlag.VM_IO | VmFlag.VM_PFNMAP
    | VmFlag.VM_DONTEXPAND | VmFlag.VM_DONTDUMP,
}  # fmt: skip
VDSO_PAGES = (("[vdso]", 2), ("[vvar]", 4))  # the second lies below the first


def vdso_addr(mm: MmStruct) -> int:
    """Return the end of what the vDSO shall have, above the stack; 0 for wherever mappings go.

    Source: Linux 6.1 arch/x86/entry/vdso/vma.c:vdso_addr
    """
    if mm.vdso_draw < 0:
        return 0
    size = sum(nr_pages for _, nr_pages in VDSO_PAGES) << PAGE_SHIFT
    start = page_align(mm.start_stack)
    stack = mm.map.find_vma(mm.start_stack)
    if stack is not None:
        start = max(start, stack.end)
    end = min((start + PMD_SIZE - 1) & -PMD_SIZE, mm.map.task_size) - size
    nr_places = ((end - start) >> PAGE_SHIFT) + 1
    return start + (max(0, mm.vdso_draw * nr_places >> 32) << PAGE_SHIFT) + size


def bss_end(mm: MmStruct) -> int:
    """Return the first address behind the image; the heap begins there, or some way above."""
    below = mm.map.find_vma_prev(mm.start_brk)
    is_heap_next = mm.map.find_vma_intersection(mm.start_brk - PAGE_SIZE, mm.start_brk) is not None
    return mm.start_brk if is_heap_next or below is None else below.end


def map_libc_start(mm: MmStruct) -> tuple[I64, I64]:
    """Give a program what its C library asks for before main.

    Returns:
        Virtual page numbers of the stack, and of data, bss and heap, that it then writes.
    """
    map_vdso(mm)
    set_brk(mm, mm.brk + IMAGE_HEAP_BYTES)
    stack = (mm.start_stack >> PAGE_SHIFT) - np.arange(IMAGE_STACK_PAGES, dtype=np.int64)
    data = (mm.start_data >> PAGE_SHIFT) + np.arange(IMAGE_ANON_PAGES, dtype=np.int64)
    data[-1] = mm.start_brk >> PAGE_SHIFT
    return stack, data


def map_vdso(mm: MmStruct) -> None:
    """Map the code and the data that the kernel lends every program.

    Source: Linux 6.1 arch/x86/entry/vdso/vma.c:map_vdso
    """
    hint = vdso_addr(mm)
    for name, nr_pages in VDSO_PAGES:
        hint -= nr_pages << PAGE_SHIFT
        length = nr_pages << PAGE_SHIFT
        start = get_unmapped_area(mm.map, mm.mmap_base, max(hint, 0), length, 0)
        file = MappedFile(name, is_special=True)
        mm.mmap_region(VmArea(start, start + length, VDSO_FLAGS[name], file))
