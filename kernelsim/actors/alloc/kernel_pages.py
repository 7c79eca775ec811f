"""Pages for the kernel itself: taken from the zones, kept off all lists, given back by hand.

Linux: include/linux/gfp.h: alloc_page, __free_page; mm/slub.c:kmalloc_large_node, 6.1.
# Differs from Linux: What the kernel allocates at run time is single pages; kmalloc has no slabs of
# smaller objects and no blocks of higher orders.
Units: pages.
"""

import numpy as np

from kernelsim.actors.alloc.page_allocator import alloc_context, alloc_pages
from kernelsim.actors.core.current import Current
from kernelsim.actors.core.free_pages import free_frames
from kernelsim.actors.core.memory_access import clear_pages
from kernelsim.mm.core.mem import I64, PG_kernel
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


async def free_kernel_pages(current: Current, pfns: I64) -> None:
    """Give pages of the kernel back to their nodes.

    Source: Linux 6.1 mm/page_alloc.c:__free_pages
    """
    current.kernel.mem.pages.flags[pfns] = 0
    current.kernel.taken(len(pfns))
    await free_frames(current, pfns, len(pfns))
