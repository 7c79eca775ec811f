"""What happens when a disk is done with pages of swap.

Linux: mm/page_io.c, mm/filemap.c:folio_end_writeback (6.1).
"""

from kernelsim.hw.leaf import leaf
from kernelsim.mm.core.mem import (
    I64,
    Mem,
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


@leaf
def end_swap_read(mem: Mem, swap: SwapArea, pfns: I64, n: int) -> None:
    """Fill pages with what their slots hold and unlock them.

    Source: Linux 6.1 mm/page_io.c:end_swap_bio_read
    """
    for i in range(n):
        pfn = int(pfns[i])
        mem.pages.token[pfn] = swap.token[mem.pages.private[pfn]]
        flags = mem.pages.flags[pfn] | PG_uptodate
        mem.pages.flags[pfn] = flags & (ALL_FLAGS ^ PG_locked)


@leaf
def end_swap_write(mem: Mem, pfns: I64, n: int, throttled: bool) -> int:
    """End the writing of pages that reclaim unmapped: they are clean and may be freed.

    A page that reclaim still wants goes to the tail of its inactive list, if it is back on a list
    by now. With `throttled` (tasks wait for writeback on the node) nr_throttled_written grows.

    Returns:
        How many were rotated.

    Source: Linux 6.1 mm/filemap.c:folio_end_writeback, mm/page_io.c:end_swap_bio_write
    """
    rotated = 0
    for i in range(n):
        pfn = int(pfns[i])
        zone = zone_of(mem, pfn)
        nid = nid_of(mem, pfn)
        flags = mem.pages.flags[pfn]
        mem.node_stat[nid, NR_WRITEBACK] -= 1
        mem.node_stat[nid, NR_WRITTEN] += 1
        mem.zone_stat[zone, NR_ZONE_WRITE_PENDING] -= 1
        if throttled:
            mem.node_stat[nid, NR_THROTTLED_WRITTEN] += 1
        mem.pages.flags[pfn] = flags & (ALL_FLAGS ^ (PG_writeback | PG_reclaim))
        if flags & PG_reclaim and folio_rotate_reclaimable(mem, pfn):
            rotated += 1
    return rotated
