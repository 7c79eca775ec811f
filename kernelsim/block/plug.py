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

from typing import Final

import attrs

from kernelsim.mm.core.mem import I64, Mem

BLK_MAX_REQUEST_COUNT: Final = 32  # requests a plug holds; block/blk.h
BLK_PLUG_FLUSH_PAGES: Final = 32  # BLK_PLUG_FLUSH_SIZE, 128 KiB: a request this large is not held
MAX_REQUEST_PAGES: Final = 320  # max_sectors_kb 1280, the block layer's default


@attrs.frozen
class SwapRequest:
    """Pages to write to consecutive slots in one go."""

    slot: int  # of the first page
    pfns: tuple[int, ...]


@attrs.define
class SwapPlug:
    """Requests held back so that more pages can join them."""

    requests: list[SwapRequest] = attrs.field(factory=list)

    def join(self, mem: Mem, pfns: I64, first: int, n: int, max_segments: int) -> int:
        """Add pages in the swap cache, `pfns[first:n]`, as far as they continue the latest request.

        Args:
            mem: Physical memory.
            pfns: Pages of a batch.
            first: Where to begin.
            n: Pages of the batch.
            max_segments: Pages a request to the device may have.

        Returns:
            Index of the page that needs a request of its own; `n` if none does.

        Source: Linux 6.1 block/blk-merge.c:blk_attempt_plug_merge, :ll_back_merge_fn
        """
        limit = min(MAX_REQUEST_PAGES, max_segments)
        for index in range(first, n):
            pfn = int(pfns[index])
            if not self.merge(int(mem.pages.private[pfn]), pfn, limit):
                return index
        return n

    def is_due(self) -> bool:
        """Tell whether all requests leave before another one begins.

        Source: Linux 6.1 block/blk-mq.c:blk_add_rq_to_plug
        """
        requests = self.requests
        if not requests:
            return False
        large = len(requests[-1].pfns) >= BLK_PLUG_FLUSH_PAGES
        return large or len(requests) >= BLK_MAX_REQUEST_COUNT

    def begin(self, slot: int, pfn: int) -> None:
        """Begin a request."""
        self.requests.append(SwapRequest(slot, (pfn,)))

    def merge(self, slot: int, pfn: int, limit: int) -> bool:
        """Join a page to the latest request if its slot comes right before or behind it."""
        if not self.requests:
            return False
        last = self.requests[-1]
        if len(last.pfns) >= limit:
            return False
        if slot == last.slot + len(last.pfns):
            self.requests[-1] = SwapRequest(last.slot, (*last.pfns, pfn))
        elif slot == last.slot - 1:
            self.requests[-1] = SwapRequest(slot, (pfn, *last.pfns))
        else:
            return False
        return True

    def flush(self) -> list[SwapRequest]:
        """Let all requests leave, oldest first."""
        leaving, self.requests = self.requests, []
        return leaving
