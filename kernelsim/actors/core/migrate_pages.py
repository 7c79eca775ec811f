"""Moving isolated pages to other frames, whoever uses them, for whatever reason.

Linux: mm/migrate.c: migrate_pages, unmap_and_move, putback_movable_pages, 6.1.
While a page is copied migration entries stand for it, on which its users wait. Linux moves one
page after the other; here as many are moved together as are done before anybody else has an event:
then nobody can tell.
Interface: `migrate_pages`, or its steps one by one; who calls it has isolated the pages, and has
frames for them.
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

    Source: Linux 6.1 mm/migrate.c:migrate_pages
    """
    state = np.zeros(len(new), np.int64)
    await unmap_and_move(current, pfns, kinds, new, state)
    return await putback_moved(current, pfns, kinds, new, state)


async def unmap_and_move(current: Current, pfns: I64, kinds: I64, new: I64, state: I64) -> None:
    """Move isolated pages to new frames, as many together as nobody can tell from single ones.

    Args:
        current: Who moves them.
        pfns: The pages.
        kinds: As what each counts.
        new: Fresh frames, for the first of them.
        state: Says of each of these what became of it.

    Source: Linux 6.1 mm/migrate.c:unmap_and_move
    """
    have, at = len(new), 0
    while at < have:
        part = slice(at, at + _nr_unnoticed(current, pfns[at:have]))
        cpus = translations(current.kernel)
        try_to_migrate(*current.kernel.space, cpus, pfns[part], state[part])
        await copy_and_map(current, cpus.flushes, pfns[part], kinds[part], new[part], state[part])
        at = part.stop


async def putback_moved(
    current: Current, pfns: I64, kinds: I64, new: I64, state: I64
) -> tuple[I64, I64]:
    """Put pages on lists again, moved or not; return the frames that are not used now."""
    moved = np.flatnonzero(state == MOVED)
    is_old = np.ones(len(pfns), np.bool_)
    is_old[moved] = False
    back = np.concatenate((new[moved], pfns[is_old]))
    await putback_movable_pages(current, back, np.concatenate((kinds[moved], kinds[is_old])))
    is_unused = np.ones(len(new), np.bool_)
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


def longest_flush_ns(current: Current) -> int:
    """Return how long it takes at most to have TLBs forget an entry, if nobody is met."""
    (kernel, task), latency = current, current.kernel.spec.latency
    flush_ns = max(latency.tlb_flush_ns, latency.tlb_flush_page_ns)
    others = sum(cpu is not task.cpu and not cpu.is_lazy() for cpu in kernel.cpus)
    if others:
        flush_ns += latency.ipi_send_ns * others + latency.ipi_ns
    return flush_ns


def _nr_unnoticed(current: Current, pfns: I64) -> int:
    """Return how many of some pages can be moved before anybody else has an event, at least 1."""
    kernel, clock = current.kernel, current.kernel.engine.clock
    latency = kernel.spec.latency
    if latency.has_bus:  # on which others wait from page to page
        return 1
    flush_ns = longest_flush_ns(current) * int(kernel.mem.pages.mapcount[pfns].max())
    page_ns = latency.pte_set_ns + latency.page_copy_ns + flush_ns
    return min(max(1, (clock.horizon_ns - clock.now_ns) // page_ns), len(pfns))


async def copy_and_map(
    current: Current, flushes: I64, old: I64, kinds: I64, new: I64, state: I64
) -> None:
    """Copy pages that migration entries stand for, and map them where they are then.

    Args:
        current: Who moves them.
        flushes: Of each mm, how many of its entries have changed.
        old: The pages.
        kinds: As what each counts.
        new: Fresh frames.
        state: What `try_to_migrate` said of each; says what became of it.

    Source: Linux 6.1 mm/migrate.c:unmap_and_move
    """
    kernel, task = current
    latency = kernel.spec.latency
    waited: list[int] = old[state == WAITED_FOR].tolist()
    queue = kernel.engine.wait_queue("migration entry", waker=task.name)
    kernel.migrations.update(dict.fromkeys(waited, queue))
    await flush_entries(current, flushes)
    await task.compute(latency.pte_set_ns * len(old), resched=False)
    await copy_folios(current, old[state != STAYS], new[state != STAYS], resched=False)
    cpus = translations(kernel)
    move_to_new_folio(
        *kernel.space, kernel.swap, kernel.spaces.mappings, cpus, old, new, kinds, state
    )
    for pfn in waited:
        del kernel.migrations[pfn]
    if queue.nr_waiting:
        queue.wake_all()
    await flush_entries(current, cpus.flushes)


def translations(kernel: Kernel) -> Translations:
    """Return what TLBs have, with no change to it noted."""
    ctx_ids = kernel.mms.ctx_ids()
    return Translations(kernel.burst.tlb_tag, ctx_ids, np.zeros_like(ctx_ids))


async def flush_entries(current: Current, flushes: I64) -> None:
    """Pay for the interrupts by which CPUs lose what was taken out of page tables, page by page."""
    by_number = current.kernel.mms.by_number
    flushed = [
        (by_number[number], int(flushes[number])) for number in flushes.nonzero()[0].tolist()
    ]
    for mm, times in flushed:  # any of them may be gone when its turn comes: no CPU runs it then
        await flush_tlb_mm_range(current, mm, 0, 1, times=times)
