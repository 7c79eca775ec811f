"""dlmalloc 2.8.6, Doug Lea's allocator: how blocks are found, joined and resized.

malloc.c:dlmalloc, :dlfree, :dlrealloc, :dispose_chunk, :try_realloc_chunk.

A request takes the smallest free chunk that fits, from the bins, the designated victim (what was
left when the last small request was cut from a chunk) or, last, the top. A freed chunk joins its
free neighbours at once. What it asks of the kernel is in dlmalloc_system.py.

Differs from dlmalloc: one space, no locks, no memalign, no check for corruption.
Interface: `Dlmalloc`. Units: bytes.
"""

from typing import Final

from kernelsim.user.malloc.dlmalloc_bins import (
    CINUSE,
    HEADER,
    INUSE,
    MIN_CHUNK_SIZE,
    MIN_LARGE_SIZE,
    PINUSE,
    SIZE_MASK,
    SIZE_T,
    SMALLBIN_SHIFT,
)
from kernelsim.user.malloc.dlmalloc_system import DlmallocSystem
from kernelsim.user.malloc.libc import store_pages
from kernelsim.user.malloc.protocol import System

MIN_REQUEST: Final = MIN_CHUNK_SIZE - SIZE_T - 1
MAX_SMALL_REQUEST: Final = MIN_LARGE_SIZE - 1 - 15 - SIZE_T
MAX_REQUEST: Final = (1 << 64) - 4 * MIN_CHUNK_SIZE


def request2size(nr_bytes: int) -> int:
    """Return the size of the chunk for a request."""
    return MIN_CHUNK_SIZE if nr_bytes < MIN_REQUEST else nr_bytes + SIZE_T + 15 & ~15


class Dlmalloc(DlmallocSystem):
    """The allocator of one process.

    Args:
        system: Its kernel.
    """

    def __init__(self, system: System) -> None:
        super().__init__(system)
        self._touched = self._bins.touched

    async def malloc(self, nr_bytes: int) -> int:
        """Return a block; 0 if there is no memory.

        Source: dlmalloc 2.8.6 malloc.c:dlmalloc
        """
        if nr_bytes >= MAX_REQUEST:
            return 0
        nb = request2size(nr_bytes)
        find = self._find_small if nr_bytes <= MAX_SMALL_REQUEST else self._find_large
        chunk = find(nb) or self._from_dv(nb) or self._from_top(nb) or await self._sys_alloc(nb)
        await store_pages(self._system, self._touched)
        return chunk + HEADER if chunk else 0

    async def calloc(self, nr: int, nr_bytes: int) -> int:
        """Return a block of zeros, which are written unless it is a mapping; 0 for none."""
        address = await self.malloc(nr * nr_bytes)
        if address and nr * nr_bytes and not self._is_mapped(address - HEADER):
            await self._system.write(address, nr * nr_bytes)
        return address

    async def realloc(self, address: int, nr_bytes: int) -> int:
        """Change the size of a block; a size of 0 leaves the smallest one.

        Source: dlmalloc 2.8.6 malloc.c:dlrealloc
        """
        if not address:
            return await self.malloc(nr_bytes)
        if nr_bytes >= MAX_REQUEST:
            return 0
        chunk, nb = address - HEADER, request2size(nr_bytes)
        if self._is_mapped(chunk):
            resized = await self._mmap_resize(chunk, nb)
        else:
            resized = self._resize(chunk, nb)
            await store_pages(self._system, self._touched)
        if resized:
            return resized + HEADER
        new = await self.malloc(nr_bytes)
        if new:
            nr_copied = min(self.usable_size(address), nr_bytes)
            await self._system.read(address, nr_copied)
            await self._system.write(new, nr_copied)
            await self.free(address)
        return new

    async def free(self, address: int) -> None:
        """Take a block back; a mapping goes at once.

        Source: dlmalloc 2.8.6 malloc.c:dlfree
        """
        if not address:
            return
        chunk = address - HEADER
        if self._is_mapped(chunk):
            await self._munmap_chunk(chunk)
            return
        size = self._dispose(chunk)
        await store_pages(self._system, self._touched)
        if not size:
            if self._topsize > self._trim_check:
                await self._sys_trim()
        elif size >= MIN_LARGE_SIZE:
            self._release_checks -= 1
            if not self._release_checks:
                await self._release_unused_segments()

    async def trim(self) -> None:
        """Give the top back to the kernel (malloc_trim(0))."""
        await self._sys_trim()

    def usable_size(self, address: int) -> int:
        """Return how many bytes of a block may be used."""
        chunk = address - HEADER
        overhead = HEADER if self._is_mapped(chunk) else SIZE_T
        return self._chunksize(chunk) - overhead

    # ---- finding a chunk ----

    def _find_small(self, nb: int) -> int:
        """Return a chunk for a small request from a bin, or 0 when the victim is to be used."""
        bins = self._bins
        index = nb >> SMALLBIN_SHIFT
        fitting = bins.smallmap >> index
        if fitting & 3:  # of its size, or too little more to cut
            index += ~fitting & 1
        elif nb <= self._dvsize:
            return 0
        elif fitting:
            index += (fitting & -fitting).bit_length() - 1
        elif bins.treemap:
            return self._take(bins.smallest(nb), nb, is_small=True)
        else:
            return 0
        return self._take(bins.fd[index], nb, is_small=True)

    def _find_large(self, nb: int) -> int:
        """Return a chunk for a larger request from a trie, or 0 when the victim fits better."""
        bins = self._bins
        chunk = bins.best_fit(nb) if bins.treemap else 0
        if not chunk or nb <= self._dvsize <= self._chunksize(chunk):
            return 0
        return self._take(chunk, nb, is_small=False)

    def _take(self, chunk: int, nb: int, *, is_small: bool) -> int:
        """Take a chunk out of its bin and cut it; the rest of a small request is the victim."""
        bins = self._bins
        size = self._chunksize(chunk)
        bins.unlink(chunk, size)
        if size - nb < MIN_CHUNK_SIZE:
            self._set_inuse_and_pinuse(chunk, size)
            return chunk
        rest = chunk + nb
        bins.set_head(chunk, nb | INUSE)
        self._set_free(rest, size - nb)
        if not is_small:
            bins.insert(rest, size - nb)
        else:
            if self._dvsize:
                bins.insert(self._dv, self._dvsize)
            self._dv, self._dvsize = rest, size - nb
        return chunk

    def _from_dv(self, nb: int) -> int:
        """Cut a chunk from the designated victim."""
        chunk, rest = self._dv, self._dvsize - nb
        if rest < 0:
            return 0
        if rest < MIN_CHUNK_SIZE:
            self._set_inuse_and_pinuse(chunk, self._dvsize)
            self._dv = self._dvsize = 0
        else:
            self._dv, self._dvsize = chunk + nb, rest
            self._set_free(self._dv, rest)
            self._bins.set_head(chunk, nb | INUSE)
        return chunk

    # ---- joining and resizing ----

    def _dispose(self, chunk: int) -> int:
        """Join a chunk with its free neighbours; return its size in a bin, 0 where it became top.

        Where it became the victim that is 1.

        Source: dlmalloc 2.8.6 malloc.c:dispose_chunk
        """
        bins, head = self._bins, self._bins.head
        size = self._chunksize(chunk)
        above = chunk + size
        if not head[chunk] & PINUSE:
            del head[chunk]
            below_size = bins.prev_foot.pop(chunk)
            chunk -= below_size
            size += below_size
            if chunk != self._dv:
                bins.unlink(chunk, below_size)
            elif head[above] & INUSE == INUSE:
                self._dvsize = size
                self._set_free_with_pinuse(chunk, size, above)
                return 1
        if head[above] & CINUSE:
            self._set_free_with_pinuse(chunk, size, above)
        elif above == self._top:
            self._topsize += size
            del head[above]
            self._top = chunk
            bins.set_head(chunk, self._topsize | PINUSE)
            if chunk == self._dv:
                self._dv = self._dvsize = 0
            return 0
        else:
            size += self._chunksize(above)
            if above == self._dv:
                self._dv, self._dvsize = chunk, size
            else:
                bins.unlink(above, self._chunksize(above))
            del head[above]
            self._set_free(chunk, size)
            if chunk == self._dv:
                self._dvsize = size
                return 1
        bins.insert(chunk, size)
        return size

    def _resize(self, chunk: int, nb: int) -> int:
        """Change the size of a chunk where it is; return it, or 0 if there is no room.

        Source: dlmalloc 2.8.6 malloc.c:try_realloc_chunk
        """
        bins, head = self._bins, self._bins.head
        size = self._chunksize(chunk)
        above = chunk + size
        if size >= nb:
            if size - nb >= MIN_CHUNK_SIZE:
                self._cut(chunk, size, nb)
            return chunk
        if above == self._top:
            if size + self._topsize <= nb:
                return 0
            self._topsize += size - nb
            del head[above]
            bins.set_head(chunk, nb | CINUSE | head[chunk] & PINUSE)
            self._top = chunk + nb
            bins.set_head(self._top, self._topsize | PINUSE)
            return chunk
        if head[above] & CINUSE:
            return 0
        size += self._chunksize(above)
        if size < nb:
            return 0
        if above == self._dv:
            self._resize_into_dv(chunk, size, nb)
            return chunk
        bins.unlink(above, self._chunksize(above))
        del head[above]
        if size - nb < MIN_CHUNK_SIZE:
            self._set_inuse(chunk, size)
        else:
            self._cut(chunk, size, nb)
        return chunk

    def _resize_into_dv(self, chunk: int, size: int, nb: int) -> None:
        """Let a chunk grow to `nb` of the bytes that it has together with the victim above."""
        bins = self._bins
        del bins.head[self._dv]
        rest = size - nb
        if rest < MIN_CHUNK_SIZE:
            self._set_inuse(chunk, size)
            self._dv = self._dvsize = 0
            return
        self._dv, self._dvsize = chunk + nb, rest
        bins.set_head(chunk, nb | CINUSE | bins.head[chunk] & PINUSE)
        self._set_free_with_pinuse(self._dv, rest, chunk + size)

    def _cut(self, chunk: int, size: int, nb: int) -> None:
        """Make a chunk in use `nb` bytes long, and free the rest."""
        rest = chunk + nb
        self._bins.set_head(chunk, nb | CINUSE | self._bins.head[chunk] & PINUSE)
        self._bins.head[rest] = PINUSE
        self._set_inuse(rest, size - nb)
        self._dispose(rest)

    # ---- size words ----

    def _set_inuse(self, chunk: int, size: int) -> None:
        """Mark a chunk as in use; what is below it stays as it is."""
        self._bins.set_head(chunk, size | CINUSE | self._bins.head[chunk] & PINUSE)
        self._bins.set_head(chunk + size, self._bins.head[chunk + size] | PINUSE)

    def _set_inuse_and_pinuse(self, chunk: int, size: int) -> None:
        """Mark a chunk as in use above one in use."""
        self._bins.set_head(chunk, size | INUSE)
        self._bins.set_head(chunk + size, self._bins.head[chunk + size] | PINUSE)

    def _set_free(self, chunk: int, size: int) -> None:
        """Write head and foot of a free chunk above one in use."""
        self._bins.set_head(chunk, size | PINUSE)
        self._bins.set_foot(chunk, size)

    def _set_free_with_pinuse(self, chunk: int, size: int, above: int) -> None:
        """Write them, and mark it as free in the chunk above."""
        self._bins.set_head(above, self._bins.head[above] & ~PINUSE)
        self._set_free(chunk, size)

    def _chunksize(self, chunk: int) -> int:
        return self._bins.head[chunk] & SIZE_MASK
