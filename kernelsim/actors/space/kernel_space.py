"""The keeper of the kernel's addresses: areas of vmalloc, slots of kmap.

Linux: mm/vmalloc.c (vmap_area_lock, drain_vmap_area_work), mm/highmem.c (kmap_lock), 6.1.
Who asks works under the lock that guards them: while TLBs are flushed others have to wait.
Owns: which addresses of vmalloc are taken, and which slots of kmap.
Interface: ask the messages of messages/kernel_space.py; a task that waits for a slot waits for the
answer.
"""

from typing import Any

from kernelsim.actors.core.kernel import KERN_WARNING, Kernel
from kernelsim.actors.messages.cpu import FlushKernelTlb
from kernelsim.actors.messages.kernel_space import (
    AllocVmapArea,
    FreeVmapArea,
    KmapHigh,
    KunmapHigh,
    PurgeVmapAreas,
    WaitForPkmap,
)
from kernelsim.sim.actor import DEFERRED, Actor
from kernelsim.sim.gather import Gather
from kernelsim.sim.reply import Reply


class KernelSpace(Actor):
    """The actor of one machine.

    Args:
        kernel: The machine.
    """

    def __init__(self, kernel: Kernel) -> None:
        super().__init__("kernel_space")
        self._kernel = kernel
        self._init_mm = kernel.init_mm
        self._sleepers: list[Reply] = []  # pkmap_map_wait

    async def receive(self, message: Any) -> Any:  # noqa: ANN401 - the messages above
        """Serve a message."""
        init_mm = self._init_mm
        match message:
            case AllocVmapArea(size, align):
                return await self._alloc_vmap_area(size, align)
            case FreeVmapArea(address):
                if init_mm.areas.free(address):
                    self.ref.tell(PurgeVmapAreas())
            case PurgeVmapAreas():
                await self._purge()
            case KmapHigh(pfn):
                return await self._kmap_high(pfn)
            case KunmapHigh(pfn):
                return self._kunmap_high(pfn)
            case WaitForPkmap():
                return self._wait_for_pkmap()
        return None

    async def _alloc_vmap_area(self, size: int, align: int) -> int:
        """Find room, behind a purge if need be.

        Source: Linux 6.1 mm/vmalloc.c:alloc_vmap_area
        """
        areas = self._init_mm.areas
        address = areas.alloc(size, align)
        if not address and areas.nr_lazy:
            await self._purge()
            address = areas.alloc(size, align)
        if not address:
            hint = "use vmalloc=<size> to increase size"
            self._kernel.printk(KERN_WARNING, f"vmap allocation for size {size} failed: {hint}")
        return address

    async def _purge(self) -> None:
        nr_pages = self._init_mm.areas.purge()
        if nr_pages:
            await self._flush_tlb_kernel_range(nr_pages)

    async def _kmap_high(self, pfn: int) -> int:
        pkmap = self._init_mm.pkmap
        nr_flushes = pkmap.nr_flushes
        slot = pkmap.kmap_high(pfn)
        if pkmap.nr_flushes != nr_flushes:
            await self._flush_tlb_kernel_range(self._init_mm.layout.last_pkmap)
        return slot

    def _kunmap_high(self, pfn: int) -> bool:
        if not self._init_mm.pkmap.nr_users(pfn):
            return False
        if self._init_mm.pkmap.kunmap_high(pfn):
            sleepers, self._sleepers = self._sleepers, []
            for sleeper in sleepers:  # all, as wake_up does; each looks again
                sleeper.send(None)
        return True

    def _wait_for_pkmap(self) -> Any:  # noqa: ANN401 - an answer, now or later
        # One came free before the task slept, or was even emptied by a flush for another task.
        if min(self._init_mm.pkmap.count) <= 1:
            return None
        self._sleepers.append(self.defer())
        return DEFERRED

    async def _flush_tlb_kernel_range(self, nr_pages: int) -> None:
        """Have all CPUs forget translations of the kernel, and wait for the last.

        Source: Linux 6.1 arch/x86/mm/tlb.c:flush_tlb_kernel_range
        """
        answers = Gather(self.engine.clock)
        for cpu in self._kernel.cpus:
            answers.ask(cpu.ref, FlushKernelTlb(nr_pages))
        await answers.wait()
