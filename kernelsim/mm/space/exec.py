"""Lay out a fresh address space: image, heap, stack.

Linux: fs/binfmt_elf.c:load_elf_binary, fs/exec.c:setup_arg_pages, arch/x86/mm/mmap.c (6.1).
Differs: The stack pointer of a new process is not moved inside the stack (arch_align_stack).

Interface: `load_image` maps the segments of an image, then the stack, and sets the heap's start
(the vDSO comes with what a C library does before main, in static_program.py);
`static_image` makes segments from three sizes. User addresses from the lowest, on x86-64 (32-bit
ones are in address_layout.py):
    0 … 64 KiB       never mapped (a NULL pointer faults)
    0x400000         text, data, bss of a static program; the heap starts behind and grows up
    below mmap_base  mappings, the newest lowest
    … 0x7ffffffff000 stack, 132 KiB at first; it may grow to `Rlimits.stack`, with 1 MiB kept
                     free below it
Heap, mmap_base and stack are moved by what was drawn for the process (`AddressDraw`), as
kernel.randomize_va_space says.
Units: bytes.
"""

from collections.abc import Callable
from typing import Final

import attrs

from kernelsim.mm.space.address_layout import AddressLayout
from kernelsim.mm.space.mm_struct import MmStruct
from kernelsim.mm.space.mmap import (
    STACK_GUARD_GAP,
    TASK_SIZE,
    MappedFile,
    VmArea,
    VmChange,
    page_align,
)
from kernelsim.mm.space.vm_flags import (
    MAP_FIXED,
    MAP_PRIVATE,
    PROT_EXEC,
    PROT_READ,
    PROT_WRITE,
    VM_STACK_FLAGS,
    VmFlag,
)
from kernelsim.units import KIB, MIB, PAGE_SHIFT, PAGE_SIZE

STACK_EXPAND: Final = 128 * KIB  # room to grow without a fault; fs/exec.c:setup_arg_pages
MIN_GAP: Final = 128 * MIB  # least room for the stack; arch/x86/mm/mmap.c


BRK_RND_PAGES: Final = 0x200_0000 >> PAGE_SHIFT  # arch/x86/kernel/process.c:arch_randomize_brk


@attrs.frozen(kw_only=True)
class AddressDraw:
    """How far the parts of a new address space are moved; all 0: not at all. Pages.

    Attributes:
        mmap_pages: Mappings begin so much lower.
        mmap_gap_pages: And so much more, to stay clear of wherever the stack may be.
        stack_pages: The stack begins so much lower.
        brk_pages: The heap begins so much higher.
        vdso: Where in its room the vDSO lies, of 2**32; below 0: where mappings go.
        elf_pages: A program that may lie anywhere lies so much higher.
        moves_brk: The heap is moved, be it by nothing.
    """

    mmap_pages: int = 0
    mmap_gap_pages: int = 0
    stack_pages: int = 0
    brk_pages: int = 0
    vdso: int = -1
    elf_pages: int = 0
    moves_brk: bool = False


NOT_MOVED: Final = AddressDraw()


def draw_addresses(below: Callable[[int], int], layout: AddressLayout, mode: int) -> AddressDraw:
    """Draw where the parts of a new address space are to lie.

    Args:
        below: Draws a number in 0 … its argument - 1.
        layout: Of the architecture.
        mode: kernel.randomize_va_space: 0 nothing is moved, 1 all but the heap, 2 all.

    Source: Linux 6.1 arch/x86/mm/mmap.c:arch_rnd, mm/util.c:randomize_stack_top,
        arch/x86/kernel/process.c:arch_randomize_brk, arch/x86/entry/vdso/vma.c:vdso_addr
    """
    if not mode:
        return NOT_MOVED
    return AddressDraw(
        mmap_pages=below(1 << layout.mmap_rnd_bits),
        mmap_gap_pages=layout.stack_rnd_pages,
        stack_pages=below(layout.stack_rnd_pages + 1),
        brk_pages=below(BRK_RND_PAGES) if mode > 1 else 0,
        vdso=below(1 << 32) if layout.has_vdso_by_stack else -1,
        elf_pages=below(1 << layout.mmap_rnd_bits),
        moves_brk=mode > 1,
    )


@attrs.frozen(kw_only=True)
class ImageSegment:
    """A loadable piece of a program."""

    start: int
    file_bytes: int
    """Taken from the file; the rest up to `memory_bytes` is zero (bss)."""
    memory_bytes: int
    prot: int
    """PROT_* bits."""
    pgoff: int = 0
    """Page of the file at the page of `start`."""


def static_image(
    *, text_bytes: int, data_bytes: int, bss_bytes: int, start: int = 0x40_0000
) -> tuple[ImageSegment, ...]:
    """Return the segments of a small static program, the first of them at `start`."""
    data_start = start + page_align(text_bytes)
    return (
        ImageSegment(
            start=start,
            file_bytes=text_bytes,
            memory_bytes=text_bytes,
            prot=PROT_READ | PROT_EXEC,
        ),
        ImageSegment(
            start=data_start,
            file_bytes=data_bytes,
            memory_bytes=data_bytes + bss_bytes,
            prot=PROT_READ | PROT_WRITE,
            pgoff=(data_start - start) >> PAGE_SHIFT,
        ),
    )


def mmap_base(
    stack_limit_bytes: int, *, task_size: int = TASK_SIZE, draw: AddressDraw = NOT_MOVED
) -> int:
    """Return the address below which mappings are placed.

    Source: Linux 6.1 arch/x86/mm/mmap.c:mmap_base
    """
    pad = STACK_GUARD_GAP + (draw.mmap_gap_pages << PAGE_SHIFT)
    gap = min(max(stack_limit_bytes + pad, MIN_GAP), task_size // 6 * 5)
    return page_align(task_size - gap - (draw.mmap_pages << PAGE_SHIFT))


def load_image(
    mm: MmStruct,
    file: MappedFile,
    segments: tuple[ImageSegment, ...],
    *,
    args_bytes: int = PAGE_SIZE,
    draw: AddressDraw = NOT_MOVED,
) -> VmChange:
    """Map an image and a stack into an empty address space.

    Args:
        mm: Without mappings.
        file: The program.
        segments: Ascending, at least one.
        args_bytes: Arguments and environment at the top of the stack.
        draw: How far heap, mappings and stack are moved.

    Returns:
        Result 0, or the negative errno of the first mapping that was refused.

    Source: Linux 6.1 fs/binfmt_elf.c:load_elf_binary
    """
    change = setup_arg_pages(mm, args_bytes=args_bytes, draw=draw)
    for segment in segments:
        if not change.failed:
            change = map_segment(mm, file, segment)
        end = segment.start + segment.file_bytes
        if segment.prot & PROT_EXEC:
            mm.start_code, mm.end_code = segment.start, end
        else:
            mm.start_data, mm.end_data = segment.start, end
    image_end = page_align(segments[-1].start + segments[-1].memory_bytes)
    mm.start_brk = mm.brk = image_end + (draw.brk_pages << PAGE_SHIFT)
    return change if change.failed else VmChange(0)


def setup_arg_pages(
    mm: MmStruct, *, args_bytes: int = PAGE_SIZE, draw: AddressDraw = NOT_MOVED
) -> VmChange:
    """Map a stack into an empty address space, and say where other mappings go.

    Source: Linux 6.1 fs/exec.c:setup_new_exec, :setup_arg_pages
    """
    assert len(mm.map) == 0, "an image is loaded into an empty address space"
    stack_top = mm.map.task_size - (draw.stack_pages << PAGE_SHIFT)
    mm.mmap_base = mmap_base(mm.rlimits.stack, task_size=mm.map.task_size, draw=draw)
    stack_start = stack_top - page_align(args_bytes) - STACK_EXPAND
    flags = VM_STACK_FLAGS | VmFlag.VM_ACCOUNT
    stack = VmArea(stack_start, stack_top, flags, None, stack_start >> PAGE_SHIFT)
    change = mm.mmap_region(stack)
    mm.start_stack, mm.stack_top = stack_top - args_bytes, stack_top
    mm.vdso_draw = draw.vdso
    return change


def map_segment(mm: MmStruct, file: MappedFile, segment: ImageSegment) -> VmChange:
    """Map the part of a segment that is in the file, then the whole pages of its bss."""
    start = segment.start & -PAGE_SIZE
    file_end = page_align(segment.start + segment.file_bytes)
    memory_end = page_align(segment.start + segment.memory_bytes)
    how = MAP_PRIVATE | MAP_FIXED
    change = VmChange(0)
    if segment.file_bytes:
        change = mm.mmap(
            file_end - start, segment.prot, how, address=start, file=file, pgoff=segment.pgoff
        )
    bss_start = file_end if segment.file_bytes else start
    if memory_end > bss_start and not change.failed:
        change = mm.mmap(memory_end - bss_start, segment.prot, how, address=bss_start)
    return change
