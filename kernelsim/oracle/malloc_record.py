"""Write down the system calls of an allocator, as the recordings of real ones have them.

A mapping is called by the order in which it was made, so that its place does not matter.
Interface: `RecordedSystem`. Units: bytes.
"""

import errno
from typing import Final

import attrs

from kernelsim.mm.space.mm_struct import MmStruct
from kernelsim.units import MIB, PAGE_SIZE
from kernelsim.user.malloc.protocol import System

HUGE_PAGE: Final = 2 * MIB


@attrs.define
class Piece:
    """A range that belongs to a numbered mapping.

    Attributes:
        start: First byte.
        end: First byte behind it.
        number: Of the mapping.
        base: Where that began.
    """

    start: int
    end: int
    number: int
    base: int


class RecordedSystem:
    """The kernel for an allocator, with a note of each call.

    Args:
        system: The kernel.
        mm: The address space.
        wall: First byte above the mappings of the allocator.

    Attributes:
        operation: Number of the operation that is under way.
        lines: What is written.
        peak: Most bytes that were mapped for storing at a time, the heap included.
    """

    def __init__(self, system: System, mm: MmStruct, wall: int) -> None:
        self.operation = 0
        self.lines: list[str] = []
        self.peak = 0
        self.write = system.write
        self.read = system.read
        self._system = system
        self._mm = mm
        self._wall = wall
        self._heap = mm.brk
        self._base_pages = mm.data_vm
        self._pieces: list[Piece] = []
        self._nr_mappings = 0

    @property
    def now_ns(self) -> int:
        """The clock."""
        return self._system.now_ns

    async def brk(self, address: int) -> int:
        """Move the end of the heap."""
        answer = await self._system.brk(address)
        asked = str(address - self._heap) if address else "?"
        self._note(f"brk {asked} = {answer - self._heap}")
        return answer

    async def mmap(
        self, nr_bytes: int, *, prot: str = "rw", noreserve: bool = False, fixed: int = 0
    ) -> int:
        """Map memory."""
        name = self._name(fixed)
        if fixed or nr_bytes % HUGE_PAGE:
            answer = await self._system.mmap(nr_bytes, prot=prot, noreserve=noreserve, fixed=fixed)
        else:
            answer = await self._mmap_aligned(nr_bytes, prot=prot, noreserve=noreserve)
        text = f"mmap {nr_bytes}"
        text += f" prot={prot}" if prot != "rw" else ""
        text += " flags=noreserve" if noreserve else ""
        if fixed:
            self._note(f"{text} fixed={name}")
        else:
            self._note(f"{text} = {self._new(answer, nr_bytes)}")
        return answer

    async def _mmap_aligned(self, nr_bytes: int, *, prot: str, noreserve: bool) -> int:
        """Map whole huge pages where the recording kernel did: on a boundary of one.

        Linux does so since 6.7 (mm/huge_memory.c:__thp_get_unmapped_area). Only jemalloc looks
        where such mappings lie.
        """
        more = HUGE_PAGE - PAGE_SIZE
        start = await self._system.mmap(nr_bytes + more, prot=prot, noreserve=noreserve)
        if start < 0:
            return await self._system.mmap(nr_bytes, prot=prot, noreserve=noreserve)
        lead = -start % HUGE_PAGE
        if lead:
            await self._system.munmap(start, lead)
        if lead < more:
            await self._system.munmap(start + lead + nr_bytes, more - lead)
        return start + lead

    async def munmap(self, address: int, nr_bytes: int) -> int:
        """Unmap a range."""
        name = self._name(address)
        answer = await self._system.munmap(address, nr_bytes)
        if not answer:
            self._forget(address, address + nr_bytes)
        self._note(f"munmap {name} {nr_bytes}" + _failure(answer))
        return answer

    async def mremap(self, address: int, old_bytes: int, new_bytes: int, *, maymove: bool) -> int:
        """Change the length of a mapping."""
        name, piece = self._name(address), self._piece(address)
        answer = await self._system.mremap(address, old_bytes, new_bytes, maymove=maymove)
        text = f"mremap {name} {old_bytes} {new_bytes}" + (" maymove" if maymove else "")
        if answer < 0:
            self._note(text + _failure(answer))
            return answer
        self._forget(address, address + old_bytes)
        if answer == address and piece is not None:
            self._pieces.append(attrs.evolve(piece, start=address, end=address + new_bytes))
            self._note(f"{text} = same")
        else:
            self._note(f"{text} = {self._new(answer, new_bytes)}")
        return answer

    async def madvise(self, address: int, nr_bytes: int, advice: str) -> int:
        """Advise about a range."""
        answer = await self._system.madvise(address, nr_bytes, advice)
        self._note(f"madvise {self._name(address)} {nr_bytes} {advice}" + _failure(answer))
        return answer

    async def mprotect(self, address: int, nr_bytes: int, prot: str) -> int:
        """Change what a range permits."""
        answer = await self._system.mprotect(address, nr_bytes, prot)
        self._note(f"mprotect {self._name(address)} {nr_bytes} {prot}" + _failure(answer))
        return answer

    def _note(self, text: str) -> None:
        self.lines.append(f"{self.operation} {text}")
        self.peak = max(self.peak, (self._mm.data_vm - self._base_pages) * PAGE_SIZE)

    def _new(self, address: int, nr_bytes: int) -> str:
        """Number a new mapping; return its name and place, or why there is none."""
        if address < 0:
            return errno.errorcode[-address]
        self._nr_mappings += 1
        self._pieces.append(Piece(address, address + nr_bytes, self._nr_mappings, address))
        return f"M{self._nr_mappings} @{address - self._wall}"

    def _piece(self, address: int) -> Piece | None:
        return next((each for each in self._pieces if each.start <= address < each.end), None)

    def _name(self, address: int) -> str:
        piece = self._piece(address)
        if piece is None:
            return f"heap+{address - self._heap}"
        return f"M{piece.number}+{address - piece.base}"

    def _forget(self, start: int, end: int) -> None:
        """Cut a range out of the mappings."""
        kept = []
        for piece in self._pieces:
            if piece.start < min(start, piece.end):
                kept.append(attrs.evolve(piece, end=min(start, piece.end)))
            if piece.end > max(end, piece.start):
                kept.append(attrs.evolve(piece, start=max(end, piece.start)))
        self._pieces = kept


def _failure(answer: int) -> str:
    return f" = {errno.errorcode[-answer]}" if answer < 0 else ""
