"""Random programs that call an allocator, and what must hold whatever the allocator is."""

from bisect import bisect_left, insort

from hypothesis import strategies as st

from tests.counted_system import PAGE, CountedSystem, answer

SIZES = st.one_of(
    st.integers(0, 256),
    st.integers(0, 9000),
    st.integers(0, 300_000),
    st.integers(0, 20 << 20),
)
NUMBERS = st.integers(0, 40)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("malloc"), SIZES, st.integers(1, 40)),
        st.tuples(st.just("calloc"), SIZES, st.just(1)),
        st.tuples(st.just("realloc"), SIZES, NUMBERS),
        st.tuples(st.just("free"), NUMBERS, st.integers(1, 40)),
        st.tuples(st.just("wait"), st.integers(0, 5_000), st.just(1)),
    ),
    max_size=60,
)


class HeapProgram:
    """A program that writes every block whole and looks where each one lies.

    Args:
        make: Makes its allocator for a system.
        by_page: The allocator tells of its own stores by page, not where in the page they are:
            then what it writes into fresh pages of a block of zeros stays unseen.
        limits: Of the system.

    Attributes:
        system: The memory.
        wrong: What did not hold.
    """

    def __init__(self, make, *, by_page=False, **limits):
        self.system = CountedSystem(notes_stores=True, **limits)
        self.wrong = []
        self._heap = make(self.system)
        self._by_page = by_page
        self._live = []  # (address, size), in the order in which they came
        self._sorted = []  # (address, end)

    def run(self, steps):
        """Take the steps, then free everything; return what did not hold."""
        for kind, a, b in steps:
            if kind == "malloc":
                for _ in range(b):
                    self._new(answer(self._heap.malloc(a)), a)
            elif kind == "calloc":
                self._calloc(a)
            elif kind == "realloc" and self._live:
                self._realloc(b % len(self._live), a)
            elif kind == "free":
                for i in range(min(b, len(self._live))):
                    self._free((a + i * 7) % len(self._live))
            elif kind == "wait":
                self.system.now_ns += a * 1_000_000
        while self._live:
            self._free(0)
        answer(self._heap.trim())
        return self.wrong

    def _expect(self, holds, what):
        if not holds:
            self.wrong.append(what)

    def _calloc(self, size):
        """What a block of zeros has of pages that are there was written by calloc itself."""
        self.system.stores.clear()
        before = set(self.system.resident) if self._by_page else self.system.resident
        address = answer(self._heap.calloc(1, size))
        for page in range(address >> 12, -(-(address + size) >> 12)):
            if address and page in before:
                low, high = max(address, page * PAGE), min(address + size, (page + 1) * PAGE)
                self._expect(covers(self.system.stores, low, high), "calloc left what was there")
        self._new(address, size)

    def _new(self, address, size):
        """A block came: it is apart from all others, aligned, as large as asked, and there."""
        if not address:
            self._expect(self.system.limit is not None, f"no memory for {size}")
            return
        self._expect(address % (16 if size > 8 else 8) == 0, f"{address:#x} is not aligned")
        usable = self._heap.usable_size(address)
        self._expect(usable >= size, f"{usable} bytes for {size}")
        place = bisect_left(self._sorted, (address, 0))
        for start, end in self._sorted[max(place - 1, 0) : place + 1]:
            self._expect(end <= address or address + usable <= start, "blocks overlap")
        self._expect(self.system.accessible(address, max(usable, 1)), "a block is not there")
        if usable:
            answer(self.system.write(address, usable))
        insort(self._sorted, (address, address + max(usable, 1)))
        self._live.append((address, usable))

    def _realloc(self, which, size):
        """A block moves with what was in it, or stays."""
        address, old = self._live.pop(which)
        self._sorted.remove((address, address + max(old, 1)))
        self.system.stores.clear()
        new = answer(self._heap.realloc(address, size))
        if not new and size:
            self._expect(self.system.limit is not None, f"no memory for {size}")
            new, size = address, old  # it is still there
        elif new not in {0, address}:
            kept = covers(self.system.stores, new, new + min(old, size))
            self._expect(kept, "content was left behind")
        if new:
            self._new(new, size)

    def _free(self, which):
        """A block goes."""
        address, size = self._live.pop(which)
        self._sorted.remove((address, address + max(size, 1)))
        answer(self._heap.free(address))


def covers(stores, low, high):
    """Tell whether stores wrote every byte of a range."""
    for start, nr in sorted(stores):
        if start <= low:
            low = max(low, start + nr)
    return low >= high
