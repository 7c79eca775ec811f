"""Kernel mappings of pages that the direct map does not reach: kmap, and kmap_atomic.

Linux: mm/highmem.c: kmap_high, kunmap_high, __kmap_local_pfn_prot; include/linux/highmem.h:
copy_highpage, 6.1.
`kmap` may sleep until another task gives a slot back. The temporary slots are each CPU's own, a
stack of sixteen: they never run out for who gives them back in turn, and never sleep.
Units: page frames, addresses.
"""

from kernelsim.actors.core.current import Current
from kernelsim.actors.core.memory_access import copy_pages
from kernelsim.actors.messages.kernel_space import KmapHigh, KunmapHigh, WaitForPkmap
from kernelsim.mm.core.mem import nid_of
from kernelsim.mm.space.highmem import NO_SLOT
from kernelsim.mm.space.kernel_layout import KM_MAX_IDX


async def kmap(current: Current, pfn: int) -> int:
    """Map a page for as long as it is needed; return its address. Sleeps while no slot is free.

    Source: Linux 6.1 include/linux/highmem-internal.h:kmap, mm/highmem.c:map_new_virtual
    """
    kernel, task = current
    layout = kernel.init_mm.layout
    if layout.is_lowmem(pfn):
        return layout.virt(pfn)
    while True:
        slot = await kernel.kernel_space.ask(KmapHigh(pfn))
        if slot != NO_SLOT:
            await task.compute(kernel.spec.latency.pte_set_ns, resched=False)
            return layout.pkmap_addr(slot)
        async with task.off_cpu():
            await kernel.kernel_space.ask(WaitForPkmap())


async def kunmap(current: Current, pfn: int) -> bool:
    """Give a page's slot back, if it has one or needs none; the mapping stays until slots run out.

    Source: Linux 6.1 include/linux/highmem-internal.h:kunmap
    """
    kernel, _ = current
    return kernel.init_mm.layout.is_lowmem(pfn) or await kernel.kernel_space.ask(KunmapHigh(pfn))


class KmapAtomic:
    """Temporary mappings of a task, which stays on its CPU and does not sleep while it has any.

    Args:
        current: The task.
    """

    def __init__(self, current: Current) -> None:
        self._kernel, self._task = current
        self._stack: list[int] = []

    async def map(self, pfn: int) -> int:
        """Map a page in the next slot of the CPU; return its address.

        Source: Linux 6.1 mm/highmem.c:__kmap_local_pfn_prot
        """
        layout = self._kernel.init_mm.layout
        if layout.is_lowmem(pfn):
            self._stack.append(0)
            return layout.virt(pfn)
        index = sum(address != 0 for address in self._stack)
        assert index < KM_MAX_IDX, f"{self._task.name} nests more than {KM_MAX_IDX} kmap_atomic"
        address = layout.kmap_atomic_addr(self._task.cpu.number, index)
        await self._task.compute(self._kernel.spec.latency.pte_set_ns, resched=False)
        self._stack.append(address)
        return address

    async def unmap(self) -> None:
        """Give the last mapping back, and drop it from this CPU's TLB.

        Source: Linux 6.1 mm/highmem.c:kunmap_local_indexed
        """
        if self._stack.pop():
            await self._task.compute(self._kernel.spec.latency.tlb_flush_page_ns, resched=False)


async def copy_highpage(current: Current, to: int, source: int) -> tuple[int, int]:
    """Copy a page to another one; return the addresses they had meanwhile.

    Source: Linux 6.1 include/linux/highmem.h:copy_highpage
    """
    kernel = current.kernel
    kmaps = KmapAtomic(current)
    vfrom, vto = await kmaps.map(source), await kmaps.map(to)
    nids = (nid_of(kernel.mem, source), nid_of(kernel.mem, to))
    await copy_pages(current, nids, 1, resched=False)
    kernel.mem.pages.token[to] = kernel.mem.pages.token[source]
    await kmaps.unmap()
    await kmaps.unmap()
    return vto, vfrom
