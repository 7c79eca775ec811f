"""The door between a trace and a replacement policy.

Interface: `CachePolicy`.
"""

from typing import Protocol


class CachePolicy(Protocol):
    """Decides which pages a cache of a fixed number of pages, at least 1, keeps.

    A page is any whole number. Times are ns since the beginning of the trace and do not go back.
    """

    def access(self, page: int, now_ns: int) -> bool:
        """Use a page; one that is not in the cache is brought in.

        Returns:
            Whether it was there: a hit.
        """
        ...

    def read_ahead(self, page: int, now_ns: int) -> None:
        """Bring a page in that nobody has asked for, unless it is there."""
        ...
