"""A program from an ELF file: its sections lie in segments, and segments become mappings.

The linker has put the sections that may be run into one segment, the constants into another, what
may be written into a third; the program header says where in the file each is and where in memory.
The kernel reads the headers, and maps the segments: a page of them comes from the disk, through the
page cache, when it is first touched, and up to 16 pages around it are mapped with it. Pages of
.data belong to the file until they are stored to, which makes a copy; .bss is in no file: zeros,
the first of them on the last page of .data. The kernel itself clears the end of that page when it
loads the program; so loading reads it.

The file here is made below; `spawn(exe="/bin/true")` takes one of the host.
"""

import struct
from typing import NamedTuple

from kernelsim.workload import MachineHandle, workload

PAGE = 4096
R, W, X = 4, 2, 1
BASE = 0x400000
PT_LOAD, SHT_PROGBITS, SHT_STRTAB, SHT_NOBITS, SHF_ALLOC = 1, 1, 3, 8, 2


class Section(NamedTuple):
    """A section, which is all of its segment but for .bss, which ends that of .data."""

    name: str
    nr_bytes: int
    flags: int
    kind: int = SHT_PROGBITS


SECTIONS = (
    Section(".text", 40 * PAGE, R | X),
    Section(".rodata", 12 * PAGE, R),
    Section(".data", 5 * PAGE + 100, R | W),
    Section(".bss", 9 * PAGE, R | W, SHT_NOBITS),
)


def elf_file() -> bytes:
    """Return an ELF file of these sections: headers, contents, names, section headers."""
    names = b"\0" + b"".join(section.name.encode() + b"\0" for section in SECTIONS) + b".names\0"
    place, programs, headers = PAGE, b"", bytes(64)
    for section in SECTIONS:
        size = section.nr_bytes
        in_file = 0 if section.kind == SHT_NOBITS else size
        if in_file:
            memory = size + (SECTIONS[-1].nr_bytes if section.flags & W else 0)
            place = -(-place // PAGE) * PAGE
            programs += struct.pack(
                "<IIQQQQQQ", PT_LOAD, section.flags, place, BASE + place, 0, in_file, memory, PAGE
            )
        name = names.index(section.name.encode())
        at = (name, section.kind, SHF_ALLOC, BASE + place, place, size, 0, 0, 1, 0)
        headers += struct.pack("<IIQQQQIIQQ", *at)
        place += in_file
    name = names.index(b".names")
    headers += struct.pack("<IIQQQQIIQQ", name, SHT_STRTAB, 0, 0, place, len(names), 0, 0, 1, 0)
    nr_programs, nr_headers = len(programs) // 56, len(headers) // 64
    start = struct.pack("<4sBBBB8x", b"\x7fELF", 2, 1, 1, 0)
    start += struct.pack("<HHIQQQ", 2, 62, 1, BASE + PAGE, 64, place + len(names))
    start += struct.pack("<IHHHHHH", 0, 64, 56, nr_programs, 64, nr_headers, nr_headers - 1)
    return (start + programs).ljust(place, b"\0") + names + headers


@workload(machine="files-512m")
async def main(machine: MachineHandle) -> None:
    """Load it, touch section after section, and start it again."""
    process = await machine.spawn("hello", exe=elf_file())
    loaded = process.stats
    machine.print(*process.proc("maps").splitlines()[: len(SECTIONS)])
    machine.print(f"loading: {loaded.pgfault} faults, {loaded.pgmajfault} of them for the disk")
    faults = {}
    for section in SECTIONS:
        write = bool(section.flags & W)
        done = await process.touch(process.section(section.name), write=write)
        faults[section.name] = done.minflt + done.majflt
        told = f"{faults[section.name]} faults, {done.majflt} of them for the disk"
        machine.print(f"{section.name}: {'store to' if write else 'read'} all of it: {told}")
    text, _, data, bss = (section.nr_bytes // PAGE for section in SECTIONS)
    machine.expect(faults[".text"] < text // 4, "a fault maps what is around it, too")
    machine.expect(faults[".data"] == data, "each page is copied; the last was when it was loaded")
    machine.expect(faults[".bss"] == bss - 1, "each page is made; the first was when it was loaded")
    again = await machine.spawn("hello", exe=elf_file())
    first = await again.touch(again.section(".text"))
    machine.print(f"started again, .text: {first.minflt} faults, {first.majflt} for the disk")
    machine.expect(not first.majflt, "the second start finds in the page cache what the first read")
