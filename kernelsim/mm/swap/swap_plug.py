"""Swap writes on their way to the device: neighbouring slots become one request.

Linux: mm/page_io.c, and the plug of block/blk-mq.c:blk_add_rq_to_plug (6.1).

Interface: a reclaimer keeps one `SwapPlug` for a pass over a node. `join` adds the pages of a
batch that continue the latest request. For the page it stops at another one has to `begin`; when
`is_due` says so, all others leave first. `flush` returns them; it is also called at the end of the
pass and before the reclaimer sleeps.

Why it matters. Requests that leave in the middle of a batch may be done before the batch is put
back on its list. Their pages that are still off the list then cannot be rotated to its tail, and
stay in the swap cache until the list has gone round once more.
Units: pages and slots.
"""

from typing import Final, NamedTuple

import numpy as np

from kernelsim.config.disks import MAX_REQUEST_PAGES
from kernelsim.hw.leaf import inlined_leaf, leaf
from kernelsim.mm.core.mem import I64, I64_2D, Mem

BLK_MAX_REQUEST_COUNT: Final = 32  # requests a plug holds; block/blk.h
BLK_PLUG_FLUSH_PAGES: Final = 32  # BLK_PLUG_FLUSH_SIZE, 128 KiB: a request this large is not held


class SwapRequest(NamedTuple):
    """Pages to write to consecutive slots in one go."""

    slot: int  # of the first page
    pfns: I64


class SwapPlug(NamedTuple):
    """Requests held back so that more pages can join them, the oldest first."""

    nr_requests: I64  # [0]
    slot: I64  # [request] of its first page
    nr_pages: I64  # [request]
    pfns: I64_2D  # [request, page]


def new_swap_plug() -> SwapPlug:
    """Return an empty plug."""
    return SwapPlug(
        nr_requests=np.zeros(1, np.int64),
        slot=np.zeros(BLK_MAX_REQUEST_COUNT, np.int64),
        nr_pages=np.zeros(BLK_MAX_REQUEST_COUNT, np.int64),
        pfns=np.zeros((BLK_MAX_REQUEST_COUNT, MAX_REQUEST_PAGES), np.int64),
    )


@leaf
def join(mem: Mem, plug: SwapPlug, pfns: I64, first: int, n: int, max_segments: int) -> int:
    """Add pages in the swap cache, `pfns[first:n]`, as far as they continue the latest request.

    Args:
        mem: Physical memory.
        plug: The requests.
        pfns: Pages of a batch.
        first: Where to begin.
        n: Pages of the batch.
        max_segments: Pages a request to the device may have.

    Returns:
        Index of the page that needs a request of its own; `n` if none does.

    Source: Linux 6.1 block/blk-merge.c:blk_attempt_plug_merge, :ll_back_merge_fn
    """
    limit = min(MAX_REQUEST_PAGES, max_segments)
    for i in range(first, n):
        pfn = int(pfns[i])
        if not merge(plug, int(mem.pages.private[pfn]), pfn, limit):
            return i
    return n


@inlined_leaf
def merge(plug: SwapPlug, slot: int, pfn: int, limit: int) -> bool:
    """Join a page to the latest request if its slot comes right before or behind it."""
    last = int(plug.nr_requests[0]) - 1
    if last < 0:
        return False
    nr_pages, row = int(plug.nr_pages[last]), plug.pfns[last]
    if nr_pages >= limit:
        return False
    if slot == plug.slot[last] + nr_pages:
        row[nr_pages] = pfn
    elif slot == plug.slot[last] - 1:
        for i in range(nr_pages, 0, -1):
            row[i] = row[i - 1]
        row[0] = pfn
        plug.slot[last] = slot
    else:
        return False
    plug.nr_pages[last] = nr_pages + 1
    return True


@leaf
def is_due(plug: SwapPlug) -> bool:
    """Tell whether all requests leave before another one begins.

    Source: Linux 6.1 block/blk-mq.c:blk_add_rq_to_plug
    """
    nr = int(plug.nr_requests[0])
    if nr == 0:
        return False
    return bool(plug.nr_pages[nr - 1] >= BLK_PLUG_FLUSH_PAGES or nr >= BLK_MAX_REQUEST_COUNT)


@leaf
def begin(plug: SwapPlug, slot: int, pfn: int) -> None:
    """Begin a request; none is due."""
    last = int(plug.nr_requests[0])
    plug.slot[last] = slot
    plug.nr_pages[last] = 1
    plug.pfns[last, 0] = pfn
    plug.nr_requests[0] = last + 1


def flush(plug: SwapPlug) -> list[SwapRequest]:
    """Let all requests leave, oldest first."""
    nr = int(plug.nr_requests[0])
    plug.nr_requests[0] = 0
    return [
        SwapRequest(int(plug.slot[i]), plug.pfns[i, : plug.nr_pages[i]].copy()) for i in range(nr)
    ]
