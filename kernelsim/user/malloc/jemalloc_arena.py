"""An arena of jemalloc: bins of slabs for small blocks, extents for large ones.

A bin takes blocks from its current slab, the lowest first, then from the oldest slab that has
some; a slab all of whose blocks are back is freed at once. A large block starts at a random step
of 64 bytes in the first page of its extent, so that not all large blocks share cache sets.

Interface: `Arena`, `Thread`.
Source: jemalloc 5.3.0 src/arena.c, src/large.c, ticker.h, src/ticker.c.
"""

from bisect import bisect_left, insort
from heapq import heappop, heappush
from typing import Final

from kernelsim.user.malloc.jemalloc_base import CACHELINE, Base, Emap, Prng
from kernelsim.user.malloc.jemalloc_classes import (
    LARGE_PAD,
    NBINS,
    NREGS,
    PAGE_SHIFT,
    SIZES,
    SLAB_SIZES,
    size2index,
)
from kernelsim.user.malloc.jemalloc_decay import Decay
from kernelsim.user.malloc.jemalloc_extents import Edata, Pac
from kernelsim.user.malloc.protocol import System

# Layout of an arena in Debian's libjemalloc2 5.3.0-1, read off its arena_new, pa_shard_init and
# pac_init. Most statistics, and the caches of huge pages that are not used, are never written.
ARENA_BYTES: Final = 78_952  # arena_t, without its bins
BIN_BYTES: Final = 224
STATS_USED: Final = 192
STATS_END: Final = 0x2898
DECAY_DIRTY: Final = 0x10EC8
HPA_START: Final = 0x11CD0
HPA_END: Final = 0x13398
STEP_BITS: Final = 6  # a large block starts at one of 64 places
ARENA_DECAY_NTICKS_PER_UPDATE: Final = 1000
TICKER_GEOM_NBITS: Final = 6
TICKER_GEOM_MUL: Final = 61
# -log(u) at 64 places, so many of TICKER_GEOM_MUL (src/ticker.py)
TICKER_GEOM_TABLE: Final = (
    *(254, 211, 187, 169, 156, 144, 135, 127, 120, 113, 107, 102, 97, 93, 89, 85),
    *(81, 77, 74, 71, 68, 65, 62, 60, 57, 55, 53, 50, 48, 46, 44, 42),
    *(40, 39, 37, 35, 33, 32, 30, 29, 27, 26, 24, 23, 21, 20, 19, 18),
    *(16, 15, 14, 13, 12, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0),
)


class Thread:
    """What a thread has that all arenas use: random numbers, and the ticker of decay."""

    def __init__(self, prng_state: int) -> None:
        self.prng = Prng(prng_state)
        self._tick = ARENA_DECAY_NTICKS_PER_UPDATE

    def ticks(self, nr: int) -> bool:
        """Count events; return whether the ticker ran out, which a new one does at random."""
        self._tick -= nr
        if self._tick >= 0:
            return False
        place = self.prng.lg_range(TICKER_GEOM_NBITS)
        self._tick = ARENA_DECAY_NTICKS_PER_UPDATE * TICKER_GEOM_TABLE[place] // TICKER_GEOM_MUL
        return True


class _Bin:
    """Slabs of one class.

    Attributes:
        slabcur: The slab that blocks come from.
        nonfull: Others with free blocks, by serial number and address.
    """

    def __init__(self) -> None:
        self.slabcur: Edata | None = None
        self.nonfull: list[tuple[int, int]] = []


class Arena:
    """An arena.

    Attributes:
        pac: Its extents.
    """

    def __init__(
        self, system: System, base: Base, emap: Emap[Edata], thread: Thread, decay_ms: int
    ) -> None:
        self._system = system
        self._base = base
        self._emap = emap
        self._thread = thread
        self._decay_ms = decay_ms
        self._bins = [_Bin() for _ in range(NBINS)]
        self.pac: Pac

    async def start(self) -> bool:
        """Get memory for the arena itself; return whether there was some."""
        nr_bytes = ARENA_BYTES + NBINS * BIN_BYTES
        address = await self._base.alloc(nr_bytes, CACHELINE)
        if not address:
            return False
        for start, end in ((0, STATS_USED), (STATS_END, HPA_START), (HPA_END, nr_bytes)):
            await self._system.write(address + start, end - start)
        decay = Decay(self._system.now_ns, self._decay_ms, address + DECAY_DIRTY)
        self.pac = Pac(self._system, self._base, self._emap, decay)
        return True

    async def ticks(self, nr: int) -> None:
        """Count events; now and then look whether dirty pages are too old."""
        if self._thread.ticks(nr):
            await self.pac.decay_dirty()

    # ---- small blocks ----

    async def fill_small(self, binind: int, nfill: int) -> list[int]:
        """Return up to so many blocks, the lowest of each slab first."""
        blocks: list[int] = []
        bin_ = self._bins[binind]
        while len(blocks) < nfill:
            slab = bin_.slabcur
            if slab is not None and slab.free_regs:
                self._take(slab, nfill - len(blocks), blocks)
            elif bin_.nonfull:
                bin_.slabcur = self._emap.of[bin_.nonfull.pop(0)[1] >> PAGE_SHIFT]
            else:
                bin_.slabcur = None
                fresh = await self._slab_alloc(binind)
                if fresh is None:
                    break
                bin_.slabcur = fresh
        await self.ticks(1)
        return blocks

    def _take(self, slab: Edata, nr: int, blocks: list[int]) -> None:
        free, size, start = slab.free_regs, SIZES[slab.szind], slab.base
        for _ in range(min(nr, len(free))):
            blocks.append(start + heappop(free) * size)

    async def _slab_alloc(self, binind: int) -> Edata | None:
        slab = await self.pac.alloc(SLAB_SIZES[binind], binind, slab=True)
        if slab is not None:
            slab.free_regs = list(range(NREGS[binind]))
        return slab

    async def flush_small(self, binind: int, blocks: list[int]) -> None:
        """Take blocks of a class back; slabs that are empty then are freed afterwards."""
        bin_, size = self._bins[binind], SIZES[binind]
        empty = []
        for block in blocks:
            slab = self._emap.of[block >> PAGE_SHIFT]
            heappush(slab.free_regs, (block - slab.base) // size)
            if len(slab.free_regs) == NREGS[binind]:
                self._dissociate(bin_, slab)
                empty.append(slab)
            elif len(slab.free_regs) == 1 and slab is not bin_.slabcur:
                self._lower_slab(bin_, slab)
        await self.ticks(len(blocks))
        for slab in empty:
            await self.pac.dalloc(slab)

    def _dissociate(self, bin_: _Bin, slab: Edata) -> None:
        if slab is bin_.slabcur:
            bin_.slabcur = None
        elif NREGS[slab.szind] > 1:
            del bin_.nonfull[bisect_left(bin_.nonfull, (slab.sn, slab.base))]

    def _lower_slab(self, bin_: _Bin, slab: Edata) -> None:
        """A full slab has a free block: it is the current one if it is older and lower."""
        current = bin_.slabcur
        if current is not None and (current.sn, current.base) > (slab.sn, slab.base):
            if current.free_regs:
                insort(bin_.nonfull, (current.sn, current.base))
            bin_.slabcur = slab
        else:
            insort(bin_.nonfull, (slab.sn, slab.base))

    # ---- large blocks ----

    async def large_malloc(self, szind: int, *, zero: bool) -> int:
        """Return a block of its own extent; 0 if there is no memory."""
        edata = await self.pac.alloc(SIZES[szind] + LARGE_PAD, szind, slab=False, zero=zero)
        if edata is None:
            return 0
        step = self._thread.prng.lg_range(STEP_BITS)
        edata.addr = edata.base + step * CACHELINE
        await self.ticks(1)
        return edata.addr

    async def internal_malloc(self, nr_bytes: int) -> int:
        """Return memory for a table of the thread, from a page boundary on; 0 for none."""
        szind = size2index(nr_bytes)
        edata = await self.pac.alloc(SIZES[szind] + LARGE_PAD, szind, slab=False, zero=True)
        await self.ticks(1)
        return edata.base if edata is not None else 0

    async def large_ralloc_no_move(self, edata: Edata, szind: int) -> bool:
        """Make a large block longer or shorter where it is; return whether that worked."""
        new = SIZES[szind] + LARGE_PAD
        if szind > edata.szind:
            done = await self.pac.expand(edata, new, szind)
        elif szind < edata.szind:
            done = await self.pac.shrink(edata, new, szind)
        else:
            done = True
        if done:
            await self.ticks(1)
        return done

    async def large_dalloc(self, edata: Edata) -> None:
        """Take a large block back."""
        await self.pac.dalloc(edata)
        await self.ticks(1)

    async def flush_large(self, blocks: list[int]) -> None:
        """Take large blocks back that were cached."""
        for block in blocks:
            await self.pac.dalloc(self._emap.of[block >> PAGE_SHIFT])
        await self.ticks(len(blocks))
