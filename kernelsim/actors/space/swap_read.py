"""Reading swap slots: pages for a window of them enter the swap cache and are read from the disk.

Linux: mm/swap_state.c:__read_swap_cache_async, :swap_cluster_readahead, mm/page_io.c, 6.1.
Interface: a `SwapReader` for each task that reads; the window is in its `slots`.
Units: pages, slots, ns.
"""

from typing import Final

import numpy as np

from kernelsim.actors.alloc.page_allocator import alloc_pages
from kernelsim.actors.alloc.slab import settle_slabs
from kernelsim.actors.core.current import Current
from kernelsim.actors.core.free_pages import free_frames
from kernelsim.actors.core.page_reads import wait_on_page_read
from kernelsim.actors.core.swap_io import runs, submit_bio
from kernelsim.actors.messages.block_device import SubmitBio
from kernelsim.actors.messages.node import BeginSwapRead, EndSwapRead
from kernelsim.actors.reclaim.zram_io import zram_read
from kernelsim.actors.space.swap_burst import SwapBurst
from kernelsim.block.disk_place import DiskPlace
from kernelsim.mm.core.mem import I64, nid_of
from kernelsim.mm.page.alloc_context import AllocContext
from kernelsim.mm.swap.swap_area import swap_count
from kernelsim.mm.swap.swap_readahead import cluster_slots, still_missing_slots
from kernelsim.units import SECTORS_PER_PAGE

WINDOW_MAX: Final = 64  # pages; vm.page-cluster is at most 5 here, 32 pages


class SwapReader:
    """Reads swap slots for one task.

    Attributes:
        slots: Room for the slots of a window.

    Args:
        current: The task.
    """

    def __init__(self, current: Current) -> None:
        self._current = current
        self._kernel, self._task = current
        self.slots = np.zeros(WINDOW_MAX, np.int64)
        self._pfns = np.zeros(WINDOW_MAX, np.int64)
        self._burst = SwapBurst(current)

    async def wait_for(self, slot: int) -> bool:
        """Sleep until a slot has been read, if it is being read; True if it was."""
        return await wait_on_page_read(self._current, slot, int(self._kernel.swap.cache_pfn[slot]))

    def skips_cache(self, slot: int) -> bool:
        """Tell whether a slot on a disk that is memory is named once, so that none else wants it.

        Source: Linux 6.1 mm/memory.c:do_swap_page, SWP_SYNCHRONOUS_IO
        """
        device, _ = self._kernel.swap_location(slot)
        return bool(device.spec.compressed_permille) and swap_count(self._kernel.swap, slot) == 1

    def choose_cluster(self, target: int) -> int:
        """Put the slots around one in `slots`, as far as they are worth reading; return how many.

        Source: Linux 6.1 mm/swap_state.c:swap_cluster_readahead
        """
        kernel = self._kernel
        start, end = kernel.cluster_readahead.window(
            target, page_cluster=kernel.sysctl.vm_page_cluster
        )
        return cluster_slots(kernel.swap, start, end, self.slots)

    async def read(self, context: AllocContext, target: int, nr: int) -> None:
        """Start to read `slots[:nr]`, as far as they are not cached, all allocated alike."""
        kernel, task = self._kernel, self._task
        slots, pfns = self.slots, self._pfns
        have, is_entered = self._burst.enter(slots, nr, target, context, pfns)
        begun = slots[:nr].copy() if is_entered else await self._enter(context, target, nr, have)
        await settle_slabs(self._current)
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
        slots = self.slots[: still_missing_slots(kernel.swap, self.slots, have, target)].copy()
        await self._free(self._pfns[len(slots) : have].copy())
        pfns = self._pfns[: len(slots)].copy()
        if target not in slots:
            await self._free(pfns)
            return None
        nid = nid_of(kernel.mem, int(pfns[0]))
        # Coming here may have slept again, so others may have read a slot, or freed it.
        request = BeginSwapRead(slots, pfns, target, task.cpu.name, task.name, task.in_lru_fault)
        begun: I64 = await kernel.nodes[nid].ref.ask(request)
        await self._free(pfns[len(begun) :])
        return begun

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
