"""vmem of libumem: arenas that give out address ranges, each importing from another.

An arena keeps all its segments in order of address, free ones in lists by power of two, the last
one freed first. What it lacks it asks its source for; a range that it imported and that is free
again goes back. The topmost arena reserves address space from the kernel without access; the heap's
own calls make ranges accessible and cover them again.

Segments are described by records of 56 bytes that come from an arena, too: each arena holds a few
in reserve, so that getting more never needs more than it has.

Interface: `Vmem`, `Arena`, `Segment`.
Source: portable umem 1.0.2 vmem.c, sys/vmem_impl_user.h.
"""

from collections.abc import Awaitable, Callable
from enum import IntEnum
from typing import Final

from kernelsim.user.malloc.protocol import System

PAGE: Final = 4096
VMEM_FREELISTS: Final = 64
VMEM_SEG_INITIAL: Final = 100  # records that need no memory
VMEM_SEG_SIZE: Final = 56
VMEM_POPULATE_RESERVE: Final = 4
VMEM_SEGS_PER_SPAN_CREATE: Final = 2
VMEM_SEGS_PER_ALLOC_MAX: Final = 4
VMEM_MINFREE: Final = VMEM_POPULATE_RESERVE + VMEM_SEGS_PER_ALLOC_MAX
VMEM_HASH_INITIAL: Final = 16
POINTER: Final = 8

Alloc = Callable[[int], Awaitable[int]]  # bytes -> address, 0 for none
Free = Callable[[int, int], Awaitable[None]]  # address, bytes


class _Type(IntEnum):
    ALLOC = 1
    FREE = 2
    SPAN = 3


class Segment:
    """A range of addresses of an arena: allocated, free, or the marker of a span.

    Attributes:
        start: First address.
        end: Address after the last.
        kind: Which of the three.
        imported: It is the first segment of what came from the source.
        record: Address of its record; 0 if that needs no memory.
        before: The segment before it in the arena.
        after: The segment after it.
    """

    __slots__ = ("after", "before", "end", "imported", "kind", "record", "start")

    def __init__(self, record: int, start: int, end: int, kind: _Type) -> None:
        self.record = record
        self.start = start
        self.end = end
        self.kind = kind
        self.imported = False
        self.before = self
        self.after = self


class Vmem:
    """What all arenas of a process share.

    Attributes:
        system: What the kernel does.
        seg_arena: Where records come from.
        populators: Arenas that are asked while records are fetched.
        segfree: Records that no arena has.
        populating: Records are being fetched.
        reap: What to do when memory is short.
    """

    def __init__(self, system: System) -> None:
        self.system = system
        self.seg_arena: Arena | None = None
        self.populators: list[Arena] = []
        self.arenas: list[Arena] = []
        self.segfree: list[int] = [0] * VMEM_SEG_INITIAL
        self.populating = False
        self.reap: Callable[[], Awaitable[None]] | None = None

    async def maybe_reap(self) -> None:
        """Ask for memory back (vmem_reap), except while records are fetched."""
        if self.reap is not None and not self.populating:
            await self.reap()

    async def fetch_records(self, arena: "Arena") -> bool:
        """Fill an arena's stock of records (vmem_populate); return whether that worked."""
        while arena.nsegfree < VMEM_MINFREE and self.segfree:
            arena.put_record(self.segfree.pop())
        if arena.nsegfree >= VMEM_MINFREE or self.populating:
            return True  # while fetching, an arena lives on its reserve
        assert self.seg_arena is not None
        self.populating = True
        wanted = VMEM_MINFREE + len(self.populators) * VMEM_POPULATE_RESERVE
        nr_bytes = -(-wanted * VMEM_SEG_SIZE // PAGE) * PAGE
        start = await self.seg_arena.alloc(nr_bytes)
        if not start:
            self.populating = False
            await self.maybe_reap()
            return False
        records = [start + i * VMEM_SEG_SIZE for i in range(nr_bytes // VMEM_SEG_SIZE)]
        await self.system.write(start, nr_bytes)  # they are linked
        for other in self.populators:
            while other.nsegfree < VMEM_POPULATE_RESERVE:
                other.put_record(records.pop())
        self.populating = False
        while arena.nsegfree < VMEM_MINFREE:
            arena.put_record(records.pop())
        self.segfree += reversed(records)
        return True


class Arena:
    """One arena.

    Attributes:
        quantum: What sizes are rounded up to, in bytes, a power of 2.
        allocated: Start -> segment.
        nsegfree: Records in stock that nobody reserved.
        qcaches: Caches of its small multiples of the quantum, each with alloc and free.
    """

    def __init__(
        self,
        vmem: Vmem,
        quantum: int,
        source_alloc: Alloc | None = None,
        source_free: Free | None = None,
        source_quantum: int = PAGE,
    ) -> None:
        self._vmem = vmem
        self.quantum = quantum
        self._source_alloc = source_alloc
        self._source_free = source_free
        self._source_quantum = source_quantum
        self._freelists: list[dict[Segment, None]] = [{} for _ in range(VMEM_FREELISTS)]
        self._freemap = 0
        self._seg0 = Segment(0, 0, 0, _Type.SPAN)
        self._spans: list[Segment] = []
        self._segfree: list[int] = []
        self.nsegfree = 0
        self.allocated: dict[int, Segment] = {}
        self.hash_size = VMEM_HASH_INITIAL
        self.hash_table = 0
        self.qcaches: list[tuple[Callable[[], Awaitable[int]], Callable[[int], Awaitable[None]]]]
        self.qcaches = []
        vmem.arenas.append(self)

    # ---- records ----

    def put_record(self, record: int) -> None:
        """Take a record into stock."""
        self._segfree.append(record)
        self.nsegfree += 1

    async def _seg_create(
        self, before: Segment, start: int, end: int, kind: _Type = _Type.ALLOC
    ) -> Segment:
        record = self._segfree.pop()
        self.nsegfree -= 1
        if record:
            await self._vmem.system.write(record, VMEM_SEG_SIZE)
        segment = Segment(record, start, end, kind)
        segment.before, segment.after = before, before.after
        before.after.before = segment
        before.after = segment
        return segment

    def _seg_destroy(self, segment: Segment) -> None:
        segment.before.after = segment.after
        segment.after.before = segment.before
        self.put_record(segment.record)

    def _freelist_insert(self, segment: Segment) -> None:
        segment.kind = _Type.FREE
        which = (segment.end - segment.start).bit_length() - 1
        self._freelists[which][segment] = None
        self._freemap |= 1 << which

    def _freelist_delete(self, segment: Segment) -> None:
        which = (segment.end - segment.start).bit_length() - 1
        del self._freelists[which][segment]
        if not self._freelists[which]:
            self._freemap ^= 1 << which

    # ---- spans ----

    async def _span_create(self, start: int, end: int, *, imported: bool) -> Segment:
        """Add a range; ranges that were not imported are kept in order of address."""
        place = len(self._spans)
        if not imported and self._source_alloc is None:
            while place and self._spans[place - 1].end > start:
                place -= 1
        after = self._spans[place] if place < len(self._spans) else self._seg0
        span = await self._seg_create(after.before, start, end, _Type.SPAN)
        self._spans.insert(place, span)
        segment = await self._seg_create(span, start, end)
        self._freelist_insert(segment)
        segment.imported = imported
        return segment

    async def extend_alloc(self, start: int, nr_bytes: int) -> int:
        """Add a range, joined with its neighbours, and allocate it; 0 if there are no records."""
        if not await self._vmem.fetch_records(self):
            return 0
        segment = await self._extend(start, start + nr_bytes)
        start = segment.start
        await self._seg_alloc(segment, start, nr_bytes)
        return start

    async def _extend(self, start: int, end: int) -> Segment:
        below = next((s for s in reversed(self._spans) if s.end == start), None)
        above = next((s for s in reversed(self._spans) if s.start == end), None)
        if below is None and above is None:
            return await self._span_create(start, end, imported=False)
        if above is None:
            assert below is not None
            last = self._last_of(below)
            below.end = end
            segment = await self._free_between(last, None, start, end)
        elif below is None:
            above.start = start
            segment = await self._free_between(None, above.after, start, end, above)
        else:
            below.end = above.end
            self._spans.remove(above)
            last, first = above.before, above.after
            self._seg_destroy(above)
            segment = await self._free_between(last, first, start, end)
        self._freelist_insert(segment)
        return segment

    def _last_of(self, span: Segment) -> Segment:
        place = self._spans.index(span) + 1
        after = self._spans[place] if place < len(self._spans) else self._seg0
        return after.before

    async def _free_between(
        self,
        last: Segment | None,
        first: Segment | None,
        start: int,
        end: int,
        span: Segment | None = None,
    ) -> Segment:
        """Return a segment of new addresses and of its free neighbours, not listed yet."""
        if last is not None and last.kind == _Type.FREE:
            self._freelist_delete(last)
            last.end = end
            if first is not None and first.kind == _Type.FREE:
                self._freelist_delete(first)
                last.end = first.end
                self._seg_destroy(first)
            return last
        if first is not None and first.kind == _Type.FREE:
            self._freelist_delete(first)
            first.start = start
            return first
        before = last if last is not None else span
        assert before is not None
        return await self._seg_create(before, start, end)

    # ---- allocate ----

    async def alloc(self, nr_bytes: int) -> int:
        """Return a range from any list whose segments are surely long enough; 0 if none."""
        cached = (nr_bytes - 1) // self.quantum
        if cached < len(self.qcaches):
            return await self.qcaches[cached][0]()
        lists = 0
        if self.nsegfree >= VMEM_MINFREE or await self._vmem.fetch_records(self):
            sure = nr_bytes.bit_length() - (nr_bytes & (nr_bytes - 1) == 0)
            lists = self._freemap >> sure << sure
        if not lists:
            return await self.xalloc(nr_bytes, self.quantum, 0)
        which = (lists & -lists).bit_length() - 1
        segment = next(reversed(self._freelists[which]))
        start = segment.start
        await self._seg_alloc(segment, start, nr_bytes)
        return start

    async def xalloc(self, nr_bytes: int, align: int, phase: int) -> int:
        """Return a range that starts at a phase of an alignment: the first one that fits."""
        if self.nsegfree < VMEM_MINFREE and not await self._vmem.fetch_records(self):
            return 0
        segment, start = self._first_fit(nr_bytes, align, phase)
        if segment is None and self._source_alloc is not None:
            unit = max(align, self._source_quantum)
            asked = -(-(nr_bytes + phase) // unit) * unit
            reserved = VMEM_SEGS_PER_SPAN_CREATE if asked == nr_bytes else VMEM_SEGS_PER_ALLOC_MAX
            self.nsegfree -= reserved
            imported = await self._source_alloc(asked)
            self.nsegfree += reserved
            if imported:
                segment = await self._span_create(imported, imported + asked, imported=True)
                start = _phase_up(imported, align, phase)
        if segment is None:
            await self._vmem.maybe_reap()
            return 0
        await self._seg_alloc(segment, start, nr_bytes)
        return start

    def _first_fit(self, nr_bytes: int, align: int, phase: int) -> tuple[Segment | None, int]:
        """Look through the lists; those that may be too short only if no longer one is there."""
        sure = nr_bytes.bit_length()
        if nr_bytes & (nr_bytes - 1) == 0 or not self._freemap >> sure:
            sure -= 1
        for which in range(sure, VMEM_FREELISTS):
            for segment in reversed(self._freelists[which]):
                start = _phase_up(segment.start, align, phase)
                if start + nr_bytes <= segment.end:
                    return segment, start
        return None, 0

    async def _seg_alloc(self, segment: Segment, start: int, nr_bytes: int) -> None:
        """Take a part of a free segment; what is left on either side stays free."""
        whole = segment.end - segment.start
        rounded = -(-nr_bytes // self.quantum) * self.quantum
        if start == segment.start and whole.bit_length() == (whole - rounded).bit_length():
            segment.start = start + rounded  # it stays on its list
            taken = await self._seg_create(segment.before, start, start + nr_bytes)
            self.allocated[start] = taken
            return
        self._freelist_delete(segment)
        if segment.end != start + rounded:
            self._freelist_insert(await self._seg_create(segment, start + rounded, segment.end))
        if segment.start != start:
            self._freelist_insert(await self._seg_create(segment.before, segment.start, start))
        segment.start, segment.end = start, start + nr_bytes
        segment.kind = _Type.ALLOC
        self.allocated[start] = segment

    # ---- free ----

    async def free(self, start: int, nr_bytes: int) -> None:
        """Take a range back that alloc gave."""
        cached = (nr_bytes - 1) // self.quantum
        if cached < len(self.qcaches):
            await self.qcaches[cached][1](start)
        else:
            await self.xfree(start)

    async def xfree(self, start: int) -> None:
        """Take a range back, join it with free neighbours, and give a whole span to the source."""
        segment = self.allocated.pop(start)
        segment.end = -(-segment.end // self.quantum) * self.quantum
        after = segment.after
        if after.kind == _Type.FREE:
            self._freelist_delete(after)
            segment.end = after.end
            self._seg_destroy(after)
        before = segment.before
        if before.kind == _Type.FREE:
            self._freelist_delete(before)
            before.end = segment.end
            self._seg_destroy(segment)
            segment = before
        if (
            segment.imported
            and self._source_free is not None
            and segment.before.kind == _Type.SPAN
            and segment.after.kind == _Type.SPAN
        ):
            span = segment.before
            self._spans.remove(span)
            self._seg_destroy(segment)
            self._seg_destroy(span)
            await self._source_free(segment.start, segment.end - segment.start)
        else:
            self._freelist_insert(segment)


def _phase_up(start: int, align: int, phase: int) -> int:
    """Return the first address from here on that is `phase` beyond a multiple of `align`."""
    return start + (phase - start) % align
