"""Moving isolated pages to other frames, whoever uses them, for whatever reason.

Linux: mm/migrate.c: migrate_pages, unmap_and_move, putback_movable_pages, 6.1.
While a page is copied migration entries stand for it, on which its users wait. Linux moves one
page after the other; here as many are moved together as are done before anybody else has an event:
then nobody can tell.
Interface: `migrate_pages`; who calls it has isolated the pages, and has frames for them.
Units: pages, pfn, ns.
"""

import numpy as np

from kernelsim.actors.core.current import Current
from kernelsim.actors.core.free_pages import free_frames
from kernelsim.actors.core.kernel import Kernel
from kernelsim.actors.core.memory_access import copy_folios
from kernelsim.actors.core.tlb_flush import flush_tlb_mm_range
from kernelsim.actors.messages.memory_hotplug import PutbackMovable
from kernelsim.mm.core.mem import I64, nids_of
from kernelsim.mm.file.migrate_folio import (
    MOVED,
    STAYS,
    WAITED_FOR,
    Translations,
    move_to_new_folio,
    try_to_migrate,
)


async def migrate_pages(current: Current, pfns: I64, kinds: I64, new: I64) -> tuple[I64, I64]:
    """Move isolated pages to new frames and put them on lists again.

    Args:
        current: Who moves them.
        pfns: The pages; those beyond the number of new frames stay where they are.
        kinds: As what each counts while it is off its list.
        new: Fresh frames.

    Returns:
        The frames that were left, and the new ones that were not used: to be freed.

    Source: Linux 6.1 mm/migrate.c:migrate_pages, :unmap_and_move
    """
    have = len(new)
    state, at = np.zeros(have, np.int64), 0
    while at < have:
        part = slice(at, at + _nr_unnoticed(current, pfns[at:have]))
        await _unmap_and_move(current, pfns[part], new[part], kinds[part], state[part])
        at = part.stop
    moved = np.flatnonzero(state == MOVED)
    is_old = np.ones(len(pfns), np.bool_)
    is_old[moved] = False
    back = np.concatenate((new[moved], pfns[is_old]))
    await putback_movable_pages(current, back, np.concatenate((kinds[moved], kinds[is_old])))
    is_unused = np.ones(have, np.bool_)
    is_unused[moved] = False
    return pfns[moved], new[is_unused]


async def putback_movable_pages(current: Current, pfns: I64, kinds: I64) -> None:
    """Put isolated pages on the lists of their nodes again.

    Source: Linux 6.1 mm/migrate.c:putback_movable_pages
    """
    kernel, task = current
    for nid in np.unique(nids_of(kernel.mem, pfns)).tolist():
        part = nids_of(kernel.mem, pfns) == nid
        request = PutbackMovable(pfns[part], kinds[part], task.cpu.name)
        freed = await kernel.nodes[nid].ref.ask(request)
        await free_frames(current, freed, len(freed))


def _nr_unnoticed(current: Current, pfns: I64) -> int:
    """Return how many of some pages can be moved before anybody else has an event, at least 1."""
    (kernel, task), clock = current, current.kernel.engine.clock
    latency = kernel.spec.latency
    if latency.has_bus:  # on which others wait from page to page
        return 1
    flush_ns = max(latency.tlb_flush_ns, latency.tlb_flush_page_ns)
    others = sum(cpu is not task.cpu and not cpu.is_lazy() for cpu in kernel.cpus)
    if others:
        flush_ns += latency.ipi_send_ns * others + latency.ipi_ns
    flush_ns *= int(kernel.mem.pages.mapcount[pfns].max())
    page_ns = latency.pte_set_ns + latency.page_copy_ns + flush_ns
    return min(max(1, (clock.horizon_ns - clock.now_ns) // page_ns), len(pfns))


async def _unmap_and_move(current: Current, old: I64, new: I64, kinds: I64, state: I64) -> None:
    """Let migration entries stand for pages, copy them, and map them again.

    Source: Linux 6.1 mm/migrate.c:unmap_and_move
    """
    kernel, task = current
    latency = kernel.spec.latency
    cpus = _translations(kernel)
    try_to_migrate(*kernel.space, cpus, old, state)
    waited: list[int] = old[state == WAITED_FOR].tolist()
    queue = kernel.engine.wait_queue("migration entry", waker=task.name)
    kernel.migrations.update(dict.fromkeys(waited, queue))
    await _flush(current, cpus.flushes)
    await task.compute(latency.pte_set_ns * len(old), resched=False)
    await copy_folios(current, old[state != STAYS], new[state != STAYS], resched=False)
    cpus = _translations(kernel)
    move_to_new_folio(
        *kernel.space, kernel.swap, kernel.spaces.mappings, cpus, old, new, kinds, state
    )
    for pfn in waited:
        del kernel.migrations[pfn]
    if queue.nr_waiting:
        queue.wake_all()
    await _flush(current, cpus.flushes)


def _translations(kernel: Kernel) -> Translations:
    burst, ctx_ids = kernel.burst, kernel.mms.ctx_ids()
    return Translations(
        burst.tlb_tag, burst.tlb_entry, burst.tlb_victim, ctx_ids, np.zeros_like(ctx_ids)
    )


async def _flush(current: Current, flushes: I64) -> None:
    """Pay for the interrupts by which CPUs lose what was taken out of page tables, page by page."""
    by_number = current.kernel.mms.by_number
    flushed = [
        (by_number[number], int(flushes[number])) for number in flushes.nonzero()[0].tolist()
    ]
    for mm, times in flushed:  # any of them may be gone when its turn comes: no CPU runs it then
        await flush_tlb_mm_range(current, mm, 0, 1, times=times)
