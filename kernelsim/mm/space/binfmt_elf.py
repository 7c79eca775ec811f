"""Load an ELF program: its segments, those of its interpreter, bss and the start of the heap.

Linux: fs/binfmt_elf.c (load_elf_binary, elf_map, load_elf_interp, set_brk), 6.1.

Interface: `load_elf` maps an `ElfProgram` into an address space that has its stack; what it answers
says where things are, and which pages the kernel then writes: the rest of a page in which bss
begins behind data has to read as zeros (padzero).
Units: bytes.
"""

from typing import Final

import attrs

from kernelsim.mm.space.mm_struct import MmStruct
from kernelsim.mm.space.mmap import MappedFile, VmChange, page_align
from kernelsim.mm.space.vm_flags import (
    MAP_FIXED,
    MAP_FIXED_NOREPLACE,
    MAP_PRIVATE,
    PROT_EXEC,
    PROT_READ,
    PROT_WRITE,
)
from kernelsim.units import PAGE_SHIFT, PAGE_SIZE

IA32_ET_DYN_BASE: Final = 0x40_0000  # ELF_ET_DYN_BASE of a 32-bit program; arch/x86 asm/elf.h


@attrs.frozen(kw_only=True)
class ElfSegment:
    """A PT_LOAD program header.

    Attributes:
        offset: Where it is in the file (p_offset).
        address: Where it wants to be (p_vaddr).
        file_bytes: Of it that come from the file (p_filesz).
        memory_bytes: Of it in memory; the rest is zeros (p_memsz).
        prot: PROT_* bits.
        align: Of its address.
    """

    offset: int
    address: int
    file_bytes: int
    memory_bytes: int
    prot: int
    align: int = PAGE_SIZE


@attrs.frozen(kw_only=True)
class ElfSection:
    """A section that is in memory when the program runs."""

    name: str
    address: int
    nr_bytes: int


@attrs.frozen(kw_only=True)
class ElfImage:
    """What the headers of an ELF file say.

    Attributes:
        path: The file.
        segments: Those to be loaded, by address.
        is_dyn: It may lie anywhere (ET_DYN).
        sections: What the segments are made of.
        relro: First address and bytes of what is read-only once it has been relocated
            (PT_GNU_RELRO); whole pages.
    """

    path: str
    segments: tuple[ElfSegment, ...]
    is_dyn: bool
    sections: tuple[ElfSection, ...] = ()
    relro: tuple[int, int] = (0, 0)


@attrs.frozen(kw_only=True)
class ElfProgram:
    """A program and what is loaded with it.

    Attributes:
        image: The program.
        interpreter: Its interpreter (PT_INTERP), which the kernel maps too; None for none.
        libraries: What the interpreter is known to map before the program's main.
    """

    image: ElfImage
    interpreter: ElfImage | None = None
    libraries: tuple[ElfImage, ...] = ()

    @property
    def path(self) -> str:
        """Its file."""
        return self.image.path


@attrs.frozen(kw_only=True)
class LoadedElf:
    """Where a program has been loaded.

    Attributes:
        change: Failed if a mapping was refused.
        bias: Added to the addresses in its file.
        interpreter_bias: The same of its interpreter.
        padded: First bytes that the kernel clears to the end of their page.
    """

    change: VmChange
    bias: int = 0
    interpreter_bias: int = 0
    padded: tuple[int, ...] = ()


def load_elf(
    mm: MmStruct,
    program: ElfProgram,
    files: dict[str, MappedFile],
    *,
    rnd_pages: int = 0,
    brk_rnd_pages: int | None = None,
) -> LoadedElf:
    """Map a program, then its interpreter; set where code, data and heap are.

    Args:
        mm: With a stack, and nothing else.
        program: What to map.
        files: Its files, by path.
        rnd_pages: A program that may lie anywhere is moved so much up (arch_mmap_rnd).
        brk_rnd_pages: The heap begins so much higher; None where it is not moved.

    Source: Linux 6.1 fs/binfmt_elf.c:load_elf_binary
    """
    image, interpreter = program.image, program.interpreter
    bias, fixed = 0, MAP_FIXED_NOREPLACE
    if image.is_dyn:
        bias, fixed = 0, 0
        if interpreter is not None:
            align = max(segment.align for segment in image.segments)
            bias = et_dyn_base(mm.map.task_size) + (rnd_pages << PAGE_SHIFT) & -align
            fixed = MAP_FIXED_NOREPLACE
    loaded = load_segments(mm, image, files[image.path], bias, fixed)
    if loaded.change.failed:
        return loaded
    set_bounds(mm, image, loaded.bias)
    padded = loaded.padded
    at = LoadedElf(change=VmChange(0))
    if interpreter is not None:
        fixed = 0 if interpreter.is_dyn else MAP_FIXED_NOREPLACE
        at = load_segments(mm, interpreter, files[interpreter.path], 0, fixed)
        padded += at.padded
    if brk_rnd_pages is not None:
        if image.is_dyn and interpreter is None:
            mm.brk = et_dyn_base(mm.map.task_size)
        mm.start_brk = mm.brk = mm.brk + (brk_rnd_pages << PAGE_SHIFT)
    return LoadedElf(change=at.change, bias=loaded.bias, interpreter_bias=at.bias, padded=padded)


def et_dyn_base(task_size: int) -> int:
    """Return where programs go that may lie anywhere, and have an interpreter.

    Source: Linux 6.1 arch/x86/include/asm/elf.h:ELF_ET_DYN_BASE
    """
    return task_size // 3 * 2 & -PAGE_SIZE if task_size >> 32 else IA32_ET_DYN_BASE


def total_mapping_size(segments: tuple[ElfSegment, ...]) -> int:
    """Return the bytes from the first page of the segments to the end of the last.

    Source: Linux 6.1 fs/binfmt_elf.c:total_mapping_size
    """
    first = min(segment.address & -PAGE_SIZE for segment in segments)
    return max(segment.address + segment.memory_bytes for segment in segments) - first


def load_segments(
    mm: MmStruct, image: ElfImage, file: MappedFile, base: int, fixed: int
) -> LoadedElf:
    """Map the segments of a file, the first of them with room for all.

    Args:
        mm: Where.
        image: What the headers of the file say.
        file: It.
        base: Where the first segment of one that may lie anywhere goes; 0 for wherever mappings go.
        fixed: MAP_* bits of the first mapping.
    """
    segments, padded = image.segments, list[int]()
    first = segments[0]
    bias = (base - first.address) & -PAGE_SIZE if image.is_dyn else 0
    for segment in segments:
        is_first = segment is first
        room = total_mapping_size(segments) if is_first and image.is_dyn else 0
        how = fixed if is_first else MAP_FIXED
        change = elf_map(mm, file, segment, max(0, bias + segment.address), how, room)
        if change.failed:
            return LoadedElf(change=change)
        if is_first and image.is_dyn:
            bias = change.result - (first.address & -PAGE_SIZE)
        file_end = bias + segment.address + segment.file_bytes
        memory_end = bias + segment.address + segment.memory_bytes
        if memory_end > file_end and file_end % PAGE_SIZE and segment.prot & PROT_WRITE:
            padded.append(file_end)
        change = map_bss(mm, page_align(file_end), page_align(memory_end), segment.prot)
        if change.failed:
            return LoadedElf(change=change)
    return LoadedElf(change=VmChange(0), bias=bias, padded=tuple(padded))


def elf_map(
    mm: MmStruct, file: MappedFile, segment: ElfSegment, address: int, fixed: int, room: int
) -> VmChange:
    """Map the part of a segment that is in the file; what was mapped for the rest goes again.

    Source: Linux 6.1 fs/binfmt_elf.c:elf_map
    """
    offset = segment.address % PAGE_SIZE
    size = page_align(segment.file_bytes + offset) if segment.file_bytes else 0
    start = address & -PAGE_SIZE
    if not size and not room:
        return VmChange(start)
    length = max(size, page_align(room))
    change = mm.mmap(
        length,
        segment.prot,
        MAP_PRIVATE | fixed,
        address=start,
        file=file,
        pgoff=(segment.offset - offset) >> PAGE_SHIFT,
    )
    forget(mm, change)
    if not change.failed and length > size:
        forget(mm, mm.munmap(change.result + size, length - size))
    return change


def forget(mm: MmStruct, change: VmChange) -> None:
    """Let files forget what was mapped of them and is gone: pages of it there are none yet."""
    for vma in change.unmapped:
        mm.map.unlink_file(vma)


def map_bss(mm: MmStruct, start: int, end: int, prot: int) -> VmChange:
    """Map whole pages of zeros (set_brk, vm_brk_flags)."""
    if end <= start:
        return VmChange(0)
    zeros = PROT_READ | PROT_WRITE | (prot & PROT_EXEC)
    change = mm.mmap(end - start, zeros, MAP_PRIVATE | MAP_FIXED, address=start)
    forget(mm, change)
    return change


def set_bounds(mm: MmStruct, image: ElfImage, bias: int) -> None:
    """Set where the code, the data and the heap of a program are."""
    segments = image.segments
    code = [segment for segment in segments if segment.prot & PROT_EXEC] or list(segments[:1])
    mm.start_code = bias + min(segment.address for segment in code)
    mm.end_code = bias + max(segment.address + segment.file_bytes for segment in code)
    mm.start_data = bias + max(segment.address for segment in segments)
    mm.end_data = bias + max(segment.address + segment.file_bytes for segment in segments)
    mm.start_brk = mm.brk = bias + page_align(
        max(segment.address + segment.memory_bytes for segment in segments)
    )
