"""What a trace is: requests for pages, in the order of time.

Interface: `Request`.
"""

from typing import NamedTuple


class Request(NamedTuple):
    """Pages that were asked for at once, one after another."""

    t_ns: int
    """Time since the first request; it does not go back."""
    page: int
    """First page."""
    nr_pages: int
    """How many; 0 for a request of no bytes."""
