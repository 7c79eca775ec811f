"""Headers of ELF files: what is read of a whole one, and that a broken one is refused in words."""

import runpy
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernelsim.user.elf import NoElfError, read_elf

WORKLOAD = Path(__file__).parents[2] / "workloads" / "elf_program.py"
ELF = runpy.run_path(str(WORKLOAD))["elf_file"]()
HEADERS = 64 + 3 * 56


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


@settings(max_examples=150, deadline=None)
@given(st.integers(0, HEADERS - 1), st.integers(0, 255), st.integers(0, len(ELF)))
def test_no_byte_of_the_headers_makes_it_fail_otherwise(at, value, length):
    """Whatever is written over a byte, and wherever the file ends, it is read or refused."""
    changed = bytearray(ELF)
    changed[at] = value
    for content in (bytes(changed), bytes(changed[:length])):
        try:
            found = read_elf("/x", content)
        except NoElfError:
            continue
        for segment in found.image.segments:
            assert 0 <= segment.file_bytes <= segment.memory_bytes
            assert segment.offset + segment.file_bytes <= len(content)
