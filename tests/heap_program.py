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
    """A program that writes every block whole and looks where each one lies."""

    def __init__(self, make, *, limit=None, usable=True):
        self.system = CountedSystem(limit=limit, notes_stores=True)
        self.heap = make(self.system)
        self.usable = usable
        self.live = []  # (address, size), in the order in which they came
        self._sorted = []  # (address, end)

    def run(self, steps):
        """Take the steps, then free everything."""
        for kind, a, b in steps:
            if kind == "malloc":
                for _ in range(b):
                    self.new(answer(self.heap.malloc(a)), a)
            elif kind == "calloc":
                self.calloc(a)
            elif kind == "realloc" and self.live:
                self.realloc(b % len(self.live), a)
            elif kind == "free":
                for i in range(min(b, len(self.live))):
                    self.free((a + i * 7) % len(self.live))
            elif kind == "wait":
                self.system.now_ns += a * 1_000_000
        while self.live:
            self.free(0)
        answer(self.heap.trim())

    def calloc(self, size):
        """What a block of zeros has of pages that are there was written by calloc itself."""
        self.system.stores.clear()
        address = answer(self.heap.calloc(1, size))
        for page in range(address >> 12, -(-(address + size) >> 12)):
            if address and page in self.system.resident:
                low, high = max(address, page * PAGE), min(address + size, (page + 1) * PAGE)
                assert covers(self.system.stores, low, high), "calloc left what was there"
        self.new(address, size)

    def new(self, address, size):
        """A block came: it is apart from all others, aligned, as large as asked, and there."""
        if not address:
            assert self.system.limit is not None, f"no memory for {size}"
            return
        assert address % (16 if size > 8 else 8) == 0
        if self.usable:
            assert self.heap.usable_size(address) >= size
            size = self.heap.usable_size(address)
        place = bisect_left(self._sorted, (address, 0))
        for start, end in self._sorted[max(place - 1, 0) : place + 1]:
            assert end <= address or address + size <= start, "blocks overlap"
        assert self.system.accessible(address, max(size, 1))
        if size:
            answer(self.system.write(address, size))
        insort(self._sorted, (address, address + max(size, 1)))
        self.live.append((address, size))

    def realloc(self, which, size):
        """A block moves with what was in it, or stays."""
        address, old = self.live.pop(which)
        self._sorted.remove((address, address + max(old, 1)))
        self.system.stores.clear()
        new = answer(self.heap.realloc(address, size))
        if not new and size:
            assert self.system.limit is not None
            new, size = address, old  # it is still there
        elif new not in {0, address}:
            assert covers(self.system.stores, new, new + min(old, size)), "content was left"
        if new:
            self.new(new, size)

    def free(self, which):
        """A block goes."""
        address, size = self.live.pop(which)
        self._sorted.remove((address, address + max(size, 1)))
        answer(self.heap.free(address))


def covers(stores, low, high):
    """Tell whether stores wrote every byte of a range."""
    for start, nr in sorted(stores):
        if start <= low:
            low = max(low, start + nr)
    return low >= high
