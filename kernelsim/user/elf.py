"""Read the headers of a real ELF file: its segments, its sections, its interpreter.

Interface: `read_elf`, of a file's bytes.
Units: bytes.
"""

from io import BytesIO
from typing import Any, Final

import attrs
from elftools.common.exceptions import ELFError
from elftools.elf.elffile import ELFFile

from kernelsim.mm.space.binfmt_elf import ElfImage, ElfSection, ElfSegment
from kernelsim.mm.space.vm_flags import PROT_EXEC, PROT_READ, PROT_WRITE
from kernelsim.units import PAGE_SIZE

PROT_OF_FLAGS: Final = ((0x4, PROT_READ), (0x2, PROT_WRITE), (0x1, PROT_EXEC))  # PF_R, PF_W, PF_X
SHF_ALLOC: Final = 0x2
MACHINES: Final = {"EM_X86_64": 64, "EM_386": 32}


class NoElfError(ValueError):
    """A file is no ELF program; the text says why."""


@attrs.frozen(kw_only=True)
class ElfFile:
    """An ELF file.

    Attributes:
        image: What is loaded of it.
        nr_bytes: Its length.
        interpreter: Path of the program that loads its libraries (PT_INTERP); "" for none.
        word_bits: 32 or 64.
    """

    image: ElfImage
    nr_bytes: int
    interpreter: str
    word_bits: int


def read_elf(path: str, content: bytes) -> ElfFile:
    """Return what the headers of an ELF file say.

    Args:
        path: Its name.
        content: All of it.

    Raises:
        NoElfError: It is none for x86, no program, or its headers contradict each other.
    """
    try:
        return _read(path, content)
    except NoElfError:
        raise
    except (ELFError, ValueError, KeyError, IndexError, OverflowError, AttributeError) as error:
        raise NoElfError("must be an ELF file with whole headers") from error


def _read(path: str, content: bytes) -> ElfFile:
    elf = ELFFile(BytesIO(content))
    header = elf.header
    if header.e_machine not in MACHINES or not elf.little_endian:
        raise NoElfError("must be an ELF file for x86")
    if header.e_type not in ("ET_EXEC", "ET_DYN"):
        raise NoElfError("must be a program or a position independent one")
    segments, interpreter = [], ""
    for segment in elf.iter_segments():
        if segment.header.p_type == "PT_INTERP":
            interpreter = segment.get_interp_name()
        if segment.header.p_type == "PT_LOAD":
            segments.append(_segment(segment.header, len(content)))
    if not segments:
        raise NoElfError("must have a segment to load")
    if [each.address for each in segments] != sorted(each.address for each in segments):
        raise NoElfError("must have its segments in the order of their addresses")
    sections = tuple(
        ElfSection(name=each.name, address=each.header.sh_addr, nr_bytes=each.header.sh_size)
        for each in elf.iter_sections()
        if each.header.sh_flags & SHF_ALLOC and each.header.sh_size
    )
    image = ElfImage(
        path=path,
        segments=tuple(segments),
        is_dyn=header.e_type == "ET_DYN",
        sections=sections,
    )
    return ElfFile(
        image=image,
        nr_bytes=len(content),
        interpreter=interpreter,
        word_bits=MACHINES[header.e_machine],
    )


def _segment(header: Any, nr_bytes: int) -> ElfSegment:  # noqa: ANN401 - elftools has no types
    """Return a segment as the loader takes it.

    Raises:
        NoElfError: The kernel would not map it.
    """
    if header.p_filesz > header.p_memsz or header.p_offset + header.p_filesz > nr_bytes:
        raise NoElfError("must have segments that are in the file")
    if (header.p_vaddr - header.p_offset) % PAGE_SIZE or header.p_vaddr + header.p_memsz >> 47:
        raise NoElfError("must have segments that can be mapped page by page")
    align = header.p_align if header.p_align and header.p_align & (header.p_align - 1) == 0 else 1
    return ElfSegment(
        offset=header.p_offset,
        address=header.p_vaddr,
        file_bytes=header.p_filesz,
        memory_bytes=header.p_memsz,
        prot=sum(prot for flag, prot in PROT_OF_FLAGS if header.p_flags & flag),
        align=max(align, PAGE_SIZE),
    )
