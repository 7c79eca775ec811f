"""CLOCK: the pages stand in a circle, each with a bit that says it was used.

Interface: `Clock`.
"""


class Clock:
    """A hand goes round, clears set bits and replaces the first page whose bit is clear.

    A page comes in with its bit clear: it must be used again to be spared once.

    Args:
        size: Pages of the cache.

    Source: Corbato, A Paging Experiment with the Multics System (1969)
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self.places: dict[int, int] = {}  # of a page in the circle
        self.pages: list[int] = []
        self.used = bytearray()  # the bit of each
        self.hand = 0

    def access(self, page: int, now_ns: int) -> bool:
        """Use a page, which sets its bit."""
        place = self.places.get(page)
        if place is not None:
            self.used[place] = 1
            return True
        self.read_ahead(page, now_ns)
        return False

    def read_ahead(self, page: int, now_ns: int) -> None:  # noqa: ARG002 - time means nothing here
        """Bring a page in where the hand finds a place."""
        if page in self.places:
            return
        if len(self.pages) < self.size:
            self.places[page] = len(self.pages)
            self.pages.append(page)
            self.used.append(0)
            return
        while self.used[self.hand]:
            self.used[self.hand] = 0
            self.hand = (self.hand + 1) % self.size
        del self.places[self.pages[self.hand]]
        self.places[page] = self.hand
        self.pages[self.hand] = page
        self.hand = (self.hand + 1) % self.size
