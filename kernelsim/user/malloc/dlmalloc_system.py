"""What dlmalloc 2.8.6 asks of the kernel: segments that grow and shrink, and mappings for a block.

malloc.c:sys_alloc, :sys_trim, :mmap_alloc, :mmap_resize, :add_segment, :release_unused_segments.

The heap grows by brk, by as many pages as a request needs and no more; where something is in the
way, by segments that are mapped. What fits nowhere and has 256 KiB or more is mapped by itself.
When the top exceeds 2 MiB after a free, what of it is whole pages goes back.

Interface: `DlmallocSystem`, the lower half of an allocator. Units: bytes.
"""

from typing import Final

import attrs

from kernelsim.units import PAGE_SIZE
from kernelsim.user.malloc.dlmalloc_bins import (
    CINUSE,
    INUSE,
    MIN_CHUNK_SIZE,
    MIN_LARGE_SIZE,
    PINUSE,
    SIZE_MASK,
    SIZE_T,
    Bins,
)
from kernelsim.user.malloc.libc import FAILED, Sbrk, page_up, store_pages
from kernelsim.user.malloc.protocol import System

MMAP_THRESHOLD: Final = 256 << 10
TRIM_THRESHOLD: Final = 2 << 20
NEVER: Final = 1 << 64
SEGMENT_CHUNK: Final = 48  # chunk of the record of a segment
TOP_FOOT_SIZE: Final = SEGMENT_CHUNK + MIN_CHUNK_SIZE  # kept free behind the top for that
SYS_ALLOC_PADDING: Final = TOP_FOOT_SIZE + 16
FENCEPOST_HEAD: Final = INUSE | SIZE_T
MMAP_FOOT_PAD: Final = 4 * SIZE_T  # of a mapping, behind its chunk
MMAP_PADDING: Final = 6 * SIZE_T + 15
MMAP_SLACK: Final = 2 * PAGE_SIZE  # a mapping that is too large by so much is let be
MAX_RELEASE_CHECK_RATE: Final = 4095  # large frees between looks for unused segments


@attrs.define
class Segment:
    """A stretch of the space.

    Attributes:
        base: Its first byte.
        size: Its length.
        is_mapped: It comes from mmap, not from brk.
        record: Where the record of it lies; 0 for that of the newest, which is the library's.
    """

    base: int
    size: int
    is_mapped: bool
    record: int = 0

    @property
    def end(self) -> int:
        """First byte behind it."""
        return self.base + self.size

    def holds(self, address: int) -> bool:
        """Tell whether an address lies in it."""
        return self.base <= address < self.end


class DlmallocSystem:
    """The top, the segments and the mappings of an allocator.

    Args:
        system: The kernel.
    """

    def __init__(self, system: System) -> None:
        self._system = system
        self._bins = Bins()
        self._sbrk = Sbrk(system)
        self._top = self._topsize = 0
        self._dv = self._dvsize = 0  # the designated victim, which is in no bin
        self._trim_check = TRIM_THRESHOLD
        self._release_checks = MAX_RELEASE_CHECK_RATE
        self._is_contiguous = True
        self._segments: list[Segment] = []  # the newest first

    def _from_top(self, nb: int) -> int:
        """Cut a chunk from the top, or return 0."""
        if nb >= self._topsize:
            return 0
        chunk = self._top
        self._topsize -= nb
        self._top = chunk + nb
        self._bins.set_head(self._top, self._topsize | PINUSE)
        self._bins.set_head(chunk, nb | INUSE)
        return chunk

    def _is_mapped(self, chunk: int) -> bool:
        """Tell whether a chunk is a mapping of its own."""
        return not self._bins.head[chunk] & INUSE

    # ---- mappings ----

    async def _mmap_alloc(self, nb: int) -> int:
        """Map a chunk of its own; return it, or 0."""
        nr_bytes = page_up(nb + MMAP_PADDING)
        chunk = await self._system.mmap(nr_bytes)
        if chunk < 0:
            return 0
        await self._write_mapping(chunk, nr_bytes)
        return chunk

    async def _write_mapping(self, chunk: int, nr_bytes: int) -> None:
        """Write head and foot of a mapping."""
        size = nr_bytes - MMAP_FOOT_PAD
        self._bins.set_head(chunk, size)
        await store_pages(self._system, self._bins.touched)
        await self._system.write(chunk + size + SIZE_T, 2 * SIZE_T)

    async def _mmap_resize(self, chunk: int, nb: int) -> int:
        """Change the length of a mapping; return its chunk, or 0."""
        if nb < MIN_LARGE_SIZE:
            return 0
        size = self._bins.head[chunk]
        if nb + SIZE_T <= size <= nb + MMAP_SLACK:
            return chunk
        nr_bytes = page_up(nb + MMAP_PADDING)
        old_bytes = size + MMAP_FOOT_PAD
        new = await self._system.mremap(chunk, old_bytes, nr_bytes, maymove=True)
        if new < 0:
            return 0
        del self._bins.head[chunk]
        await self._write_mapping(new, nr_bytes)
        return new

    async def _munmap_chunk(self, chunk: int) -> None:
        """Unmap a mapping."""
        size = self._bins.head.pop(chunk)
        await self._system.munmap(chunk, size + MMAP_FOOT_PAD)

    # ---- the space grows ----

    async def _sys_alloc(self, nb: int) -> int:
        """Get memory from the kernel for a chunk; return it, or 0.

        Source: dlmalloc 2.8.6 malloc.c:sys_alloc
        """
        await store_pages(self._system, self._bins.touched)
        if nb >= MMAP_THRESHOLD and self._topsize:
            chunk = await self._mmap_alloc(nb)
            if chunk:
                return chunk
        base, size, is_mapped = await self._more_space(nb)
        if base == FAILED:
            return 0
        if not self._segments:
            self._segments = [Segment(base, size, is_mapped)]
            self._init_top(base, size - TOP_FOOT_SIZE)
            return self._from_top(nb)
        for segment in self._segments:
            if segment.end == base and segment.is_mapped == is_mapped and segment.holds(self._top):
                segment.size += size
                self._init_top(self._top, self._topsize + size)
                return self._from_top(nb)
        for segment in self._segments:
            if segment.base == base + size and segment.is_mapped == is_mapped:
                old_base, segment.base = segment.base, base
                segment.size += size
                return self._prepend_alloc(base, old_base, nb)
        self._add_segment(Segment(base, size, is_mapped))
        return self._from_top(nb)

    async def _more_space(self, nb: int) -> tuple[int, int, bool]:
        """Return where there is space now, how much, and whether it is mapped; or FAILED."""
        size = page_up(nb + SYS_ALLOC_PADDING)
        if self._is_contiguous:
            base, got = await self._extend(nb, size)
            if base != FAILED:
                return base, got, False
            self._is_contiguous = False
        base = await self._system.mmap(size)
        if base >= 0:
            return base, size, True
        base = await self._sbrk(size)
        end = await self._sbrk(0)
        if base != FAILED and end - base > nb + TOP_FOOT_SIZE:
            return base, end - base, False
        return FAILED, 0, False

    async def _extend(self, nb: int, size: int) -> tuple[int, int]:
        """Let the heap grow; return where the new part begins, or FAILED, and its size."""
        if not self._top:
            expected = await self._sbrk(0)
            size += page_up(expected) - expected
        else:
            segment = next(each for each in self._segments if each.holds(self._top))
            expected = segment.end
            size = page_up(nb - self._topsize + SYS_ALLOC_PADDING)
        base = await self._sbrk(size)
        if base in (expected, FAILED):
            return base, size
        # Others have moved the break: the new part must do for itself.
        if size < nb + SYS_ALLOC_PADDING:
            more = page_up(nb + SYS_ALLOC_PADDING - size)
            if await self._sbrk(more) == FAILED:
                await self._sbrk(-size)
                return FAILED, 0
            size += more
        return base, size

    def _init_top(self, chunk: int, size: int) -> None:
        """Let the top be this; behind it stands the head of a chunk that is none."""
        offset = -chunk & 15
        self._top, self._topsize = chunk + offset, size - offset
        self._bins.set_head(self._top, self._topsize | PINUSE)
        self._bins.set_head(self._top + self._topsize, TOP_FOOT_SIZE)
        self._trim_check = TRIM_THRESHOLD

    def _prepend_alloc(self, base: int, old_base: int, nb: int) -> int:
        """Take a chunk from space below a segment; the rest joins the segment's first chunk.

        Source: dlmalloc 2.8.6 malloc.c:prepend_alloc
        """
        bins, head = self._bins, self._bins.head
        chunk, first = base + (-base & 15), old_base + (-old_base & 15)
        rest, size = chunk + nb, first - chunk - nb
        bins.set_head(chunk, nb | INUSE)
        if first == self._top:
            self._topsize += size
            del head[first]
            self._top = rest
            bins.set_head(rest, self._topsize | PINUSE)
            return chunk
        if first == self._dv:
            self._dvsize += size
            self._dv, size = rest, self._dvsize
            del head[first]
        elif head[first] & INUSE == PINUSE:  # it is free
            first_size = head.pop(first) & SIZE_MASK
            bins.unlink(first, first_size)
            size += first_size
        above = rest + size
        bins.set_head(above, head[above] & ~PINUSE)
        bins.set_head(rest, size | PINUSE)
        bins.set_foot(rest, size)
        if rest != self._dv:
            bins.insert(rest, size)
        return chunk

    def _add_segment(self, new: Segment) -> None:
        """Go on in a new segment; the record of the old one and fences end the old top.

        Source: dlmalloc 2.8.6 malloc.c:add_segment
        """
        bins, old_top = self._bins, self._top
        old_end = next(each for each in self._segments if each.holds(old_top)).end
        record = old_end - (SEGMENT_CHUNK + 4 * SIZE_T + 15)
        record += -record & 15
        if record < old_top + MIN_CHUNK_SIZE:
            record = old_top
        self._init_top(new.base, new.size - TOP_FOOT_SIZE)
        bins.set_head(record, SEGMENT_CHUNK | INUSE)
        self._segments[0].record = record + 2 * SIZE_T
        self._segments.insert(0, new)
        fence = record + SEGMENT_CHUNK
        bins.set_head(fence, FENCEPOST_HEAD)
        while fence + 2 * SIZE_T < old_end:
            fence += SIZE_T
            bins.set_head(fence, FENCEPOST_HEAD)
        if record != old_top:
            size = record - old_top
            bins.set_head(record, (SEGMENT_CHUNK | CINUSE) & ~PINUSE)
            bins.set_head(old_top, size | PINUSE)
            bins.set_foot(old_top, size)
            bins.insert(old_top, size)

    # ---- the space shrinks ----

    async def _sys_trim(self) -> None:
        """Give back whole pages of the top, and segments that nothing lies in.

        Source: dlmalloc 2.8.6 malloc.c:sys_trim
        """
        if not self._segments:
            return
        released = 0
        if self._topsize > TOP_FOOT_SIZE:
            extra = page_up(self._topsize - TOP_FOOT_SIZE) - PAGE_SIZE
            segment = next(each for each in self._segments if each.holds(self._top))
            released = await self._shrink(segment, extra)
            if released:
                segment.size -= released
                self._init_top(self._top, self._topsize - released)
                await store_pages(self._system, self._bins.touched)
        released += await self._release_unused_segments()
        if not released and self._topsize > self._trim_check:
            self._trim_check = NEVER

    async def _shrink(self, segment: Segment, extra: int) -> int:
        """Give back the end of the segment of the top; return how many bytes."""
        if not segment.is_mapped:
            before = await self._sbrk(0)
            if before != segment.end:
                return 0
            await self._sbrk(-extra)
            return before - self._sbrk.curbrk
        if segment.size < extra or any(segment.holds(each.record) for each in self._segments):
            return 0
        size = segment.size - extra
        system, end = self._system, segment.base + size
        if await system.mremap(segment.base, segment.size, size, maymove=False) >= 0:
            return extra
        return 0 if await system.munmap(end, extra) else extra

    async def _release_unused_segments(self) -> int:
        """Unmap mapped segments that are one free chunk; return how many bytes.

        Source: dlmalloc 2.8.6 malloc.c:release_unused_segments
        """
        released, nr_segments = 0, len(self._segments) - 1
        for segment in self._segments[1:]:
            chunk = segment.base + (-segment.base & 15)
            head = self._bins.head.get(chunk, INUSE)
            size = head & SIZE_MASK
            if not segment.is_mapped or head & INUSE != PINUSE:
                continue
            if chunk + size < segment.end - TOP_FOOT_SIZE:
                continue
            if chunk == self._dv:
                self._dv = self._dvsize = 0
            else:
                self._bins.unlink_large(chunk)
            if await self._system.munmap(segment.base, segment.size):
                self._bins.insert(chunk, size)
                continue
            released += segment.size
            self._segments.remove(segment)
        self._release_checks = max(nr_segments, MAX_RELEASE_CHECK_RATE)
        return released
