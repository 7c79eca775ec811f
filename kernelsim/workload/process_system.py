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
from kernelsim.mm.space.vm_flags import PROT_EXEC, PROT_READ, PROT_WRITE
from kernelsim.units import PAGE_SHIFT

PROT_BITS: Final = {"r": PROT_READ, "w": PROT_WRITE, "x": PROT_EXEC}


def prot_bits(prot: str) -> int:
    """Return the PROT_* bits of letters; none for "none"."""
    return 0 if prot == "none" else sum(PROT_BITS[letter] for letter in prot)


class ProcessSystem:
    """A process makes the calls of its allocator.

    A page that was stored to once is stored to again without a word to the kernel until some
    translation of the process changes, by a call, a fork or reclaim: as if its TLB were large.

    Args:
        kernel: The machine.
        entry: The process.
        ask: Makes it do something, and waits for the answer.
    """

    def __init__(
        self, kernel: Kernel, entry: ProcessEntry, ask: Callable[[object], Awaitable[Any]]
    ) -> None:
        self._engine = kernel.engine
        self._entry = entry
        self._mm = entry.mm
        self._ask = ask
        self._tlb_gen = 0
        self._stored: set[int] = set()  # pages
        self._loaded: set[int] = set()

    @property
    def now_ns(self) -> int:
        """The clock."""
        return self._engine.now_ns

    async def brk(self, address: int) -> int:
        """Move the end of the heap; 0 asks where it is."""
        return int(await self._ask(Brk(address - self._mm.brk if address else 0)))

    async def mmap(
        self, nr_bytes: int, *, prot: str = "rw", noreserve: bool = False, fixed: int = 0
    ) -> int:
        """Map private memory."""
        value = Mmap(nr_bytes, noreserve=noreserve, address=fixed, prot=prot_bits(prot))
        return int(await self._ask(value))

    async def munmap(self, address: int, nr_bytes: int) -> int:
        """Unmap a range."""
        return int(await self._ask(Munmap(address, nr_bytes)))

    async def mremap(self, address: int, old_bytes: int, new_bytes: int, *, maymove: bool) -> int:
        """Change the length of a mapping."""
        flags = MREMAP_MAYMOVE if maymove else 0
        return int(await self._ask(Mremap(address, old_bytes, new_bytes, flags)))

    async def madvise(self, address: int, nr_bytes: int, advice: str) -> int:
        """Advise about a range."""
        return int(await self._ask(Madvise(address, nr_bytes, advice)))

    async def mprotect(self, address: int, nr_bytes: int, prot: str) -> int:
        """Change what a range permits."""
        return int(await self._ask(Mprotect(address, nr_bytes, prot_bits(prot))))

    async def write(self, address: int, nr_bytes: int) -> None:
        """Store to bytes."""
        if self._mm.tlb_gen != self._tlb_gen:
            self._forget()
        first, last = address >> PAGE_SHIFT, address + nr_bytes - 1 >> PAGE_SHIFT
        if last > first or first not in self._stored:
            await self._access(first, last, self._stored, write=True)

    async def read(self, address: int, nr_bytes: int) -> None:
        """Load bytes."""
        if self._mm.tlb_gen != self._tlb_gen:
            self._forget()
        first, last = address >> PAGE_SHIFT, address + nr_bytes - 1 >> PAGE_SHIFT
        await self._access(first, last, self._loaded, write=False)

    def _forget(self) -> None:
        self._tlb_gen = self._mm.tlb_gen
        self._stored.clear()
        self._loaded.clear()

    async def _access(self, first: int, last: int, known: set[int], *, write: bool) -> None:
        """Access the pages from `first` to `last` that are not known to be there, run by run.

        Raises:
            ProcessEndedError: The process was killed meanwhile.
        """
        page = first
        while page <= last:
            if page in known or page in self._stored:
                page += 1
                continue
            end = page + 1
            while end <= last and end not in known:
                end += 1
            touch = Touch(page << PAGE_SHIFT, end - page << PAGE_SHIFT, write)
            result: TouchResult = await self._ask(touch)
            if result.signal:
                raise ProcessEndedError(self._entry.comm, self._entry.pid, -result.signal)
            known.update(range(page, end))
            page = end
