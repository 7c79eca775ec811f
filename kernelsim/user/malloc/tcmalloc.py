"""gperftools' tcmalloc 2.10 (`tcmalloc_minimal`), for a program of one thread.

Blocks up to 256 KiB are of about 90 sizes, cut from spans of pages and cached in lists of the
thread, whose lengths follow what the program does; larger ones are spans themselves. The page heap
grows by brk, 1 MiB or more at a time, and seldom gives anything back.

Interface: `TcMalloc`.
Source: gperftools 2.10 src/thread_cache.cc, src/tcmalloc.cc.
"""

from typing import Final

from kernelsim.user.malloc.protocol import System
from kernelsim.user.malloc.tcmalloc_central import CentralCache
from kernelsim.user.malloc.tcmalloc_classes import (
    K_MAX_SIZE,
    K_MAX_SMALL_SIZE,
    K_PAGE_SHIFT,
    K_PAGE_SIZE,
    SizeMap,
    class_index,
)
from kernelsim.user.malloc.tcmalloc_memory import POINTER, Metadata, Pool, SystemAlloc
from kernelsim.user.malloc.tcmalloc_page_heap import PageHeap

OVERALL_THREAD_CACHE_SIZE: Final = 32 << 20  # TCMALLOC_MAX_TOTAL_THREAD_CACHE_BYTES
K_STEAL_AMOUNT: Final = 1 << 16  # a cache may grow by so much each time it is scavenged
K_MAX_DYNAMIC_FREE_LIST_LENGTH: Final = 8192
K_MAX_OVERAGES: Final = 3
THREAD_CACHE_BYTES: Final = 4160
SIZE_MAX: Final = (1 << 64) - 1
EXTENSION_BYTES: Final = (8, 16)  # MallocExtension's default instance and tcmalloc's own


class _FreeList:
    """Free blocks of one class in the thread's cache.

    Attributes:
        objects: Their addresses, the next one last.
        lowater: The shortest it was since the last scavenge.
        max_length: Longer, it gives a batch to the central list.
        overages: How often it was longer since max_length last shrank.
    """

    __slots__ = ("batch", "cl", "lowater", "max_length", "objects", "overages", "size")

    def __init__(self, cl: int, size: int, batch: int) -> None:
        self.cl = cl
        self.size = size
        self.batch = batch
        self.objects: list[int] = []
        self.lowater = 0
        self.max_length = 1
        self.overages = 0


class TcMalloc:
    """One process's heap. Addresses are 0 for NULL."""

    def __init__(self, system: System) -> None:
        self._system = system
        system_alloc = SystemAlloc(system)
        metadata = Metadata(system_alloc)
        self._sizemap = SizeMap()
        self._page_heap = PageHeap(system, system_alloc, metadata)
        self._pagemap = self._page_heap.pagemap
        self._central = CentralCache(system, self._sizemap, self._page_heap)
        self._thread_caches = Pool(system, metadata, THREAD_CACHE_BYTES)
        self._class_of = self._sizemap.class_of
        self._lists: list[_FreeList] = []
        self._started = False
        self._size = 0  # bytes in the lists
        self._max_size = 0
        self._unclaimed_cache_space = OVERALL_THREAD_CACHE_SIZE

    async def _first_malloc(self, nr_bytes: int) -> int:
        """Set everything up for the first request, which comes before its own constructor.

        Thread-local data is ready only in the midst of that: what is freed before goes to the
        central lists, and the thread gets another cache then. The first one stays behind.
        """
        self._started = True
        await self._page_heap.start()
        await self._thread_caches.reserve()
        await self._new_thread_cache()
        block = await self.malloc(nr_bytes)
        early = await self.malloc(1)
        if early:
            await self._central.insert_range(self._class_of[1], [early])
        await self._new_thread_cache()
        await self.free(await self.malloc(1))
        for extension in EXTENSION_BYTES:
            await self.malloc(extension)
        return block

    async def _new_thread_cache(self) -> None:
        await self._system.write(await self._thread_caches.new(), THREAD_CACHE_BYTES)
        self._lists = [
            _FreeList(cl, size, self._sizemap.num_to_move[cl])
            for cl, size in enumerate(self._sizemap.sizes)
        ]
        self._size = 0
        self._max_size = K_STEAL_AMOUNT
        self._unclaimed_cache_space -= K_STEAL_AMOUNT

    async def malloc(self, nr_bytes: int) -> int:
        """Return a block of at least so many bytes; 0 if there is no memory."""
        if not self._started:
            return await self._first_malloc(nr_bytes)
        if nr_bytes <= K_MAX_SMALL_SIZE:
            free_list = self._lists[self._class_of[(nr_bytes + 7) >> 3]]
        elif nr_bytes <= K_MAX_SIZE:
            free_list = self._lists[self._class_of[class_index(nr_bytes)]]
        else:
            span = await self._page_heap.new(_pages(nr_bytes))
            return span.start << K_PAGE_SHIFT if span else 0
        objects = free_list.objects
        if not objects:
            return await self._fetch_from_central_cache(free_list)
        block = objects.pop()
        await self._system.read(block, POINTER)  # its link to the next
        if len(objects) < free_list.lowater:  # noqa: PLR1730 - the fast path
            free_list.lowater = len(objects)
        self._size -= free_list.size
        return block

    async def calloc(self, nr: int, nr_bytes: int) -> int:
        """Return a block that reads as zeros: all of it is cleared by writing."""
        block = await self.malloc(nr * nr_bytes) if nr * nr_bytes <= SIZE_MAX else 0
        if block:
            await self._system.write(block, self.usable_size(block))
        return block

    async def realloc(self, address: int, nr_bytes: int) -> int:
        """Change the size of a block; return it, or 0 if it was freed or there is no memory.

        It moves when it grows out of its class or needs less than half of it; when it grows by
        less than a quarter, it gets a quarter more.
        """
        if not address:
            return await self.malloc(nr_bytes)
        if not nr_bytes:
            await self.free(address)
            return 0
        old = self.usable_size(address)
        if old // 2 <= nr_bytes <= old:
            return address
        block = 0
        if old < nr_bytes < old + old // 4:
            block = await self.malloc(old + old // 4)
        block = block or await self.malloc(nr_bytes)
        if block:
            await self._system.read(address, min(old, nr_bytes))
            await self._system.write(block, min(old, nr_bytes))
            await self.free(address)
        return block

    async def free(self, address: int) -> None:
        """Take a block back; 0 is none."""
        if not address:
            return
        span = self._pagemap[address >> K_PAGE_SHIFT]
        if not span.sizeclass:
            await self._page_heap.delete(span)
            return
        free_list = self._lists[span.sizeclass]
        objects = free_list.objects
        await self._system.write(address, POINTER)
        objects.append(address)
        self._size += free_list.size
        if len(objects) > free_list.max_length:
            await self._list_too_long(free_list)
        if self._size > self._max_size:
            await self._scavenge()

    async def trim(self) -> None:
        """Do nothing: malloc_trim(0) is not among its functions."""

    def usable_size(self, address: int) -> int:
        """Return how many bytes of a block may be used: those of its class or its pages."""
        span = self._pagemap[address >> K_PAGE_SHIFT]
        if span.sizeclass:
            return self._sizemap.sizes[span.sizeclass]
        return span.length << K_PAGE_SHIFT

    # ---- between the thread's lists and the central ones ----

    async def _fetch_from_central_cache(self, free_list: _FreeList) -> int:
        """Fill an empty list by its length or a batch, and let it be longer next time."""
        batch = free_list.batch
        chain = await self._central.remove_range(free_list.cl, min(free_list.max_length, batch))
        if not chain:
            return 0
        block = chain.pop()
        free_list.objects += chain
        self._size += free_list.size * len(chain)
        if free_list.max_length < batch:
            free_list.max_length += 1
        else:
            longer = min(free_list.max_length + batch, K_MAX_DYNAMIC_FREE_LIST_LENGTH)
            free_list.max_length = longer - longer % batch
        return block

    async def _list_too_long(self, free_list: _FreeList) -> None:
        """Give a batch to the central list; let max_length come near to one batch."""
        batch = free_list.batch
        await self._release_to_central_cache(free_list, batch)
        if free_list.max_length < batch:
            free_list.max_length += 1
        elif free_list.max_length > batch:
            free_list.overages += 1
            if free_list.overages > K_MAX_OVERAGES:
                free_list.max_length -= batch
                free_list.overages = 0

    async def _release_to_central_cache(self, free_list: _FreeList, nr: int) -> None:
        objects = free_list.objects
        nr = min(nr, len(objects))
        self._size -= nr * free_list.size
        while nr:
            step = min(nr, free_list.batch)
            chain = objects[-step:]
            del objects[-step:]
            await self._central.insert_range(free_list.cl, chain)
            nr -= step
        free_list.lowater = min(free_list.lowater, len(objects))

    async def _scavenge(self) -> None:
        """Give half of what no list needed since last time; then the cache may be larger."""
        for free_list in self._lists:
            low = free_list.lowater
            if low > 0:
                await self._release_to_central_cache(free_list, low // 2 or 1)
                if free_list.max_length > free_list.batch:
                    free_list.max_length = max(
                        free_list.max_length - free_list.batch, free_list.batch
                    )
            free_list.lowater = len(free_list.objects)
        if self._unclaimed_cache_space > 0:
            self._unclaimed_cache_space -= K_STEAL_AMOUNT
            self._max_size += K_STEAL_AMOUNT


def _pages(nr_bytes: int) -> int:
    return -(-nr_bytes // K_PAGE_SIZE)
