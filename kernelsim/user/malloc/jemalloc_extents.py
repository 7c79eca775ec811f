"""Extents of jemalloc: ranges of pages, in use, dirty, or retained.

What is freed is dirty and used again first; in time it is purged (madvise) and retained. Nothing
is unmapped. New memory is mapped in ever longer pieces, a size class longer each time, whose rest
is retained. Small dirty extents are joined with neighbours only when they are purged, all others
at once.

Interface: `Edata`, `Pac`.
Source: jemalloc 5.3.0 src/extent.c, src/pac.c, src/eset.c, src/ecache.c, src/exp_grow.c, edata.h.
"""

from bisect import bisect_left, insort
from enum import IntEnum
from heapq import heappop, heappush
from typing import Final

from kernelsim.user.malloc.jemalloc_base import EDATA_BYTES, HUGEPAGE, Base, Emap
from kernelsim.user.malloc.jemalloc_classes import (
    LARGE_MINCLASS,
    PAGE_SHIFT,
    PAGE_SIZES,
    psz2ind,
    quantize_ceil,
    quantize_floor,
)
from kernelsim.user.malloc.jemalloc_decay import Decay
from kernelsim.user.malloc.protocol import System

LG_EXTENT_MAX_ACTIVE_FIT: Final = 6  # a dirty extent is cut only for a 64th of it and more
OVERSIZE_THRESHOLD: Final = 8 * 1024 * 1024  # extents of so much are purged at once


class State(IntEnum):
    """What an extent is."""

    ACTIVE = 0
    DIRTY = 1
    RETAINED = 3


class Edata:
    """An extent.

    Attributes:
        base: First address.
        addr: Address of the block in it, which starts at a random place of the first page.
        size: Bytes, whole pages.
        sn: Serial number of the mapping it comes from.
        state: In use, dirty, retained.
        zeroed: It reads as zeros.
        head: It is the first of its mapping: what lies before is of another.
        record: Block number and address of its record.
        szind: Size class of the block or of a slab's blocks.
        slab: Blocks are cut from it.
        pac: Whose it is.
        free_regs: Free blocks of a slab by number, a heap.
    """

    __slots__ = (
        "addr",
        "base",
        "free_regs",
        "head",
        "pac",
        "record",
        "size",
        "slab",
        "sn",
        "state",
        "szind",
        "zeroed",
    )

    def __init__(self, pac: "Pac", base: int, size: int, sn: int, record: tuple[int, int]) -> None:
        self.pac = pac
        self.base = base
        self.addr = base
        self.size = size
        self.sn = sn
        self.record = record
        self.state = State.ACTIVE
        self.zeroed = False
        self.head = False
        self.szind = 0
        self.slab = False
        self.free_regs: list[int] = []

    @property
    def first(self) -> int:
        """The first page."""
        return self.base >> PAGE_SHIFT

    @property
    def last(self) -> int:
        """The last page."""
        return (self.base + self.size - 1) >> PAGE_SHIFT


class _Eset:
    """Extents that wait, by size and by age.

    Attributes:
        npages: Their pages.
        lru: The one that waits longest first.
    """

    def __init__(self, state: State) -> None:
        self.state = state
        self.npages = 0
        self.lru: dict[Edata, None] = {}
        self._bins: list[list[tuple[int, int]]] = [[] for _ in PAGE_SIZES]
        self._bitmap = 0

    def insert(self, edata: Edata) -> None:
        pind = psz2ind(quantize_floor(edata.size))
        insort(self._bins[pind], (edata.sn, edata.base))
        self._bitmap |= 1 << pind
        self.lru[edata] = None
        self.npages += edata.size >> PAGE_SHIFT

    def remove(self, edata: Edata) -> None:
        pind = psz2ind(quantize_floor(edata.size))
        waiting = self._bins[pind]
        del waiting[bisect_left(waiting, (edata.sn, edata.base))]
        if not waiting:
            self._bitmap ^= 1 << pind
        del self.lru[edata]
        self.npages -= edata.size >> PAGE_SHIFT

    def first_fit(self, size: int) -> int:
        """Return where the oldest and lowest one that is long enough starts; 0 for none."""
        pind = psz2ind(quantize_ceil(size))
        bitmap = self._bitmap >> pind << pind
        best = (1 << 64, 0)
        while bitmap:
            low = bitmap & -bitmap
            pind = low.bit_length() - 1
            limited = self.state == State.DIRTY
            if limited and PAGE_SIZES[pind] >> LG_EXTENT_MAX_ACTIVE_FIT > size:
                break
            best = min(best, self._bins[pind][0])
            bitmap ^= low
        return best[1]


class Pac:
    """The page allocator of an arena.

    Attributes:
        decay: How its dirty pages age.
    """

    def __init__(self, system: System, base: Base, emap: Emap[Edata], decay: Decay) -> None:
        self._system = system
        self._base = base
        self._emap = emap
        self.decay = decay
        self._dirty = _Eset(State.DIRTY)
        self._retained = _Eset(State.RETAINED)
        self._records: list[tuple[int, int]] = []  # free records of extents, a heap
        self._grow_next = psz2ind(HUGEPAGE)
        self._sn_next = 0

    # ---- allocate ----

    async def alloc(self, size: int, szind: int, *, slab: bool, zero: bool = False) -> Edata | None:
        """Return an extent in use; None if there is no memory."""
        edata = (
            await self._recycle(self._dirty, size, zero=zero)
            or await self._recycle(self._retained, size, zero=zero)
            or await self._grow(size)
        )
        if edata is None:
            return None
        edata.szind, edata.slab = szind, slab
        await self._emap.write(edata.first, edata)
        if slab:
            await self._emap.write_range(edata.first, size >> PAGE_SHIFT, edata)
        return edata

    async def _recycle(self, eset: _Eset, size: int, *, zero: bool) -> Edata | None:
        start = eset.first_fit(size)
        if not start:
            return None
        edata = self._emap.of[start >> PAGE_SHIFT]
        return await self._take(eset, edata, size, zero=zero)

    async def _take(self, eset: _Eset, edata: Edata, size: int, *, zero: bool) -> Edata | None:
        """Use the first part of a waiting extent; the rest goes on waiting."""
        eset.remove(edata)
        edata.state = State.ACTIVE
        if edata.size > size:
            trail = await self._split(edata, size)
            if trail is None:
                await self._deactivate(eset, edata)
                return None
            await self._deactivate(eset, trail)
        if zero and not edata.zeroed:
            await self._system.madvise(edata.base, edata.size, "dontneed")
        return edata

    async def _grow(self, size: int) -> Edata | None:
        """Map the next piece of the growing series that is long enough."""
        pind = max(self._grow_next, psz2ind(size))
        record = await self._new_record()
        if record is None or pind >= len(PAGE_SIZES):
            return None
        length = PAGE_SIZES[pind]
        start = await self._system.mmap(length, noreserve=True)
        if start >= 0:
            self._grow_next = min(pind + 1, len(PAGE_SIZES) - 1)
        else:  # perhaps there is room for no more than was asked for
            length = size
            start = await self._system.mmap(length, noreserve=True)
        if start < 0 or not await self._emap.ensure(
            start >> PAGE_SHIFT, (start + length - 1) >> PAGE_SHIFT
        ):
            heappush(self._records, record)
            return None
        edata = Edata(self, start, length, self._sn_next, record)
        self._sn_next += 1
        edata.zeroed = edata.head = True
        await self._write_record(edata)
        await self._register(edata)
        if length > size:
            trail = await self._split(edata, size)
            if trail is not None:
                await self._record_retained(trail)
        return edata

    async def expand(self, edata: Edata, size: int, szind: int) -> bool:
        """Make an extent longer if what follows it is free; return whether it was."""
        more = size - edata.size
        for eset in (self._dirty, self._retained):
            after = await self._neighbor(edata, eset.state, forward=True)
            if after is not None and after.size >= more:
                trail = await self._take(eset, after, more, zero=False)
                if trail is None:
                    return False
                await self._merge(edata, trail)
                edata.szind = szind
                await self._emap.write(edata.first, edata)
                return True
        return False

    async def shrink(self, edata: Edata, size: int, szind: int) -> bool:
        """Free the end of an extent; return whether that worked."""
        trail = await self._split(edata, size)
        if trail is None:
            return False
        edata.szind = szind
        await self._emap.write(edata.first, edata)
        await self._record_dirty(trail)
        await self._decay_if_at_once()
        return True

    # ---- free ----

    async def dalloc(self, edata: Edata) -> None:
        """Take an extent back: it is dirty now."""
        if edata.slab:
            inner = (edata.size >> PAGE_SHIFT) - 2
            await self._emap.write_range(edata.first + 1, max(inner, 0), None)
            edata.slab = False
        edata.addr = edata.base
        await self._record_dirty(edata)
        await self._decay_if_at_once()

    async def _record_dirty(self, edata: Edata) -> None:
        edata.zeroed = False
        if edata.size >= LARGE_MINCLASS:
            edata, coalesced = await self._coalesce(self._dirty, edata)
            while coalesced:
                edata, coalesced = await self._coalesce(self._dirty, edata)
            if edata.size >= OVERSIZE_THRESHOLD:
                await self._purge(edata)
                return
        await self._deactivate(self._dirty, edata)

    async def _record_retained(self, edata: Edata) -> None:
        coalesced = True
        while coalesced:
            edata, coalesced = await self._coalesce(self._retained, edata)
        await self._deactivate(self._retained, edata)

    async def _purge(self, edata: Edata) -> None:
        """Give the pages of an extent to the kernel and retain its addresses."""
        await self._system.madvise(edata.base, edata.size, "dontneed")
        edata.zeroed = True
        await self._record_retained(edata)

    async def _coalesce(self, eset: _Eset, edata: Edata) -> tuple[Edata, bool]:
        """Join an extent in use with one waiting neighbour; return the whole and whether."""
        after = await self._neighbor(edata, eset.state, forward=True)
        if after is not None:
            eset.remove(after)
            await self._merge(edata, after)
            return edata, True
        before = await self._neighbor(edata, eset.state, forward=False)
        if before is not None:
            eset.remove(before)
            before.state = State.ACTIVE
            await self._merge(before, edata)
            return before, True
        return edata, False

    async def _neighbor(self, edata: Edata, state: State, *, forward: bool) -> Edata | None:
        other = await self._emap.look(edata.last + 1 if forward else edata.first - 1)
        if other is None or other.state != state or other.pac is not self:
            return None
        head = other.head if forward else edata.head
        return None if head else other

    async def _deactivate(self, eset: _Eset, edata: Edata) -> None:
        edata.state = eset.state
        await self._register(edata)
        eset.insert(edata)

    # ---- age ----

    async def decay_dirty(self) -> None:
        """Purge what is too old (pac_maybe_decay_purge)."""
        if not self.decay.decay_ms:
            await self._decay_to_limit(0)
        elif self.decay.maybe_advance_epoch(self._system.now_ns, self._dirty.npages):
            await self._decay_to_limit(self.decay.npages_limit)

    async def _decay_if_at_once(self) -> None:
        if not self.decay.decay_ms:
            await self._decay_to_limit(0)

    async def _decay_to_limit(self, limit: int) -> None:
        """Purge the oldest extents until no more pages than the limit are dirty."""
        surplus = self._dirty.npages - limit
        stashed = []
        while surplus > 0:
            edata = await self._evict(limit)
            if edata is None:
                break
            stashed.append(edata)
            surplus -= edata.size >> PAGE_SHIFT
        for edata in stashed:
            await self._purge(edata)

    async def _evict(self, limit: int) -> Edata | None:
        """Take the oldest dirty extent out, joined with its neighbours."""
        while self._dirty.lru and self._dirty.npages > limit:
            edata = next(iter(self._dirty.lru))
            self._dirty.remove(edata)
            edata.state = State.ACTIVE
            edata, coalesced = await self._coalesce(self._dirty, edata)
            if not coalesced:
                return edata
            await self._deactivate(self._dirty, edata)
        return None

    # ---- records ----

    async def _new_record(self) -> tuple[int, int] | None:
        if self._records:
            return heappop(self._records)
        record = await self._base.alloc_edata()
        return record if record[1] else None

    async def _write_record(self, edata: Edata) -> None:
        await self._system.write(edata.record[1], EDATA_BYTES)

    async def _register(self, edata: Edata) -> None:
        await self._emap.write(edata.first, edata)
        await self._emap.write(edata.last, edata)

    async def _split(self, edata: Edata, size: int) -> Edata | None:
        """Cut an extent; return its end, None if there is no memory for a record."""
        record = await self._new_record()
        if record is None:
            return None
        trail = Edata(self, edata.base + size, edata.size - size, edata.sn, record)
        trail.zeroed = edata.zeroed
        await self._write_record(trail)
        edata.size = size
        await self._register(edata)
        await self._register(trail)
        return trail

    async def _merge(self, edata: Edata, after: Edata) -> None:
        """Append an extent to the one before it."""
        await self._emap.write(edata.last, None)
        await self._emap.write(after.first, None)
        edata.size += after.size
        edata.sn = min(edata.sn, after.sn)
        edata.zeroed = edata.zeroed and after.zeroed
        await self._register(edata)
        heappush(self._records, after.record)
