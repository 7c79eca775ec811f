"""Waiting for memory of a kind that is kept for the worst case: bios of swap.

Linux: mm/mempool.c:mempool_alloc, block/bio.c:bio_alloc_bioset (6.1).
Interface: `mempool_alloc` behind the step that took bios, and behind the start of their requests.
"""

from kernelsim.actors.alloc.slab import retry_slabs, settle_slabs
from kernelsim.actors.core.bio_pool import is_used_up
from kernelsim.actors.core.current import Current
from kernelsim.actors.core.kernel import Kernel
from kernelsim.actors.core.task import Task
from kernelsim.actors.tracing import trace
from kernelsim.mm.core.slab_cache import BIO
from kernelsim.trace.ks import ks_sleep


async def mempool_alloc(kernel: Kernel, task: Task) -> None:
    """Wait until there is memory for the bios in use, or all but those that are kept came back.

    Source: Linux 6.1 mm/mempool.c:mempool_alloc
    """
    # Differs from Linux: Who gets no bio for a page that is swapped out waits behind the request
    # that the page is part of, not before; who reads from swap waits for what it reads alone.
    slabs, current = kernel.mem.slabs, Current(kernel, task)
    while is_used_up(slabs):
        await settle_slabs(current)
        await retry_slabs(current, BIO)
        if is_used_up(slabs):
            began_ns = kernel.engine.now_ns
            await kernel.bio_pool.wait(task)
            trace(task, ks_sleep("mempool", "swap", kernel.engine.now_ns - began_ns))
