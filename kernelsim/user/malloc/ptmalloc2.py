"""ptmalloc2, the allocator of glibc 2.36, for one thread: what it asks of the kernel, and when.

malloc/malloc.c:sysmalloc, :systrim, :mremap_chunk, :__libc_malloc and its siblings.

Blocks lie in the heap, which grows by brk with 128 KiB to spare, and is trimmed when more than
that is free at its top. A request of 128 KiB or more that fits nowhere is mapped instead, and
unmapped when freed; a freed mapping raises that threshold to its size, up to 32 MiB, and the trim
threshold to twice that: a program that frees such blocks and wants them again gets them cheaply.

Differs from glibc: no other arenas, no memalign, no tunables, no check for corruption; words of 64
bits and their thresholds in a process of 32 bits, too.
Interface: `Ptmalloc2`. Units: bytes.
"""

from typing import Final

from kernelsim.units import PAGE_SIZE
from kernelsim.user.malloc.libc import FAILED, Sbrk, page_up, store_pages
from kernelsim.user.malloc.protocol import System
from kernelsim.user.malloc.ptmalloc2_arena import (
    HEADER,
    IS_MMAPPED,
    MINSIZE,
    NBINS,
    NO_CHUNK,
    PREV_INUSE,
    SIZE_SZ,
    TCACHE_BYTES,
    UNSORTED,
    Arena,
    bin_index,
)

PTRDIFF_MAX: Final = (1 << 63) - 1
TOP_PAD: Final = 128 << 10  # DEFAULT_TOP_PAD: what the heap grows by beyond a request
DEFAULT_TRIM_THRESHOLD: Final = 128 << 10
DEFAULT_MMAP_THRESHOLD: Final = 128 << 10
DEFAULT_MMAP_THRESHOLD_MAX: Final = 32 << 20
DEFAULT_MMAP_MAX: Final = 65536  # mappings at a time
MMAP_AS_MORECORE_SIZE: Final = 1 << 20  # least that is mapped where the heap cannot grow
CHUNK_STRUCT: Final = 48  # sizeof(struct malloc_chunk): what of a free chunk is in use


def request2size(nr_bytes: int) -> int:
    """Return the size of the chunk for a request; 0 for one that is too large."""
    if nr_bytes > PTRDIFF_MAX:
        return 0
    return max(MINSIZE, nr_bytes + SIZE_SZ + 15 & ~15)


class Ptmalloc2:
    """The allocator of one process.

    Args:
        system: Its kernel.
    """

    def __init__(self, system: System) -> None:
        self._system = system
        self._arena = Arena()
        self._mapped: dict[int, int] = {}  # size by chunk, of those that are mappings
        self._mmap_threshold = DEFAULT_MMAP_THRESHOLD
        self._trim_threshold = DEFAULT_TRIM_THRESHOLD
        self._sbrk = Sbrk(system)
        self._is_contiguous = True

    async def malloc(self, nr_bytes: int) -> int:
        """Return a block; 0 if there is no memory."""
        nb = request2size(nr_bytes)
        if not nb:
            return 0
        arena = self._arena
        if not arena.tcache:
            await self._tcache_init()
        chunk = arena.tcache_get(nb) or arena.int_malloc(nb) or await self._sysmalloc(nb)
        await store_pages(self._system, self._arena.touched)
        return chunk + HEADER if chunk else 0

    async def calloc(self, nr: int, nr_bytes: int) -> int:
        """Return a block of zeros, from everywhere but the thread cache; 0 if there is no memory.

        It is cleared but for a mapping, and for what the heap has just grown by: Linux gives
        zeros (MORECORE_CLEARS=2).

        Source: glibc 2.36 malloc/malloc.c:__libc_calloc
        """
        nb = request2size(nr * nr_bytes)
        if not nb:
            return 0
        arena = self._arena
        if not arena.tcache:
            await self._tcache_init()
        oldtop, used = arena.top, arena.chunksize(arena.top)
        chunk = arena.int_malloc(nb) or await self._sysmalloc(nb)
        await store_pages(self._system, self._arena.touched)
        if not chunk:
            return 0
        if chunk not in self._mapped:
            size = arena.chunksize(chunk)
            size = min(size, used) if chunk == oldtop else size
            await self._system.write(chunk + HEADER, size - SIZE_SZ)
        return chunk + HEADER

    async def realloc(self, address: int, nr_bytes: int) -> int:
        """Change the size of a block; a size of 0 frees it.

        Source: glibc 2.36 malloc/malloc.c:__libc_realloc
        """
        if not address:
            return await self.malloc(nr_bytes)
        if not nr_bytes:
            await self.free(address)
            return 0
        nb = request2size(nr_bytes)
        if not nb:
            return 0
        chunk = address - HEADER
        if chunk in self._mapped:
            return await self._realloc_mapped(chunk, nr_bytes, nb)
        return await self._int_realloc(chunk, nb)

    async def free(self, address: int) -> None:
        """Take a block back; a mapping goes at once, and raises the thresholds.

        Source: glibc 2.36 malloc/malloc.c:__libc_free
        """
        if not address:
            return
        chunk = address - HEADER
        size = self._mapped.get(chunk)
        if size is None:
            await self._int_free(chunk)
            return
        if self._mmap_threshold < size | IS_MMAPPED <= DEFAULT_MMAP_THRESHOLD_MAX:
            self._mmap_threshold = size
            self._trim_threshold = 2 * size
        del self._mapped[chunk]
        await self._system.munmap(chunk, size)

    async def trim(self) -> None:
        """Give back every whole page of free chunks, and the top (malloc_trim(0)).

        Source: glibc 2.36 malloc/malloc.c:mtrim
        """
        arena = self._arena
        arena.consolidate()
        await store_pages(self._system, self._arena.touched)
        for number in range(UNSORTED, NBINS):
            if number != UNSORTED and number < bin_index(PAGE_SIZE):
                continue
            chunk = arena.bk[number]
            while chunk != number:
                first = page_up(chunk + CHUNK_STRUCT)
                nr_bytes = chunk + arena.chunksize(chunk) - first & -PAGE_SIZE
                if nr_bytes > 0:
                    await self._system.madvise(first, nr_bytes, "dontneed")
                chunk = arena.bk[chunk]
        await self._systrim(0)

    def usable_size(self, address: int) -> int:
        """Return how many bytes of a block may be used: up to the next chunk's size word."""
        chunk = address - HEADER
        if chunk in self._mapped:
            return self._mapped[chunk] - HEADER
        return self._arena.chunksize(chunk) - SIZE_SZ

    async def _tcache_init(self) -> None:
        """Make the thread cache: the first block of every heap."""
        nb = request2size(TCACHE_BYTES)
        chunk = self._arena.int_malloc(nb) or await self._sysmalloc(nb)
        if chunk:
            self._arena.tcache = chunk + HEADER
            await self._system.write(self._arena.tcache, TCACHE_BYTES)

    # ---- free and realloc in the heap ----

    async def _int_free(self, chunk: int) -> None:
        may_trim = self._arena.int_free(chunk)
        await store_pages(self._system, self._arena.touched)
        if may_trim and self._arena.chunksize(self._arena.top) >= self._trim_threshold:
            await self._systrim(TOP_PAD)

    async def _int_realloc(self, chunk: int, nb: int) -> int:
        """Grow a block into the top or a free neighbour, else move it; cut what is too much.

        Source: glibc 2.36 malloc/malloc.c:_int_realloc
        """
        arena = self._arena
        size = oldsize = arena.chunksize(chunk)
        above = chunk + size
        if size < nb:
            if above == arena.top and size + arena.chunksize(above) >= nb + MINSIZE:
                size += arena.size.pop(above) - PREV_INUSE
                arena.set_head(chunk, nb | arena.size[chunk] & PREV_INUSE)
                arena.top = chunk + nb
                arena.set_head(arena.top, size - nb | PREV_INUSE)
                await store_pages(self._system, self._arena.touched)
                return chunk + HEADER
            if above != arena.top and not arena.is_inuse(above):
                size += arena.chunksize(above)
            if size >= nb:
                arena.unlink_chunk(above)
            else:
                new = arena.int_malloc(nb) or await self._sysmalloc(nb)
                if new != above:
                    await store_pages(self._system, self._arena.touched)
                    return await self._move(chunk, oldsize, new)
                size = oldsize + arena.chunksize(above)
            del arena.size[above]
        await self._cut(chunk, size, nb)
        return chunk + HEADER

    async def _move(self, chunk: int, size: int, new: int) -> int:
        """Copy a block to a new chunk and free the old one; return the block, or 0."""
        if not new:
            return 0
        await self._system.read(chunk + HEADER, size - SIZE_SZ)
        await self._system.write(new + HEADER, size - SIZE_SZ)
        await self._int_free(chunk)
        return new + HEADER

    async def _cut(self, chunk: int, size: int, nb: int) -> None:
        """Make a chunk in use `nb` bytes long and free the rest, if that is enough for one."""
        arena = self._arena
        flag = arena.size[chunk] & PREV_INUSE
        if size - nb < MINSIZE:
            arena.set_head(chunk, size | flag)
            arena.set_inuse(chunk, size)
            await store_pages(self._system, self._arena.touched)
            return
        rest = chunk + nb
        arena.set_head(chunk, nb | flag)
        arena.set_head(rest, size - nb | PREV_INUSE)
        arena.set_inuse(rest, size - nb)
        await self._int_free(rest)

    # ---- mappings ----

    async def _mmap_chunk(self, nb: int) -> int:
        """Map a chunk of its own; return it, or NO_CHUNK.

        Source: glibc 2.36 malloc/malloc.c:sysmalloc_mmap
        """
        size = page_up(nb + SIZE_SZ)
        chunk = await self._system.mmap(size)
        if chunk < 0:
            return NO_CHUNK
        self._mapped[chunk] = size
        await self._system.write(chunk, HEADER)
        return chunk

    async def _realloc_mapped(self, chunk: int, nr_bytes: int, nb: int) -> int:
        """Change the size of a mapping.

        Source: glibc 2.36 malloc/malloc.c:mremap_chunk, :__libc_realloc
        """
        size, new_size = self._mapped[chunk], page_up(nb + SIZE_SZ)
        if new_size == size:
            return chunk + HEADER
        new = await self._system.mremap(chunk, size, new_size, maymove=True)
        if new >= 0:
            del self._mapped[chunk]
            self._mapped[new] = new_size
            await self._system.write(new, HEADER)
            return new + HEADER
        if size - SIZE_SZ >= nb:
            return chunk + HEADER
        block = await self.malloc(nr_bytes)
        if block:
            await self._system.read(chunk + HEADER, size - HEADER)
            await self._system.write(block, size - HEADER)
            del self._mapped[chunk]
            await self._system.munmap(chunk, size)
        return block

    # ---- the heap grows and shrinks ----

    async def _sysmalloc(self, nb: int) -> int:
        """Get memory from the kernel for a chunk; return it, or NO_CHUNK.

        Source: glibc 2.36 malloc/malloc.c:sysmalloc
        """
        await store_pages(self._system, self._arena.touched)
        if nb >= self._mmap_threshold and len(self._mapped) < DEFAULT_MMAP_MAX:
            chunk = await self._mmap_chunk(nb)
            if chunk:
                return chunk
        arena = self._arena
        old_size = arena.chunksize(arena.top)
        size = page_up(nb + TOP_PAD + MINSIZE - (old_size if self._is_contiguous else 0))
        brk = await self._sbrk(size)
        end = FAILED
        if brk == FAILED:  # something else is in the way
            size = page_up(size + old_size) if self._is_contiguous else size
            size = max(size, MMAP_AS_MORECORE_SIZE)
            brk = await self._system.mmap(size)
            if brk < 0:
                return arena.from_top(nb)
            self._is_contiguous = False
            end = brk + size
        if brk == arena.top + old_size and end == FAILED:
            arena.set_head(arena.top, old_size + size | PREV_INUSE)
        else:
            await self._new_top(brk, size, end)
        return arena.from_top(nb)

    async def _new_top(self, brk: int, size: int, end: int) -> None:
        """Let the top be what the kernel gave elsewhere: the first time, or beyond a gap."""
        arena, old_top = self._arena, self._arena.top
        old_size = arena.chunksize(old_top)
        start, correction = brk, 0
        if self._is_contiguous:
            start = brk + 15 & ~15
            correction = start - brk + old_size
            correction = page_up(brk + size + correction) - (brk + size)
            end = await self._sbrk(correction)
            if end == FAILED:
                correction = 0
        if end == FAILED:
            end = await self._sbrk(0)
        arena.top = start
        arena.set_head(start, end - start + correction | PREV_INUSE)
        if not old_size:
            return
        # Two chunks that are never free keep the old top from merging with what is not ours.
        left = old_size - 2 * HEADER & ~15
        arena.set_head(old_top, left | PREV_INUSE)
        arena.set_head(old_top + left, HEADER | PREV_INUSE)
        arena.set_head(old_top + left + HEADER, HEADER | PREV_INUSE)
        if left >= MINSIZE:
            await self._int_free(old_top)

    async def _systrim(self, pad: int) -> None:
        """Give back what is free at the top, but for `pad` bytes.

        Source: glibc 2.36 malloc/malloc.c:systrim
        """
        arena = self._arena
        top_size = arena.chunksize(arena.top)
        extra = top_size - MINSIZE - 1 - pad & -PAGE_SIZE
        if extra <= 0 or await self._sbrk(0) != arena.top + top_size:
            return
        before = self._sbrk.curbrk
        await self._sbrk(-extra)
        released = before - self._sbrk.curbrk
        if released:
            arena.set_head(arena.top, top_size - released | PREV_INUSE)
            await store_pages(self._system, self._arena.touched)
