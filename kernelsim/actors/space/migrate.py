"""Moving pages of an address space to other nodes, in the time of the task that asks for it.

Linux: mm/migrate.c: migrate_pages, do_pages_move; mm/mempolicy.c: do_mbind, do_migrate_pages, 6.1.
Pages are moved in batches: frames for them are allocated, copied to, and put in place under the
lru_lock of the node they leave; then the old ones are freed.
Interface: `queue_misplaced` and `move_misplaced` for mbind, `page_status` and `do_pages_move` for
move_pages, `do_migrate_pages`.
Units: virtual page numbers, pages, ns.
"""

import errno
from collections.abc import Callable
from typing import Final

import attrs
import numpy as np
from numpy.typing import NDArray

from kernelsim.actors.alloc.page_allocator import alloc_context, alloc_pages, vma_context
from kernelsim.actors.core.current import Current
from kernelsim.actors.core.free_pages import by_node, free_frames
from kernelsim.actors.core.lru_add import lru_add_drain_all
from kernelsim.actors.core.memory_access import copy_folios
from kernelsim.actors.core.tlb_flush import flush_tlb_mm_range
from kernelsim.actors.messages.node import MigrateFolios, PutbackFolios
from kernelsim.actors.tracing import trace
from kernelsim.mm.core.mem import I64, SWAP_CLUSTER_MAX, nids_of
from kernelsim.mm.core.vmstat import PGMIGRATE_FAIL, PGMIGRATE_SUCCESS
from kernelsim.mm.page.alloc_context import AllocContext
from kernelsim.mm.page.gfp import GFP_HIGHUSER_MOVABLE, Gfp
from kernelsim.mm.page.mempolicy import MAX_NUMNODES
from kernelsim.mm.space.mm_struct import MmStruct
from kernelsim.mm.space.pgtable import pte_at, pte_pfn
from kernelsim.mm.swap.migrate import is_movable, is_normal, misplaced_pages, pte_status
from kernelsim.trace.migrate import mm_migrate_pages
from kernelsim.trace.show import MIGRATE_REASONS, MIGRATE_SYNC
from kernelsim.units import PAGE_SHIFT

GFP_TO_NODE: Final = GFP_HIGHUSER_MOVABLE | Gfp.THISNODE
GFP_BY_POLICY: Final = GFP_HIGHUSER_MOVABLE | Gfp.RETRY_MAYFAIL
NR_PASSES: Final = 10  # tries to move what is busy; mm/migrate.c:migrate_pages

Contexts = Callable[[int], AllocContext]
"""Of a page, what its new frame is allocated by."""


@attrs.frozen
class MoveFlags:
    """MPOL_MF_STRICT, MPOL_MF_MOVE or MPOL_MF_MOVE_ALL, and whether it is the latter."""

    strict: bool
    moves: bool
    moves_all: bool


@attrs.frozen(eq=False)
class Queued:
    """Pages to be moved, and whether there are others that should be and cannot."""

    vpns: I64
    has_unmovable: bool = False


async def queue_misplaced(
    current: Current, mm: MmStruct, start: int, end: int, nodes: tuple[int, ...], flags: MoveFlags
) -> Queued | None:
    """Find the pages of a range of addresses that are on none of some nodes.

    Returns:
        Those that can be moved, if they are to be; None if there must be none and there are. That
        others have a page, too, is no reason to fail, unless such pages are to move.

    Source: Linux 6.1 mm/mempolicy.c:queue_pages_range, :migrate_page_add
    """
    kernel = current.kernel
    nothing = Queued(np.zeros(0, np.int64))
    if not flags.moves and not flags.strict:
        return nothing
    if flags.moves:
        await lru_add_drain_all(current)
    vpns = await _misplaced(current, mm, start >> PAGE_SHIFT, end >> PAGE_SHIFT, nodes)
    if not flags.moves:
        return None if len(vpns) else nothing
    pfns = _frames(current, mm, vpns)
    can_move = _movable(current, pfns)
    is_meant = (kernel.mem.pages.mapcount[pfns] == 1) | flags.moves_all
    return Queued(vpns[can_move], flags.strict and not can_move[is_meant].all())


def _frames(current: Current, mm: MmStruct, vpns: I64) -> I64:
    """Return the frames of pages; 0 of one that is not there."""
    space = current.kernel.space
    ptes = [pte_at(*space, mm.number, vpn) for vpn in vpns.tolist()]
    return np.array([pte_pfn(pte) if is_normal(pte) else 0 for pte in ptes], np.int64)


def _movable(current: Current, pfns: I64) -> NDArray[np.bool_]:
    mem = current.kernel.mem
    return np.array([is_movable(mem, pfn) for pfn in pfns.tolist()], np.bool_)


async def _misplaced(
    current: Current, mm: MmStruct, vpn: int, end_vpn: int, nodes: tuple[int, ...]
) -> I64:
    """Return the present pages of a range that are on none of some nodes."""
    kernel, task = current
    is_place = np.zeros(len(kernel.nodes), np.int64)
    is_place[[nid for nid in nodes if nid < len(kernel.nodes)]] = 1
    found = []
    for vma in mm.map.overlapping(vpn << PAGE_SHIFT, end_vpn << PAGE_SHIFT):
        out = np.zeros(vma.nr_pages, np.int64)
        end = vma.vpn + vma.nr_pages
        nr = misplaced_pages(*kernel.space, mm.number, vma.vpn, end, is_place, out)
        found.append(out[:nr])
        await task.compute(kernel.spec.latency.scan_page_ns * nr)
    return np.concatenate(found) if found else np.zeros(0, np.int64)


async def move_misplaced(current: Current, mm: MmStruct, vpns: I64) -> int:
    """Move pages to where their policies want them; return how many are left.

    Source: Linux 6.1 mm/mempolicy.c:new_page
    """

    def context(vpn: int) -> AllocContext:
        vma = mm.map.find_vma_intersection(vpn << PAGE_SHIFT, (vpn + 1) << PAGE_SHIFT)
        if vma is None:  # another task has unmapped it meanwhile
            return alloc_context(current, GFP_BY_POLICY)
        return vma_context(current, vma, vpn, GFP_BY_POLICY)

    moved = await migrate_pages(current, mm, vpns, context, "mempolicy_mbind")
    return int(len(vpns) - moved.sum())


async def do_migrate_pages(
    current: Current, mm: MmStruct, old: tuple[int, ...], new: tuple[int, ...]
) -> int:
    """Move all pages of an address space from nodes to those of the same rank.

    Returns:
        How many could not be moved.

    Source: Linux 6.1 mm/mempolicy.c:do_migrate_pages, :migrate_to_node
    """
    kernel, nr_left = current.kernel, 0
    await lru_add_drain_all(current)
    every = range(len(kernel.nodes))
    end_vpn = mm.map.task_size >> PAGE_SHIFT
    for source, target in migration_pairs(old, new):
        others = tuple(nid for nid in every if nid != source)
        vpns = await _misplaced(current, mm, 0, end_vpn, others)
        can_move = _movable(current, _frames(current, mm, vpns))
        moved = await _to_node(current, mm, vpns[can_move], target)
        nr_left += int(len(vpns) - moved.sum())
    return nr_left


def migration_pairs(old: tuple[int, ...], new: tuple[int, ...]) -> list[tuple[int, int]]:
    """Return from which node to which pages go, in an order that crowds none if it can be.

    Args:
        old: Nodes they leave, rising.
        new: Nodes they go to, rising.

    Source: Linux 6.1 mm/mempolicy.c:do_migrate_pages, lib/bitmap.c:bitmap_bitremap
    """
    left, pairs = list(old), list[tuple[int, int]]()
    while True:
        found: tuple[int, int] | None = None
        for source in left:
            if len(old) != len(new) and source in new:
                continue
            target = new[old.index(source) % len(new)]
            if source == target:
                continue
            found = source, target
            if target not in left:
                break
        if found is None:
            return pairs
        left.remove(found[0])
        pairs.append(found)


def page_status(current: Current, mm: MmStruct, vpn: int) -> int:
    """Return the node of a page, or a negative errno if there is none.

    Source: Linux 6.1 mm/migrate.c:do_pages_stat_array
    """
    vma = mm.map.find_vma_intersection(vpn << PAGE_SHIFT, (vpn + 1) << PAGE_SHIFT)
    if vma is None:
        return -errno.EFAULT
    return pte_status(*current.kernel.space, mm.number, vpn, vma.is_anonymous)


async def do_pages_move(
    current: Current, mm: MmStruct, vpns: I64, nodes: I64, status: I64, *, moves_all: bool
) -> int:
    """Move pages, each to its node; enter in `status` what has become of them.

    Returns:
        How many of those that were come to could be had and not moved, or a negative errno.

    Source: Linux 6.1 mm/migrate.c:do_pages_move, :add_page_for_migration
    """
    kernel = current.kernel
    with_memory = kernel.phys.nodes_with_memory
    await lru_add_drain_all(current)
    queue, target = list[int](), -1
    for position, (vpn, nid) in enumerate(zip(vpns.tolist(), nodes.tolist(), strict=True)):
        if not 0 <= nid < MAX_NUMNODES or nid not in with_memory:
            await _move_queue(current, mm, vpns, queue, target, status)
            return -errno.ENODEV
        if queue and nid != target:
            nr_left = await _move_queue(current, mm, vpns, queue, target, status)
            if nr_left:
                return nr_left + len(vpns) - position
            queue = []
        target = nid
        why = _add_page(current, mm, vpn, nid, moves_all=moves_all)
        if why is None:
            queue.append(position)
            continue
        status[position] = why
        nr_left = await _move_queue(current, mm, vpns, queue, target, status)
        if nr_left:
            return nr_left + len(vpns) - position - 1
        queue = []
    return await _move_queue(current, mm, vpns, queue, target, status)


def _add_page(current: Current, mm: MmStruct, vpn: int, nid: int, *, moves_all: bool) -> int | None:
    """Return what there is to say of a page that need not or cannot be moved; None if it can be.

    Source: Linux 6.1 mm/migrate.c:add_page_for_migration
    """
    kernel = current.kernel
    where = page_status(current, mm, vpn)
    if where < 0 or where == nid:
        return where
    pfn = pte_pfn(pte_at(*kernel.space, mm.number, vpn))
    if kernel.mem.pages.mapcount[pfn] > 1 and not moves_all:
        return -errno.EACCES
    return None if is_movable(kernel.mem, pfn) else -errno.EBUSY


async def _move_queue(
    current: Current, mm: MmStruct, vpns: I64, queue: list[int], nid: int, status: I64
) -> int:
    """Move queued pages to a node, whose number becomes their status; return how many are left.

    Source: Linux 6.1 mm/migrate.c:move_pages_and_store_status
    """
    if not queue:
        return 0
    positions = np.array(queue, np.int64)
    moved = await _to_node(current, mm, vpns[positions], nid)
    if moved.all():  # else Linux tells nothing of any of them
        status[positions] = nid
    return int(len(queue) - moved.sum())


async def _to_node(current: Current, mm: MmStruct, vpns: I64, nid: int) -> I64:
    """Move pages to a node and no other; return which were, as 1.

    Source: Linux 6.1 mm/migrate.c:alloc_migration_target
    """
    context = current.kernel.alloc_contexts.get(nid, None, GFP_TO_NODE)
    return await migrate_pages(current, mm, vpns, lambda _vpn: context, "syscall_or_cpuset")


async def migrate_pages(
    current: Current, mm: MmStruct, vpns: I64, contexts: Contexts, reason: str
) -> I64:
    """Move pages to new frames; return which were moved, as 1. Shape of `vpns`.

    Source: Linux 6.1 mm/migrate.c:migrate_pages
    """
    kernel, task = current
    moved = np.zeros(len(vpns), np.int64)
    for first in range(0, len(vpns), SWAP_CLUSTER_MAX):
        batch = slice(first, first + SWAP_CLUSTER_MAX)
        for _ in range(NR_PASSES):
            if moved[batch].all() or task.killed:
                break
            left = np.flatnonzero(moved[batch] == 0) + first
            done, is_out_of_memory = await _migrate_batch(current, mm, vpns[left], contexts)
            moved[left] = done
            if is_out_of_memory:
                break
    nr_moved = int(moved.sum())
    kernel.mem.vm_event[PGMIGRATE_SUCCESS] += nr_moved
    kernel.mem.vm_event[PGMIGRATE_FAIL] += len(vpns) - nr_moved
    if len(vpns):
        point = mm_migrate_pages(
            nr_moved, len(vpns) - nr_moved, 0, 0, 0, MIGRATE_SYNC, MIGRATE_REASONS.index(reason)
        )
        trace(task, point)
    return moved


async def _migrate_batch(
    current: Current, mm: MmStruct, vpns: I64, contexts: Contexts
) -> tuple[I64, bool]:
    """Try to move a few pages; return which were, and whether there were no frames for all."""
    kernel, task = current
    new = np.zeros(len(vpns), np.int64)
    have = 0
    while have < len(vpns):
        if not (await alloc_pages(current, contexts(int(vpns[have])), 1, new[have:])).nr:
            break
        have += 1
    moved = np.zeros(len(vpns), np.int64)
    old = _frames(current, mm, vpns[:have])
    await copy_folios(current, old[old != 0], new[:have][old != 0], resched=True)
    old = _frames(current, mm, vpns[:have])
    there = np.flatnonzero(old)
    nids = nids_of(kernel.mem, old[there])
    for nid in np.unique(nids).tolist():
        part = there[nids == nid]
        request = MigrateFolios(
            mm.number, mm.ctx_id, vpns[part], old[part], new[part], task.cpu.name
        )
        moved[part] = await kernel.nodes[nid].ref.ask(request)
    done = np.flatnonzero(moved)
    for vpn in vpns[done].tolist():
        await flush_tlb_mm_range(current, mm, vpn, 1)
    for nid, pfns in by_node(kernel, new[done], len(done)):
        freed = await kernel.nodes[nid].ref.ask(PutbackFolios(pfns, task.cpu.name))
        await free_frames(current, freed, len(freed))
    unused = np.concatenate((old[done], new[:have][moved[:have] == 0]))
    await free_frames(current, unused, len(unused))
    return moved, have < len(vpns)
