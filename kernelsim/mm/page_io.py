"""Swap writes on their way to the device: neighbouring slots become one request.

Linux: mm/page_io.c, and the plug of block/blk-mq.c:blk_add_rq_to_plug (6.1).
Differs: requests are limited by size only, not by the number of memory segments.

Interface: a reclaimer keeps one `SwapPlug` for a pass over a node. `add` takes the pages of a
batch and returns the requests that leave for the device now; `flush` returns the rest, at the end
of the pass or before the reclaimer sleeps.

Why it matters. Requests that leave in the middle of a batch may be done before the batch is put
back on its list. Their pages that are still off the list then cannot be rotated to its tail, and
stay in the swap cache until the list has gone round once more.
Units: pages and slots.
"""

from typing import Final

import attrs

from kernelsim.mm.mem import I64, Mem

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

    def add(self, mem: Mem, pfns: I64, n: int) -> list[SwapRequest]:
        """Add pages in the swap cache, `pfns[:n]`; return the requests that leave, oldest first.

        Source: Linux 6.1 block/blk-merge.c:blk_attempt_plug_merge
        """
        leaving: list[SwapRequest] = []
        for pfn in pfns[:n].tolist():
            slot = int(mem.pages.private[pfn])
            if not self.merge(slot, pfn):
                last = self.requests[-1] if self.requests else None
                if last and (
                    len(self.requests) >= BLK_MAX_REQUEST_COUNT
                    or len(last.pfns) >= BLK_PLUG_FLUSH_PAGES
                ):
                    leaving += self.flush()
                self.requests.append(SwapRequest(slot, (pfn,)))
        return leaving

    def merge(self, slot: int, pfn: int) -> bool:
        """Join a page to the latest request if its slot comes right before or behind it."""
        if not self.requests:
            return False
        last = self.requests[-1]
        if len(last.pfns) >= MAX_REQUEST_PAGES:
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
