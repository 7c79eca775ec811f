"""Pages for the kernel itself: taken from the zones, kept off all lists, given back by hand.

Linux: include/linux/gfp.h: alloc_page, __free_page; mm/slub.c:kmalloc_large_node, 6.1.
# Differs from Linux: There are slabs of some kernel objects (alloc/slab.py), and none of kmalloc's:
# what a workload's kernel threads allocate are whole pages, and blocks of them.
Units: pages; an order is the logarithm of a number of pages.
"""

import numpy as np

from kernelsim.actors.alloc.block_allocator import alloc_block
from kernelsim.actors.alloc.page_allocator import alloc_context, alloc_pages
from kernelsim.actors.core.current import Current
from kernelsim.actors.core.free_pages import free_frames
from kernelsim.actors.core.memory_access import clear_pages
from kernelsim.actors.messages.blocks import FreeBlock
from kernelsim.mm.core.mem import I64, PG_kernel, nid_of, zone_of
from kernelsim.mm.page.gfp import Gfp


async def alloc_kernel_pages(current: Current, gfp: Gfp, nr: int) -> I64:
    """Allocate single pages, one after the other; return their frames, fewer if a request fails.

    Args:
        current: Who asks; it sleeps in here if its request may.
        gfp: With DIRECT_RECLAIM it may sleep.
        nr: How many.
    """
    kernel = current.kernel
    out, got = np.zeros(nr, np.int64), 0
    while got < nr:
        part = out[got:]
        grant = await alloc_pages(current, alloc_context(current, gfp), nr - got, part)
        if not grant.nr:
            break
        kernel.mem.pages.flags[part[: grant.nr]] |= np.uint32(PG_kernel)
        kernel.placed(grant.nr)
        got += grant.nr
        if Gfp.ZERO in gfp:
            await clear_pages(current, grant.nid, grant.nr)
    return out[:got]


async def alloc_kernel_block(current: Current, gfp: Gfp, order: int) -> I64:
    """Allocate pages that follow each other; return their frames, none if the request fails.

    Args:
        current: Who asks; it sleeps in here if its request may.
        gfp: With DIRECT_RECLAIM it may sleep.
        order: How many, as a logarithm; above 0.

    Source: Linux 6.1 mm/page_alloc.c:__get_free_pages
    """
    kernel = current.kernel
    pfn = await alloc_block(current, alloc_context(current, gfp), order)
    if not pfn:
        return np.zeros(0, np.int64)
    pfns: I64 = np.arange(pfn, pfn + (1 << order))
    kernel.mem.pages.flags[pfns] |= np.uint32(PG_kernel)
    kernel.placed(len(pfns))
    if Gfp.ZERO in gfp:
        await clear_pages(current, nid_of(kernel.mem, pfn), len(pfns))
    return pfns


async def free_kernel_block(current: Current, pfns: I64) -> None:
    """Give pages back that were allocated as a block.

    Source: Linux 6.1 mm/page_alloc.c:free_pages, :__free_pages_ok
    """
    (kernel, task), pfn = current, int(pfns[0])
    kernel.mem.pages.flags[pfns] = 0
    kernel.taken(len(pfns))
    zone = zone_of(kernel.mem, pfn)
    order = len(pfns).bit_length() - 1
    await kernel.node_of(zone).ref.ask(FreeBlock(zone, pfn, order, task.cpu.name))


async def free_kernel_pages(current: Current, pfns: I64) -> None:
    """Give pages of the kernel back to their nodes.

    Source: Linux 6.1 mm/page_alloc.c:__free_pages
    """
    current.kernel.mem.pages.flags[pfns] = 0
    current.kernel.taken(len(pfns))
    await free_frames(current, pfns, len(pfns))
