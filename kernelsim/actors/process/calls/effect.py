"""What a call does to the content of memory, said by its question and its answer alone.

A checker follows from it what each page must hold. Nothing here looks at page tables.
Interface: `Effect`, with `page_range` to write one.
Units: virtual page numbers.
"""

from collections.abc import Callable, Iterable
from typing import Any, Final, NamedTuple

import attrs

from kernelsim.mm.core.mem import I64
from kernelsim.mm.space.mm_struct import MmStruct
from kernelsim.units import PAGE_SHIFT, PAGE_SIZE


class PageRange(NamedTuple):
    """Pages [first, end)."""

    first: int
    end: int


PageRanges = tuple[PageRange, ...]


class StoreRun(NamedTuple):
    """Stores to `nr` pages from `vpn` on, each `stride` pages from the last."""

    vpn: int
    nr: int
    stride: int


Stores = StoreRun | I64


def _leaves_nothing(_mm: MmStruct, _value: object) -> PageRanges:
    return ()


def _drops_nothing(_value: object, _answer: object, _leaving: object) -> PageRanges:
    return ()


def _moves_nothing(_value: object, _answer: object) -> tuple[int, int, int] | None:
    return None


def _no_pages(_value: object) -> PageRange | None:
    return None


def _stores_nothing(_value: object, _answer: object) -> Iterable[Stores]:
    return ()


@attrs.frozen(kw_only=True)
class Effect:
    """What leaves memory and what enters it.

    Attributes:
        leaves: Pages that may go, one by one, while the call is under way: of the address space
            when it begins, and the value that asks.
        drops: Pages that read as zero from the answer on: of the value, the answer, and what
            `leaves` said.
        moves: Which pages are elsewhere now, in whose place there is nothing: the first, how many,
            and where the first is; of the value and the answer.
        frees: Anonymous pages that may be dropped from now on, until they are stored to again.
        protects: Pages whose entries may allow less than TLBs still do, while it is under way.
        stores: Where the program's stores went: of the value and the answer.
    """

    leaves: Callable[[MmStruct, Any], PageRanges] = _leaves_nothing
    drops: Callable[[Any, Any, PageRanges], PageRanges] = _drops_nothing
    moves: Callable[[Any, Any], tuple[int, int, int] | None] = _moves_nothing
    frees: Callable[[Any], PageRange | None] = _no_pages
    protects: Callable[[Any], PageRange | None] = _no_pages
    stores: Callable[[Any, Any], Iterable[Stores]] = _stores_nothing


NO_EFFECT: Final = Effect()


def page_range(address: int, length: int) -> PageRange:
    """Return the pages of a range of bytes."""
    return PageRange(address >> PAGE_SHIFT, -(-(address + length) // PAGE_SIZE))
