"""What several allocators share: the C library's sbrk, and the stores that an operation made.

Interface: `Sbrk`, `store_pages`, `page_up`. Units: bytes.
"""

from typing import Final

from kernelsim.units import PAGE_SHIFT, PAGE_SIZE
from kernelsim.user.malloc.protocol import System

FAILED: Final = -1


def page_up(nr_bytes: int) -> int:
    """Return it in whole pages."""
    return nr_bytes + PAGE_SIZE - 1 & -PAGE_SIZE


async def store_pages(system: System, touched: dict[int, None]) -> None:
    """Store to pages, in order; page 0 stands for the library's own data, which is there."""
    pages, write = [*touched], system.write
    touched.clear()
    for page in pages:
        if page:
            await write(page << PAGE_SHIFT, 1)


class Sbrk:
    """The end of the heap, of which the C library keeps a note.

    Args:
        system: The kernel.

    Attributes:
        curbrk: Where the heap ended when it was last moved; 0 before that is known.
    """

    def __init__(self, system: System) -> None:
        self.curbrk = 0
        self._system = system

    async def __call__(self, increment: int) -> int:
        """Move the end; return where it was, or FAILED. 0 only asks, and only the first time.

        Source: glibc 2.36 misc/sbrk.c:__sbrk
        """
        if not self.curbrk:
            self.curbrk = await self._system.brk(0)
        before = self.curbrk
        if increment:
            wanted = before + increment
            self.curbrk = await self._system.brk(wanted)
            if self.curbrk < wanted:
                return FAILED
        return before
