"""Traces that are made, not recorded: each shows what one pattern does to a cache.

Interface: `MADE_TRACES`, functions by name; each takes a `TraceShape`.
Units: a request is one page; requests are `STEP_NS` apart.
"""

from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping
from itertools import accumulate
from typing import Final, Protocol

import attrs

from kernelsim.units import NS_PER_US
from kernelsim.user.cache.requests import Request

STEP_NS: Final = 100 * NS_PER_US  # 10,000 requests a second
ZIPF_SCALE: Final = 1 << 40  # weight of the most popular page; weights are whole numbers
COLD_EVERY: Final = 4  # of the requests of `ahead`, one in so many is for a page never seen
COLD_GAP: Final = 1 << 10  # pages between two of those, more than any window of readahead


class Draws(Protocol):
    """A stream of random whole numbers."""

    def below(self, bound: int) -> int:
        """Return a number in 0 … bound - 1."""
        ...


@attrs.frozen
class TraceShape:
    """How big a made trace is."""

    nr_pages: int
    """Different pages of its hot part, at least 1."""
    nr_requests: int
    draws: Draws


def zipf(shape: TraceShape) -> Iterator[Request]:
    """Ask for pages by popularity: the k-th most popular 1/k as often as the first."""
    pages = _popular(shape)
    for number in range(shape.nr_requests):
        yield Request(number * STEP_NS, next(pages), 1)


def loop(shape: TraceShape) -> Iterator[Request]:
    """Ask for all pages in turn, over and over: the worst there is for LRU, were it too small."""
    for number in range(shape.nr_requests):
        yield Request(number * STEP_NS, number % shape.nr_pages, 1)


def scan(shape: TraceShape) -> Iterator[Request]:
    """Ask for each page once."""
    for number in range(shape.nr_requests):
        yield Request(number * STEP_NS, number, 1)


def pollution(shape: TraceShape) -> Iterator[Request]:
    """Ask for a hot set by popularity; in the middle third, pass once over pages never seen."""
    pages = _popular(shape)
    third = shape.nr_requests // 3
    for number in range(shape.nr_requests):
        is_scan = third <= number < 2 * third
        page = shape.nr_pages + number if is_scan else next(pages)
        yield Request(number * STEP_NS, page, 1)


def ahead(shape: TraceShape) -> Iterator[Request]:
    """Ask for a hot set by popularity and for lone cold pages: what is read ahead is in vain."""
    pages = _popular(shape)
    for number in range(shape.nr_requests):
        is_cold = number % COLD_EVERY == COLD_EVERY - 1
        page = shape.nr_pages + number * COLD_GAP if is_cold else next(pages)
        yield Request(number * STEP_NS, page, 1)


def _popular(shape: TraceShape) -> Iterator[int]:
    """Draw pages for ever; their places say nothing about their popularity."""
    totals = list(accumulate(ZIPF_SCALE // rank for rank in range(1, shape.nr_pages + 1)))
    places = list(range(shape.nr_pages))
    for last in range(shape.nr_pages - 1, 0, -1):
        other = shape.draws.below(last + 1)
        places[last], places[other] = places[other], places[last]
    while True:
        yield places[bisect_right(totals, shape.draws.below(totals[-1]))]


MADE_TRACES: Final[Mapping[str, Callable[[TraceShape], Iterator[Request]]]] = {
    made.__name__: made for made in (zipf, loop, scan, pollution, ahead)
}
