"""S3-FIFO, a modern yardstick: three queues in which no page ever moves on a hit.

    in -> | small, 1/10 | -> used twice? -> | main, 9/10 | -> used? once more round, else out
                 |                                ^
                 v no                             | asked for while its name is there
              | ghost: names only | --------------+

Most pages of most traces are used once; they leave by the small queue and never touch the main one.

Interface: `S3Fifo`.
"""

from collections import OrderedDict
from typing import Final

TO_MAIN: Final = 2  # uses in the small queue after the one that brought a page in
COUNTED: Final = 3  # more uses in the main queue are not told apart: a counter of 2 bits


class S3Fifo:
    """The queues as libCacheSim 0.3.5 has them, down to the miss.

    Args:
        size: Pages of the cache.

    Source: Yang et al., FIFO Queues are All You Need for Cache Eviction (SOSP 2023)
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self.nr_small = max(size // 10, 1)
        self.nr_main = size - self.nr_small
        self.nr_ghost = size * 9 // 10
        self.small: OrderedDict[int, int] = OrderedDict()  # page and its uses, oldest first
        self.main: OrderedDict[int, int] = OrderedDict()
        self.ghost: OrderedDict[int, None] = OrderedDict()
        self.was_full = False

    def access(self, page: int, now_ns: int) -> bool:
        """Use a page, which counts and moves nothing."""
        if page in self.small:
            self.small[page] += 1
            return True
        if page in self.main:
            self.main[page] += 1
            return True
        self.read_ahead(page, now_ns)
        return False

    def read_ahead(self, page: int, now_ns: int) -> None:  # noqa: ARG002 - time means nothing here
        """Bring a page in: to the main queue if it went lately, else to the small one.

        What the small one has no room for fills the main one, until something had to go.
        """
        if page in self.small or page in self.main:
            return
        to_main = page in self.ghost
        if to_main:
            del self.ghost[page]
        while len(self.small) + len(self.main) == self.size:
            self.was_full = True
            if len(self.main) > self.nr_main or not self.small:
                self._shrink_main()
            else:
                self._shrink_small()
        to_main |= not self.was_full and len(self.small) >= self.nr_small
        (self.main if to_main else self.small)[page] = 0

    def _shrink_small(self) -> None:
        while self.small:
            page, nr_uses = self.small.popitem(last=False)
            if nr_uses < TO_MAIN:
                self.ghost[page] = None
                if len(self.ghost) > self.nr_ghost:
                    self.ghost.popitem(last=False)
                return
            self.main[page] = 0

    def _shrink_main(self) -> None:
        while True:
            page, nr_uses = self.main.popitem(last=False)
            if not nr_uses:
                return
            self.main[page] = min(nr_uses, COUNTED) - 1
