"""MADV_FREE: pages that reclaim may drop as they are, as long as nobody stores to them again.

Linux: mm/madvise.c:madvise_free_pte_range, mm/swap.c:mark_page_lazyfree, 6.1.
Units: virtual page numbers.
"""

import numpy as np

from kernelsim.actors.alloc.slab import settle_slabs
from kernelsim.actors.core.current import Current
from kernelsim.actors.core.free_pages import by_node, release
from kernelsim.actors.core.lru_add import lru_add_drain
from kernelsim.actors.core.tlb_flush import flush_tlb_mm_range
from kernelsim.actors.messages.node import LazyfreeFolios
from kernelsim.mm.core.mem import PAGEVEC_SIZE
from kernelsim.mm.space.madvise import madvise_free_pages
from kernelsim.mm.space.mm_struct import MmStruct
from kernelsim.mm.space.mmap import VmArea
from kernelsim.mm.swap.free_swap import free_swap_and_cache
from kernelsim.units import PAGE_SHIFT


async def free_lazily(current: Current, mm: MmStruct, vma: VmArea) -> None:
    """Mark the pages of a piece of a mapping clean and unused, and give their swap slots back.

    Source: Linux 6.1 mm/madvise.c:madvise_free_single_vma
    """
    # Differs from Linux: The pages go to the inactive list of files at once, not when the CPU's
    # folio_batch of such pages is full.
    kernel, task = current
    vpn, last = vma.vpn, vma.end >> PAGE_SHIFT
    pfns, slots = np.zeros(PAGEVEC_SIZE, np.int64), np.zeros(PAGEVEC_SIZE, np.int64)
    await lru_add_drain(current)
    task.rss_stat.sync()
    while vpn < last:
        nr, nr_slots, vpn = madvise_free_pages(
            *kernel.space, mm.number, vpn, last - vpn, pfns, slots
        )
        for nid, part in by_node(kernel, pfns, nr):
            await kernel.nodes[nid].ref.ask(LazyfreeFolios(part, task.cpu.name))
        if nr_slots:
            unused = np.zeros(nr_slots, np.int64)
            nr_unused = free_swap_and_cache(kernel.mem, kernel.swap, slots, nr_slots, unused)
            await release(current, unused[:nr_unused])
            await settle_slabs(current)
    await flush_tlb_mm_range(current, mm, vma.vpn, vma.nr_pages)
