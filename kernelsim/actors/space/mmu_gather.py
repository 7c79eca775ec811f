"""Taking pages out of an address space: page tables first, then every TLB, then the frames.

Linux: mm/memory.c:unmap_page_range, mm/mmu_gather.c, arch/x86/mm/tlb.c, 6.1.
These run in the time of the task that makes the system call. Frames go back through the node that
owns them, after every CPU that may have used them has flushed its TLB.
Units: bytes for addresses; pages.
"""

import numpy as np

from kernelsim.actors.alloc.free_pages import by_node, free_frames
from kernelsim.actors.core.current import Current
from kernelsim.actors.core.kernel import Kernel
from kernelsim.actors.core.lru_add import activate_drain, lru_add_drain
from kernelsim.actors.core.tlb_flush import flush_freed_tables, flush_tlb_mm_range
from kernelsim.actors.messages.node import LruDeleted
from kernelsim.actors.reclaim.zram_io import zram_slot_free_notify
from kernelsim.mm.core.mem import I64, PAGEVEC_SIZE
from kernelsim.mm.space.memory import unmap_range
from kernelsim.mm.space.mm_struct import MmStruct
from kernelsim.mm.space.mmap import VmArea
from kernelsim.mm.space.pgtable import free_pgtables
from kernelsim.mm.space.vm_flags import VmFlag
from kernelsim.mm.swap.free_swap import free_swap_and_cache, free_swap_cache
from kernelsim.units import PAGE_SHIFT

ZAP_BATCH_PAGES = 512  # pages unmapped between two flushes; MMU_GATHER_BUNDLE is of this order


async def zap(current: Current, mm: MmStruct, vma: VmArea) -> int:
    """Take the pages of a piece of a mapping out of the page tables, free them; return how many.

    Pages of files stay in the page cache, those that were used marked accessed.

    Source: Linux 6.1 mm/memory.c:zap_page_range, mm/mmu_gather.c
    """
    kernel, task = current
    # Differs from Linux: No reference keeps reclaim from freeing a page of a file while its TLB
    # entries are flushed, so who reclaims flushes them, too.
    vpn, last = vma.vpn, vma.end >> PAGE_SHIFT
    marks = not vma.flags & VmFlag.VM_SEQ_READ
    pfns = np.zeros(ZAP_BATCH_PAGES, np.int64)
    slots = np.zeros(ZAP_BATCH_PAGES, np.int64)
    freed = 0
    unflushed = vpn  # first page since the last flush
    await lru_add_drain(current)
    while vpn < last:
        nr_pfns, nr_slots, nr_activated, vpn = unmap_range(
            *kernel.space, mm.number, vpn, last - vpn, kernel.lruvec, task.cpu.number, marks,
            pfns, slots,
        )  # fmt: skip
        kernel.observer.activated(nr_activated)
        frames = take_anonymous(kernel, pfns, nr_pfns)
        if nr_slots:
            freed += await _free_slots(current, slots, nr_slots)
        if nr_pfns:
            await flush_tlb_mm_range(current, mm, unflushed, vpn - unflushed)
            unflushed = vpn
            freed += await free_anonymous(current, pfns[:nr_pfns], frames)
        if kernel.zrams:
            await zram_slot_free_notify(current)
        if kernel.mem.activate_batch[task.cpu.number, 0] == PAGEVEC_SIZE:
            await activate_drain(current)
        await task.compute(kernel.spec.latency.pte_set_ns * (nr_pfns + nr_slots))
    if unflushed < last:  # entries of the zero page, or of pages others map too, are gone as well
        await flush_tlb_mm_range(current, mm, unflushed, last - unflushed)
    kernel.mms.mms.tlb_flush_batched[mm.number] = 0
    return freed


async def _free_slots(current: Current, slots: I64, nr: int) -> int:
    kernel = current.kernel
    out = np.zeros(nr, np.int64)
    nr_free = kernel.taken(free_swap_and_cache(kernel.mem, kernel.swap, slots, nr, out))
    return await free_frames(current, out, nr_free)


def take_anonymous(kernel: Kernel, pfns: I64, nr: int) -> I64:
    """Take unmapped pages off their lists, in the step that unmapped them; return those to free.

    Those the swap cache or a reclaimer still wants are freed by reclaim.
    """
    # Differs from Linux: No reference keeps reclaim from freeing a clean page of the swap cache
    # while its TLB entries are flushed, so it leaves its list before, and the hold of lru_lock is
    # paid for after.
    out = np.zeros(nr, np.int64)
    return out[: kernel.taken(free_swap_cache(kernel.mem, kernel.swap, pfns, nr, out))]


async def free_anonymous(current: Current, pfns: I64, frames: I64) -> int:
    """Free `frames`, which `take_anonymous` made of the unmapped pages `pfns`; return how many."""
    kernel, task = current
    for nid, part in by_node(kernel, pfns, len(pfns)):
        await kernel.nodes[nid].ref.ask(LruDeleted(len(part), task.cpu.name))
    return await free_frames(current, frames, len(frames))


async def free_tables(current: Current, mm: MmStruct, floor_vpn: int, ceiling_vpn: int) -> int:
    """Free the page tables that only serve pages of [floor, ceiling); return how many."""
    kernel = current.kernel
    tables = np.zeros(ZAP_BATCH_PAGES, np.int64)
    freed = 0
    while True:
        nr = free_pgtables(*kernel.space, mm.number, floor_vpn, ceiling_vpn, tables)
        kernel.taken(nr)
        if nr:
            await flush_freed_tables(current, mm)
        freed += await free_frames(current, tables, nr)
        if nr < len(tables):
            return freed
