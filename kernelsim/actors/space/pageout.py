"""Pages that a program wants to be taken out of memory, now (MADV_PAGEOUT) or first (MADV_COLD).

Linux: mm/madvise.c:madvise_pageout, mm/vmscan.c:reclaim_pages, 6.1.
Units: virtual page numbers.
"""

from typing import Final

import numpy as np

from kernelsim.actors.core.current import Current
from kernelsim.actors.core.free_pages import release
from kernelsim.actors.core.kernel import Kernel
from kernelsim.actors.core.lru_add import lru_add_drain
from kernelsim.actors.core.tlb_flush import flush_tlb_mm_range, note_file_flushed
from kernelsim.actors.reclaim.reclaim import Reclaimer
from kernelsim.mm.core.mem import (
    I64,
    PG_anon,
    PG_dirty,
    PG_gathered,
    PG_locked,
    PG_lru,
    PG_mlocked,
    PG_referenced,
    PG_swapbacked,
    PG_unevictable,
    PG_writeback,
    nid_of,
    nids_of,
)
from kernelsim.mm.core.swap import ALL_FLAGS
from kernelsim.mm.core.vmstat import NR_SHMEM
from kernelsim.mm.file.filemap import filemap_remove_folio
from kernelsim.mm.space.madvise import pages_alone
from kernelsim.mm.space.mm_struct import MmStruct
from kernelsim.mm.space.mmap import VmArea
from kernelsim.mm.space.pgtable import _PAGE_PRESENT, _PAGE_SPECIAL, pte_at, pte_pfn
from kernelsim.mm.space.rmap import try_to_unmap
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
        flags, nids = kernel.mem.pages.flags[pfns[:nr]], nids_of(kernel.mem, pfns[:nr])
        is_shmem = flags & np.uint32(PG_swapbacked | PG_anon) == PG_swapbacked
        for nid in sorted(set(nids.tolist())):
            chosen = (nids == nid) & ~is_shmem
            await reclaimer.reclaim_folio_list(mm.number, nid, vpns[:nr][chosen], pfns[:nr][chosen])
        await _unmap_shmem(current, mm, vma, pfns[:nr][is_shmem])


async def _unmap_shmem(current: Current, mm: MmStruct, vma: VmArea, pfns: I64) -> None:
    """Unmap pages of shared memory; free those that are clean, of which nothing is lost."""
    kernel, task = current
    freed, unmapped = [], 0
    for pfn in pfns.tolist():
        if _is_wanted(kernel, pfn) and try_to_unmap(*kernel.space, pfn):
            unmapped += 1
            freed += [pfn] if _take_out(kernel, pfn) else []
    if unmapped:
        await task.compute(kernel.spec.latency.scan_page_ns * unmapped)
        await flush_tlb_mm_range(current, mm, vma.vpn, vma.nr_pages)
        note_file_flushed(current, mm, unmapped)
    await release(current, np.array(freed, np.int64))


def forget_use(kernel: Kernel, mm: MmStruct, vma: VmArea) -> None:
    """Forget that pages of a piece of a mapping were used.

    Source: Linux 6.1 mm/madvise.c:madvise_cold_or_pageout_pte_range, mm/swap.c:lru_deactivate_fn
    """
    for vpn in range(vma.vpn, vma.end >> PAGE_SHIFT):
        pte = pte_at(*kernel.space, mm.number, vpn)
        if pte & (_PAGE_PRESENT | _PAGE_SPECIAL) == _PAGE_PRESENT:
            kernel.mem.pages.flags[pte_pfn(pte)] &= np.uint32(ALL_FLAGS ^ PG_referenced)


def _is_wanted(kernel: Kernel, pfn: int) -> bool:
    """Tell whether a page of shared memory is still on a list and mapped once."""
    pages = kernel.mem.pages
    flags = int(pages.flags[pfn])
    is_shmem = flags & (PG_swapbacked | PG_anon) == PG_swapbacked
    return is_shmem and int(pages.mapcount[pfn]) == 1 and bool(flags & PG_lru) and not flags & _BUSY


def _take_out(kernel: Kernel, pfn: int) -> bool:
    """Take an unmapped page out of its page cache, unless it is dirty; tell whether it is out."""
    mem = kernel.mem
    if int(mem.pages.flags[pfn]) & PG_dirty:
        return False
    number = int(mem.pages.mapping[pfn])
    filemap_remove_folio(mem, kernel.spaces.mappings, pfn, 0)
    mem.node_stat[nid_of(mem, pfn), NR_SHMEM] -= 1
    kernel.mms.commit.uncharge(int(not kernel.files.inodes[number].is_charged))
    mem.pages.flags[pfn] |= np.uint32(PG_gathered)
    return True
