"""Pages that a program wants to be taken out of memory, now (MADV_PAGEOUT) or first (MADV_COLD).

Linux: mm/madvise.c:madvise_pageout, mm/vmscan.c:reclaim_pages, 6.1.
Units: virtual page numbers.
"""

from typing import Final

import numpy as np

from kernelsim.actors.core.current import Current
from kernelsim.actors.core.kernel import Kernel
from kernelsim.actors.core.lru_add import lru_add_drain
from kernelsim.actors.reclaim.reclaim import Reclaimer
from kernelsim.mm.core.mem import (
    PG_locked,
    PG_mlocked,
    PG_referenced,
    PG_unevictable,
    PG_writeback,
    nids_of,
)
from kernelsim.mm.core.swap import ALL_FLAGS
from kernelsim.mm.space.madvise import pages_alone
from kernelsim.mm.space.mm_struct import MmStruct
from kernelsim.mm.space.mmap import VmArea
from kernelsim.mm.space.pgtable import _PAGE_PRESENT, _PAGE_SPECIAL, pte_at, pte_pfn
from kernelsim.units import PAGE_SHIFT

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


def forget_use(kernel: Kernel, mm: MmStruct, vma: VmArea) -> None:
    """Forget that pages of a piece of a mapping were used.

    Source: Linux 6.1 mm/madvise.c:madvise_cold_or_pageout_pte_range, mm/swap.c:lru_deactivate_fn
    """
    for vpn in range(vma.vpn, vma.end >> PAGE_SHIFT):
        pte = pte_at(*kernel.space, mm.number, vpn)
        if pte & (_PAGE_PRESENT | _PAGE_SPECIAL) == _PAGE_PRESENT:
            kernel.mem.pages.flags[pte_pfn(pte)] &= np.uint32(ALL_FLAGS ^ PG_referenced)
