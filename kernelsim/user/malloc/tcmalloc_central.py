"""The central free lists of gperftools' tcmalloc: one a size class, between threads and page heap.

Blocks come and go in chains; chains of the usual length wait in a transfer cache, others are taken
apart into the spans they were cut from. A span all of whose blocks are back returns to the page
heap.

Interface: `CentralCache`.
Source: gperftools 2.10 src/central_freelist.cc.
"""

from typing import Final

from kernelsim.user.malloc.protocol import System
from kernelsim.user.malloc.tcmalloc_classes import K_PAGE_SHIFT, SizeMap
from kernelsim.user.malloc.tcmalloc_memory import POINTER
from kernelsim.user.malloc.tcmalloc_page_heap import PageHeap, Span

K_MAX_NUM_TRANSFER_ENTRIES: Final = 64
FIRST_TRANSFER_ENTRIES: Final = 16
TRANSFER_BYTES_MAX: Final = 1024 * 1024  # of a class, or one chain if that is more


class _CentralFreeList:
    """Free blocks of one class.

    Attributes:
        nonempty: Spans with free blocks by start, the one to use next last.
        slots: The transfer cache: chains, each with its next block last.
        cache_size: Number of slots it may use now.
        max_cache_size: The most it may ever use.
    """

    def __init__(self, size: int, num_to_move: int) -> None:
        self.size = size
        self.num_to_move = num_to_move
        self.nonempty: dict[int, Span] = {}
        self.slots: list[list[int]] = []
        self.max_cache_size = K_MAX_NUM_TRANSFER_ENTRIES
        if size:
            self.max_cache_size = min(
                self.max_cache_size, max(1, TRANSFER_BYTES_MAX // (size * num_to_move))
            )
        self.cache_size = min(FIRST_TRANSFER_ENTRIES, self.max_cache_size)


class CentralCache:
    """The lists of all classes. A chain is a list of addresses whose last is its head."""

    def __init__(self, system: System, sizemap: SizeMap, page_heap: PageHeap) -> None:
        self._system = system
        self._sizemap = sizemap
        self._page_heap = page_heap
        self._lists = [
            _CentralFreeList(size, moved)
            for size, moved in zip(sizemap.sizes, sizemap.num_to_move, strict=True)
        ]
        self._race_counter = 0

    async def insert_range(self, cl: int, chain: list[int]) -> None:
        """Take a chain of blocks of a class."""
        central = self._lists[cl]
        if len(chain) == central.num_to_move and await self._make_cache_space(cl):
            central.slots.append(chain)
        else:
            await self._release_list_to_spans(central, chain)

    async def remove_range(self, cl: int, nr: int) -> list[int]:
        """Return a chain of at most so many blocks, empty if there is no memory."""
        central = self._lists[cl]
        if nr == central.num_to_move and central.slots:
            return central.slots.pop()
        if not central.nonempty:
            await self._populate(cl)
        chain: list[int] = []
        while len(chain) < nr and central.nonempty:
            chain += self._fetch_from_one_span(central, nr - len(chain))
        if chain:
            await self._system.write(chain[0], POINTER)  # the end of the chain
        return chain

    def _fetch_from_one_span(self, central: _CentralFreeList, nr: int) -> list[int]:
        span = central.nonempty[next(reversed(central.nonempty))]
        chain = span.objects[-nr:]
        del span.objects[-nr:]
        span.refcount += len(chain)
        if not span.objects:
            del central.nonempty[span.start]
        return chain

    async def _populate(self, cl: int) -> None:
        """Cut a new span into blocks, each of which links to the next."""
        central = self._lists[cl]
        span = await self._page_heap.new(self._sizemap.span_pages[cl])
        if span is None:
            return
        self._page_heap.register_size_class(span, cl)
        start, size = span.start << K_PAGE_SHIFT, central.size
        end = start + (span.length << K_PAGE_SHIFT)
        span.objects = list(range(start, end - size + 1, size))
        for block in span.objects:
            await self._system.write(block, POINTER)
        span.objects.reverse()
        span.refcount = 0
        central.nonempty[span.start] = span

    async def _release_list_to_spans(self, central: _CentralFreeList, chain: list[int]) -> None:
        for block in reversed(chain):
            span = self._page_heap.pagemap[block >> K_PAGE_SHIFT]
            if not span.objects:
                central.nonempty[span.start] = span
            span.refcount -= 1
            if span.refcount:
                await self._system.write(block, POINTER)
                span.objects.append(block)
            else:
                del central.nonempty[span.start]
                span.objects = []
                await self._page_heap.delete(span)

    # ---- the transfer cache ----

    async def _make_cache_space(self, cl: int) -> bool:
        """Tell whether there is room for a chain, if need be at the cost of another class."""
        central = self._lists[cl]
        if len(central.slots) < central.cache_size:
            return True
        if central.cache_size == central.max_cache_size:
            return False
        if await self._evict_random_size_class(cl, force=False) or (
            await self._evict_random_size_class(cl, force=True)
        ):
            central.cache_size += 1
            return True
        return False

    async def _evict_random_size_class(self, locked: int, *, force: bool) -> bool:
        """Take a slot from the class whose turn it is."""
        turn = self._race_counter
        self._race_counter = (turn + 1) % len(self._lists)
        if turn == locked:
            return False
        victim = self._lists[turn]
        full = len(victim.slots) == victim.cache_size
        if victim.cache_size == 0 or (full and not force):
            return False
        victim.cache_size -= 1
        if full:
            await self._release_list_to_spans(victim, victim.slots.pop())
        return True
