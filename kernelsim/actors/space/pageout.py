"""Pages that a program wants to be taken out of memory, now (MADV_PAGEOUT) or first (MADV_COLD).

Linux: mm/madvise.c:madvise_pageout, mm/vmscan.c:reclaim_pages, 6.1.
# Differs from Linux: MADV_PAGEOUT leaves anonymous pages where they are, old: nothing goes to swap
# before memory is short.
Units: virtual page numbers.
"""

import numpy as np

from kernelsim.actors.core.current import Current
from kernelsim.actors.core.free_pages import release
from kernelsim.actors.core.kernel import Kernel
from kernelsim.actors.core.lru_add import lru_add_drain
from kernelsim.actors.core.tlb_flush import flush_tlb_mm_range, note_file_flushed
from kernelsim.mm.core.mem import (
    PG_activating,
    PG_active,
    PG_anon,
    PG_anon_exclusive,
    PG_dirty,
    PG_gathered,
    PG_locked,
    PG_lru,
    PG_mlocked,
    PG_reclaim,
    PG_referenced,
    PG_swapbacked,
    PG_unevictable,
    PG_writeback,
    nid_of,
)
from kernelsim.mm.core.vmstat import NR_SHMEM, NR_VMSCAN_IMMEDIATE_RECLAIM
from kernelsim.mm.file.filemap import filemap_remove_folio
from kernelsim.mm.space.mm_struct import MmStruct
from kernelsim.mm.space.mmap import VmArea
from kernelsim.mm.space.pgtable import _PAGE_PRESENT, _PAGE_SPECIAL, pte_at, pte_pfn
from kernelsim.mm.space.rmap import try_to_unmap
from kernelsim.units import PAGE_SHIFT

_BUSY = PG_locked | PG_writeback | PG_unevictable | PG_mlocked
_OWNED = PG_anon | PG_anon_exclusive


async def reclaim_pages(current: Current, mm: MmStruct, vma: VmArea) -> None:
    """Unmap the pages of a piece of a mapping that nobody else maps; free those that are clean.

    What is dirty stays in its page cache, for the flushers.

    Source: Linux 6.1 mm/vmscan.c:reclaim_pages, :shrink_folio_list
    """
    kernel, task = current
    await lru_add_drain(current)
    task.rss_stat.sync()
    freed, unmapped = [], 0
    for vpn in range(vma.vpn, vma.end >> PAGE_SHIFT):
        pte = pte_at(*kernel.space, mm.number, vpn)
        if pte & (_PAGE_PRESENT | _PAGE_SPECIAL) != _PAGE_PRESENT:
            continue
        pfn = pte_pfn(pte)
        if _is_wanted(kernel, pfn) and try_to_unmap(*kernel.space, pfn):
            unmapped += 1
            freed += [pfn] if _take_out(kernel, pfn) else []
    if unmapped:
        await task.compute(kernel.spec.latency.scan_page_ns * unmapped)
        await flush_tlb_mm_range(current, mm, vma.vpn, vma.nr_pages)
        note_file_flushed(current, mm, unmapped)
    await release(current, np.array(freed, np.int64))


def forget_active_use(kernel: Kernel, mm: MmStruct, vma: VmArea) -> None:
    """Forget that active pages of a piece of a mapping were used.

    Source: Linux 6.1 mm/swap.c:lru_deactivate_fn
    """
    for vpn in range(vma.vpn, vma.end >> PAGE_SHIFT):
        pte = pte_at(*kernel.space, mm.number, vpn)
        if pte & (_PAGE_PRESENT | _PAGE_SPECIAL) == _PAGE_PRESENT:
            flags = int(kernel.mem.pages.flags[pte_pfn(pte)])
            if flags & (PG_active | PG_activating):
                kernel.mem.pages.flags[pte_pfn(pte)] = flags & ~PG_referenced


def _is_wanted(kernel: Kernel, pfn: int) -> bool:
    """Tell whether a page may be taken: it is on a list, mapped once, and needs no swap."""
    pages = kernel.mem.pages
    flags = int(pages.flags[pfn])
    if int(pages.mapcount[pfn]) != 1 or not flags & PG_lru or flags & _BUSY:
        return False
    return not (flags & PG_anon and flags & PG_swapbacked)


def _take_out(kernel: Kernel, pfn: int) -> bool:
    """Take an unmapped page out of its page cache, unless it is dirty; tell whether it is out."""
    mem = kernel.mem
    flags = int(mem.pages.flags[pfn])
    nid = nid_of(mem, pfn)
    if flags & PG_dirty:
        if not flags & PG_swapbacked:  # the flushers are to write it first
            mem.pages.flags[pfn] |= np.uint32(PG_reclaim)
            mem.node_stat[nid, NR_VMSCAN_IMMEDIATE_RECLAIM] += 1
        return False
    if flags & PG_anon:
        mem.pages.mapping[pfn] = mem.pages.index[pfn] = 0
        mem.pages.flags[pfn] &= np.uint32(~_OWNED & 0xFFFF_FFFF)
    else:
        number = int(mem.pages.mapping[pfn])
        filemap_remove_folio(mem, kernel.spaces.mappings, pfn, 0)
        if flags & PG_swapbacked:
            mem.node_stat[nid, NR_SHMEM] -= 1
            kernel.mms.commit.uncharge(int(not kernel.files.inodes[number].is_charged))
    mem.pages.flags[pfn] |= np.uint32(PG_gathered)
    return True
