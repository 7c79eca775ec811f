"""The policies once more, as slow as they are plain: one Python list a queue, nothing clever."""

from kernelsim.units import NS_PER_S


class NaiveLru:
    """All pages, used last first."""

    def __init__(self, size):
        self.size, self.pages = size, []

    def access(self, page, now_ns):
        """Move the page to the front."""
        hit = page in self.pages
        if hit:
            self.pages.remove(page)
            self.pages.insert(0, page)
        self.read_ahead(page, now_ns)
        return hit

    def read_ahead(self, page, _now_ns):
        """Put a page that is not there in front."""
        if page not in self.pages:
            self.pages = [page, *self.pages][: self.size]

    def kept(self):
        """Return the pages that are there."""
        return set(self.pages)


class NaiveClock:
    """CLOCK as what it is equal to: FIFO in which a page that was used goes round once more."""

    def __init__(self, size):
        self.size, self.queue = size, []  # pairs of page and bit, oldest first

    def access(self, page, now_ns):
        """Set the bit."""
        hit = page in self.kept()
        if hit:
            self.queue = [(p, bit or p == page) for p, bit in self.queue]
        self.read_ahead(page, now_ns)
        return hit

    def read_ahead(self, page, _now_ns):
        """Put a page that is not there behind all others."""
        if page in self.kept():
            return
        while len(self.queue) == self.size:
            oldest, bit = self.queue.pop(0)
            if bit:
                self.queue.append((oldest, False))
        self.queue.append((page, False))

    def kept(self):
        """Return the pages that are there."""
        return {page for page, _ in self.queue}


class NaiveTwoLists:
    """Linux's lists; the history of evictions and activations is kept whole."""

    def __init__(self, size):
        self.size = size
        self.inactive, self.active, self.referenced = [], [], set()  # heads first
        self.history = []  # an entry for each eviction (the page) and each activation (None)
        self.must_deactivate = False

    def access(self, page, now_ns):
        """First use: referenced. Second use: active."""
        hit = page in self.kept()
        self.read_ahead(page, now_ns)
        if page not in self.referenced:
            self.referenced.add(page)
        elif page in self.inactive:
            self.referenced.remove(page)
            self.inactive.remove(page)
            self.active.insert(0, page)
            self.history.append(None)
        return hit

    def read_ahead(self, page, _now_ns):
        """Reclaim a page if need be, and judge how long ago this one was evicted."""
        if page in self.kept():
            return
        if len(self.kept()) == self.size:
            self.reclaim()
        if page in self.history:
            since = len(self.history) - (len(self.history) - 1 - self.history[::-1].index(page))
            if since <= len(self.active):
                self.active.insert(0, page)
                self.history.append(None)
                self.must_deactivate = True
                return
        self.inactive.insert(0, page)

    def reclaim(self):
        """Deactivate if need be, then evict."""
        if len(self.inactive) < len(self.active) or self.must_deactivate:
            self.inactive.insert(0, self.active.pop())
        self.must_deactivate = False
        page = self.inactive.pop()
        self.referenced.discard(page)
        self.history.append(page)

    def kept(self):
        """Return the pages that are there."""
        return {*self.inactive, *self.active}


class NaiveInnodb:
    """One list, front first; its last part is old."""

    def __init__(self, size, old_pct=37, old_blocks_time_ns=NS_PER_S):
        self.size, self.old_pct, self.time_ns = size, old_pct, old_blocks_time_ns
        self.pages, self.first, self.moved, self.nr_freed = [], {}, {}, 0

    def nr_old(self):
        """Return how long the old part is."""
        return len(self.pages) * self.old_pct // 100

    def access(self, page, now_ns):
        """Move a page to the front if it was first used long enough ago, or is far behind."""
        hit = page in self.pages
        self.read_ahead(page, now_ns)
        first_ns = self.first.setdefault(page, now_ns)
        is_old = page in self.pages[len(self.pages) - self.nr_old() :]
        if is_old:
            moves = now_ns - first_ns >= self.time_ns
        else:
            nr_fresh = self.size * (100 - self.old_pct) // 400
            moves = self.nr_freed - self.moved.get(page, 0) >= nr_fresh
        if moves and self.nr_freed:
            self.pages.remove(page)
            self.pages.insert(0, page)
            self.moved[page] = self.nr_freed
        return hit

    def read_ahead(self, page, _now_ns):
        """Put a page that is not there at the midpoint."""
        if page in self.pages:
            return
        midpoint = len(self.pages) - self.nr_old()
        if len(self.pages) == self.size:
            evicted = self.pages.pop()
            self.first.pop(evicted, None)
            self.moved.pop(evicted, None)
            self.nr_freed += 1
        self.pages.insert(midpoint, page)

    def kept(self):
        """Return the pages that are there."""
        return set(self.pages)


class NaiveS3Fifo:
    """Three lists of names, oldest first, and the uses of each page."""

    def __init__(self, size):
        self.size, self.full = size, False
        self.small, self.main, self.ghost, self.uses = [], [], [], {}

    def access(self, page, now_ns):
        """Count the use."""
        hit = page in self.kept()
        if hit:
            self.uses[page] += 1
        self.read_ahead(page, now_ns)
        return hit

    def read_ahead(self, page, _now_ns):
        """Put a page that is not there at the end of its queue."""
        if page in self.kept():
            return
        nr_small = max(1, self.size // 10)
        known = page in self.ghost
        self.ghost = [name for name in self.ghost if name != page]
        while len(self.kept()) == self.size:
            self.full = True
            self.evict(nr_small)
        main = known or (not self.full and len(self.small) >= nr_small)
        (self.main if main else self.small).append(page)
        self.uses[page] = 0

    def evict(self, nr_small):
        """Look at the oldest page of the queue that is too long."""
        if len(self.main) > self.size - nr_small or not self.small:
            page = self.main.pop(0)
            if self.uses[page]:
                self.uses[page] = min(self.uses[page], 3) - 1
                self.main.append(page)
            return
        # Pages of the small queue go to the main one until one of them goes for good.
        while self.small:
            page = self.small.pop(0)
            if self.uses[page] < 2:
                self.ghost = [*self.ghost, page][-(self.size * 9 // 10) :]
                if not self.size * 9 // 10:
                    self.ghost = []
                return
            self.uses[page] = 0
            self.main.append(page)

    def kept(self):
        """Return the pages that are there."""
        return {*self.small, *self.main}
