"""Moving all pages of a range of frames elsewhere, whoever uses them.

Linux: mm/memory_hotplug.c:do_migrate_range, mm/migrate.c:alloc_migration_target, 6.1.
How a page is moved: core/migrate_pages.py.
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
from kernelsim.actors.core.migrate_pages import (
    copy_and_map,
    flush_entries,
    putback_moved,
    unmap_and_move,
)
from kernelsim.actors.core.page_reads import wait_on_page_read
from kernelsim.actors.core.swap_io import wait_on_swap_writeback
from kernelsim.actors.core.writeback_wait import filemap_fdatawait_range
from kernelsim.actors.hotplug.migrate_burst import MigrateBurst
from kernelsim.actors.messages.memory_hotplug import IsolateMovable
from kernelsim.actors.tracing import trace
from kernelsim.config.zones import ZoneType
from kernelsim.mm.burst.migrate_pages import (
    ALLOC,
    COPY,
    DONE,
    FLUSH,
    ISOLATE,
    MW_AT,
    MW_END,
    MW_FREED,
    MW_HAVE,
    MW_NID,
    MW_NR,
    MW_NR_MOVED,
    MW_NR_TRIED,
    MW_STEP,
    PUT_BACK,
    UNMAP,
    MigrateBatch,
    next_batch,
)
from kernelsim.mm.core.mem import (
    I64,
    PG_locked,
    PG_swapcache,
    PG_writeback,
)
from kernelsim.mm.core.vmstat import PGMIGRATE_FAIL, PGMIGRATE_SUCCESS
from kernelsim.mm.file.address_space import page_key
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
    nid = zone // len(kernel.phys.zone_types)
    burst = MigrateBurst(current, context, nid, start, end)
    batch = burst.batch
    while (step := burst.go_on()) != DONE and not (step == ISOLATE and task.killed):
        batch = burst.batch
        if step == ISOLATE:
            await isolate(current, batch)
        elif step == ALLOC:
            await alloc(current, context, batch)
        elif step == UNMAP:
            await unmap(current, batch)
        elif step == COPY:
            await copy(current, burst.cpus.flushes, batch)
        elif step == FLUSH:
            await flush_entries(current, burst.cpus.flushes)
            batch.work[MW_STEP] = PUT_BACK
        elif step == PUT_BACK:
            await putback_and_free(current, batch)
        else:
            await free(current, batch)
    nr_moved, nr_tried = int(batch.work[MW_NR_MOVED]), int(batch.work[MW_NR_TRIED])
    kernel.mem.vm_event[PGMIGRATE_SUCCESS] += nr_moved
    kernel.mem.vm_event[PGMIGRATE_FAIL] += nr_tried - nr_moved
    if nr_tried:
        failed = nr_tried - nr_moved
        trace(task, mm_migrate_pages(nr_moved, failed, 0, 0, 0, MIGRATE_SYNC, REASON))
    await wait_on_page(current, start)
    return nr_tried - nr_moved


async def isolate(current: Current, batch: MigrateBatch) -> None:
    """Take the next pages off their lists."""
    kernel, task = current
    work = batch.work
    at, end = int(work[MW_AT]), int(work[MW_END])
    request = IsolateMovable(at, end, batch.old, batch.kinds, task.cpu.name)
    nr, work[MW_AT] = await kernel.nodes[int(work[MW_NID])].ref.ask(request)
    if nr:
        work[MW_NR], work[MW_STEP] = nr, ALLOC
    else:
        next_batch(work)


async def alloc(current: Current, context: AllocContext, batch: MigrateBatch) -> None:
    """Get some frames for them."""
    work = batch.work
    have, nr = int(work[MW_HAVE]), int(work[MW_NR])
    grant = await alloc_pages(current, context, nr - have, batch.new[have:])
    work[MW_HAVE] = have + grant.nr
    if not grant.nr or work[MW_HAVE] == nr:
        work[MW_STEP] = UNMAP


async def unmap(current: Current, batch: MigrateBatch) -> None:
    """Move them to the frames there are."""
    have = int(batch.work[MW_HAVE])
    pages = batch.old[:have], batch.kinds[:have], batch.new[:have], batch.state[:have]
    await unmap_and_move(current, *pages)
    batch.work[MW_STEP] = PUT_BACK


async def copy(current: Current, flushes: I64, batch: MigrateBatch) -> None:
    """Move those that compiled code has put migration entries in place of."""
    have = int(batch.work[MW_HAVE])
    pages = batch.old[:have], batch.kinds[:have], batch.new[:have], batch.state[:have]
    await copy_and_map(current, flushes, *pages)
    batch.work[MW_STEP] = PUT_BACK


async def putback_and_free(current: Current, batch: MigrateBatch) -> None:
    """Put them on lists again, moved or not, and free the frames that are not used now."""
    work = batch.work
    nr, have = int(work[MW_NR]), int(work[MW_HAVE])
    pages = batch.old[:nr], batch.kinds[:nr], batch.new[:have], batch.state[:have]
    left, spare = await putback_moved(current, *pages)
    unused = np.concatenate((left, spare))
    await free_frames(current, unused, len(unused))
    work[MW_NR_MOVED] += len(left)
    work[MW_NR_TRIED] += nr
    next_batch(work)


async def free(current: Current, batch: MigrateBatch) -> None:
    """Free the frames that compiled code has left to be freed; all pages have moved."""
    work = batch.work
    nr, at = int(work[MW_NR]), int(work[MW_FREED])
    await free_frames(current, batch.old[at:nr], nr - at)
    work[MW_NR_MOVED] += nr
    work[MW_NR_TRIED] += nr
    next_batch(work)


async def wait_on_page(current: Current, pfn: int) -> None:
    """Sleep until a page that a disk works on can be moved.

    # Differs from Linux: Pages on their way to or from a disk are waited for before they are
    # isolated, and the first of a range alone.
    Source: Linux 6.1 mm/migrate.c:__unmap_and_move, for MIGRATE_SYNC
    """
    kernel, pages = current.kernel, current.kernel.mem.pages
    flags, number, index = int(pages.flags[pfn]), int(pages.mapping[pfn]), int(pages.index[pfn])
    is_cached = bool(flags & PG_swapcache)
    if flags & PG_locked:
        key = int(pages.private[pfn]) if is_cached else page_key(number, index)
        await wait_on_page_read(current, key, pfn)
    elif flags & PG_writeback and is_cached:
        await wait_on_swap_writeback(current, pfn)
    elif flags & PG_writeback:
        await filemap_fdatawait_range(current, kernel.files.inodes[number], index, index)


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
