"""Bringing pages back from swap: the part of the fault handler that waits for a disk.

Linux: mm/memory.c:do_swap_page, mm/swap_state.c:swap_vma_readahead, mm/page_io.c, 6.1.
A page in the swap cache is mapped at once. Otherwise pages are allocated for the fault and for
the window around it, the slots are read, and the task sleeps until the device has delivered its
own page. Pages read ahead stay in the cache, for the next faults to find.
Units: pages, ns.
"""

from collections.abc import Callable
from signal import SIGBUS

import numpy as np

from kernelsim.actors.alloc.page_allocator import alloc_pages
from kernelsim.actors.core.current import Current
from kernelsim.actors.core.free_pages import free_frames
from kernelsim.actors.core.page_reads import wait_on_page_read
from kernelsim.actors.core.swap_io import runs, submit_bio
from kernelsim.actors.messages.block_device import SubmitBio
from kernelsim.actors.messages.fault_handler import KEEP, PageFault
from kernelsim.actors.messages.node import BeginSwapRead, EndSwapRead
from kernelsim.actors.reclaim.zram_io import zram_read, zram_slot_free_notify
from kernelsim.actors.space.mlock import mlock_vma_pages_range
from kernelsim.actors.space.swap_burst import SwapBurst
from kernelsim.block.disk_place import DiskPlace
from kernelsim.mm.core.mem import I64, PG_swapcache, nid_of
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
    cluster_slots,
    still_missing_slots,
    swap_ra_hit,
    swap_ra_info,
    swapin_slots,
)
from kernelsim.mm.swap.swap_state import delete_from_swap_cache
from kernelsim.units import PAGE_SHIFT, PAGE_SIZE, SECTORS_PER_PAGE

WINDOW_MAX = 64  # pages; vm.page-cluster is at most 5 here, 32 pages


class SwapIn:
    """Serves faults on swap entries for one fault handler.

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
        self._slots = np.zeros(WINDOW_MAX, np.int64)
        self._pfns = np.zeros(WINDOW_MAX, np.int64)
        self._burst = SwapBurst(current)

    async def serve(self, fault: PageFault) -> tuple[bool, int, int]:
        """Map a page from the swap cache, reading it if it is not there.

        Returns:
            Whether it is mapped, how many major faults that was, 0 or 1, and the signal it raises,
            0 for none. It is not mapped when the task is being killed, another task changed the
            entry meanwhile, or the page could not be read: SIGBUS.
        """
        kernel, task = self._kernel, self._task
        majflt, skips_cache = 0, False
        while not task.killed:
            nr, why, hits = map_swapcache_run(
                *kernel.space, kernel.swap, self._mm.number,
                fault.vpn, 1, 1, fault.write, self._token(fault),
            )  # fmt: skip
            if nr:
                self.note_hits(fault.vma.start, fault.vpn, hits)
                if skips_cache:
                    self._leave_cache(fault.vpn)
                await zram_slot_free_notify(self._current)
                return True, majflt, 0
            if why == SWAP_RUN_NOT_CACHED:
                majflt, skips_cache = 1, self._skips_cache(self._slot_of(fault.vpn))
                await self.read_window(fault.vma, fault.vpn)
            elif why == SWAP_RUN_LOCKED:
                await self.wait_for(self._slot_of(fault.vpn))
            else:
                return False, majflt, int(SIGBUS) if why == SWAP_RUN_ERROR else 0
        return False, majflt, 0

    def _token(self, fault: PageFault) -> int:
        """Return what a store leaves: what the page in the swap cache holds if that is to stay."""
        if fault.token != KEEP:
            return fault.token
        cached = int(self._kernel.swap.cache_pfn[self._slot_of(fault.vpn)])
        return int(self._kernel.mem.pages.token[cached])

    def _leave_cache(self, vpn: int) -> None:
        """Take a page that was just mapped out of the swap cache; it is as clean as it was read.

        Source: Linux 6.1 mm/memory.c:do_swap_page, which leaves the swap cache out for such a disk
        """
        mem, swap = self._kernel.mem, self._kernel.swap
        pfn = pte_pfn(pte_at(*self._kernel.space, self._mm.number, vpn))
        if not mem.pages.flags[pfn] & np.uint32(PG_swapcache):
            return
        if not swap_count(swap, int(mem.pages.private[pfn])):
            delete_from_swap_cache(mem, swap, pfn, 0)

    def _skips_cache(self, slot: int) -> bool:
        """Tell whether a slot on a disk that is memory is named once, so that none else wants it.

        Source: Linux 6.1 mm/memory.c:do_swap_page, SWP_SYNCHRONOUS_IO
        """
        device, _ = self._kernel.swap_location(slot)
        return bool(device.spec.compressed_permille) and swap_count(self._kernel.swap, slot) == 1

    async def lock(self, vpn: int) -> None:
        """Mark the page that was just mapped as locked; it needs no slot any more.

        Source: Linux 6.1 mm/internal.h:mlock_vma_folio, mm/memory.c:should_try_to_free_swap
        """
        kernel, address = self._kernel, vpn << PAGE_SHIFT
        pfn = pte_pfn(pte_at(*kernel.space, self._mm.number, vpn))
        folio_free_swap(kernel.mem, kernel.swap, pfn)
        await mlock_vma_pages_range(
            self._current, self._mm, address, address + PAGE_SIZE, locks=True
        )

    def note_hits(self, start: int, last_vpn: int, hits: int) -> None:
        """Note that faults in the VMA at `start` found pages cached, and which was the last."""
        if self._kernel.cluster_readahead is not None:
            self._kernel.cluster_readahead.hits += hits
            return
        self._readahead[start] = swap_ra_hit(self._readahead.get(start, 0), last_vpn, hits=hits)

    def _slot_of(self, vpn: int) -> int:
        return swap_slot_at(*self._kernel.space, self._mm.number, vpn)

    async def wait_for(self, slot: int) -> None:
        """Sleep until a slot has been read, if it is being read."""
        await wait_on_page_read(self._current, slot, int(self._kernel.swap.cache_pfn[slot]))

    async def read_window(self, vma: VmArea, vpn: int) -> None:
        """Read the slot of a page and those around it; return when the first has come."""
        target = self._slot_of(vpn)
        nr = self._choose_window(vma, vpn, target)
        await self._read(vma, vpn, target, nr)
        await self.wait_for(target)

    async def willneed(self, vma: VmArea) -> None:
        """Start to read what a piece of a mapping has in swap; wait for none of it.

        Source: Linux 6.1 mm/madvise.c:swapin_walk_pmd_entry
        """
        kernel, vpn, end = self._kernel, vma.vpn, vma.vpn + vma.nr_pages
        while vpn < end and not self._task.killed:
            part_end = min(end, (vpn // WINDOW_MAX + 1) * WINDOW_MAX)
            nr = swapin_slots(
                *kernel.space, kernel.swap, self._mm.number, vpn, part_end, self._slots
            )
            for slot in self._slots[:nr].tolist():
                self._slots[0] = slot
                await self._read(vma, vpn, slot, 1)
            vpn = part_end

    async def _read(self, vma: VmArea, vpn: int, target: int, nr: int) -> None:
        """Start to read `_slots[:nr]`, as far as they are not cached."""
        kernel, task = self._kernel, self._task
        slots, pfns = self._slots, self._pfns
        context = self._context(
            vma, vpn
        )  # all pages of a window are allocated as that of the fault
        have, is_entered = self._burst.enter(slots, nr, target, context, pfns)
        begun = slots[:nr].copy() if is_entered else await self._enter(context, target, nr, have)
        if begun is not None:
            await task.compute(kernel.spec.latency.swap_slot_ns * len(begun))
            await self._submit(begun, pfns[: len(begun)].copy(), target)

    async def _enter(self, context: AllocContext, target: int, nr: int, have: int) -> I64 | None:
        """Enter pages for the window in the swap cache, `have` of which are allocated.

        Returns:
            The slots that are to be read; None if another task reads the target already, or no page
            was to be had.
        """
        kernel, task = self._kernel, self._task
        while have < nr:
            grant = await alloc_pages(self._current, context, nr - have, self._pfns[have:])
            if not grant.nr:
                break
            have += grant.nr
        # Allocating may have slept: other tasks may have read some of the slots, or freed them.
        slots = self._slots[: still_missing_slots(kernel.swap, self._slots, have, target)].copy()
        await self._free(self._pfns[len(slots) : have].copy())
        pfns = self._pfns[: len(slots)].copy()
        if target not in slots:
            await self._free(pfns)
            return None
        nid = nid_of(kernel.mem, int(pfns[0]))
        # Coming here may have slept again, so others may have read a slot, or freed it.
        request = BeginSwapRead(slots, pfns, target, task.cpu.name, task.in_lru_fault)
        begun: I64 = await kernel.nodes[nid].ref.ask(request)
        await self._free(pfns[len(begun) :])
        return begun

    def _choose_window(self, vma: VmArea, vpn: int, target: int) -> int:
        """Put the slots worth reading in `_slots`; return how many.

        Source: Linux 6.1 mm/swap_state.c:swapin_readahead
        """
        kernel, mm = self._kernel, self._mm
        if self._skips_cache(target):
            self._slots[0] = target
            return 1
        page_cluster = kernel.sysctl.vm_page_cluster
        if kernel.cluster_readahead is not None:
            start, end = kernel.cluster_readahead.window(target, page_cluster=page_cluster)
            return cluster_slots(kernel.swap, start, end, self._slots)
        self._readahead[vma.start], start, end = swap_ra_info(
            self._readahead.get(vma.start, 0),
            vpn,
            vma_start_vpn=vma.start >> 12,
            vma_end_vpn=vma.end >> 12,
            page_cluster=page_cluster,
        )
        return swapin_slots(
            *kernel.space, kernel.swap, mm.number, start, end,
            self._slots,
        )  # fmt: skip

    async def _free(self, pfns: I64) -> None:
        await free_frames(self._current, pfns, len(pfns))

    async def _submit(self, slots: I64, pfns: I64, target: int) -> None:
        kernel, task = self._kernel, self._task
        for first, end in runs(slots):
            part = pfns[first:end]
            device, page = kernel.swap_location(int(slots[first]))
            sector, began_ns = page * SECTORS_PER_PAGE, kernel.engine.now_ns
            end_io = EndSwapRead(
                slots[first:end], part, target, device.name, DiskPlace(device.dev, sector),
                task.name, began_ns,
            )  # fmt: skip
            nid = nid_of(kernel.mem, int(part[0]))
            if device.spec.compressed_permille:
                await zram_read(self._current, device, nid, end_io)
                continue
            bio = SubmitBio(
                is_write=False,
                sector=sector,
                nr_pages=end - first,
                comm=task.name,
                cpu=task.cpu.number,
                end_io=end_io,
                receiver=kernel.nodes[nid].ref,
            )
            await submit_bio(task, device, bio)
