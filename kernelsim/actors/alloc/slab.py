"""Pages for slabs of kernel objects, in the time of the task that needed the first of them.

Linux: mm/slub.c:new_slab, :discard_slab (6.1).
Differs: A slab that is emptied by the end of swap I/O, which is in no task's time, or by a fault
that finds its page in the swap cache, gives its pages back when the next task settles, not at once.
Interface: `settle_slabs` behind the other steps that take or free objects (mm/core/slab.py);
`retry_slabs` for slabs that got no pages.
Units: pages.
"""

from typing import Final

import attrs
import numpy as np

from kernelsim.actors.alloc.block_allocator import get_block_from_freelist
from kernelsim.actors.alloc.page_allocator import (
    alloc_context,
    alloc_pages,
    get_page_from_freelist,
)
from kernelsim.actors.alloc.wakeup_kswapd import wake_all_kswapds
from kernelsim.actors.core.current import Current
from kernelsim.actors.core.free_pages import free_on_node
from kernelsim.actors.core.kernel import Kernel
from kernelsim.actors.core.page_requests import NEW_SLAB_GFP
from kernelsim.actors.core.task import Task
from kernelsim.actors.messages.blocks import FreeBlock
from kernelsim.mm.burst.slab_pages import account_slab
from kernelsim.mm.core.mem import (
    I64,
    Z_FREE,
    Z_WMARK_LOW,
    Z_WMARK_MIN,
    PG_kernel,
    nid_of,
    zone_of,
)
from kernelsim.mm.core.slab import (
    find_pageless,
    has_slab_work,
    slab_gone,
    slab_paid,
    take_empty,
    take_owed,
)
from kernelsim.mm.core.slab_cache import (
    BIO,
    BUFFER_HEAD,
    KMEM_CACHES,
    NO_PAGE,
    RADIX_TREE_NODE,
    SB_CACHE,
    SB_ORDER,
    SB_PFN,
    SC_ORDER,
    get_order,
)
from kernelsim.mm.page.alloc_context import AllocContext
from kernelsim.mm.page.gfp import GFP_NOFS, Gfp, gfp_to_alloc_flags
from kernelsim.mm.page.page_alloc import ALLOC_NO_WATERMARKS, ALLOC_OOM

SLOW_GFP: Final = GFP_NOFS | Gfp.NOWARN | Gfp.NORETRY | Gfp.COMP

# What those who reclaim ask with besides: nodes of the swap cache (mm/swap_state.c:add_to_swap) and
# bios (mm/mempool.c:mempool_alloc) leave the last reserves alone.
RECLAIM_GFP: Final = {
    RADIX_TREE_NODE: Gfp.HIGH | Gfp.NOMEMALLOC,
    BUFFER_HEAD: Gfp(0),
    BIO: Gfp.NOMEMALLOC,
}


async def settle_slabs(current: Current) -> None:
    """Get the pages that new slabs owe, and give back those of empty ones."""
    slabs = current.kernel.mem.slabs
    while has_slab_work(slabs):
        if row := take_owed(slabs):
            await _new_slab(current, row)
        elif row := take_empty(slabs):
            await _discard_slab(current, row)


async def settle_slabs_of(kernel: Kernel, task: Task) -> None:
    """Do the same for a task, whose code lies below this."""
    await settle_slabs(Current(kernel, task))


async def _new_slab(current: Current, row: int) -> None:
    """Get the pages that a slab owes.

    Source: Linux 6.1 mm/slub.c:new_slab
    """
    slabs = current.kernel.mem.slabs
    pfn, order = await _allocate_slab(current, int(slabs.row[row, SB_CACHE]))
    slab_paid(slabs, row, pfn or NO_PAGE, order)


async def retry_slabs(current: Current, number: int) -> None:
    """Get pages for slabs of a cache that had none so far, until there are none again.

    Source: Linux 6.1 mm/mempool.c:mempool_alloc
    """
    slabs = current.kernel.mem.slabs
    while find_pageless(slabs, number):
        pfn, order = await _allocate_slab(current, number)
        if not pfn:
            return
        row = find_pageless(slabs, number)
        if row:
            slab_paid(slabs, row, pfn, order)
        else:  # its last object came back meanwhile
            await _free_slab(current, number, pfn, order)


async def _allocate_slab(current: Current, number: int) -> tuple[int, int]:
    """Get pages for a slab: as many as usual, else as few as hold one object.

    Args:
        current: Who asks.
        number: Of its cache.

    Returns:
        The first page, 0 if none are to be had, and the order.

    Source: Linux 6.1 mm/slub.c:allocate_slab
    """
    kernel, cache = current.kernel, KMEM_CACHES[number]
    order = int(kernel.mem.slabs.cache[number, SC_ORDER])
    kind = Gfp.RECLAIMABLE if cache.is_reclaimable else Gfp(0)
    if current.task.memalloc:
        kind |= RECLAIM_GFP[number]
    pfn = await _alloc_block(current, NEW_SLAB_GFP | kind, order)
    if not pfn and order > get_order(cache.size):
        order = get_order(cache.size)
        pfn = await _alloc_block(current, NEW_SLAB_GFP | kind, order)
    if not pfn and not current.task.memalloc:
        one = np.zeros(1, np.int64)
        grant = await alloc_pages(current, alloc_context(current, SLOW_GFP | kind), 1, one)
        pfn, order = (int(one[0]), 0) if grant.nr else (0, order)
    if pfn:
        kernel.mem.pages.flags[pfn : pfn + (1 << order)] = np.uint32(PG_kernel)
        account_slab(kernel.mem, pfn, number, 1 << order)
        kernel.placed(1 << order)
    return pfn, order


async def _discard_slab(current: Current, row: int) -> None:
    """Give the pages of an empty slab back, if it has any.

    Source: Linux 6.1 mm/slub.c:discard_slab
    """
    slabs = current.kernel.mem.slabs
    pfn, order = int(slabs.row[row, SB_PFN]), int(slabs.row[row, SB_ORDER])
    number = int(slabs.row[row, SB_CACHE])
    slab_gone(slabs, row)
    if pfn != NO_PAGE:
        await _free_slab(current, number, pfn, order)


async def _free_slab(current: Current, number: int, pfn: int, order: int) -> None:
    """Give pages of a slab back.

    Source: Linux 6.1 mm/slub.c:__free_slab
    """
    kernel = current.kernel
    account_slab(kernel.mem, pfn, number, -(1 << order))
    kernel.taken(1 << order)
    nid, flags = int(nid_of(kernel.mem, pfn)), kernel.mem.pages.flags
    if order:
        zone = int(zone_of(kernel.mem, pfn))
        flags[pfn : pfn + (1 << order)] = 0
        request = FreeBlock(zone, pfn, order, current.task.cpu.name)
        await kernel.nodes[nid].ref.ask(request)
        return
    flags[pfn] = 0
    await free_on_node(current, nid, np.array([pfn], np.int64), 1)


async def _alloc_block(current: Current, gfp: Gfp, order: int) -> int:
    """Get a block without waiting for reclaim; return its first page, 0 if none is to be had.

    Source: Linux 6.1 mm/page_alloc.c:__alloc_pages, :__alloc_pages_slowpath
    """
    kernel, task = current
    context = alloc_context(current, gfp)
    pfn = await _take_block(current, context, order, Z_WMARK_LOW, 0)
    if pfn:
        return pfn
    wake_all_kswapds(current, context, order)
    alloc_flags = gfp_to_alloc_flags(gfp)
    if task.oom_victim:
        alloc_flags |= ALLOC_OOM
    pfn = await _take_block(current, context, order, Z_WMARK_MIN, alloc_flags)
    if pfn or not task.memalloc or gfp & Gfp.NOMEMALLOC:
        return pfn
    # Who frees memory may have what is left, on any node.
    context = kernel.alloc_contexts.get(task.cpu.nid, None, gfp)
    left = tuple(zone for zone in context.zonelist if kernel.mem.zone[zone, Z_FREE])
    context = attrs.evolve(context, zonelist=left)
    return await _take_block(current, context, order, Z_WMARK_MIN, ALLOC_NO_WATERMARKS)


async def _take_block(
    current: Current, context: AllocContext, order: int, mark: int, alloc_flags: int
) -> int:
    """Take a block from the first zone that has one above the mark.

    Source: Linux 6.1 mm/page_alloc.c:get_page_from_freelist
    """
    if order == 0:
        out: I64 = np.zeros(1, np.int64)
        grant = await get_page_from_freelist(
            current, context, 1, out, mark=mark, alloc_flags=alloc_flags
        )
        return int(out[0]) if grant.nr else 0
    return await get_block_from_freelist(
        current, context, order, mark=mark, alloc_flags=alloc_flags
    )
