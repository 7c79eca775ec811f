"""A `System` that counts, lets mappings grow, shrink and move (mremap), and programs on it."""

from tests.counted_system import ENOMEM, HEAP_START, PAGE, PAGE_SHIFT, CountedSystem, answer
from tests.heap_program import HeapProgram, covers


class RemappingSystem(CountedSystem):
    """As its base, with mremap for mappings that are one whole stretch of rw pages."""

    async def mremap(self, address, old_bytes, new_bytes, *, maymove):
        """Resize in place if the room above is free, else move with the pages, if that may be."""
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
        self.stores.append((new, old_bytes))  # what was in it is there now
        self._carve(address, address + old_bytes)
        return new

    def _fits(self, address, old_bytes, new_bytes):
        if new_bytes <= old_bytes:
            return True
        above = [start for start in self._starts if start > address]
        return bool(above) and address + new_bytes <= above[0]


def page_calls(system):
    """Return what an allocator asked so far, with lengths in pages, and forget it."""
    lines = []
    for kind, *arguments in system.log:
        if kind == "brk":
            length = arguments[0] - HEAP_START if arguments[0] else 0
        elif kind == "madvise":
            length = arguments[1]
        else:
            length = arguments[0 if kind == "mmap" else -1]
        lines.append(f"{kind} {length // PAGE}")
    system.log.clear()
    return lines


class RemappingProgram(HeapProgram):
    """A random program whose allocator moves mappings, and writes words into fresh pages."""

    def __init__(self, make, *, limit=None, brk_limit=None):
        super().__init__(make, limit=limit)
        self.system = RemappingSystem(limit=limit, notes_stores=True)
        if brk_limit is not None:
            self.system.brk_limit = brk_limit
        self.heap = make(self.system)

    def calloc(self, size):
        """What a block of zeros has of pages that were there before was written by calloc."""
        self.system.stores.clear()
        before = set(self.system.resident)
        address = answer(self.heap.calloc(1, size))
        for page in range(address >> PAGE_SHIFT, -(-(address + size) >> PAGE_SHIFT)):
            if address and page in before:
                low, high = max(address, page * PAGE), min(address + size, (page + 1) * PAGE)
                assert covers(self.system.stores, low, high), "calloc left what was there"
        self.new(address, size)
