"""Taking pages out of an address space: page tables first, then every TLB, then the frames.

Linux: mm/memory.c:unmap_page_range, mm/mmu_gather.c, mm/swap.c:release_pages, 6.1.
These run in the time of the task that makes the system call. The pages it unmaps it keeps a
reference to (PG_gathered) until every CPU that may have used them has flushed its TLB; then they
leave their lists, under lru_lock, and go back through the node that owns them.
Units: bytes for addresses; pages.
"""

from collections.abc import Iterable
from typing import Final

import numpy as np

from kernelsim.actors.alloc.slab import settle_slabs
from kernelsim.actors.core.current import Current
from kernelsim.actors.core.free_pages import free_frames, release
from kernelsim.actors.core.lru_add import activate_drain, lru_add_drain
from kernelsim.actors.core.tlb_flush import (
    flush_freed_tables,
    flush_relatives,
    flush_tlb_mm_range,
    note_flushed,
)
from kernelsim.actors.reclaim.zram_io import zram_slot_free_notify
from kernelsim.mm.core.mem import I64, PAGEVEC_SIZE
from kernelsim.mm.space.mm_struct import MmStruct
from kernelsim.mm.space.mmap import VmArea
from kernelsim.mm.space.pgtable import free_pgtables
from kernelsim.mm.space.vm_flags import VmFlag
from kernelsim.mm.space.zap import (
    CL_END,
    CL_FIRST,
    CL_NR_STAYS,
    CL_STORED,
    NONE_CLEARED,
    unmap_range,
)
from kernelsim.mm.swap.free_swap import free_swap_and_cache, free_swap_cache
from kernelsim.units import PAGE_SHIFT

MMU_GATHER_BUNDLE: Final = 8  # pages that a gather holds in itself; include/asm-generic/tlb.h
MAX_GATHER_BATCH: Final = 510  # and in each page it takes for more: pointers, behind two words
MAX_GATHER_BATCH_COUNT: Final = 10_000 // MAX_GATHER_BATCH
# Differs from Linux: What a gather holds its pages in takes no page itself, so it never has to
# flush early for want of one.
GATHER_PAGES_MAX: Final = MMU_GATHER_BUNDLE + MAX_GATHER_BATCH_COUNT * MAX_GATHER_BATCH
ZAP_STEP_PAGES: Final = 512  # unmapped between two looks whether others want the CPU: one table


class MmuGather:
    """What a task has unmapped and not freed yet (struct mmu_gather).

    Args:
        current: The task.
        mm: The address space.
    """

    def __init__(self, current: Current, mm: MmStruct) -> None:
        self.nr_freed = 0
        self._current = current
        self._mm = mm
        self._pfns = np.zeros(GATHER_PAGES_MAX, np.int64)
        self._nr = 0
        self._cleared = np.array(NONE_CLEARED, np.int64)  # CL_*

    async def zap(self, vma: VmArea) -> None:
        """Take a piece of a mapping out of the page tables; free its pages when they are too many.

        Pages of files stay in the page cache, those that were used marked accessed.

        Source: Linux 6.1 mm/memory.c:zap_pte_range
        """
        # Differs from Linux: No reference keeps others from freeing a page of a file, or one that
        # they map, too, while its TLB entries are flushed, so who frees flushes them, too.
        kernel, task = self._current
        vpn, last = vma.vpn, vma.end >> PAGE_SHIFT
        marks = not vma.flags & VmFlag.VM_SEQ_READ
        slots = np.zeros(ZAP_STEP_PAGES, np.int64)
        while vpn < last:
            room = self._pfns[self._nr : self._nr + ZAP_STEP_PAGES]
            nr_pfns, nr_slots, nr_activated, vpn = unmap_range(
                *kernel.space, self._mm.number, vpn, last - vpn, kernel.lruvec, task.cpu.number,
                marks, room, slots, self._cleared,
            )  # fmt: skip
            kernel.observer.activated(nr_activated)
            self._nr += nr_pfns
            if nr_slots:
                await self._free_slots(slots, nr_slots)
            if self._nr == GATHER_PAGES_MAX or self._cleared[CL_STORED]:
                await self.flush()
            if kernel.zrams:
                await zram_slot_free_notify(self._current)
            if kernel.mem.activate_batch[task.cpu.number, 0] == PAGEVEC_SIZE:
                await activate_drain(self._current)
            await task.compute(kernel.spec.latency.pte_set_ns * (nr_pfns + nr_slots))

    async def flush(self) -> None:
        """Have TLBs forget what is unmapped, then free it.

        Where no PTE was present there is nothing to forget.

        Source: Linux 6.1 mm/mmu_gather.c:tlb_flush_mmu
        """
        cleared = self._cleared.tolist()
        first, end = cleared[CL_FIRST], cleared[CL_END]
        if first < end:
            self._cleared[:] = NONE_CLEARED
            await flush_tlb_mm_range(self._current, self._mm, first, end - first)
            note_flushed(self._current, self._mm, cleared[CL_NR_STAYS])
        nr, self._nr = self._nr, 0
        if nr:
            await flush_relatives(self._current, self._mm)
        at, nr_batch = 0, MMU_GATHER_BUNDLE
        while at < nr:
            batch = self._pfns[at : min(at + nr_batch, nr)]
            self.nr_freed += await free_pages_and_swap_cache(self._current, batch)
            at, nr_batch = at + nr_batch, MAX_GATHER_BATCH

    async def _free_slots(self, slots: I64, nr: int) -> None:
        """Drop a use of swap slots; pages cached for them are put one by one.

        Source: Linux 6.1 mm/swapfile.c:free_swap_and_cache, mm/swap.c:__folio_put_small
        """
        kernel = self._current.kernel
        unused = np.zeros(nr, np.int64)
        nr_unused = free_swap_and_cache(kernel.mem, kernel.swap, slots, nr, unused)
        for at in range(nr_unused):
            self.nr_freed += await release(self._current, unused[at : at + 1])


async def unmap_vmas(current: Current, mm: MmStruct, areas: Iterable[VmArea]) -> int:
    """Take the pages of some mappings out of the page tables and free them; return how many.

    Source: Linux 6.1 mm/mmap.c:unmap_region, :exit_mmap
    """
    await lru_add_drain(current)
    gather = MmuGather(current, mm)
    for vma in areas:
        await gather.zap(vma)
    await gather.flush()
    await settle_slabs(current)
    return gather.nr_freed


async def free_pages_and_swap_cache(current: Current, pfns: I64) -> int:
    """Free pages that are unmapped and in no TLB any more; return how many.

    Those the swap cache or a reclaimer still wants are freed by reclaim.

    Source: Linux 6.1 mm/swap_state.c:free_pages_and_swap_cache
    """
    kernel = current.kernel
    unused = np.zeros(len(pfns), np.int64)
    nr = free_swap_cache(kernel.mem, kernel.swap, pfns, len(pfns), unused)
    return await release(current, unused[:nr])


async def free_tables(current: Current, mm: MmStruct, floor_vpn: int, ceiling_vpn: int) -> int:
    """Free the page tables that only serve pages of [floor, ceiling); return how many."""
    kernel = current.kernel
    tables = np.zeros(MAX_GATHER_BATCH, np.int64)
    freed = 0
    while True:
        nr = free_pgtables(*kernel.space, mm.number, floor_vpn, ceiling_vpn, tables)
        kernel.taken(nr)
        if nr:
            await flush_freed_tables(current, mm)
        freed += await free_frames(current, tables, nr)
        if nr < len(tables):
            return freed
