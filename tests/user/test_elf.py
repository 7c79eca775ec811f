"""Headers of ELF files: what is read of a whole one, and that a broken one is refused in words."""

import runpy
import struct
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernelsim.mm.space.binfmt_elf import ElfProgram, load_elf
from kernelsim.mm.space.exec import setup_arg_pages
from kernelsim.mm.space.mm_registry import MmRegistry
from kernelsim.mm.space.mmap import MappedFile
from kernelsim.user.elf import NoElfError, read_elf
from tests.commit_account import commit_account

WORKLOAD = Path(__file__).parents[2] / "workloads" / "elf_program.py"
ELF = runpy.run_path(str(WORKLOAD))["elf_file"]()
HEADERS = 64 + 3 * 56
INTERPRETED = ELF[:64] + struct.pack("<I", 3) + ELF[68:]  # its first segment is PT_INTERP
NAMES = ELF.index(b"\0.text\0")  # the section headers lie behind the names
PLACES = [*range(HEADERS), *range(NAMES, len(ELF))]
WIDTHS = [1, 2, 4, 8]
VALUES = [*range(16), 0x7F, 0xFF, 0xFFF, 0x1000, 1 << 16, 1 << 31, 1 << 46, 1 << 47, 1 << 63, -1]


@pytest.mark.mission("V13")
def test_sections_lie_in_segments():
    """Code, constants and data, each a segment; .bss is memory behind what the file has of data."""
    found = read_elf("/hello", ELF)
    sections = {section.name: section for section in found.image.sections}
    text, rodata, data = found.image.segments
    assert [sections[name].address for name in (".text", ".rodata", ".data")] == [
        segment.address for segment in (text, rodata, data)
    ]
    assert sections[".bss"].address == data.address + data.file_bytes
    assert sections[".bss"].nr_bytes == data.memory_bytes - data.file_bytes
    assert (found.nr_bytes, found.interpreter, found.image.is_dyn) == (len(ELF), "", False)


@pytest.mark.parametrize(
    ("content", "rule"),
    [
        (b"", "ELF"),
        (b"#!/bin/sh\n", "ELF"),
        (ELF[:100], "headers"),
        (ELF[:16] + b"\1\0" + ELF[18:], "program"),
        (ELF[:18] + b"\x28\0" + ELF[20:], "x86"),
        (ELF[:54] + b"\0\0" + ELF[56:], "headers"),
    ],
)
def test_what_is_no_program_is_refused(content, rule):
    """The text names the rule that is broken."""
    with pytest.raises(NoElfError, match=rule):
        read_elf("/x", content)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from(PLACES), st.sampled_from(WIDTHS), st.sampled_from(VALUES)),
        min_size=1,
        max_size=4,
    ),
    st.none() | st.integers(0, len(ELF)),
    st.sampled_from([ELF, INTERPRETED]),
)
def test_damaged_headers_are_refused_or_can_be_loaded(damage, length, whole):
    """Fields of any header hold anything, and the file ends anywhere: read or refused in words.

    What is read can be mapped, or its mapping is refused as Linux refuses it; nothing else fails.
    """
    content = bytearray(whole)
    for at, width, value in damage:
        content[at : at + width] = (value % (1 << 8 * width)).to_bytes(width, "little")
    del content[len(content) if length is None else length :]
    try:
        found = read_elf("/x", bytes(content))
    except NoElfError:
        return
    for segment in found.image.segments:
        assert 0 <= segment.file_bytes <= segment.memory_bytes
        assert segment.offset + segment.file_bytes <= len(content)
    mm = MmRegistry(commit_account(1 << 20)).mm_alloc(1)
    setup_arg_pages(mm)
    loaded = load_elf(mm, ElfProgram(image=found.image), {"/x": MappedFile("/x")})
    assert loaded.change.failed or all(
        mm.map.find_vma_intersection(loaded.bias + each.address, loaded.bias + each.address + 1)
        for each in found.image.segments
        if each.memory_bytes
    )
