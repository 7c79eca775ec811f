"""What a process wrote where, kept apart from the machine, and whether its pages still hold it.

A page's content is its token. `Content` remembers the last one stored in each page; a page that
is not in it reads as 0. `check_content` compares it with every page of the process, wherever that
is: in a frame, in the swap cache, in a slot, nowhere.
Exact in the middle of things, too. While a fault of a store is served, its page may hold the new
token already: that one and no other. While the process unmaps a range or ends, pages of that range
may be gone already; those left hold what they did.
Where several tasks use an address space each store is told in the step that does it, so their order
is known. What is not: when the pages of a call went that another task was beside (`UnderWay`).
These are believed to hold what they are found to at the next look.
Interface: `Content`, fed by `record.py`; `check_content`, `found_tokens`.
Units: virtual page numbers; blocks of 512 pages.
"""

from collections.abc import Iterator
from typing import Final

import attrs
import numpy as np
from numpy.typing import NDArray

from kernelsim.actors.process.calls.effect import PageRange, PageRanges
from kernelsim.check.tables import PRESENT, SHIFT, SPECIAL, Tables, cut_short
from kernelsim.mm.core.mem import I64, U64, Mem, PG_locked, PG_uptodate
from kernelsim.mm.swap.swap_area import SwapArea

BLOCK_BITS: Final = 9
BLOCK_PAGES: Final = 1 << BLOCK_BITS
ALL_PAGES: Final = PageRange(0, 1 << 52)
CHUNK_PAGES: Final = 1 << 16  # of a run that is entered at once


@attrs.define(eq=False)
class UnderWay:
    """A call that a task is in the middle of.

    Attributes:
        leaving: Pages [first, end) that it unmaps, drops or moves.
        freed: Pages [first, end) that may be dropped when it is answered (MADV_FREE).
        protected: Pages [first, end) whose entries may allow less than before (mprotect).
        is_fork: It makes entries of all pages read-only, and then flushes them.
        moved: What it has moved: the first page, how many, and where that is.
        is_shared: Others use the address space: its stores are told one by one, not by its answer.
        is_beside: Another task was in the middle of a call, too, at some time.
    """

    leaving: PageRanges = ()
    freed: PageRanges = ()
    protected: PageRanges = ()
    is_shared: bool = False
    is_fork: bool = False
    moved: tuple[int, int, int] | None = None
    is_beside: bool = False

    def may_be_stale(self, vpn: int) -> bool:
        """Tell whether TLBs may allow more of a page than page tables do, for a while."""
        ranges = self.leaving + self.freed + self.protected
        return self.is_fork or any(first <= vpn < end for first, end in ranges)

    def raced(self) -> PageRanges:
        """Return the pages of which nobody knows in which order they went and were stored to."""
        if not self.is_beside:
            return ()
        ranges = self.leaving + self.freed
        if self.moved is not None:
            first, nr, new_first = self.moved
            ranges += PageRange(first, first + nr), PageRange(new_first, new_first + nr)
        return ranges


@attrs.define
class Content:
    """What was written to one address space.

    Attributes:
        tokens: By row and page of a block; 0 for pages never written.
        stores: The page and token of the store that a fault is served for, by pid.
        calls: Those under way, by pid.
        made_by: The call that makes this address space of another one, while it is under way.
        unknown: Pages [first, end) that may hold anything until they are looked at.
        zeros: Pages of mappings of files that were made to hold 0, whatever the file has there: a
            lock copies what is to be stored to, also from a hole.
        lazy: Pages that may be dropped, as long as nobody stores to them (MADV_FREE).
    """

    tokens: U64 = attrs.field(factory=lambda: np.zeros((8, BLOCK_PAGES), np.uint64))
    stores: dict[int, tuple[int, int]] = attrs.field(factory=dict)
    calls: dict[int, UnderWay] = attrs.field(factory=dict)
    made_by: UnderWay | None = None
    unknown: PageRanges = ()
    zeros: I64 = attrs.field(factory=lambda: np.zeros(0, np.int64))
    lazy: I64 = attrs.field(factory=lambda: np.zeros(0, np.int64))
    _row: dict[int, int] = attrs.field(factory=dict, alias="row")  # by block

    @property
    def leaving(self) -> PageRanges:
        """Pages [first, end) that calls under way unmap, drop or move."""
        return tuple(pages for call in self.calls.values() for pages in call.leaving)

    def begin(self, pid: int, call: UnderWay) -> None:
        """Note that a call begins, perhaps beside others."""
        self.calls[pid] = call
        if len(self.calls) > 1:
            for each in self.calls.values():
                each.is_beside = True

    def raced(self) -> PageRanges:
        """Return the pages [first, end) that may hold something else than what was written last."""
        ranges = self.unknown
        for call in self.calls.values():
            ranges += call.raced()
        return (*ranges, ALL_PAGES) if self.made_by and self.made_by.is_beside else ranges

    def is_known(self, pid: int, vpns: I64) -> bool:
        """Tell whether it is known what a task finds in some pages."""
        if within(vpns, self.raced()).any():
            return False
        others = [store[0] for other, store in self.stores.items() if other != pid]
        return not (others and np.isin(vpns, others).any())

    def row_of(self, block: int) -> int:
        """Return the row of a block, made if it has none."""
        row = self._row.get(block)
        if row is None:
            row = self._row[block] = len(self._row)
            if row == len(self.tokens):
                self.tokens = np.concatenate((self.tokens, np.zeros_like(self.tokens)))
        return row

    def known_row(self, block: int) -> int:
        """Return the row of a block, -1 if nothing in it was ever written."""
        return self._row.get(block, -1)

    def blocks(self) -> I64:
        """Return the block of each row."""
        return np.fromiter(self._row, np.int64, len(self._row))

    def write(self, vpns: I64, token: int) -> None:
        """Enter a store to some pages."""
        blocks, inverse = np.unique(vpns >> BLOCK_BITS, return_inverse=True)
        rows = np.array([self.row_of(block) for block in blocks.tolist()], np.int64)
        self.tokens[rows[inverse], vpns & (BLOCK_PAGES - 1)] = token
        if not token:
            self.zeros = np.union1d(self.zeros, vpns)
        if len(self.lazy):
            self.lazy = np.setdiff1d(self.lazy, vpns)

    def write_run(self, vpn: int, nr: int, stride: int, token: int) -> None:
        """Enter `nr` stores from `vpn` on, each `stride` pages."""
        if stride == 1:
            self._fill(vpn, vpn + nr, token)
            return
        for first in range(0, nr, CHUNK_PAGES):
            part = np.arange(first, min(first + CHUNK_PAGES, nr), dtype=np.int64)
            self.write(vpn + part * stride, token)

    def read(self, vpns: I64) -> U64:
        """Return what was written to each of some pages; 0 for nothing."""
        blocks, inverse = np.unique(vpns >> BLOCK_BITS, return_inverse=True)
        rows = np.array([self.known_row(block) for block in blocks.tolist()], np.int64)[inverse]
        tokens: U64 = self.tokens[rows, vpns & (BLOCK_PAGES - 1)]
        tokens[rows < 0] = 0
        return tokens

    def drop(self, first: int, end: int) -> None:
        """Forget what was written to pages [first, end): they read as 0."""
        self.zeros = self.zeros[(self.zeros < first) | (self.zeros >= end)]
        low, high = first >> BLOCK_BITS, (end - 1) >> BLOCK_BITS
        for block in [block for block in self._row if low <= block <= high]:
            start = block << BLOCK_BITS
            self._fill(max(first, start), min(end, start + BLOCK_PAGES), 0)

    def copy_from(self, other: "Content", first: int, end: int) -> None:
        """Take over what another process has in pages [first, end)."""
        self.unknown += other.unknown
        inside = (other.zeros >= first) & (other.zeros < end)
        self.zeros = np.union1d(self.zeros, other.zeros[inside])
        inside = (other.lazy >= first) & (other.lazy < end)
        self.lazy = np.union1d(self.lazy, other.lazy[inside])
        low, high = first >> BLOCK_BITS, (end - 1) >> BLOCK_BITS
        for block in other.blocks().tolist():
            if not low <= block <= high:
                continue
            start = block << BLOCK_BITS
            part = slice(max(first - start, 0), min(end - start, BLOCK_PAGES))
            self_row, row = self.row_of(block), other.row_of(block)
            self.tokens[self_row, part] = other.tokens[row, part]

    def move(self, first: int, nr: int, new_first: int) -> None:
        """Let pages hold at another place what they held."""
        vpns = np.arange(first, first + nr, dtype=np.int64)
        tokens = self.read(vpns)
        zeros, lazy = (
            marked[(marked >= first) & (marked < first + nr)] for marked in (self.zeros, self.lazy)
        )
        self.drop(first, first + nr)
        self.drop(new_first, new_first + nr)
        for token in np.unique(tokens[tokens != 0]).tolist():
            self.write(vpns[tokens == token] - first + new_first, token)
        self.zeros = np.union1d(self.zeros, zeros - first + new_first)
        self.lazy = np.union1d(self.lazy, lazy - first + new_first)

    def free_lazily(self, first: int, end: int) -> None:
        """Let pages [first, end) go, if they want to."""
        for block in self.blocks().tolist():
            start = block << BLOCK_BITS
            part = slice(max(first - start, 0), max(min(end - start, BLOCK_PAGES), 0))
            written = np.flatnonzero(self.tokens[self.known_row(block), part]) + part.start + start
            self.lazy = np.union1d(self.lazy, written)

    def is_lazy(self, vpns: I64) -> NDArray[np.bool_]:
        """Tell which pages may have been dropped."""
        return np.isin(vpns, self.lazy)

    def _fill(self, first: int, end: int, token: int) -> None:
        if len(self.lazy):
            self.lazy = self.lazy[(self.lazy < first) | (self.lazy >= end)]
        while first < end:
            block = first >> BLOCK_BITS
            last = min(end, (block + 1) << BLOCK_BITS)
            start = block << BLOCK_BITS
            row = self.row_of(block)
            self.tokens[row, first - start : last - start] = token
            first = last


def found_tokens(mem: Mem, swap: SwapArea, tables: Tables) -> U64:
    """Return what a program would read at each entry: of a frame, or of what stands for it.

    A page in the swap cache answers for its slot once it has been read.
    """
    is_swap = tables.is_swap
    tokens = np.zeros(len(is_swap), np.uint64)
    tokens[~is_swap] = mem.pages.token[tables.pfns(~is_swap)]
    slots = np.minimum(tables.pte[is_swap] >> SHIFT, len(swap.map) - 1)
    cached = swap.cache_pfn[slots]
    flags = mem.pages.flags[cached] & np.uint32(PG_locked | PG_uptodate)
    is_cached = (cached != 0) & (flags == np.uint32(PG_uptodate))
    tokens[is_swap] = np.where(is_cached, mem.pages.token[cached], swap.token[slots])
    return tokens


@attrs.frozen
class Pages:
    """The entries of one process, by rising page, and what a program would read there."""

    pid: int
    vpn: I64
    pte: I64
    token: U64

    def where(self, vpn: int, swap: SwapArea) -> str:
        """Say where a page is."""
        place = int(np.searchsorted(self.vpn, vpn))
        if place == len(self.vpn) or self.vpn[place] != vpn:
            return "not mapped"
        frame_or_slot = int(self.pte[place]) >> SHIFT & 0xFF_FFFF_FFFF
        if self.pte[place] & (PRESENT | SPECIAL):
            return f"pfn {frame_or_slot}"
        cached = int(swap.cache_pfn[min(frame_or_slot, len(swap.map) - 1)])
        return f"slot {frame_or_slot}" + (f", cached in pfn {cached}" if cached else "")

    def has_entry(self, vpns: I64) -> NDArray[np.bool_]:
        """Tell which pages have an entry."""
        if not len(self.vpn):
            return np.zeros(len(vpns), np.bool_)
        place = np.minimum(np.searchsorted(self.vpn, vpns), len(self.vpn) - 1)
        found: NDArray[np.bool_] = self.vpn[place] == vpns
        return found


def check_content(
    pages: Pages, content: Content, swap: SwapArea, *, is_ending: bool
) -> Iterator[str]:
    """Compare what a process wrote with what its pages hold.

    Args:
        pages: What the page tables say.
        content: What the process was told.
        swap: To say where a page is.
        is_ending: Its address space is being taken apart.
    """
    found = tokens_by_row(pages, content)
    expected = content.tokens[: len(found)]
    rows, index = np.nonzero(found != expected)
    raced = content.raced()
    if not len(rows) and not raced:
        return
    vpns = (content.blocks()[rows] << BLOCK_BITS) + index
    held, wanted = found[rows, index], expected[rows, index]
    legal = within(vpns, raced)
    if not is_ending and raced == content.unknown:  # and nobody is at it: believe what is there
        content.tokens[rows[legal], index[legal]] = held[legal]
        content.unknown = ()
    for first, end in (ALL_PAGES,) if is_ending else content.leaving:
        legal |= (vpns >= first) & (vpns < end) & ~pages.has_entry(vpns)
    if len(content.lazy):
        is_dropped = content.is_lazy(vpns) & (held == 0)
        content.write(vpns[is_dropped], 0)
        legal |= is_dropped
    for vpn, token in content.stores.values():
        legal |= (vpns == vpn) & (held == token)
    order = np.argsort(vpns)
    yield from cut_short(
        f"pid {pages.pid} vpn {vpns[i]:#x}: holds {held[i]}, expected {wanted[i]} "
        f"({pages.where(int(vpns[i]), swap)})"
        for i in order[~legal[order]].tolist()
    )


def within(vpns: I64, ranges: PageRanges) -> NDArray[np.bool_]:
    """Tell which pages lie in one of some ranges [first, end)."""
    inside = np.zeros(len(vpns), np.bool_)
    for first, end in ranges:
        inside |= (vpns >= first) & (vpns < end)
    return inside


def tokens_by_row(pages: Pages, content: Content) -> U64:
    """Return what was found in the shape of `Content.tokens`; blocks that need a row get one."""
    blocks = pages.vpn >> BLOCK_BITS
    starts = np.flatnonzero(np.diff(blocks, prepend=-1))
    if len(starts):
        is_written = np.logical_or.reduceat(pages.token != 0, starts)
        rows_of = [
            content.row_of(block) if wanted else content.known_row(block)
            for block, wanted in zip(blocks[starts].tolist(), is_written.tolist(), strict=True)
        ]
        rows = np.repeat(np.array(rows_of, np.int64), np.diff(starts, append=len(blocks)))
        places = (rows << BLOCK_BITS) + (pages.vpn & (BLOCK_PAGES - 1))
    found = np.zeros((len(content.blocks()), BLOCK_PAGES), np.uint64)
    if len(starts):
        known = rows >= 0
        if known.all():
            found.ravel()[places] = pages.token
        else:
            found.ravel()[places[known]] = pages.token[known]
    return found
