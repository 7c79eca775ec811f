"""Putting new pages on the LRU lists: through the CPU's folio_batch, which takes lru_lock once.

Linux: mm/swap.c: folio_add_lru, lru_add_drain, 6.1.
Units: pages.
"""

from kernelsim.actors.core.current import Current
from kernelsim.actors.core.free_pages import free_on_node
from kernelsim.actors.messages.node import LruActivate, LruAddDrain
from kernelsim.mm.core.folio_batch import (
    activate_batch_run,
    folio_batch_add,
    folio_batch_run,
    lru_gen_in_fault,
)


async def folio_add_lru(current: Current, pfn: int) -> None:
    """Put a page that just came into use on its list, sooner or later.

    Source: Linux 6.1 mm/swap.c:folio_add_lru
    """
    mem, task = current.kernel.mem, current.task
    if task.in_lru_fault:
        lru_gen_in_fault(mem, pfn)
    if folio_batch_add(mem, task.cpu.number, pfn):
        await folio_batch_drain(current)


async def lru_add_drain(current: Current) -> None:
    """Empty the folio_batches of the task's CPU.

    Source: Linux 6.1 mm/swap.c:lru_add_drain
    """
    await drain_cpu(current, current.task.cpu.number)


async def folio_batch_drain(current: Current) -> None:
    """Put the new pages of a batch of the task's CPU, which is full, on their lists.

    Source: Linux 6.1 mm/swap.c:folio_batch_move_lru
    """
    await _empty(current, current.task.cpu.number, is_new=True)


async def activate_drain(current: Current) -> None:
    """Activate the pages that wait for it in a batch of the task's CPU.

    Source: Linux 6.1 mm/swap.c:folio_activate
    """
    await _empty(current, current.task.cpu.number, is_new=False)


async def lru_add_drain_all(current: Current) -> None:
    """Empty the folio_batches of all CPUs.

    Source: Linux 6.1 mm/swap.c:lru_add_drain_all
    """
    # Differs from Linux: The task that wants it empties the batches of other CPUs itself; Linux
    # has work queued on each CPU, and waits.
    for cpu in current.kernel.cpus:
        await drain_cpu(current, cpu.number)


async def drain_cpu(current: Current, number: int) -> None:
    """Empty the folio_batches of a CPU: new pages, then those to be activated."""
    await _empty(current, number, is_new=True)
    await _empty(current, number, is_new=False)


async def _empty(current: Current, number: int, *, is_new: bool) -> None:
    """Empty one batch of a CPU, node by node; free the pages that only it still held."""
    kernel, task = current
    run_of = folio_batch_run if is_new else activate_batch_run
    while True:
        nid, nr_pages = run_of(kernel.mem, number)
        if not nr_pages:
            return
        node, cpu = kernel.nodes[nid].ref, task.cpu
        began_ns = kernel.engine.now_ns
        request = LruAddDrain(number, cpu.name) if is_new else LruActivate(number, cpu.name)
        freed = await node.ask(request)
        task.stime_ns += kernel.engine.now_ns - began_ns
        if len(freed):
            await free_on_node(current, nid, freed, len(freed))
