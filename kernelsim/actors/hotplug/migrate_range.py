"""Moving all pages of a range of frames elsewhere, whoever uses them.

Linux: mm/memory_hotplug.c:do_migrate_range; mm/migrate.c: migrate_pages, unmap_and_move,
alloc_migration_target, 6.1.
While a page is copied migration entries stand for it, on which its users wait. Linux moves one
page after the other; here as many are moved together as are done before anybody else has an event:
then nobody can tell.
# Differs from Linux: Pages are isolated, frames for them allocated, and those they leave freed,
# 32 at a time; Linux isolates all of the range first.
Interface: `do_migrate_range`.
Units: pages, pfn, ns.
"""

from typing import Final

import numpy as np

from kernelsim.actors.alloc.page_allocator import alloc_pages
from kernelsim.actors.core.current import Current
from kernelsim.actors.core.free_pages import free_frames
from kernelsim.actors.core.kernel import Kernel
from kernelsim.actors.core.memory_access import copy_folios
from kernelsim.actors.core.tlb_flush import flush_tlb_mm_range
from kernelsim.actors.messages.memory_hotplug import IsolateMovable, PutbackMovable
from kernelsim.actors.tracing import trace
from kernelsim.config.zones import ZoneType
from kernelsim.mm.core.mem import I64, SWAP_CLUSTER_MAX, nids_of
from kernelsim.mm.core.vmstat import PGMIGRATE_FAIL, PGMIGRATE_SUCCESS
from kernelsim.mm.file.migrate_folio import (
    MOVED,
    STAYS,
    WAITED_FOR,
    Translations,
    move_to_new_folio,
    try_to_migrate,
)
from kernelsim.mm.page.alloc_context import AllocContext
from kernelsim.mm.page.gfp import GFP_USER, Gfp, gfp_zone
from kernelsim.mm.page.mempolicy import MPOL_BIND, Mempolicy
from kernelsim.trace.migrate import mm_migrate_pages
from kernelsim.trace.show import MIGRATE_REASONS, MIGRATE_SYNC

REASON: Final = MIGRATE_REASONS.index("memory_hotplug")


async def do_migrate_range(current: Current, zone: int, start: int, end: int) -> int:
    """Move the pages of a range of frames of a zone away; return how many could not be.

    Source: Linux 6.1 mm/memory_hotplug.c:do_migrate_range
    """
    kernel, task = current
    context = migration_target(current, zone)
    at, nr_moved, nr_tried = start, 0, 0
    pfns, kinds = np.zeros(SWAP_CLUSTER_MAX, np.int64), np.zeros(SWAP_CLUSTER_MAX, np.int64)
    while at < end and not task.killed:
        request = IsolateMovable(at, end, pfns, kinds, task.cpu.name)
        nr, at = await kernel.node_of(zone).ref.ask(request)
        if nr:
            moved = await migrate_isolated(current, pfns[:nr], kinds[:nr], context)
            nr_moved, nr_tried = nr_moved + moved, nr_tried + nr
    kernel.mem.vm_event[PGMIGRATE_SUCCESS] += nr_moved
    kernel.mem.vm_event[PGMIGRATE_FAIL] += nr_tried - nr_moved
    if nr_tried:
        failed = nr_tried - nr_moved
        trace(task, mm_migrate_pages(nr_moved, failed, 0, 0, 0, MIGRATE_SYNC, REASON))
    return nr_tried - nr_moved


def nr_unnoticed(current: Current, pfns: I64) -> int:
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


def migration_target(current: Current, zone: int) -> AllocContext:
    """Return what new frames for the pages of a zone are allocated by: other nodes if there are.

    Source: Linux 6.1 mm/migrate.c:alloc_migration_target, mm/memory_hotplug.c:do_migrate_range
    """
    kernel, types = current.kernel, current.kernel.phys.zone_types
    nid, kind = zone // len(types), types[zone % len(types)]
    gfp = GFP_USER | Gfp.MOVABLE | Gfp.RETRY_MAYFAIL
    if kind in (ZoneType.ZONE_MOVABLE, ZoneType.ZONE_HIGHMEM):
        gfp |= Gfp.HIGHMEM
    highest = gfp_zone(gfp, types)
    usable = (each for each in kernel.phys.zonelists[nid] if each % len(types) <= highest)
    others = tuple(sorted({each // len(types) for each in usable} - {nid})) or (nid,)
    return kernel.alloc_contexts.get(nid, Mempolicy(mode=MPOL_BIND, nodes=others), gfp)


async def migrate_isolated(current: Current, pfns: I64, kinds: I64, context: AllocContext) -> int:
    """Move isolated pages to new frames and put them on lists again; return how many moved.

    Source: Linux 6.1 mm/migrate.c:migrate_pages, :unmap_and_move
    """
    kernel, task = current
    new, have = np.zeros(len(pfns), np.int64), 0
    while have < len(pfns):
        grant = await alloc_pages(current, context, len(pfns) - have, new[have:])
        if not grant.nr:
            break
        have += grant.nr
    state, at = np.zeros(have, np.int64), 0
    while at < have:
        part = slice(at, at + nr_unnoticed(current, pfns[at:have]))
        await _unmap_and_move(current, pfns[part], new[part], kinds[part], state[part])
        at = part.stop
    moved = np.flatnonzero(state == MOVED)
    is_old = np.ones(len(pfns), np.bool_)
    is_old[moved] = False
    back = np.concatenate((new[moved], pfns[is_old]))
    back_kinds = np.concatenate((kinds[moved], kinds[is_old]))
    for nid in np.unique(nids_of(kernel.mem, back)).tolist():
        part = nids_of(kernel.mem, back) == nid
        request = PutbackMovable(back[part], back_kinds[part], task.cpu.name)
        freed = await kernel.nodes[nid].ref.ask(request)
        await free_frames(current, freed, len(freed))
    is_unused = np.ones(have, np.bool_)
    is_unused[moved] = False
    unused = np.concatenate((pfns[moved], new[:have][is_unused]))
    await free_frames(current, unused, len(unused))
    return len(moved)


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
