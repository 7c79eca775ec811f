"""A `System` that counts: what an allocator maps, which pages it and its program have written.

No kernel stands behind it: new mappings go right below the last one, as Linux places them top
down, pages become resident when they are written and faults are counted as they are made.
"""

from bisect import bisect_left, bisect_right
from collections import Counter

PAGE = 4096
PAGE_SHIFT = 12
HEAP_START = 0x55555555A000
WALL = 0x7FFFC0000000
ENOMEM = 12


def answer(coroutine):
    """Return what a coroutine returns that never has to wait."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        return end.value
    raise AssertionError("it waits")


class CountedSystem:
    """Memory of one process.

    Attributes:
        calls: Number of calls by kind.
        log: The calls in order: kind and arguments.
        minflt: Minor faults.
        resident: Numbers of the resident pages.
        limit: Accessible bytes that there may be, heap and mappings; None for all one wants.
        brk_limit: How far the heap may grow.
        peak: Most accessible bytes there were.
        now_ns: The clock, moved by the test.
        stores: What was written lately, where and how much, until somebody clears it.
        notes_stores: Whether that is noted.
    """

    def __init__(self, limit=None, *, brk_limit=WALL, huge_aligned=False, notes_stores=False):
        self.calls = Counter()
        self.log = []
        self.minflt = 0
        self.resident = set()
        self.zero = set()
        self.limit = limit
        self.now_ns = 0
        self.stores: list[tuple[int, int]] = []
        self.end = HEAP_START
        self.brk_limit = brk_limit
        self.peak = 0
        self.huge_aligned = huge_aligned
        self.notes_stores = notes_stores
        self._starts: list[int] = []  # of mapped stretches, ascending, apart or of other rights
        self._ends: list[int] = []
        self._prots: list[str] = []

    @property
    def heap(self):
        """Bytes of the heap."""
        return self.end - HEAP_START

    @property
    def mapped(self):
        """Accessible bytes of mappings."""
        return sum(
            e - s
            for s, e, p in zip(self._starts, self._ends, self._prots, strict=True)
            if p != "none"
        )

    @property
    def none(self):
        """Bytes mapped without any right."""
        return sum(
            e - s
            for s, e, p in zip(self._starts, self._ends, self._prots, strict=True)
            if p == "none"
        )

    def _call(self, kind, *arguments):
        self.calls[kind] += 1
        self.log.append((kind, *arguments))

    def _may_grow(self, nr_bytes, prot):
        return (
            prot == "none" or self.limit is None or self.heap + self.mapped + nr_bytes <= self.limit
        )

    def _grown(self):
        self.peak = max(self.peak, self.heap + self.mapped)

    async def brk(self, address):
        """Move the end of the heap."""
        self._call("brk", address)
        if address > self.brk_limit:
            return self.end
        if address and self.limit is not None and address - HEAP_START + self.mapped > self.limit:
            return self.end
        if address >= HEAP_START:
            if address < self.end:
                self._drop(address, self.end)
            self.end = address
            self._grown()
        return self.end

    def _drop(self, start, end):
        first, last = -(-start // PAGE), -(-end // PAGE)
        pages = range(first, last)
        if len(pages) > len(self.resident):
            pages = [p for p in self.resident if first <= p < last]
        self.resident.difference_update(pages)
        self.zero.difference_update(range(first, last) if len(self.zero) > 0 else ())

    def _carve(self, start, end, *, keep_pages=False):
        """Take a stretch out of the list of mappings."""
        i = bisect_right(self._ends, start)
        while i < len(self._starts) and self._starts[i] < end:
            s, e, p = self._starts[i], self._ends[i], self._prots[i]
            del self._starts[i], self._ends[i], self._prots[i]
            for a, b in ((s, min(e, start)), (max(s, end), e)):
                if a < b:
                    self._put(a, b, p)
                    i += b <= start
        if not keep_pages:
            self._drop(start, end)

    def _put(self, start, end, prot):
        i = bisect_left(self._starts, start)
        self._starts.insert(i, start)
        self._ends.insert(i, end)
        self._prots.insert(i, prot)

    def _place(self, nr_bytes):
        aligned = 512 * PAGE if self.huge_aligned and nr_bytes % (512 * PAGE) == 0 else PAGE
        top = WALL
        for start, end in zip(reversed(self._starts), reversed(self._ends), strict=True):
            place = (top - nr_bytes) // aligned * aligned
            if place >= end:
                return place
            top = start
        return (top - nr_bytes) // aligned * aligned

    async def mmap(self, nr_bytes, *, prot="rw", noreserve=False, fixed=0):
        """Map right below the last mapping, or at a fixed place."""
        self._call("mmap", nr_bytes, prot, fixed)
        nr_bytes = -(-nr_bytes // PAGE) * PAGE
        if not self._may_grow(nr_bytes, prot):
            return -ENOMEM
        place = fixed or self._place(nr_bytes)
        if fixed:
            self._carve(place, place + nr_bytes)
        self._put(place, place + nr_bytes, prot)
        self._grown()
        return place

    async def mremap(self, address, old_bytes, new_bytes, *, maymove):
        """Resize a stretch of rw pages: in place if the room above is free, else moved."""
        self._call("mremap", address, old_bytes, new_bytes)
        if self._fits(address, old_bytes, new_bytes):
            self._carve(address + min(old_bytes, new_bytes), address + old_bytes)
            self._carve(address, address + old_bytes, keep_pages=True)
            self._put(address, address + new_bytes, "rw")
            self._grown()
            return address
        if not maymove:
            return -ENOMEM
        new = await self.mmap(new_bytes)
        if new < 0:
            return new
        moved = (new - address) >> PAGE_SHIFT
        for page in range(address >> PAGE_SHIFT, (address + old_bytes) >> PAGE_SHIFT):
            if page in self.resident:
                self.resident.add(page + moved)
        if self.notes_stores:
            self.stores.append((new, old_bytes))  # what was in it is there now
        self._carve(address, address + old_bytes)
        return new

    def _fits(self, address, old_bytes, new_bytes):
        if new_bytes <= old_bytes:
            return True
        above = [start for start in self._starts if start > address]
        return bool(above) and address + new_bytes <= above[0]

    async def munmap(self, address, nr_bytes):
        """Unmap."""
        self._call("munmap", address, nr_bytes)
        self._carve(address, address + nr_bytes)
        return 0

    async def mprotect(self, address, nr_bytes, prot):
        """Change the rights of a range."""
        self._call("mprotect", address, nr_bytes, prot)
        if not self._may_grow(nr_bytes, prot):
            return -ENOMEM
        self._carve(address, address + nr_bytes, keep_pages=True)
        self._put(address, address + nr_bytes, prot)
        self._grown()
        return 0

    async def madvise(self, address, nr_bytes, advice):
        """Drop the pages."""
        self._call("madvise", address, nr_bytes, advice)
        self._drop(address, address + nr_bytes)
        return 0

    def accessible(self, address, nr_bytes):
        """Tell whether bytes may be read and written."""
        if address >= HEAP_START and address + nr_bytes <= -(-self.end // PAGE) * PAGE:
            return True
        while nr_bytes > 0:
            i = bisect_right(self._starts, address) - 1
            if i < 0 or self._ends[i] <= address or self._prots[i] == "none":
                return False
            step = self._ends[i] - address
            address, nr_bytes = address + step, nr_bytes - step
        return True

    async def write(self, address, nr_bytes):
        """Make pages resident."""
        if self.notes_stores:
            self.stores.append((address, nr_bytes))
        first = address >> PAGE_SHIFT
        last = (address + nr_bytes - 1) >> PAGE_SHIFT
        resident = self.resident
        if first == last and first in resident:
            return
        for page in range(first, last + 1):
            if page not in resident:
                assert self.accessible(page * PAGE, PAGE), f"SIGSEGV at {page * PAGE:#x}"
                resident.add(page)
                self.zero.discard(page)
                self.minflt += 1

    async def read(self, address, nr_bytes):
        """Have the zero page where nothing was written."""
        first = address >> PAGE_SHIFT
        last = (address + nr_bytes - 1) >> PAGE_SHIFT
        for page in range(first, last + 1):
            if page not in self.resident and page not in self.zero:
                assert self.accessible(page * PAGE, PAGE), f"SIGSEGV at {page * PAGE:#x}"
                self.zero.add(page)
                self.minflt += 1


class CountedHeap:
    """An allocator whose every call is answered at once."""

    def __init__(self, make, **options):
        self.system = CountedSystem(**options)
        self.model = make(self.system)

    def malloc(self, nr_bytes):
        """Return a block."""
        return answer(self.model.malloc(nr_bytes))

    def free(self, *blocks):
        """Take blocks back."""
        for block in blocks:
            answer(self.model.free(block))

    def realloc(self, block, nr_bytes):
        """Return a block of another size."""
        return answer(self.model.realloc(block, nr_bytes))

    def usable_size(self, block):
        """Return how many bytes of a block may be used."""
        return self.model.usable_size(block)

    def calls(self):
        """Return what was asked of the kernel since the last time, with lengths in pages."""
        lines = []
        for kind, *arguments in self.system.log:
            if kind == "brk":
                length = arguments[0] - HEAP_START if arguments[0] else 0
            elif kind == "madvise":
                length = arguments[1]
            else:
                length = arguments[0 if kind == "mmap" else -1]
            lines.append(f"{kind} {length // PAGE}")
        self.system.log.clear()
        return lines
