"""A single list: the page used longest ago goes.

Interface: `Lru`.
"""

from collections import OrderedDict


class Lru:
    """One list of all pages by their last use, as the note has it before there were two.

    Args:
        size: Pages of the cache.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self.pages: OrderedDict[int, None] = OrderedDict()  # used longest ago first

    def access(self, page: int, now_ns: int) -> bool:
        """Use a page, which makes it the last one to go."""
        if page in self.pages:
            self.pages.move_to_end(page)
            return True
        self.read_ahead(page, now_ns)
        return False

    def read_ahead(self, page: int, now_ns: int) -> None:  # noqa: ARG002 - time means nothing here
        """Bring a page in at the front, as if it had been used: what a single list suffers from."""
        if page in self.pages:
            return
        if len(self.pages) == self.size:
            self.pages.popitem(last=False)
        self.pages[page] = None
