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
from kernelsim.actors.core.migrate_pages import migrate_pages
from kernelsim.actors.core.page_reads import wait_on_page_read
from kernelsim.actors.core.swap_io import wait_on_swap_writeback
from kernelsim.actors.core.writeback_wait import filemap_fdatawait_range
from kernelsim.actors.messages.memory_hotplug import IsolateMovable
from kernelsim.actors.tracing import trace
from kernelsim.config.zones import ZoneType
from kernelsim.mm.core.mem import (
    I64,
    SWAP_CLUSTER_MAX,
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
    await wait_on_page(current, start)
    return nr_tried - nr_moved


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


async def migrate_isolated(current: Current, pfns: I64, kinds: I64, context: AllocContext) -> int:
    """Move isolated pages to new frames and put them on lists again; return how many moved.

    Source: Linux 6.1 mm/memory_hotplug.c:do_migrate_range
    """
    new, have = np.zeros(len(pfns), np.int64), 0
    while have < len(pfns):
        grant = await alloc_pages(current, context, len(pfns) - have, new[have:])
        if not grant.nr:
            break
        have += grant.nr
    left, spare = await migrate_pages(current, pfns, kinds, new[:have])
    unused = np.concatenate((left, spare))
    await free_frames(current, unused, len(unused))
    return len(left)
