"""The kernel as an allocator of a process sees it: its calls are the calls of that process.

Interface: `ProcessSystem`. Units: bytes; ns.
"""

from collections.abc import Awaitable, Callable
from typing import Any, Final

from kernelsim.actors.core.kernel import Kernel
from kernelsim.actors.core.process_table import ProcessEntry
from kernelsim.actors.process.calls.access import Touch, TouchResult
from kernelsim.actors.process.calls.advising import Madvise
from kernelsim.actors.process.calls.mapping import Brk, Mmap, Munmap
from kernelsim.actors.process.calls.protecting import Mprotect, Mremap
from kernelsim.errors import ProcessEndedError
from kernelsim.mm.space.mremap import MREMAP_MAYMOVE
from kernelsim.mm.space.pgtable import (
    _PAGE_PRESENT,
    _PAGE_RW,
    _PAGE_USER,
    PT_BITS,
    get_pte,
    walk,
)
from kernelsim.mm.space.vm_flags import PROT_EXEC, PROT_READ, PROT_WRITE
from kernelsim.units import PAGE_SHIFT

READABLE: Final = _PAGE_PRESENT | _PAGE_USER
WRITABLE: Final = READABLE | _PAGE_RW
FEW_PAGES: Final = 32  # so many are looked up one by one
PROT_BITS: Final = {"r": PROT_READ, "w": PROT_WRITE, "x": PROT_EXEC}


def prot_bits(prot: str) -> int:
    """Return the PROT_* bits of letters; none for "none"."""
    return 0 if prot == "none" else sum(PROT_BITS[letter] for letter in prot)


class ProcessSystem:
    """A process makes the calls of its allocator.

    An access of a page that is there and may be written to costs nothing, as one that hits the TLB;
    whether it is there is looked up in the page tables when some translation has changed since.

    Args:
        kernel: The machine.
        entry: The process.
        ask: Makes it do something, and waits for the answer.

    Attributes:
        nr_calls: System calls so far.
    """

    def __init__(
        self, kernel: Kernel, entry: ProcessEntry, ask: Callable[[object], Awaitable[Any]]
    ) -> None:
        self.nr_calls = 0
        self._kernel = kernel
        self._entry = entry
        self._mm = entry.mm
        self._ask = ask
        self._stored: dict[int, int] = {}  # by page, the tlb_gen at which it was there

    @property
    def now_ns(self) -> int:
        """The clock."""
        return self._kernel.engine.now_ns

    async def brk(self, address: int) -> int:
        """Move the end of the heap; 0 asks where it is."""
        return await self._call(Brk(address - self._mm.brk if address else 0))

    async def mmap(
        self, nr_bytes: int, *, prot: str = "rw", noreserve: bool = False, fixed: int = 0
    ) -> int:
        """Map private memory."""
        value = Mmap(nr_bytes, noreserve=noreserve, address=fixed, prot=prot_bits(prot))
        return await self._call(value)

    async def munmap(self, address: int, nr_bytes: int) -> int:
        """Unmap a range."""
        return await self._call(Munmap(address, nr_bytes))

    async def mremap(self, address: int, old_bytes: int, new_bytes: int, *, maymove: bool) -> int:
        """Change the length of a mapping."""
        flags = MREMAP_MAYMOVE if maymove else 0
        return await self._call(Mremap(address, old_bytes, new_bytes, flags))

    async def madvise(self, address: int, nr_bytes: int, advice: str) -> int:
        """Advise about a range."""
        return await self._call(Madvise(address, nr_bytes, advice))

    async def mprotect(self, address: int, nr_bytes: int, prot: str) -> int:
        """Change what a range permits."""
        return await self._call(Mprotect(address, nr_bytes, prot_bits(prot)))

    async def _call(self, value: object) -> int:
        self.nr_calls += 1
        return int(await self._ask(value))

    async def write(self, address: int, nr_bytes: int) -> None:
        """Store to bytes."""
        first, last = address >> PAGE_SHIFT, address + nr_bytes - 1 >> PAGE_SHIFT
        tlb_gen = self._mm.tlb_gen
        if first == last and self._stored.get(first) == tlb_gen:
            return
        await self._access(first, last, write=True)
        self._stored.update(dict.fromkeys(range(first, last + 1), tlb_gen))

    async def read(self, address: int, nr_bytes: int) -> None:
        """Load bytes."""
        first, last = address >> PAGE_SHIFT, address + nr_bytes - 1 >> PAGE_SHIFT
        if first == last and self._stored.get(first) == self._mm.tlb_gen:
            return
        await self._access(first, last, write=False)

    async def _access(self, first: int, last: int, *, write: bool) -> None:
        """Access pages; where none of a few faults, that is all.

        Raises:
            ProcessEndedError: The process was killed meanwhile.
        """
        bits, nr_pages = WRITABLE if write else READABLE, last + 1 - first
        if nr_pages <= FEW_PAGES and all(self._permits(first + n, bits) for n in range(nr_pages)):
            return
        touch = Touch(first << PAGE_SHIFT, nr_pages << PAGE_SHIFT, write)
        result: TouchResult = await self._ask(touch)
        if result.signal:
            raise ProcessEndedError(self._entry.comm, self._entry.pid, -result.signal)

    def _permits(self, page: int, bits: int) -> bool:
        """Tell whether an access of a page needs no fault."""
        mem, pt, mms = self._kernel.space
        top = int(mms.pgd_row[self._mm.number])
        row, _ = walk(pt.entry, pt.state, mem.pages.private, top, page)
        index = page & (1 << int(pt.state[PT_BITS])) - 1
        return bool(row) and get_pte(pt.entry, row, index) & bits == bits
