"""Bringing pages back from swap: the part of the fault handler that waits for a disk.

Linux: mm/memory.c:do_swap_page, mm/swap_state.c:swap_vma_readahead, mm/page_io.c, 6.1.
A page in the swap cache is mapped at once. Otherwise pages are allocated for the fault and for
the window around it, the slots are read, and the task sleeps until the device has delivered its
own page. Pages read ahead stay in the cache, for the next faults to find.
A fault that finds its page locked, being read, begins afresh when it has come (VM_FAULT_RETRY):
it counts twice in pgfault, and is one of its task's major faults, whoever reads the page. Of a
window of one page the fault itself waits for the read, and goes on.
Units: pages, ns.
"""

from collections.abc import Callable
from signal import SIGBUS

import numpy as np

from kernelsim.actors.alloc.slab import settle_slabs
from kernelsim.actors.core.current import Current
from kernelsim.actors.messages.fault_handler import KEEP, PageFault
from kernelsim.actors.reclaim.zram_io import zram_slot_free_notify
from kernelsim.actors.space.fault_retry import count_retry
from kernelsim.actors.space.mlock import mlock_vma_pages_range
from kernelsim.actors.space.swap_read import WINDOW_MAX, SwapReader
from kernelsim.mm.core.mem import PG_swapcache
from kernelsim.mm.core.vmstat import PGMAJFAULT
from kernelsim.mm.page.alloc_context import AllocContext
from kernelsim.mm.space.mm_struct import MmStruct
from kernelsim.mm.space.mmap import VmArea
from kernelsim.mm.space.pgtable import pte_at, pte_pfn, swap_slot_at
from kernelsim.mm.swap.do_swap_page import (
    SWAP_RUN_ERROR,
    SWAP_RUN_LOCKED,
    SWAP_RUN_NOT_CACHED,
    map_swapcache_run,
)
from kernelsim.mm.swap.free_swap import folio_free_swap
from kernelsim.mm.swap.swap_area import swap_count
from kernelsim.mm.swap.swap_readahead import (
    swap_ra_hit,
    swap_ra_info,
    swapin_slots,
    unpack_ra,
)
from kernelsim.mm.swap.swap_state import delete_from_swap_cache
from kernelsim.units import PAGE_SHIFT, PAGE_SIZE


class SwapIn:
    """Serves faults on swap entries for one fault handler.

    Attributes:
        reader: Reads what is not cached.

    Args:
        current: The faulting task.
        mm: Its address space.
        context: Returns what a page of a mapping is allocated by.
    """

    def __init__(
        self, current: Current, mm: MmStruct, context: Callable[[VmArea, int], AllocContext]
    ) -> None:
        self._current = current
        self._kernel, self._task = current
        self._mm = mm
        self._context = context
        self._readahead: dict[int, int] = {}  # state by start of the VMA
        self.reader = SwapReader(current)

    async def serve(self, fault: PageFault) -> tuple[bool, int, int]:
        """Map a page from the swap cache, reading it if it is not there.

        Returns:
            Whether it is mapped, how many major faults that was, 0 or 1, and the signal it raises,
            0 for none. It is not mapped when the task is being killed, another task changed the
            entry meanwhile, or the page could not be read: SIGBUS.
        """
        kernel, task = self._kernel, self._task
        majflt, skips_cache, tried = 0, False, False
        while not task.killed:
            nr, why, hits = map_swapcache_run(
                *kernel.space, kernel.swap, self._mm.number,
                fault.vpn, 1, 1, fault.write, self._token(fault),
            )  # fmt: skip
            if nr:
                self.note_hits(fault.vma.start, fault.vpn, hits)
                if skips_cache:
                    await self._leave_cache(fault.vpn)
                await zram_slot_free_notify(self._current)
                return True, self._majflt(fault, majflt, tried=tried), 0
            if why == SWAP_RUN_NOT_CACHED:
                slot = self._slot_of(fault.vpn)
                kernel.mem.vm_event[PGMAJFAULT] += not majflt
                majflt, skips_cache = 1, self.reader.skips_cache(slot)
                is_locked = await self.read_window(fault.vma, fault.vpn, slot)
            elif why == SWAP_RUN_LOCKED:
                is_locked = await self.reader.wait_for(self._slot_of(fault.vpn))
            else:
                signal = int(SIGBUS) if why == SWAP_RUN_ERROR else 0
                return False, self._majflt(fault, majflt, tried=tried), signal
            if is_locked and not tried and not task.killed:  # who is killed does not begin again
                tried = True
                task.rss_stat.count_faults(1, ())
                count_retry(self._current, fault, is_major=bool(majflt))
        return False, self._majflt(fault, majflt, tried=tried), 0

    def _majflt(self, fault: PageFault, majflt: int, *, tried: bool) -> int:
        """Return what the task counts: what the kernel brings in for a call forgets its retry.

        Source: Linux 6.1 mm/memory.c:mm_account_fault
        """
        return int(majflt or (tried and fault.token != KEEP))

    def _token(self, fault: PageFault) -> int:
        """Return what a store leaves: what the page in the swap cache holds if that is to stay."""
        if fault.token != KEEP:
            return fault.token
        cached = int(self._kernel.swap.cache_pfn[self._slot_of(fault.vpn)])
        return int(self._kernel.mem.pages.token[cached])

    async def _leave_cache(self, vpn: int) -> None:
        """Take a page that was just mapped out of the swap cache; it is as clean as it was read.

        Source: Linux 6.1 mm/memory.c:do_swap_page, which leaves the swap cache out for such a disk
        """
        mem, swap = self._kernel.mem, self._kernel.swap
        pfn = pte_pfn(pte_at(*self._kernel.space, self._mm.number, vpn))
        if not mem.pages.flags[pfn] & np.uint32(PG_swapcache):
            return
        if not swap_count(swap, int(mem.pages.private[pfn])):
            delete_from_swap_cache(mem, swap, pfn, 0)
            await settle_slabs(self._current)

    async def lock(self, vpn: int) -> None:
        """Mark the page that was just mapped as locked; it needs no slot any more.

        Source: Linux 6.1 mm/internal.h:mlock_vma_folio, mm/memory.c:should_try_to_free_swap
        """
        kernel, address = self._kernel, vpn << PAGE_SHIFT
        pfn = pte_pfn(pte_at(*kernel.space, self._mm.number, vpn))
        folio_free_swap(kernel.mem, kernel.swap, pfn)
        await settle_slabs(self._current)
        await mlock_vma_pages_range(
            self._current, self._mm, address, address + PAGE_SIZE, locks=True
        )

    def note_hits(self, start: int, last_vpn: int, hits: int) -> None:
        """Note that faults in the VMA at `start` found pages cached, and which was the last."""
        if self._kernel.has_rotating_swap:
            self._kernel.cluster_readahead.hits += hits
            return
        self._readahead[start] = swap_ra_hit(self._readahead.get(start, 0), last_vpn, hits=hits)

    def _slot_of(self, vpn: int) -> int:
        return swap_slot_at(*self._kernel.space, self._mm.number, vpn)

    async def read_window(self, vma: VmArea, vpn: int, target: int) -> bool:
        """Read the slot of a page and those around it; return when the first has come.

        Returns:
            Whether its page was locked when all reads had begun: not when it is the only one of its
            window, whose read is waited for before the fault looks.

        Source: Linux 6.1 mm/swap_state.c:swapin_readahead, mm/page_io.c:swap_readpage
        """
        nr = self._choose_window(vma, vpn, target)
        is_alone = self._reads_alone(vma, target)
        await self.reader.read(self._context(vma, vpn), target, nr)
        return await self.reader.wait_for(target) and not is_alone

    def _reads_alone(self, vma: VmArea, target: int) -> bool:
        """Tell whether the window that was just chosen is of one page."""
        kernel = self._kernel
        if self.reader.skips_cache(target) or not kernel.sysctl.vm_page_cluster:
            return True
        if kernel.has_rotating_swap:
            return kernel.cluster_readahead.previous_win == 1
        return unpack_ra(self._readahead[vma.start])[1] == 1

    async def willneed(self, vma: VmArea) -> None:
        """Start to read what a piece of a mapping has in swap; wait for none of it.

        Source: Linux 6.1 mm/madvise.c:swapin_walk_pmd_entry
        """
        kernel, vpn, end = self._kernel, vma.vpn, vma.vpn + vma.nr_pages
        while vpn < end and not self._task.killed:
            part_end = min(end, (vpn // WINDOW_MAX + 1) * WINDOW_MAX)
            nr = swapin_slots(
                *kernel.space, kernel.swap, self._mm.number, vpn, part_end, self.reader.slots
            )
            for slot in self.reader.slots[:nr].tolist():
                self.reader.slots[0] = slot
                await self.reader.read(self._context(vma, vpn), slot, 1)
            vpn = part_end

    def _choose_window(self, vma: VmArea, vpn: int, target: int) -> int:
        """Put the slots worth reading in the reader's `slots`; return how many.

        Source: Linux 6.1 mm/swap_state.c:swapin_readahead
        """
        kernel, mm = self._kernel, self._mm
        if self.reader.skips_cache(target):
            self.reader.slots[0] = target
            return 1
        if kernel.has_rotating_swap:
            return self.reader.choose_cluster(target)
        self._readahead[vma.start], start, end = swap_ra_info(
            self._readahead.get(vma.start, 0),
            vpn,
            vma_start_vpn=vma.start >> 12,
            vma_end_vpn=vma.end >> 12,
            page_cluster=kernel.sysctl.vm_page_cluster,
        )
        return swapin_slots(
            *kernel.space, kernel.swap, mm.number, start, end,
            self.reader.slots,
        )  # fmt: skip
