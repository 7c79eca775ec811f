"""Swapping to a compressed disk: in the task's own time, with memory it takes itself.

Linux: drivers/block/zram/zram_drv.c, mm/zsmalloc.c, 6.1. There is no queue and no interrupt: who
writes a page compresses it, who reads one expands it. Pages for what is stored come from the
reserves, since it is a reclaimer who asks; when there is none, the write fails and the page stays.
Interface: `zram_write`, `zram_read`; `zram_slot_free_notify` gives back what freed slots held.
Units: pages, slots.
"""

import errno

import numpy as np

from kernelsim.actors.core.current import Current
from kernelsim.actors.messages.node import (
    AllocPages,
    EndSwapRead,
    EndSwapWrite,
    FreePages,
)
from kernelsim.actors.parts.block_device import BlockDevice
from kernelsim.mm.core.mem import Z_FREE, Z_NID, Z_WMARK_MIN, PG_kernel, nid_of, zone_of
from kernelsim.mm.core.vmstat import NR_ZSPAGES
from kernelsim.mm.page.gfp import Gfp
from kernelsim.mm.page.page_alloc import ALLOC_NO_WATERMARKS

# zram_bvec_write: GFP_NOIO | __GFP_HIGHMEM | __GFP_MOVABLE
GFP_ZRAM = Gfp.RECLAIM | Gfp.HIGHMEM | Gfp.MOVABLE


async def zram_write(
    current: Current, device: BlockDevice, slot: int, nid: int, end_io: EndSwapWrite
) -> None:
    """Store pages in consecutive slots, and tell their node how that ended.

    Source: Linux 6.1 drivers/block/zram/zram_drv.c:__zram_bvec_write
    """
    # Differs from Linux: A page that was written to zram is freed when its list is scanned next,
    # from the tail of which it is taken, not in the same step.
    kernel, task = current
    store, spec = kernel.zrams[device.name], device.spec
    failed: list[int] = []
    for place, token in enumerate(end_io.tokens.tolist()):
        if token:
            await task.compute(spec.compress_ns, resched=False)
        await zram_slot_free_notify(current)
        if slot + place in store.objects:  # it is written once more
            await _give_back(current, store.drop(slot + place))
        pfns = await _zs_pages(current, store.room(token))
        if pfns is None:
            failed.append(place)
            continue
        store.put(slot + place, token, pfns)
        kernel.swap.stored[slot + place] = 1
    device.statistics.nr_writes += 1
    device.statistics.pages_given += len(end_io.pfns)
    device.statistics.pages_written += len(end_io.pfns)
    status = errno.ENOMEM if failed else 0
    await kernel.nodes[nid].ref.ask(
        EndSwapWrite(end_io.pfns, end_io.tokens, end_io.place, status=status, failed=tuple(failed))
    )


async def zram_read(current: Current, device: BlockDevice, nid: int, end_io: EndSwapRead) -> None:
    """Expand pages, and let their node fill them in."""
    kernel, task = current
    nr_pages = len(end_io.pfns)
    await task.compute(device.spec.decompress_ns * nr_pages, resched=False)
    device.statistics.nr_reads += 1
    device.statistics.pages_asked += nr_pages
    device.statistics.pages_read += nr_pages
    await kernel.nodes[nid].ref.ask(end_io)


async def zram_slot_free_notify(current: Current) -> None:
    """Give back the pages that only freed slots needed.

    Source: Linux 6.1 mm/swapfile.c:swap_range_free, which calls it for each slot
    """
    # Differs from Linux: Memory of freed slots of zram goes back when a task next comes by here,
    # not with the slot.
    kernel = current.kernel
    freed = kernel.swap.freed
    while freed[0]:
        slot = int(freed[freed[0]])
        freed[0] -= 1
        await _give_back(current, kernel.zram_of(slot).drop(slot))


async def _give_back(current: Current, pfns: tuple[int, ...]) -> None:
    """Free pages of a zspage."""
    kernel, task = current
    mem = kernel.mem
    for pfn in pfns:
        mem.pages.flags[pfn] = 0
        mem.zone_stat[zone_of(mem, pfn), NR_ZSPAGES] -= 1
    kernel.taken(len(pfns))
    for pfn in pfns:
        request = FreePages(task.cpu.number, np.array([pfn], np.int64), 1, task.cpu.name)
        await kernel.nodes[nid_of(mem, pfn)].ref.ask(request)


async def _zs_pages(current: Current, nr: int) -> tuple[int, ...] | None:
    """Take pages for a zspage from wherever there are any; None when there are not enough.

    Source: Linux 6.1 mm/zsmalloc.c:alloc_zspage, of a task with PF_MEMALLOC
    """
    kernel, task = current
    mem, out = kernel.mem, np.zeros(1, np.int64)
    context = kernel.alloc_contexts.get(task.cpu.nid, None, GFP_ZRAM)
    taken: list[int] = []
    for zone in context.zonelist:
        while len(taken) < nr and mem.zone[zone, Z_FREE] > 0:
            kernel.observer.asks(task, context, zone, Z_WMARK_MIN, ALLOC_NO_WATERMARKS, 0)
            request = AllocPages(
                zone, task.cpu.number, task.cpu.nid, context.preferred_nid, context.migratetype,
                0, 1, out, 0, task.cpu.name, int(GFP_ZRAM),
            )  # fmt: skip
            got, _ = await kernel.nodes[int(mem.zone[zone, Z_NID])].ref.ask(request)
            if not got:
                break
            pfn = int(out[0])
            mem.pages.flags[pfn] = np.uint32(PG_kernel)
            mem.zone_stat[zone_of(mem, pfn), NR_ZSPAGES] += 1
            kernel.placed(1)
            taken.append(pfn)
    if len(taken) == nr:
        return tuple(taken)
    await _give_back(current, tuple(taken))
    return None
