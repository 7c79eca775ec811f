"""jemalloc 5.3, for a program of one thread.

Blocks up to 32 KiB are cached by the thread: a stack of each size, filled from an arena and flushed
to it by halves, and tended a little for each 64 KiB allocated or freed. Blocks from 8 MiB on have
an arena of their own, which gives their pages back at once. Unlike the real one it does not turn to
the heap where no mapping can be made.

Interface: `JeMalloc`.
Source: jemalloc 5.3.0 src/jemalloc.c, src/tcache.c, cache_bin.h, src/thread_event.c.
"""

from enum import IntEnum
from typing import Final

from kernelsim.user.malloc.jemalloc_arena import Arena, Thread
from kernelsim.user.malloc.jemalloc_base import CACHELINE, Base, Emap
from kernelsim.user.malloc.jemalloc_classes import (
    LARGE_MAXCLASS,
    NBINS,
    NCACHED_MAX,
    NHBINS,
    PAGE,
    PAGE_SHIFT,
    SIZES,
    SMALL_INDEX,
    SMALL_MAXCLASS,
    size2index,
)
from kernelsim.user.malloc.jemalloc_extents import OVERSIZE_THRESHOLD, Edata
from kernelsim.user.malloc.protocol import System

DIRTY_DECAY_MS: Final = 10_000
TCACHE_GC_INCR_BYTES: Final = 65_536
POINTER: Final = 8
BIN_INFO_BYTES: Final = 2  # cache_bin_info_t
DEFAULT_NUM_BACKGROUND_THREAD: Final = 4
BACKGROUND_THREAD_INFO_BYTES: Final = 208  # background_thread_info_t
# Where the first thread's data lies: the seed of its random numbers. Without address randomisation
# that depends on the libraries of the program only. Found from where the 7666 recorded blocks of
# malloc_replay start in their pages; for another program any number is as good.
TSD_ADDRESS: Final = 0x7FFFF7F8F738


class _State(IntEnum):
    NEW = 0
    READY = 1
    FAILED = 2


class _CacheBin:
    """Blocks of one class in the thread's cache.

    Attributes:
        blocks: Their addresses, the next one last.
        low_water: The fewest there were since it was last tended.
        ncached_max: The most it holds.
        empty: Address of its stack's end; blocks are noted below it.
        lg_fill_div: It is filled with the most, divided by two so often.
        refilled: It was filled since it was last tended.
    """

    __slots__ = (
        "blocks",
        "empty",
        "lg_fill_div",
        "low_water",
        "ncached_max",
        "refilled",
        "szind",
    )

    def __init__(self, szind: int) -> None:
        self.szind = szind
        self.blocks: list[int] = []
        self.low_water = 0
        self.ncached_max = NCACHED_MAX[szind]
        self.empty = 0
        self.lg_fill_div = 1
        self.refilled = False


class JeMalloc:
    """One process's heap. Addresses are 0 for NULL."""

    def __init__(self, system: System) -> None:
        self._system = system
        self._base = Base(system)
        self._emap: Emap[Edata] = Emap(system, self._base)
        self._extents = self._emap.of
        self._thread = Thread(TSD_ADDRESS)
        self._arena = Arena(system, self._base, self._emap, self._thread, DIRTY_DECAY_MS)
        self._huge: Arena | None = None
        self._bins = [_CacheBin(szind) for szind in range(NHBINS)]
        self._state = _State.NEW
        self._next_gc_bin = 0
        self._to_alloc_event = TCACHE_GC_INCR_BYTES
        self._to_dalloc_event = TCACHE_GC_INCR_BYTES

    async def _start(self) -> bool:
        """Set everything up at the first request; return whether that worked, now or before."""
        if self._state != _State.NEW:
            return self._state == _State.READY
        self._state = _State.FAILED
        await self._probe()
        if await self._base.start():
            await self._system.brk(0)  # where the heap is, in case mappings fail
            await self._base.alloc(NHBINS * BIN_INFO_BYTES, CACHELINE)
            if (
                await self._arena.start()
                and await self._start_tcache()
                and await self._start_background_threads()
            ):
                self._state = _State.READY
        return self._state == _State.READY

    async def _probe(self) -> None:
        """Try what madvise does (pages_boot): does dontneed leave zeros, is there free?"""
        for advice in ("dontneed", "free"):
            page = await self._system.mmap(PAGE, noreserve=advice == "free")
            if page < 0:
                continue
            if advice == "dontneed":
                await self._system.write(page, PAGE)
            await self._system.madvise(page, PAGE, advice)
            if advice == "dontneed":
                await self._system.read(page, PAGE)
            await self._system.munmap(page, PAGE)

    async def _start_tcache(self) -> bool:
        """Get the stacks of the thread's cache, one after the other, with a word around."""
        nr_bytes = POINTER * (2 + sum(NCACHED_MAX))
        stack = await self._arena.internal_malloc(-(-nr_bytes // PAGE) * PAGE)
        if not stack:
            return False
        await self._system.write(stack, POINTER)
        place = stack + POINTER
        for cache_bin in self._bins:
            place += POINTER * cache_bin.ncached_max
            cache_bin.empty = place
        await self._system.write(place, POINTER)
        return True

    async def _start_background_threads(self) -> bool:
        """Make their records, though none will start (background_thread_boot1)."""
        nr_bytes = DEFAULT_NUM_BACKGROUND_THREAD * BACKGROUND_THREAD_INFO_BYTES
        records = await self._base.alloc(nr_bytes, CACHELINE)
        if records:
            await self._system.write(records, nr_bytes)
        return records != 0

    # ---- malloc and its kin ----

    async def malloc(self, nr_bytes: int) -> int:
        """Return a block of at least so many bytes; 0 if there is no memory."""
        if self._state != _State.READY and not await self._start():
            return 0
        if nr_bytes <= SMALL_MAXCLASS:
            szind = SMALL_INDEX[(nr_bytes + 7) >> 3]
            block = await self._tcache_alloc(self._bins[szind])
        else:
            szind = size2index(nr_bytes)
            block = await self._large_alloc(szind, nr_bytes, zero=False)
        if block:
            await self._count_alloc(SIZES[szind])
        return block

    async def calloc(self, nr: int, nr_bytes: int) -> int:
        """Return a block that reads as zeros.

        What comes from the thread's cache is cleared by writing; of an extent that was in use the
        kernel drops the pages.
        """
        size = nr * nr_bytes
        if size > LARGE_MAXCLASS or (self._state != _State.READY and not await self._start()):
            return 0
        szind = size2index(size)
        if szind < NBINS:
            block = await self._tcache_alloc(self._bins[szind])
            if block:
                await self._system.write(block, SIZES[szind])
        else:
            block = await self._large_alloc(szind, size, zero=True)
        if block:
            await self._count_alloc(SIZES[szind])
        return block

    async def realloc(self, address: int, nr_bytes: int) -> int:
        """Change the size of a block; return it, or 0 if it was freed or there is no memory.

        It stays within its class; a large one may grow into what is free behind it, or shrink.
        """
        if not address:
            return await self.malloc(nr_bytes)
        if not nr_bytes:
            await self.free(address)
            return 0
        if nr_bytes > LARGE_MAXCLASS:
            return 0
        edata = self._extents[address >> PAGE_SHIFT]
        old, szind = edata.szind, size2index(nr_bytes)
        block = address
        if old >= NBINS <= szind:
            if not await self._arena_of(edata).large_ralloc_no_move(edata, szind):
                block = await self._move(address, old, szind)
        elif szind != old:
            block = await self._move(address, old, szind)
        else:
            await self._arena.ticks(1)
        if block:
            await self._count_alloc(SIZES[szind])
            await self._count_dalloc(SIZES[old])
        return block

    async def _move(self, address: int, old: int, szind: int) -> int:
        if szind < NBINS:
            block = await self._tcache_alloc(self._bins[szind])
        else:
            block = await self._large_alloc(szind, SIZES[szind], zero=False, cached=old < NBINS)
        if block:
            kept = SIZES[min(old, szind)]
            await self._system.read(address, kept)
            await self._system.write(block, kept)
            await self._dalloc(address)
        return block

    async def free(self, address: int) -> None:
        """Take a block back; 0 is none."""
        if address:
            await self._count_dalloc(await self._dalloc(address))

    async def trim(self) -> None:
        """Do nothing: malloc_trim(0) is not among its functions."""

    def usable_size(self, address: int) -> int:
        """Return how many bytes of a block may be used: those of its class."""
        return SIZES[self._extents[address >> PAGE_SHIFT].szind]

    # ---- arenas ----

    def _arena_of(self, edata: Edata) -> Arena:
        huge = self._huge
        return huge if huge is not None and edata.pac is huge.pac else self._arena

    async def _large_alloc(
        self, szind: int, nr_bytes: int, *, zero: bool, cached: bool = True
    ) -> int:
        """Return a large block; whether it is huge is decided by the request, not its class."""
        if szind >= len(SIZES):
            return 0
        if szind < NHBINS and cached:
            cache_bin = self._bins[szind]
            if cache_bin.blocks:
                block = await self._pop(cache_bin)
                if zero:
                    await self._system.write(block, SIZES[szind])
                return block
            await self._system.read(cache_bin.empty, POINTER)
        if nr_bytes < OVERSIZE_THRESHOLD:
            return await self._arena.large_malloc(szind, zero=zero)
        if self._huge is None and not await self._start_huge():
            return 0
        assert self._huge is not None
        return await self._huge.large_malloc(szind, zero=zero)

    async def _start_huge(self) -> bool:
        base = Base(self._system)
        huge = Arena(self._system, base, self._emap, self._thread, 0)
        if not await base.start() or not await huge.start():
            return False
        self._huge = huge
        return True

    # ---- the thread's cache ----

    async def _tcache_alloc(self, cache_bin: _CacheBin) -> int:
        """Return a small block, after a refill if need be."""
        if cache_bin.blocks:
            return await self._pop(cache_bin)
        await self._system.read(cache_bin.empty, POINTER)  # it looks before it knows
        nfill = cache_bin.ncached_max >> cache_bin.lg_fill_div
        blocks = await self._arena.fill_small(cache_bin.szind, nfill)
        cache_bin.refilled = True
        if not blocks:
            return 0
        nr_bytes = POINTER * len(blocks)
        await self._system.write(cache_bin.empty - nr_bytes, nr_bytes)
        blocks.reverse()
        cache_bin.blocks = blocks
        return await self._pop(cache_bin)

    async def _pop(self, cache_bin: _CacheBin) -> int:
        blocks = cache_bin.blocks
        await self._system.read(cache_bin.empty - POINTER * len(blocks), POINTER)
        block = blocks.pop()
        cache_bin.low_water = min(cache_bin.low_water, len(blocks))
        return block

    async def _dalloc(self, address: int) -> int:
        """Take a block back; return its usable size."""
        edata = self._extents[address >> PAGE_SHIFT]
        szind = edata.szind
        if szind < NHBINS:
            cache_bin = self._bins[szind]
            blocks = cache_bin.blocks
            if len(blocks) == cache_bin.ncached_max:
                await self._flush(cache_bin, cache_bin.ncached_max >> 1)
            blocks.append(address)
            await self._system.write(cache_bin.empty - POINTER * len(blocks), POINTER)
        else:
            await self._arena_of(edata).large_dalloc(edata)
        return SIZES[szind]

    async def _flush(self, cache_bin: _CacheBin, remain: int) -> None:
        """Give the oldest blocks to the arena."""
        nflush = len(cache_bin.blocks) - remain
        flushed = cache_bin.blocks[:nflush]
        del cache_bin.blocks[:nflush]
        cache_bin.low_water = min(cache_bin.low_water, remain)
        flushed.reverse()
        if cache_bin.szind < NBINS:
            await self._arena.flush_small(cache_bin.szind, flushed)
        else:
            await self._arena.flush_large(flushed)

    async def _count_alloc(self, usize: int) -> None:
        self._to_alloc_event -= usize
        if self._to_alloc_event <= 0:
            self._to_alloc_event = TCACHE_GC_INCR_BYTES
            await self._tcache_event()

    async def _count_dalloc(self, usize: int) -> None:
        self._to_dalloc_event -= usize
        if self._to_dalloc_event <= 0:
            self._to_dalloc_event = TCACHE_GC_INCR_BYTES
            await self._tcache_event()

    async def _tcache_event(self) -> None:
        """Tend the next class: flush three quarters of what nobody needed, or fill it more."""
        cache_bin = self._bins[self._next_gc_bin]
        self._next_gc_bin = (self._next_gc_bin + 1) % NHBINS
        low = cache_bin.low_water
        small = cache_bin.szind < NBINS
        if low > 0:
            await self._flush(cache_bin, len(cache_bin.blocks) - low + (low >> 2))
            if small and cache_bin.ncached_max >> (cache_bin.lg_fill_div + 1) >= 1:
                cache_bin.lg_fill_div += 1
        elif small and cache_bin.refilled:
            if cache_bin.lg_fill_div > 1:
                cache_bin.lg_fill_div -= 1
            cache_bin.refilled = False
        cache_bin.low_water = len(cache_bin.blocks)
