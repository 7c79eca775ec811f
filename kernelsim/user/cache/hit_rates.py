"""Run one trace through several caches and count the hits.

Interface: `hit_rates`, `Window`.
"""

from collections.abc import Iterable, Sequence

import attrs

from kernelsim.user.cache.policy import CachePolicy
from kernelsim.user.cache.requests import Request


@attrs.define
class Window:
    """What the caches did in one stretch of time."""

    begin_ns: int
    hits: list[int]
    """One number a cache."""
    nr_accesses: int = 0
    """Pages that were asked for; pages only read ahead do not count."""


def hit_rates(
    requests: Iterable[Request],
    caches: Sequence[CachePolicy],
    *,
    read_ahead: int = 0,
    window_ns: int | None = None,
) -> list[Window]:
    """Give each page of a trace to each cache.

    Args:
        requests: The trace; it is gone through once.
        caches: Empty ones, or what an earlier trace left.
        read_ahead: Pages that a cache brings in after each page it missed.
        window_ns: Length of the windows; None for one window.

    Returns:
        The windows in which there were requests, in order; at least one.
    """
    windows = [Window(0, [0] * len(caches))]
    for t_ns, first, nr_pages in requests:
        begin_ns = t_ns - t_ns % window_ns if window_ns else 0
        if begin_ns != windows[-1].begin_ns:
            windows.append(Window(begin_ns, [0] * len(caches)))
        window = windows[-1]
        window.nr_accesses += nr_pages
        for number, cache in enumerate(caches):
            access = cache.access
            for page in range(first, first + nr_pages):
                if access(page, t_ns):
                    window.hits[number] += 1
                    continue
                for other in range(page + 1, page + 1 + read_ahead):
                    cache.read_ahead(other, t_ns)
    return windows
