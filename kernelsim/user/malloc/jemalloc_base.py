"""jemalloc's memory for its own tables, and the map from pages to extents.

Tables are carved from blocks of whole 2 MiB, never given back, each a size class longer than the
last. The map is a tree with leaves of 2 MiB for each GiB of addresses; a leaf is there from the
first extent in its GiB on, and only its pages that are used are written.

Interface: `Base`, `Emap`, `Prng`.
Source: jemalloc 5.3.0 src/base.c, src/pages.c (pages_map), src/emap.c, src/rtree.c, prng.h.
"""

from typing import Final, Generic, TypeVar

from kernelsim.user.malloc.jemalloc_classes import (
    PAGE,
    PAGE_SIZES,
    QUANTUM,
    psz2ind,
    size2index,
)
from kernelsim.user.malloc.protocol import System

HUGEPAGE: Final = 2 * 1024 * 1024
CACHELINE: Final = 64
BLOCK_HEADER: Final = 144  # base_block_t
BASE_BYTES: Final = 3912  # base_t
EDATA_BYTES: Final = 128
LEAF_SHIFT: Final = 18  # pages that one leaf covers
LEAF_BYTES: Final = 8 << LEAF_SHIFT
PRNG_A: Final = 6364136223846793005
PRNG_C: Final = 1442695040888963407
U64: Final = (1 << 64) - 1
T = TypeVar("T")


class Prng:
    """A 64-bit linear congruential generator."""

    def __init__(self, state: int) -> None:
        self._state = state & U64

    def lg_range(self, bits: int) -> int:
        """Return a random number of so many bits."""
        self._state = (self._state * PRNG_A + PRNG_C) & U64
        return self._state >> (64 - bits)

    def range(self, limit: int) -> int:
        """Return a random number below a limit."""
        bits = (limit - 1).bit_length()
        number = self.lg_range(bits)
        while number >= limit:
            number = self.lg_range(bits)
        return number


class _Block:
    """What is left of a block.

    Attributes:
        start: Its first unused address.
        avail: Bytes from there on.
        sn: Number of the block.
    """

    __slots__ = ("avail", "sn", "start")

    def __init__(self, start: int, avail: int, sn: int) -> None:
        self.start = start
        self.avail = avail
        self.sn = sn


class Base:
    """The tables of one arena."""

    def __init__(self, system: System) -> None:
        self._system = system
        self._blocks: list[_Block] = []
        self._pind_last = 0

    async def start(self) -> bool:
        """Get the first block, with the base itself in it; return whether there was memory."""
        base = await self.alloc(BASE_BYTES, CACHELINE)
        if base:
            await self._system.write(base, BASE_BYTES)
        return base != 0

    async def alloc(self, nr_bytes: int, align: int) -> int:
        """Return zeroed memory; 0 if there is none."""
        return (await self._alloc(nr_bytes, align))[0]

    async def alloc_edata(self) -> tuple[int, int]:
        """Return an extent's record: number of its block and address, (0, 0) for none."""
        address, sn = await self._alloc(EDATA_BYTES, EDATA_BYTES)
        if address:  # its number goes into a few bits of a word: a load, then a store
            await self._system.read(address, EDATA_BYTES)
            await self._system.write(address, EDATA_BYTES)
        return sn, address

    async def _alloc(self, nr_bytes: int, align: int) -> tuple[int, int]:
        usize = -(-nr_bytes // align) * align
        index = size2index(usize + align - QUANTUM)
        fits = [
            (floor, block.sn, block)
            for block in self._blocks
            if (floor := size2index(block.avail + 1) - 1) >= index
        ]
        block = min(fits)[2] if fits else await self._new_block(usize, align)
        if block is None:
            return 0, 0
        start = -(-block.start // align) * align
        block.avail -= start + usize - block.start
        block.start = start + usize
        return start, block.sn

    async def _new_block(self, usize: int, align: int) -> _Block | None:
        header = -(-BLOCK_HEADER // align) * align
        least = _huge_ceiling(PAGE_SIZES[psz2ind(header + usize)])
        size = max(least, _huge_ceiling(PAGE_SIZES[self._pind_last + 1]))
        start = await self._map(size)
        if not start:
            return None
        await self._system.write(start, BLOCK_HEADER)
        self._pind_last = psz2ind(size)
        block = _Block(start + BLOCK_HEADER, size - BLOCK_HEADER, len(self._blocks))
        self._blocks.append(block)
        return block

    async def _map(self, size: int) -> int:
        """Map memory that starts at a multiple of 2 MiB, if need be with more to trim."""
        start = await self._system.mmap(size, noreserve=True)
        if start < 0 or start % HUGEPAGE == 0:
            return max(start, 0)
        await self._system.munmap(start, size)
        start = await self._system.mmap(size + HUGEPAGE - PAGE, noreserve=True)
        if start < 0:
            return 0
        lead = -start % HUGEPAGE
        if lead:
            await self._system.munmap(start, lead)
        if lead < HUGEPAGE - PAGE:
            await self._system.munmap(start + lead + size, HUGEPAGE - PAGE - lead)
        return start + lead


class Emap(Generic[T]):
    """From pages to extents.

    Attributes:
        of: Page -> extent: of the first and last page of each, of all pages of a slab.
    """

    def __init__(self, system: System, base: Base) -> None:
        self._system = system
        self._base = base
        self._leaves: dict[int, int] = {}
        self.of: dict[int, T] = {}

    async def ensure(self, first: int, last: int) -> bool:
        """Give two pages a leaf; return whether there was memory."""
        for leaf in (first >> LEAF_SHIFT, last >> LEAF_SHIFT):
            if leaf not in self._leaves:
                address = await self._base.alloc(LEAF_BYTES, CACHELINE)
                if not address:
                    return False
                self._leaves[leaf] = address
        return True

    async def write(self, page: int, extent: T | None) -> None:
        """Set or clear what a page belongs to."""
        await self._system.write(self._element(page), 8)
        if extent is None:
            self.of.pop(page, None)
        else:
            self.of[page] = extent

    async def write_range(self, first: int, nr_pages: int, extent: T | None) -> None:
        """Set or clear the pages of a slab."""
        for page in range(first, first + nr_pages):
            await self.write(page, extent)

    async def look(self, page: int) -> T | None:
        """Return what a page belongs to."""
        if page >> LEAF_SHIFT not in self._leaves:
            return None
        await self._system.read(self._element(page), 8)
        return self.of.get(page)

    def _element(self, page: int) -> int:
        return self._leaves[page >> LEAF_SHIFT] + 8 * (page & ((1 << LEAF_SHIFT) - 1))


def _huge_ceiling(nr_bytes: int) -> int:
    return -(-nr_bytes // HUGEPAGE) * HUGEPAGE
