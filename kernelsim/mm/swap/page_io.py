"""What happens when a disk is done with pages of swap.

A slot holds what was written when the write is complete, and only then. A write that failed leaves
it as it was: the page is dirty again, stays in the swap cache, and is tried again by the next scan.

Linux: mm/page_io.c, mm/filemap.c:folio_end_writeback (6.1).
"""

from kernelsim.hw.leaf import inlined_leaf, leaf
from kernelsim.mm.core.mem import (
    I64,
    U64,
    Mem,
    PG_dirty,
    PG_locked,
    PG_reclaim,
    PG_uptodate,
    PG_writeback,
    nid_of,
    zone_of,
)
from kernelsim.mm.core.swap import ALL_FLAGS, folio_rotate_reclaimable
from kernelsim.mm.core.vmstat import (
    NR_THROTTLED_WRITTEN,
    NR_WRITEBACK,
    NR_WRITTEN,
    NR_ZONE_WRITE_PENDING,
)
from kernelsim.mm.swap.swap_area import SwapArea
from kernelsim.mm.swap.swap_slab import swap_bio_put


@leaf
def end_swap_read(mem: Mem, swap: SwapArea, pfns: I64, n: int) -> None:
    """Fill pages with what their slots hold and unlock them.

    Source: Linux 6.1 mm/page_io.c:end_swap_bio_read
    """
    for i in range(n):
        pfn = int(pfns[i])
        slot = int(mem.pages.private[pfn])
        mem.pages.token[pfn] = swap.token[slot]
        swap_bio_put(swap, slot, nid_of(mem, pfn))
        flags = mem.pages.flags[pfn] | PG_uptodate
        mem.pages.flags[pfn] = flags & (ALL_FLAGS ^ PG_locked)


@leaf
def fail_swap_read(mem: Mem, pfns: I64, n: int) -> None:
    """Take back that pages are up to date: a fault that finds one ends its process by SIGBUS.

    Source: Linux 6.1 mm/page_io.c:end_swap_bio_read
    """
    for i in range(n):
        mem.pages.token[pfns[i]] = 0
        mem.pages.flags[pfns[i]] &= ALL_FLAGS ^ PG_uptodate


@leaf
def end_swap_write(
    mem: Mem, swap: SwapArea, pfns: I64, tokens: U64, n: int, throttled: bool
) -> int:
    """End the writing of pages that reclaim unmapped: they are clean and may be freed.

    Their slots hold `tokens` from now on. A page that reclaim still wants goes to the tail of its
    inactive list, if it is back on a list by now. With `throttled` (tasks wait for writeback on the
    node) nr_throttled_written grows.

    Returns:
        How many were rotated.

    Source: Linux 6.1 mm/page_io.c:end_swap_bio_write
    """
    rotated = 0
    for i in range(n):
        pfn = int(pfns[i])
        slot = int(mem.pages.private[pfn])
        swap.token[slot] = tokens[i]
        swap_bio_put(swap, slot, nid_of(mem, pfn))
        rotated += folio_end_writeback(mem, pfn, throttled)
    return rotated


@leaf
def fail_swap_write(mem: Mem, swap: SwapArea, pfns: I64, n: int, throttled: bool) -> None:
    """End the writing of pages that could not be written: they are dirty again.

    Source: Linux 6.1 mm/page_io.c:end_swap_bio_write
    """
    for i in range(n):
        pfn = int(pfns[i])
        swap_bio_put(swap, int(mem.pages.private[pfn]), nid_of(mem, pfn))
        flags = mem.pages.flags[pfn] | PG_dirty
        mem.pages.flags[pfn] = flags & (ALL_FLAGS ^ PG_reclaim)
        folio_end_writeback(mem, pfn, throttled)


@inlined_leaf
def folio_end_writeback(mem: Mem, pfn: int, throttled: bool) -> int:
    """Count a page as written; return 1 if it was rotated to the tail of its list, else 0.

    Source: Linux 6.1 mm/filemap.c:folio_end_writeback, mm/page-writeback.c:__folio_end_writeback
    """
    zone = zone_of(mem, pfn)
    nid = nid_of(mem, pfn)
    flags = mem.pages.flags[pfn]
    mem.node_stat[nid, NR_WRITEBACK] -= 1
    mem.node_stat[nid, NR_WRITTEN] += 1
    mem.zone_stat[zone, NR_ZONE_WRITE_PENDING] -= 1
    if throttled:
        mem.node_stat[nid, NR_THROTTLED_WRITTEN] += 1
    mem.pages.flags[pfn] = flags & (ALL_FLAGS ^ (PG_writeback | PG_reclaim))
    return int(flags & PG_reclaim != 0 and folio_rotate_reclaimable(mem, pfn))
