"""Read programs of virtual-memory system calls, and the words they are written in.

A file holds programs, separated by blank lines: `prog NAME`, comments, directives, then a step a
line (shared/oracle/syscalls/FORMAT.md).
Interface: `read_programs`; `Places` turns addresses of steps into numbers and back.
Units: bytes; pages where the format has pages.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

import attrs

from kernelsim.errors import RecordingError
from kernelsim.mm.space.mremap import MREMAP_DONTUNMAP, MREMAP_FIXED, MREMAP_MAYMOVE
from kernelsim.mm.space.vm_flags import (
    MAP_32BIT,
    MAP_ANONYMOUS,
    MAP_DENYWRITE,
    MAP_EXECUTABLE,
    MAP_FIXED,
    MAP_FIXED_NOREPLACE,
    MAP_GROWSDOWN,
    MAP_HUGETLB,
    MAP_LOCKED,
    MAP_NONBLOCK,
    MAP_NORESERVE,
    MAP_POPULATE,
    MAP_PRIVATE,
    MAP_SHARED,
    MAP_SHARED_VALIDATE,
    MAP_STACK,
    PROT_EXEC,
    PROT_GROWSDOWN,
    PROT_GROWSUP,
    PROT_READ,
    PROT_WRITE,
)
from kernelsim.units import GIB, MIB, PAGE_SHIFT, PAGE_SIZE
from kernelsim.workload.recording_text import read_text

WINDOW: Final = 0x1000_0000_0000  # where nearly everything happens
ADDRESS_MASK: Final = (1 << 64) - 1
MAP_SYNC: Final = 0x8_0000

MAP_WORDS: Final = {
    "shared": MAP_SHARED,
    "private": MAP_PRIVATE,
    "validate": MAP_SHARED_VALIDATE,
    "fixed": MAP_FIXED,
    "anon": MAP_ANONYMOUS,
    "32bit": MAP_32BIT,
    "growsdown": MAP_GROWSDOWN,
    "denywrite": MAP_DENYWRITE,
    "executable": MAP_EXECUTABLE,
    "locked": MAP_LOCKED,
    "noreserve": MAP_NORESERVE,
    "populate": MAP_POPULATE,
    "nonblock": MAP_NONBLOCK,
    "stack": MAP_STACK,
    "hugetlb": MAP_HUGETLB,
    "sync": MAP_SYNC,
    "noreplace": MAP_FIXED_NOREPLACE,
}
REMAP_WORDS: Final = {
    "maymove": MREMAP_MAYMOVE,
    "fixed": MREMAP_FIXED,
    "dontunmap": MREMAP_DONTUNMAP,
}
LOCKALL_WORDS: Final = {"current": 1, "future": 2, "onfault": 4}
LOCK2_WORDS: Final = {"onfault": 1}
SYNC_WORDS: Final = {"async": 1, "invalidate": 2, "sync": 4}
PROT_LETTERS: Final = {
    "r": PROT_READ,
    "w": PROT_WRITE,
    "x": PROT_EXEC,
    "d": PROT_GROWSDOWN,
    "u": PROT_GROWSUP,
}
ADVICE_NUMBERS: Final = {
    0: "normal", 1: "random", 2: "sequential", 3: "willneed", 4: "dontneed", 8: "free",
    9: "remove", 10: "dontfork", 11: "dofork", 12: "mergeable", 13: "unmergeable",
    14: "hugepage", 15: "nohugepage", 16: "dontdump", 17: "dodump", 18: "wipeonfork",
    19: "keeponfork", 20: "cold", 21: "pageout", 22: "populate_read", 23: "populate_write",
    24: "dontneed_locked", 25: "collapse",
}  # fmt: skip


@attrs.frozen
class SyscallProgram:
    """One program.

    Attributes:
        name: Such as mapmix-1-000.
        directives: Lines that begin with @, in order.
        steps: One a line.
    """

    name: str
    directives: tuple[str, ...]
    steps: tuple[str, ...]


def read_programs(path: Path) -> list[SyscallProgram]:
    """Read a file of programs, compressed or not.

    Raises:
        RecordingError: It cannot be read, or a program has no name.
    """
    text = read_text(path)
    programs, lines = [], list[str]()
    for number, line in enumerate([*text.split("\n"), ""], start=1):
        if line.strip():
            lines.append(line)
        elif lines:
            programs.append(_program(path, number - len(lines), lines))
            lines = []
    return programs


def _program(path: Path, number: int, lines: list[str]) -> SyscallProgram:
    kept = [line for line in lines if not line.startswith("#")]
    names = [line[5:] for line in kept if line.startswith("prog ")]
    if len(names) != 1:
        raise RecordingError(str(path), number, "a program has one line `prog NAME`")
    steps = [line for line in kept if not line.startswith(("prog ", "@"))]
    directives = [line for line in kept if line.startswith("@")]
    return SyscallProgram(names[0], tuple(directives), tuple(steps))


@attrs.define
class Places:
    """Where the parts of the process lie that addresses count from.

    Attributes:
        heap: The initial break (B).
        top: The top of the mapping area (T).
        stack_end: The end of the stack (S).
        variables: What earlier mmap and mremap returned, by letter.
    """

    heap: int
    top: int
    stack_end: int
    variables: dict[str, int] = attrs.field(factory=dict)

    def address(self, word: str) -> int:
        """Return the address a word means."""
        if word.startswith("0x"):
            return int(word, 16)
        bases = {"W": WINDOW, "T": self.top, "B": self.heap, "S": self.stack_end}
        base = WINDOW
        if word[:1] in bases:
            base, word = bases[word[0]], word[1:]
        elif word[:1].islower():
            base, word = self.variables.get(word[0], 0), word[1:]
        return (base + length_of(word)) & ADDRESS_MASK

    def region(self, address: int) -> str:
        """Return the letter of the region an address lies in."""
        if WINDOW - 4 * GIB <= address < WINDOW + 4 * GIB:
            return "W"
        if self.top - (1 << 40) <= address < self.top:
            return "T"
        if self.heap <= address + 16 * PAGE_SIZE and address < GIB:
            return "B"
        if self.top + MIB <= address < self.stack_end + PAGE_SIZE:
            return "S"
        return "X"

    def base(self, region: str) -> int:
        """Return what numbers of a region count from."""
        bases = {"W": WINDOW, "T": self.top, "B": self.heap, "S": self.stack_end, "X": 0}
        return bases[region]

    def text(self, address: int) -> str:
        """Return an address as results show it."""
        region = self.region(address)
        if region == "X":
            return f"{address:#x}"
        away = address - self.base(region)
        inside = f"+{address % PAGE_SIZE}" if address % PAGE_SIZE else ""
        return f"{region}{away >> PAGE_SHIFT}{inside}"


def length_of(word: str) -> int:
    """Return the bytes of a length: pages, pages and bytes, or bytes in hex."""
    if word.startswith("0x"):
        return int(word, 16)
    pages, _, more = word.partition("+")
    return int(pages or 0) * PAGE_SIZE + int(more or 0)


def prot_of(word: str) -> int:
    """Return the PROT_* bits of letters."""
    if word.startswith("0x"):
        return int(word, 16)
    bits = 0
    for letter in word:
        bits |= PROT_LETTERS.get(letter, 0)
    return bits


def bits_of(word: str, known: Mapping[str, int]) -> int:
    """Return the bits of words joined by commas, some of which may be numbers."""
    bits = 0
    for part in word.split(","):
        if part.startswith("0x"):
            bits |= int(part, 16)
        elif part.isdigit():
            bits |= int(part)
        else:
            bits |= known.get(part, 0)
    return bits


def advice_of(word: str) -> str:
    """Return the name of some advice, given by name or by number; numbers without one stay."""
    return ADVICE_NUMBERS.get(int(word), word) if word.isdigit() else word


def value_of(word: str) -> int:
    """Return a number, in hex or not."""
    return int(word, 16) if word.startswith("0x") else int(word)
