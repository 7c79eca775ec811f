"""Bringing back all that a swap area holds, so that it can be switched off.

Linux: mm/swapfile.c:try_to_unuse, :unuse_mm, 6.1.
It runs in the time of the task that calls swapoff: address space after address space it walks the
page tables, reads what is not cached, window by window, and waits for what is being written. Pages
come from the memory there is, and when that is used up the task itself is the OOM killer's choice.
Units: pages, slots.
"""

import errno
from collections.abc import Callable
from typing import Final

import numpy as np

from kernelsim.actors.alloc.slab import settle_slabs
from kernelsim.actors.core.current import Current
from kernelsim.actors.core.free_pages import release
from kernelsim.actors.core.shared_mm import mmap_lock, share_mm
from kernelsim.actors.core.swap_io import wait_on_swap_writeback
from kernelsim.actors.reclaim.zram_io import zram_slot_free_notify
from kernelsim.actors.space.address_space import mmput
from kernelsim.actors.space.shmem import shmem_swapin_range
from kernelsim.actors.space.swap_in import SwapIn
from kernelsim.mm.file.dirty_pages import LAST_INDEX
from kernelsim.mm.page.alloc_context import AllocContext
from kernelsim.mm.space.mlock import is_locked
from kernelsim.mm.space.mm_struct import MmStruct
from kernelsim.mm.space.mmap import VmArea
from kernelsim.mm.swap.swap_area import SA_INUSE, SA_MAX, SA_START
from kernelsim.mm.swap.swapoff import (
    UNUSE_ERROR,
    UNUSE_LOCKED,
    UNUSE_NOT_CACHED,
    UNUSE_WRITEBACK,
    UNUSED,
    next_cached_slot,
    next_swap_entry,
    try_to_free_swap,
    unuse_pte,
)
from kernelsim.units import NS_PER_S, PAGE_SHIFT

JIFFY_NS: Final = NS_PER_S // 250  # CONFIG_HZ=250, Debian's


class SwapEmptier:
    """Empties one swap area for a task.

    Args:
        current: The task.
        area: Number of the area; no slot of it is taken any more.
        context: Returns what a page of a mapping is allocated by.
    """

    def __init__(
        self, current: Current, area: int, context: Callable[[VmArea, int], AllocContext]
    ) -> None:
        self._current = current
        self._kernel, self._task = current
        self._area = area
        self._context = context

    @property
    def nr_in_use(self) -> int:
        """Slots of the area that are in use."""
        return int(self._kernel.swap.area[self._area, SA_INUSE])

    async def try_to_unuse(self) -> int:
        """Bring everything back; return 0, -EINTR when the task is killed, or -EIO.

        Source: Linux 6.1 mm/swapfile.c:try_to_unuse
        """
        # Differs from Linux: A round of swapoff that brings nothing back sleeps a jiffy before the
        # next. What it waits for is a process that ends, or a page somebody reads.
        kernel, task = self._kernel, self._task
        while self.nr_in_use:
            if task.killed:
                return -errno.EINTR
            before = self.nr_in_use
            if error := await self._unuse_shmem():
                return error
            for mm in list(kernel.mms.by_number.values()):
                if not self.nr_in_use or task.killed:
                    break
                if not mm.mm_users:
                    continue
                share_mm(kernel, mm)
                async with mmap_lock(self._current, mm, write=False):
                    error = await self._unuse_mm(mm)
                await mmput(self._current, mm)
                if error:
                    return error
            await self._free_cached()
            await zram_slot_free_notify(self._current)
            if self.nr_in_use == before:
                async with task.off_cpu():
                    await kernel.engine.sleep(JIFFY_NS)
        return 0

    async def _unuse_shmem(self) -> int:
        """Bring back what shared memory has in the area; return 0 or -EIO.

        Source: Linux 6.1 mm/shmem.c:shmem_unuse
        """
        kernel = self._kernel
        start, size = kernel.swap.area[self._area, [SA_START, SA_MAX]].tolist()
        slots = range(start, start + size)
        for inode in [each for each in kernel.files.inodes.values() if each.is_shmem]:
            if await shmem_swapin_range(self._current, inode, 0, LAST_INDEX, slots) <= LAST_INDEX:
                return -errno.EIO
        return 0

    async def _unuse_mm(self, mm: MmStruct) -> int:
        """Bring back what an address space has in the area; return 0 or -EIO.

        Source: Linux 6.1 mm/swapfile.c:unuse_mm, :unuse_pte_range
        """
        # Differs from Linux: A page that cannot be read ends swapoff with EIO. Linux leaves an
        # entry in its place that a fault answers with SIGBUS, and goes on.
        kernel, task = self._kernel, self._task
        swap_in = SwapIn(self._current, mm, self._context)
        vpn, end_vpn = 0, mm.map.task_size >> PAGE_SHIFT
        while not task.killed:
            vpn, slot = next_swap_entry(
                *kernel.space, kernel.swap, mm.number, vpn, end_vpn, self._area
            )
            vma = mm.map.find_vma(vpn << PAGE_SHIFT)
            if not slot:
                return 0
            if vma is None or vma.vpn > vpn:  # it is being unmapped
                vpn += 1
                continue
            why = unuse_pte(*kernel.space, kernel.swap, mm.number, vpn, slot)
            if why == UNUSE_ERROR:
                return -errno.EIO
            if why == UNUSE_NOT_CACHED:
                await swap_in.read_window(vma, vpn, slot)
            elif why == UNUSE_LOCKED:
                await swap_in.reader.wait_for(slot)
            elif why == UNUSE_WRITEBACK:
                await wait_on_swap_writeback(self._current, int(kernel.swap.cache_pfn[slot]))
            elif why == UNUSED and is_locked(vma):
                await swap_in.lock(vpn)
            await settle_slabs(self._current)
            await task.compute(kernel.spec.latency.pte_set_ns)
        return 0

    async def _free_cached(self) -> None:
        """Let the swap cache go of slots that no entry names any more.

        Source: Linux 6.1 mm/swapfile.c:try_to_unuse, :find_next_to_unuse
        """
        kernel, task = self._kernel, self._task
        frame = np.zeros(1, np.int64)
        slot = next_cached_slot(kernel.swap, self._area, 0)
        while slot and not task.killed:
            pfn = int(kernel.swap.cache_pfn[slot])
            await wait_on_swap_writeback(self._current, pfn)
            if int(kernel.swap.cache_pfn[slot]) == pfn:
                if try_to_free_swap(kernel.mem, kernel.swap, pfn):
                    frame[0] = pfn
                    await release(self._current, frame)
                    await settle_slabs(self._current)
                slot += 1
            slot = next_cached_slot(kernel.swap, self._area, slot)
