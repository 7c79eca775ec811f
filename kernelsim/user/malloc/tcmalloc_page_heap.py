"""The page heap of gperftools' tcmalloc: spans of pages of 8 KiB, cut, joined, grown.

Free spans up to 128 pages are kept by length, the last one freed first; longer ones best fit. They
join with free neighbours at once. Memory goes back to the kernel (madvise) only at a rate: one
span for every so many pages freed, the first after 2 GiB of them.

Interface: `PageHeap`, `Span`.
Source: gperftools 2.10 src/page_heap.cc, src/span.h, src/pagemap.h (TCMalloc_PageMap2).
"""

from bisect import bisect_left, bisect_right, insort
from enum import IntEnum
from typing import Final

from kernelsim.user.malloc.protocol import System
from kernelsim.user.malloc.tcmalloc_classes import K_PAGE_SHIFT, K_PAGE_SIZE
from kernelsim.user.malloc.tcmalloc_memory import Metadata, Pool, SystemAlloc

K_MAX_PAGES: Final = 1 << (20 - K_PAGE_SHIFT)  # longer free spans are not listed by length
K_MIN_SYSTEM_ALLOC: Final = K_MAX_PAGES  # the heap grows by at least so many pages
K_MAX_RELEASE_DELAY: Final = 1 << 20
K_DEFAULT_RELEASE_DELAY: Final = 1 << 18
RELEASE_WAIT: Final = 1000  # pages freed for each page released, at TCMALLOC_RELEASE_RATE 1
K_FORCED_COALESCE_INTERVAL: Final = 128 * 1024 * 1024
LEAF_SHIFT: Final = (48 - K_PAGE_SHIFT + 1) // 2  # pages that one leaf of the page map covers
LEAF_BYTES: Final = 8 << LEAF_SHIFT
SPAN_BYTES: Final = 48
SET_NODE_BYTES: Final = 48  # of a std::set: colour, three links, span and its length
STACK_TRACE_BYTES: Final = 264


class Location(IntEnum):
    """Where a span is: in use, free, or free with its pages given back."""

    IN_USE = 0
    ON_NORMAL_FREELIST = 1
    ON_RETURNED_FREELIST = 2


class Span:
    """A run of pages.

    Attributes:
        start: Its first page.
        length: Number of pages.
        address: Of the span's own record.
        node: Of its node in the set of long free spans.
        location: In use or free.
        sizeclass: Class of the blocks cut from it; 0 if it is a block itself.
        objects: Free blocks, the next one last.
        refcount: Blocks that are not free.
    """

    __slots__ = (
        "address",
        "length",
        "location",
        "node",
        "objects",
        "refcount",
        "sizeclass",
        "start",
    )

    def __init__(self, start: int, length: int, address: int) -> None:
        self.start = start
        self.length = length
        self.address = address
        self.node = 0
        self.location = Location.IN_USE
        self.sizeclass = 0
        self.objects: list[int] = []
        self.refcount = 0


class PageHeap:
    """All spans.

    Attributes:
        pagemap: Page -> span: of a span's first and last page, of each if blocks are cut from it.
    """

    def __init__(self, system: System, system_alloc: SystemAlloc, metadata: Metadata) -> None:
        self._system = system
        self._system_alloc = system_alloc
        self._metadata = metadata
        self.pagemap: dict[int, Span] = {}
        self._leaves: list[int] = []
        self._spans = Pool(system, metadata, SPAN_BYTES)
        self._stack_traces = Pool(system, metadata, STACK_TRACE_BYTES)
        self._set_nodes: Pool | None = None
        # By location, then by length: spans by their start, in the order in which they came.
        self._lists: dict[int, list[dict[int, Span]]] = {
            location: [{} for _ in range(K_MAX_PAGES + 1)]
            for location in (Location.ON_NORMAL_FREELIST, Location.ON_RETURNED_FREELIST)
        }
        self._large: dict[int, list[tuple[int, int]]] = {location: [] for location in self._lists}
        self._free_pages = dict.fromkeys(self._lists, 0)
        self._system_bytes = 0
        # The rate is read before its own constructor ran when the heap first grows, as 0.
        self._scavenge_counter = K_DEFAULT_RELEASE_DELAY
        self._release_index = K_MAX_PAGES

    async def start(self) -> None:
        """Reserve the first memory of its tables (Static::InitStaticVars)."""
        await self._spans.reserve()
        for _ in range(2):  # "reduce cache conflicts"
            await self._spans.new()
        await self._stack_traces.reserve()

    # ---- a span is asked for ----

    async def new(self, nr_pages: int) -> Span | None:
        """Return a span of so many pages, in use; None if there is no memory."""
        span = await self._search(nr_pages)
        if span is None and self._wants_coalescing(nr_pages):
            await self._release_at_least(1 << 31)
            span = await self._search(nr_pages)
        if span is None and await self._grow(nr_pages):
            span = await self._search(nr_pages)
        return span

    async def _search(self, nr_pages: int) -> Span | None:
        normal = self._lists[Location.ON_NORMAL_FREELIST]
        returned = self._lists[Location.ON_RETURNED_FREELIST]
        for length in range(nr_pages, K_MAX_PAGES + 1):
            spans = normal[length] or returned[length]
            if spans:
                return await self._carve(spans[next(reversed(spans))], nr_pages)
        fits = [
            large[place]
            for large in self._large.values()
            if (place := bisect_right(large, (nr_pages, 0))) < len(large)
        ]
        return await self._carve(self.pagemap[min(fits)[1]], nr_pages) if fits else None

    async def _carve(self, span: Span, nr_pages: int) -> Span:
        """Take a free span; what is too much of it stays free."""
        location = span.location
        await self._remove_from_free_list(span)
        span.location = Location.IN_USE
        if span.length > nr_pages:
            rest = await self._new_span(span.start + nr_pages, span.length - nr_pages)
            rest.location = location
            self._record(rest)
            await self._prepend_to_free_list(rest)
            span.length = nr_pages
            self._record(span)
        return span

    def register_size_class(self, span: Span, sizeclass: int) -> None:
        """Blocks will be cut from it: let each of its pages lead to it."""
        span.sizeclass = sizeclass
        for page in range(span.start, span.start + span.length):
            self.pagemap[page] = span

    # ---- a span is free ----

    async def delete(self, span: Span) -> None:
        """Take a span back; now and then give one to the kernel."""
        nr_pages = span.length
        span.sizeclass = 0
        span.location = Location.ON_NORMAL_FREELIST
        await self._merge_into_free_list(span)
        self._scavenge_counter -= nr_pages
        if self._scavenge_counter < 0:
            released = await self._release_at_least(1)
            self._scavenge_counter = (
                min(RELEASE_WAIT * released, K_MAX_RELEASE_DELAY)
                if released
                else K_DEFAULT_RELEASE_DELAY
            )

    async def _merge_into_free_list(self, span: Span) -> None:
        before = self.pagemap.get(span.start - 1)
        if before is not None and before.location == span.location:
            await self._remove_from_free_list(before)
            await self._spans.delete(before.address)
            span.start -= before.length
            span.length += before.length
        after = self.pagemap.get(span.start + span.length)
        if after is not None and after.location == span.location:
            await self._remove_from_free_list(after)
            await self._spans.delete(after.address)
            span.length += after.length
        self._record(span)
        await self._prepend_to_free_list(span)

    async def _prepend_to_free_list(self, span: Span) -> None:
        self._free_pages[span.location] += span.length
        if span.length <= K_MAX_PAGES:
            self._lists[span.location][span.length][span.start] = span
            return
        if self._set_nodes is None:
            self._set_nodes = Pool(self._system, self._metadata, SET_NODE_BYTES)
            await self._set_nodes.reserve()
        span.node = await self._set_nodes.new()
        await self._system.write(span.node, SET_NODE_BYTES)
        insort(self._large[span.location], (span.length, span.start))

    async def _remove_from_free_list(self, span: Span) -> None:
        self._free_pages[span.location] -= span.length
        if span.length <= K_MAX_PAGES:
            del self._lists[span.location][span.length][span.start]
            return
        large = self._large[span.location]
        del large[bisect_left(large, (span.length, span.start))]
        assert self._set_nodes is not None
        await self._set_nodes.delete(span.node)

    # ---- memory goes back to the kernel ----

    def _wants_coalescing(self, nr_pages: int) -> bool:
        """Tell whether to give back all that is free before the heap grows.

        Free and returned spans do not join; when there are many of both, a long enough run may be
        hidden among them. At most once every 128 MiB of growth.
        """
        free, returned = self._free_pages.values()
        grown = self._system_bytes + nr_pages * K_PAGE_SIZE
        return (
            free > 0
            and returned > 0
            and (free + returned) * K_PAGE_SIZE >= self._system_bytes // 4
            and self._system_bytes // K_FORCED_COALESCE_INTERVAL
            != grown // K_FORCED_COALESCE_INTERVAL
        )

    async def _release_at_least(self, nr_pages: int) -> int:
        """Give spans back, from one length after the other; return how many pages."""
        released = 0
        while released < nr_pages and self._free_pages[Location.ON_NORMAL_FREELIST]:
            for _ in range(K_MAX_PAGES + 1):
                if released >= nr_pages:
                    break
                span = self._oldest(self._release_index)
                self._release_index = (self._release_index + 1) % (K_MAX_PAGES + 1)
                if span is not None:
                    released += span.length
                    await self._release(span)
        return released

    def _oldest(self, index: int) -> Span | None:
        if index == K_MAX_PAGES:
            large = self._large[Location.ON_NORMAL_FREELIST]
            return self.pagemap[large[0][1]] if large else None
        spans = self._lists[Location.ON_NORMAL_FREELIST][index + 1]
        return next(iter(spans.values())) if spans else None

    async def _release(self, span: Span) -> None:
        await self._system.madvise(
            span.start << K_PAGE_SHIFT, span.length << K_PAGE_SHIFT, "dontneed"
        )
        await self._remove_from_free_list(span)
        span.location = Location.ON_RETURNED_FREELIST
        await self._merge_into_free_list(span)

    # ---- it grows ----

    async def _grow(self, nr_pages: int) -> bool:
        ask = max(nr_pages, K_MIN_SYSTEM_ALLOC)
        start = await self._system_alloc.alloc(ask << K_PAGE_SHIFT, K_PAGE_SIZE)
        if not start and nr_pages < ask:
            ask = nr_pages
            start = await self._system_alloc.alloc(ask << K_PAGE_SHIFT, K_PAGE_SIZE)
        if not start:
            return False
        trace = await self._stack_traces.new()  # who made it grow (RecordGrowth)
        await self._system.write(trace, STACK_TRACE_BYTES)
        self._system_bytes += ask << K_PAGE_SHIFT
        first = start >> K_PAGE_SHIFT
        if not await self._ensure(first - 1, ask + 2):
            return False
        span = await self._new_span(first, ask)
        self._record(span)
        await self.delete(span)
        return True

    async def _ensure(self, first: int, nr_pages: int) -> bool:
        """Give the page map leaves for pages; a new one is cleared whole."""
        for leaf in range(first >> LEAF_SHIFT, ((first + nr_pages - 1) >> LEAF_SHIFT) + 1):
            if leaf not in self._leaves:
                address = await self._metadata.alloc(LEAF_BYTES)
                if not address:
                    return False
                await self._system.write(address, LEAF_BYTES)
                self._leaves.append(leaf)
        return True

    async def _new_span(self, start: int, length: int) -> Span:
        address = await self._spans.new()
        await self._system.write(address, SPAN_BYTES)
        return Span(start, length, address)

    def _record(self, span: Span) -> None:
        self.pagemap[span.start] = span
        self.pagemap[span.start + span.length - 1] = span
