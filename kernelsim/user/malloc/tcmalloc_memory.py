"""Where gperftools' tcmalloc gets memory, and its memory for its own tables.

Memory comes from sbrk, or from mmap when the heap cannot grow. Its own tables live in chunks of
8 MiB of it, never given back; things of one kind are carved from 128 KiB at a time.

Interface: `SystemAlloc`, `Metadata`, `Pool`.
Source: gperftools 2.10 src/system-alloc.cc, src/common.cc (MetaDataAlloc),
src/page_heap_allocator.h.
"""

from typing import Final

from kernelsim.units import PAGE_SIZE
from kernelsim.user.malloc.libc import FAILED, Sbrk, page_up
from kernelsim.user.malloc.protocol import System

K_METADATA_ALLOC_CHUNK_SIZE: Final = 8 * 1024 * 1024
K_METADATA_ALIGNMENT: Final = 16
K_ALLOC_INCREMENT: Final = 128 << 10
POINTER: Final = 8


class SystemAlloc:
    """TCMalloc_SystemAlloc: memory from the kernel, by brk as long as that works."""

    def __init__(self, system: System) -> None:
        self._system = system
        self._sbrk = Sbrk(system)
        self._sbrk_failed = False

    async def alloc(self, nr_bytes: int, alignment: int) -> int:
        """Return the address of new memory, aligned (a power of 2); 0 if there is none.

        Once sbrk has failed it is not tried again before mmap has failed, too.
        """
        if not self._sbrk_failed:
            start = await self._by_sbrk(nr_bytes, alignment)
            if start:
                return start
        start = await self._by_mmap(nr_bytes, alignment)
        self._sbrk_failed = start != 0
        return start

    async def _by_sbrk(self, nr_bytes: int, alignment: int) -> int:
        start = await self._sbrk(nr_bytes)
        if start == FAILED:
            return 0
        extra = -start % alignment  # a little more moves it to where it is aligned
        if extra and await self._sbrk(extra) == FAILED:
            return 0
        return start + extra

    async def _by_mmap(self, nr_bytes: int, alignment: int) -> int:
        nr_bytes = page_up(nr_bytes)
        extra = max(alignment - PAGE_SIZE, 0)
        start = await self._system.mmap(nr_bytes + extra)
        if start < 0:
            return 0
        adjust = -start % max(alignment, PAGE_SIZE)
        if adjust:
            await self._system.munmap(start, adjust)
        if adjust < extra:
            await self._system.munmap(start + adjust + nr_bytes, extra - adjust)
        return start + adjust


class Metadata:
    """MetaDataAlloc: memory for tables."""

    def __init__(self, system_alloc: SystemAlloc) -> None:
        self._system_alloc = system_alloc
        self._start = 0
        self._avail = 0

    async def alloc(self, nr_bytes: int) -> int:
        """Return memory for a table; 0 if there is none."""
        skip = -self._start % K_METADATA_ALIGNMENT
        if self._avail < nr_bytes + skip:
            start = await self._system_alloc.alloc(
                K_METADATA_ALLOC_CHUNK_SIZE, K_METADATA_ALIGNMENT
            )
            if not start:
                return 0
            self._start, self._avail, skip = start, K_METADATA_ALLOC_CHUNK_SIZE, 0
        start = self._start + skip
        self._start += nr_bytes + skip
        self._avail -= nr_bytes + skip
        return start


class Pool:
    """PageHeapAllocator: things of one kind, the last one given back is the next one used."""

    def __init__(self, system: System, metadata: Metadata, size: int) -> None:
        self._system = system
        self._metadata = metadata
        self._size = size
        self._free: list[int] = []
        self._area = 0
        self._avail = 0

    async def reserve(self) -> None:
        """Take the first memory before there is need (Init)."""
        await self.delete(await self.new())

    async def new(self) -> int:
        """Return the address of a thing; who asked writes to it. 0 if there is no memory."""
        if self._free:
            return self._free.pop()
        if self._avail < self._size:
            area = await self._metadata.alloc(K_ALLOC_INCREMENT)
            if not area:
                return 0
            self._area, self._avail = area, K_ALLOC_INCREMENT
        address = self._area
        self._area += self._size
        self._avail -= self._size
        return address

    async def delete(self, address: int) -> None:
        """Take a thing back; its first bytes link it to those that are free."""
        await self._system.write(address, POINTER)
        self._free.append(address)
