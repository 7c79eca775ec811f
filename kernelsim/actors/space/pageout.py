"""Pages that a program wants to be taken out of memory, now (MADV_PAGEOUT) or first (MADV_COLD).

Linux: mm/madvise.c:madvise_pageout, mm/vmscan.c:reclaim_pages, 6.1.
Units: virtual page numbers.
"""

from typing import Final

import numpy as np

from kernelsim.actors.core.current import Current
from kernelsim.actors.core.lru_add import lru_add_drain
from kernelsim.actors.reclaim.reclaim import Reclaimer
from kernelsim.mm.core.mem import (
    PG_locked,
    PG_mlocked,
    PG_unevictable,
    PG_writeback,
    nids_of,
)
from kernelsim.mm.space.madvise import pages_alone
from kernelsim.mm.space.mm_struct import MmStruct
from kernelsim.mm.space.mmap import VmArea

PAGES_AT_ONCE: Final = 512  # of one table of PTEs
_BUSY = PG_locked | PG_writeback | PG_unevictable | PG_mlocked


async def reclaim_pages(current: Current, mm: MmStruct, vma: VmArea) -> None:
    """Take the pages of a piece of a mapping out of memory that nobody else maps.

    Source: Linux 6.1 mm/madvise.c:madvise_pageout, mm/vmscan.c:reclaim_pages
    """
    task = current.task
    await lru_add_drain(current)
    task.rss_stat.sync()
    task.memalloc = True
    try:
        await _reclaim_alone(current, mm, vma)
    finally:
        task.memalloc = False


async def _reclaim_alone(current: Current, mm: MmStruct, vma: VmArea) -> None:
    kernel, reclaimer = current.kernel, Reclaimer(current)
    vpns, pfns = np.zeros(PAGES_AT_ONCE, np.int64), np.zeros(PAGES_AT_ONCE, np.int64)
    vpn, end = vma.vpn, vma.vpn + vma.nr_pages
    while vpn < end:
        nr, vpn = pages_alone(*kernel.space, mm.number, vpn, end - vpn, vpns, pfns)
        nids = nids_of(kernel.mem, pfns[:nr])
        for nid in sorted(set(nids.tolist())):
            chosen = nids == nid
            await reclaimer.reclaim_folio_list(mm.number, nid, vpns[:nr][chosen], pfns[:nr][chosen])
