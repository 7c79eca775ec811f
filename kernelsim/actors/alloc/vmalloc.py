"""vmalloc and vfree: memory of many pages that need not follow each other.

Linux: mm/vmalloc.c: __vmalloc_node_range, vm_area_alloc_pages, vmap_pages_range, vfree, 6.1.
Dearer than the direct map: each page is allocated by itself and gets an entry in page tables that
must be there, and freed addresses need a flush of all TLBs before others get them.
Units: bytes for addresses; pages.
"""

from typing import Final

import numpy as np

from kernelsim.actors.alloc.kernel_pages import alloc_kernel_pages, free_kernel_pages
from kernelsim.actors.core.current import Current
from kernelsim.actors.messages.kernel_space import AllocVmapArea, FreeVmapArea
from kernelsim.mm.core.mem import I64
from kernelsim.mm.page.gfp import GFP_KERNEL, Gfp
from kernelsim.mm.space.vmalloc import VmStruct
from kernelsim.units import PAGE_SHIFT, PAGE_SIZE

BULK_MAX: Final = 100  # pages between two looks at others; vm_area_alloc_pages
POINTER_BYTES: Final = {"x86_64": 8, "i386": 4, "i386pae": 4}
GFP_VMALLOC: Final = GFP_KERNEL | Gfp.HIGHMEM
GFP_PGTABLE_KERNEL: Final = GFP_KERNEL | Gfp.ZERO


async def vmalloc(current: Current, size: int, caller: str) -> VmStruct | None:
    """Allocate memory whose addresses follow each other; None if there is no room, or no memory.

    No memory: more pages than the machine has, or the task is being killed while it waits for some.

    Source: Linux 6.1 mm/vmalloc.c:vmalloc
    """
    return await vmalloc_aligned(current, size, caller, align=PAGE_SIZE, gfp=GFP_VMALLOC)


async def vmalloc_aligned(
    current: Current, size: int, caller: str, *, align: int, gfp: Gfp
) -> VmStruct | None:
    """Allocate such memory, its first address a multiple of `align`; all of it, or None.

    Source: Linux 6.1 mm/vmalloc.c:__vmalloc_node_range, :__vmalloc_area_node
    """
    kernel, task = current
    init_mm, nr = kernel.init_mm, -(-size // PAGE_SIZE)
    if not nr or nr > kernel.phys.totalram_pages:
        return None
    with_guard = nr + 1 << PAGE_SHIFT
    address = await kernel.kernel_space.ask(AllocVmapArea(with_guard, align))
    if not address:
        return None
    array = 0
    # Differs from Linux: A list of pages that fits in a page is a slab object, which takes none.
    list_bytes = nr * POINTER_BYTES[kernel.spec.arch]
    if list_bytes > PAGE_SIZE:
        zeroed = gfp | Gfp.ZERO
        pages = await vmalloc_aligned(current, list_bytes, caller, align=PAGE_SIZE, gfp=zeroed)
        if pages is None:
            await kernel.kernel_space.ask(FreeVmapArea(address))
            return None
        array = pages.address
    vpn, pfns = address >> PAGE_SHIFT, await _vm_area_alloc_pages(current, gfp, nr)
    if len(pfns) < nr or not await _make_tables(current, vpn, nr):
        await _give_back(current, VmStruct(address, with_guard, caller, pfns, array))
        return None
    await task.compute(kernel.spec.latency.pte_set_ns * nr, resched=False)
    init_mm.tables.map(vpn, pfns)
    area = init_mm.vms[address] = VmStruct(address, with_guard, caller, pfns, array)
    return area


async def _vm_area_alloc_pages(current: Current, gfp: Gfp, nr: int) -> I64:
    """Allocate the pages of an area; return their frames, fewer if a request fails.

    Source: Linux 6.1 mm/vmalloc.c:vm_area_alloc_pages
    """
    pfns, got = np.zeros(nr, np.int64), 0
    while got < nr:
        part = await alloc_kernel_pages(current, gfp, min(BULK_MAX, nr - got))
        pfns[got : got + len(part)] = part
        got += len(part)
        await current.task.cond_resched()
        if not len(part):
            break
    return pfns[:got]


async def _make_tables(current: Current, vpn: int, nr: int) -> bool:
    """Build the tables that are missing; return whether all are there.

    Another task may have built one meanwhile. Those that were built stay also if others fail.

    Source: Linux 6.1 mm/memory.c:__pte_alloc_kernel
    """
    tables = current.kernel.init_mm.tables
    for key in list(tables.missing(vpn, nr)):
        frame = await alloc_kernel_pages(current, GFP_PGTABLE_KERNEL, 1)
        if key in tables.tables:
            await free_kernel_pages(current, frame)
        elif not len(frame):
            return False
        else:
            tables.tables[key] = int(frame[0])
    return True


async def vfree(current: Current, address: int) -> None:
    """Free an area: its entries, its addresses sooner or later, its pages.

    Source: Linux 6.1 mm/vmalloc.c:__vunmap
    """
    kernel, task = current
    area = kernel.init_mm.vms.pop(address)
    nr = len(area.pfns)
    await task.compute(kernel.spec.latency.pte_set_ns * nr, resched=False)
    kernel.init_mm.tables.unmap(address >> PAGE_SHIFT, nr)
    await _give_back(current, area)


async def _give_back(current: Current, area: VmStruct) -> None:
    """Free the addresses of an area that is not mapped, its pages, and the list of them.

    Source: Linux 6.1 mm/vmalloc.c:__vunmap
    """
    kernel, task = current
    await kernel.kernel_space.ask(FreeVmapArea(area.address))
    for at in range(0, len(area.pfns), BULK_MAX):
        await free_kernel_pages(current, area.pfns[at : at + BULK_MAX])
        await task.cond_resched()
    if area.array:
        await vfree(current, area.array)
