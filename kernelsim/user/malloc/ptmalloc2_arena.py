"""The main arena of ptmalloc2: its chunks, bins and thread cache, and how blocks are found in them.

glibc 2.36: malloc/malloc.c:_int_malloc, :_int_free, :malloc_consolidate, :unlink_chunk.

A chunk is a size word and, behind it, the block. Its address is 16 below the block's; `size[chunk]`
is its size with PREV_INUSE (the chunk below is in use). A free chunk is in a bin, a ring through
`fd` and `bk`; the number of a bin is its place in the ring. Chunks of one size are neighbours in a
large bin, which is sorted, biggest first; the first of each size is also in a ring through
`fd_nextsize`, `bk_nextsize`. Small freed chunks go to the thread cache first, seven a size, then to
a fast bin; they stay marked as in use, so nothing merges with them until `consolidate`.

Interface: `Arena`. It asks nothing of the kernel: what it cannot do is for ptmalloc2.py.
Units: bytes; addresses of chunks. A page of `touched` is a page number; 0 is libc's own data.
"""

from typing import Final

from kernelsim.units import PAGE_SHIFT

SIZE_SZ: Final = 8
HEADER: Final = 2 * SIZE_SZ  # from a chunk to its block
MINSIZE: Final = 32
PREV_INUSE: Final = 1
IS_MMAPPED: Final = 2
SIZE_MASK: Final = -8

NBINS: Final = 128
UNSORTED: Final = 1  # the bin of chunks that have not been given a place yet
MIN_LARGE_SIZE: Final = 1024
# Of large bins: shift of the size, the last value for which it holds, number of the first bin
LARGE_BINS: Final = ((6, 48, 48), (9, 20, 91), (12, 10, 110), (15, 4, 119), (18, 2, 124))
LAST_BIN: Final = 126
MAX_FAST: Final = 128  # global_max_fast: a chunk up to this size goes to a fast bin
TCACHE_MAX_BINS: Final = 64
TCACHE_COUNT: Final = 7  # mp_.tcache_count, chunks a bin
TCACHE_BYTES: Final = TCACHE_MAX_BINS * (2 + 8)  # counts and heads
FASTBIN_CONSOLIDATION_THRESHOLD: Final = 64 << 10
MAX_ITERS: Final = 10_000  # unsorted chunks that one malloc sorts
NO_CHUNK: Final = 0


def largebin_index(size: int) -> int:
    """Return the bin of a large chunk.

    Source: glibc 2.36 malloc/malloc.c:largebin_index_64
    """
    for shift, last, first_bin in LARGE_BINS:
        if size >> shift <= last:
            return first_bin + (size >> shift)
    return LAST_BIN


def bin_index(size: int) -> int:
    """Return the bin of a chunk: one a size below 1024, then fewer and fewer."""
    return size >> 4 if size < MIN_LARGE_SIZE else largebin_index(size)


class Arena:
    """Chunks in memory that the heap has.

    Attributes:
        top: The chunk that borders the end of the heap; NO_CHUNK before there is one.
        size: By chunk, its size and flags.
        tcache: Address of the thread cache; 0 before there is one.
        have_fastchunks: There may be chunks in fast bins.
        touched: Pages that were stored to, in order, for the kernel to hear of.
    """

    def __init__(self) -> None:
        self.top = NO_CHUNK
        self.size: dict[int, int] = {NO_CHUNK: 0}
        self.tcache = 0
        self.have_fastchunks = False
        self.touched: dict[int, None] = {}
        self.fd = {number: number for number in range(1, NBINS)}
        self.bk = dict(self.fd)
        self._prev_size: dict[int, int] = {}
        self._fd_nextsize: dict[int, int] = {}
        self._bk_nextsize: dict[int, int] = {}
        self._binmap = 0  # bit n: bin n may hold something
        self._last_remainder = NO_CHUNK
        self._fastbins: list[list[int]] = [[] for _ in range(MAX_FAST // 16 + 1)]
        self._entries: list[list[int]] = [[] for _ in range(TCACHE_MAX_BINS)]

    def chunksize(self, chunk: int) -> int:
        """Return the size of a chunk."""
        return self.size[chunk] & SIZE_MASK

    def set_head(self, chunk: int, size: int) -> None:
        """Write the size word of a chunk."""
        self.size[chunk] = size
        self.touched[chunk + SIZE_SZ >> PAGE_SHIFT] = None

    def set_foot(self, chunk: int, size: int) -> None:
        """Write the size of a free chunk behind its end."""
        self._prev_size[chunk + size] = size
        self.touched[chunk + size >> PAGE_SHIFT] = None

    def set_inuse(self, chunk: int, size: int) -> None:
        """Mark a chunk as in use, in the chunk above it."""
        self.set_head(chunk + size, self.size[chunk + size] | PREV_INUSE)

    def is_inuse(self, chunk: int) -> bool:
        """Tell whether a chunk, which is not the top, is in use."""
        return bool(self.size[chunk + self.chunksize(chunk)] & PREV_INUSE)

    # ---- the thread cache ----

    def tcache_get(self, size: int) -> int:
        """Take a chunk of a size from the thread cache; return it, or NO_CHUNK.

        Source: glibc 2.36 malloc/malloc.c:tcache_get
        """
        index = size - MINSIZE >> 4
        if index >= TCACHE_MAX_BINS or not self._entries[index]:
            return NO_CHUNK
        self.touched[self.tcache >> PAGE_SHIFT] = None
        chunk = self._entries[index].pop()
        self.touched[chunk + HEADER >> PAGE_SHIFT] = None
        return chunk

    def _tcache_room(self, size: int) -> int:
        """Return how many more chunks of a size the thread cache takes."""
        index = size - MINSIZE >> 4
        if index >= TCACHE_MAX_BINS or not self.tcache:
            return 0
        return TCACHE_COUNT - len(self._entries[index])

    def _tcache_put(self, chunk: int, size: int) -> None:
        self._entries[size - MINSIZE >> 4].append(chunk)
        self.touched[self.tcache >> PAGE_SHIFT] = None
        self.touched[chunk + HEADER >> PAGE_SHIFT] = None

    # ---- bins ----

    def _link(self, chunk: int, bck: int, fwd: int) -> None:
        """Put a free chunk between two of a bin."""
        self.fd[chunk], self.bk[chunk] = fwd, bck
        self.fd[bck] = self.bk[fwd] = chunk
        for each in (chunk, bck, fwd):
            self.touched[each + HEADER >> PAGE_SHIFT] = None

    def unlink_chunk(self, chunk: int) -> None:
        """Take a free chunk out of its bin.

        Source: glibc 2.36 malloc/malloc.c:unlink_chunk
        """
        fwd, bck = self.fd.pop(chunk), self.bk.pop(chunk)
        self.bk[fwd], self.fd[bck] = bck, fwd
        self.touched[fwd + HEADER >> PAGE_SHIFT] = None
        self.touched[bck + HEADER >> PAGE_SHIFT] = None
        if chunk not in self._fd_nextsize:
            return
        nexts, prevs = self._fd_nextsize, self._bk_nextsize
        after, before = nexts.pop(chunk), prevs.pop(chunk)
        if fwd >= NBINS and fwd not in nexts:  # of the same size, and the first of it from now on
            if after == chunk:
                after = before = fwd
            nexts[fwd], prevs[fwd] = after, before
            prevs[after] = nexts[before] = fwd
        elif after != chunk:
            prevs[after], nexts[before] = before, after

    def _place(self, chunk: int, size: int) -> None:
        """Give a chunk that has left the unsorted bin its place in another."""
        if size < MIN_LARGE_SIZE:
            number = size >> 4
            self._link(chunk, number, self.fd[number])
        else:
            number = largebin_index(size)
            self._place_large(chunk, size, number)
        self._binmap |= 1 << number

    def _place_large(self, chunk: int, size: int, number: int) -> None:
        """Put a chunk into a large bin, which is sorted; among equals it becomes the second."""
        fwd, last = self.fd[number], self.bk[number]
        nexts, prevs = self._fd_nextsize, self._bk_nextsize
        if fwd == number:
            nexts[chunk] = prevs[chunk] = chunk
            self._link(chunk, number, number)
            return
        if size < self.chunksize(last):
            before, fwd = fwd, number
        else:
            while size < self.chunksize(fwd):
                fwd = nexts[fwd]
            before = fwd
            if size == self.chunksize(fwd):
                fwd = self.fd[fwd]
                self._link(chunk, self.bk[fwd], fwd)
                return
        nexts[chunk], prevs[chunk] = before, prevs[before]
        nexts[prevs[before]] = chunk
        prevs[before] = chunk
        self._link(chunk, self.bk[fwd], fwd)

    # ---- malloc ----

    def int_malloc(self, nb: int) -> int:
        """Return a chunk of `nb` bytes or little more, or NO_CHUNK when there is none.

        Source: glibc 2.36 malloc/malloc.c:_int_malloc
        """
        if nb < MIN_LARGE_SIZE:
            chunk = self._from_fastbin(nb) if nb <= MAX_FAST else NO_CHUNK
            chunk = chunk or self._from_smallbin(nb)
            if chunk:
                return chunk
        elif self.have_fastchunks:
            self.consolidate()
        while True:
            chunk = self._from_unsorted(nb)
            if not chunk and nb >= MIN_LARGE_SIZE:
                chunk = self._from_largebin(nb)
            chunk = chunk or self._from_next_bin(nb) or self.from_top(nb)
            if chunk or not self.have_fastchunks:
                return chunk
            self.consolidate()

    def _from_fastbin(self, nb: int) -> int:
        """Take the chunk that was freed last; others of its size go to the thread cache."""
        fastbin = self._fastbins[nb >> 4]
        if not fastbin:
            return NO_CHUNK
        chunk = fastbin.pop()
        for _ in range(min(self._tcache_room(nb), len(fastbin))):
            self._tcache_put(fastbin.pop(), nb)
        return chunk

    def _from_smallbin(self, nb: int) -> int:
        """Take the chunk that is there longest; others of its size go to the thread cache."""
        number = nb >> 4
        chunk = self.bk[number]
        if chunk == number:
            return NO_CHUNK
        self.unlink_chunk(chunk)
        self.set_inuse(chunk, nb)
        for _ in range(self._tcache_room(nb)):
            other = self.bk[number]
            if other == number:
                break
            self.unlink_chunk(other)
            self.set_inuse(other, nb)
            self._tcache_put(other, nb)
        return chunk

    def _from_unsorted(self, nb: int) -> int:
        """Sort the unsorted chunks into bins, until one fits exactly.

        Those that fit fill the thread cache first. A small request is cut from the chunk that the
        last one was cut from, if nothing else is there: such blocks become neighbours.
        """
        is_cached, nr_sorted = False, 0
        while (chunk := self.bk[UNSORTED]) != UNSORTED:
            size = self.chunksize(chunk)
            if (
                nb < MIN_LARGE_SIZE
                and chunk == self._last_remainder
                and self.bk[chunk] == UNSORTED
                and size > nb + MINSIZE
            ):
                self.unlink_chunk(chunk)
                self._last_remainder = self._split(chunk, size, nb)
                return chunk
            self.unlink_chunk(chunk)
            if size == nb:
                self.set_inuse(chunk, size)
                if not self._tcache_room(nb):
                    return chunk
                self._tcache_put(chunk, nb)
                is_cached = True
                continue
            self._place(chunk, size)
            nr_sorted += 1
            if nr_sorted == MAX_ITERS:
                break
        return self.tcache_get(nb) if is_cached else NO_CHUNK

    def _from_largebin(self, nb: int) -> int:
        """Take the smallest chunk that fits from the bin of a large size."""
        number = largebin_index(nb)
        first = self.fd[number]
        if first == number or self.chunksize(first) < nb:
            return NO_CHUNK
        chunk = self._bk_nextsize[first]
        while (size := self.chunksize(chunk)) < nb:
            chunk = self._bk_nextsize[chunk]
        # the second of a size is easier to take: the ring of sizes stays as it is
        if chunk != self.bk[number] and self.size[chunk] == self.size[self.fd[chunk]]:
            chunk = self.fd[chunk]
        return self._take(chunk, size, nb)

    def _from_next_bin(self, nb: int) -> int:
        """Take the smallest chunk of the next bin that is not empty."""
        candidates = self._binmap & (-1 << bin_index(nb) + 1)
        while candidates:
            bit = candidates & -candidates
            number = bit.bit_length() - 1
            chunk = self.bk[number]
            if chunk != number:
                size = self.chunksize(chunk)
                taken = self._take(chunk, size, nb)
                if nb < MIN_LARGE_SIZE and size - nb >= MINSIZE:
                    self._last_remainder = chunk + nb
                return taken
            self._binmap &= ~bit  # found empty only now
            candidates &= ~bit
        return NO_CHUNK

    def from_top(self, nb: int) -> int:
        """Cut a chunk from the top, of which at least the smallest chunk must stay."""
        chunk = self.top
        size = self.chunksize(chunk)
        if size < nb + MINSIZE:
            return NO_CHUNK
        self.top = chunk + nb
        self.set_head(chunk, nb | PREV_INUSE)
        self.set_head(self.top, size - nb | PREV_INUSE)
        return chunk

    def _take(self, chunk: int, size: int, nb: int) -> int:
        """Take a chunk out of its bin; what it has too much becomes an unsorted chunk."""
        self.unlink_chunk(chunk)
        if size - nb < MINSIZE:
            self.set_inuse(chunk, size)
        else:
            self._split(chunk, size, nb)
        return chunk

    def _split(self, chunk: int, size: int, nb: int) -> int:
        """Cut a free chunk that is in no bin; return the rest, which is unsorted now."""
        rest = chunk + nb
        self._link(rest, UNSORTED, self.fd[UNSORTED])
        self.set_head(chunk, nb | PREV_INUSE)
        self.set_head(rest, size - nb | PREV_INUSE)
        self.set_foot(rest, size - nb)
        return rest

    # ---- free ----

    def int_free(self, chunk: int) -> bool:
        """Take a chunk back; return whether the top may be due for a trim now.

        Source: glibc 2.36 malloc/malloc.c:_int_free
        """
        size = self.chunksize(chunk)
        if self._tcache_room(size):
            self._tcache_put(chunk, size)
            return False
        if size <= MAX_FAST:
            self.have_fastchunks = True
            self._fastbins[size >> 4].append(chunk)
            self.touched[chunk + HEADER >> PAGE_SHIFT] = None
            return False
        size = self._merge(chunk)
        if size < FASTBIN_CONSOLIDATION_THRESHOLD:
            return False
        if self.have_fastchunks:
            self.consolidate()
        return True

    def consolidate(self) -> None:
        """Free the chunks of the fast bins for good, so that they merge with their neighbours.

        Source: glibc 2.36 malloc/malloc.c:malloc_consolidate
        """
        self.have_fastchunks = False
        for fastbin in self._fastbins:
            while fastbin:
                self._merge(fastbin.pop())

    def _merge(self, chunk: int) -> int:
        """Join a chunk with its free neighbours, to the top or unsorted; return the size of all."""
        sizes = self.size
        size = sizes[chunk] & SIZE_MASK
        above = chunk + size
        if not sizes[chunk] & PREV_INUSE:
            del sizes[chunk]
            below_size = self._prev_size.pop(chunk)
            chunk -= below_size
            size += below_size
            self.unlink_chunk(chunk)
        if above == self.top:
            size += sizes.pop(above) & SIZE_MASK
            self.top = chunk
            self.set_head(chunk, size | PREV_INUSE)
            return size
        if self.is_inuse(above):
            self.set_head(above, sizes[above] & ~PREV_INUSE)
        else:
            self.unlink_chunk(above)
            size += sizes.pop(above) & SIZE_MASK
        self._link(chunk, UNSORTED, self.fd[UNSORTED])
        self.set_head(chunk, size | PREV_INUSE)
        self.set_foot(chunk, size)
        return size
