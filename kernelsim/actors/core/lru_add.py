"""Putting new pages on the LRU lists: through the CPU's folio_batch, which takes lru_lock once.

Linux: mm/swap.c: folio_add_lru, lru_add_drain, 6.1.
Units: pages.
"""

from kernelsim.actors.core.current import Current
from kernelsim.actors.core.free_pages import free_on_node
from kernelsim.actors.messages.node import LruAddDrain
from kernelsim.mm.core.folio_batch import folio_batch_add, folio_batch_run


async def folio_add_lru(current: Current, pfn: int) -> None:
    """Put a page that just came into use on its list, sooner or later.

    Source: Linux 6.1 mm/swap.c:folio_add_lru
    """
    if folio_batch_add(current.kernel.mem, current.task.cpu.number, pfn):
        await lru_add_drain(current)


async def lru_add_drain(current: Current) -> None:
    """Empty the folio_batch of the task's CPU.

    Source: Linux 6.1 mm/swap.c:lru_add_drain
    """
    kernel, task = current
    while True:
        cpu = task.cpu
        nid, nr_pages = folio_batch_run(kernel.mem, cpu.number)
        if not nr_pages:
            return
        node = kernel.nodes[nid].ref
        began_ns = kernel.engine.now_ns
        freed = await node.ask(LruAddDrain(cpu.number, cpu.name))
        task.stime_ns += kernel.engine.now_ns - began_ns
        if len(freed):
            await free_on_node(current, nid, freed, len(freed))
