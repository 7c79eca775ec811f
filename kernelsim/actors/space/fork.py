"""Copying an address space for a child, in the time of the task that forks.

Linux: kernel/fork.c:dup_mm, mm/memory.c:copy_page_range, 6.1.
Units: pages.
"""

import numpy as np

from kernelsim.actors.alloc.page_allocator import alloc_pages, pgd_context, table_context
from kernelsim.actors.alloc.slab import settle_slabs
from kernelsim.actors.alloc.task_struct import alloc_objects, free_objects
from kernelsim.actors.core.current import Current
from kernelsim.actors.core.free_pages import free_frames
from kernelsim.actors.core.memory_access import clear_pages
from kernelsim.actors.core.tlb_flush import flush_tlb_mm_range
from kernelsim.mm.core.slab_cache import MM_STRUCT
from kernelsim.mm.space.fork import copy_page_range, dup_mmap, needs_copy, next_table
from kernelsim.mm.space.mm_struct import MmStruct
from kernelsim.mm.space.mmap import VmArea
from kernelsim.mm.space.pgtable import install_tables, pgd_alloc, tables_needed
from kernelsim.mm.swap.swapfile import swap_duplicate
from kernelsim.units import PAGE_SHIFT

TABLE_PAGES = 512  # most entries that are copied between two looks at others who want the CPU


async def dup_mm(
    current: Current, parent: MmStruct, child_pid: int
) -> tuple[MmStruct | None, bool]:
    """Copy an address space: its mappings, and its page tables; pages become shared.

    Returns:
        The copy, and whether it is whole; if not it is to be freed. None if there is no page for
        its top table.

    Source: Linux 6.1 kernel/fork.c:dup_mm
    """
    kernel, task = current
    objects, frame = await alloc_objects(current, (MM_STRUCT,)), np.zeros(1, np.int64)
    grant = await alloc_pages(current, pgd_context(current), 1, frame)
    if not grant.nr:
        await free_objects(current, objects)
        return None, False
    await clear_pages(current, grant.nid, 1)
    child = kernel.mms.mm_alloc(child_pid)
    child.objects = objects
    kernel.pool.reserve(1)
    pgd_alloc(*kernel.space, child.number, int(frame[0]))
    kernel.placed(1)
    areas = list(parent.map)
    is_whole = dup_mmap(kernel.mms, parent, child)
    await settle_slabs(current)
    for vma in areas if is_whole else ():
        if needs_copy(vma) and not await _copy_vma(current, parent, child, vma):
            is_whole = False
            break
    last = parent.map.task_size >> PAGE_SHIFT  # what was writable is not any more
    await flush_tlb_mm_range(current, parent, 0, last)
    return child, is_whole and not task.killed


async def _copy_vma(current: Current, parent: MmStruct, child: MmStruct, vma: VmArea) -> bool:
    """Copy the entries of a mapping, table by table; False if the task is being killed."""
    kernel, task = current
    vpn, end = vma.vpn, vma.end >> PAGE_SHIFT
    slots = np.zeros(TABLE_PAGES, np.int64)
    while vpn < end and not task.killed:
        vpn, nr = next_table(*kernel.space, parent.number, vpn, end)
        if not nr:
            break
        if not await _build_tables(current, child, vpn, nr):
            return False
        first = vpn
        copied, nr_slots, vpn = copy_page_range(
            *kernel.space, parent.number, child.number, vpn, nr, slots
        )
        kernel.observer.forks(task.pid, child, first, vpn)
        for slot in slots[:nr_slots].tolist():
            is_counted = swap_duplicate(kernel.swap, slot, 1)
            assert is_counted, "a slot that is in use gets one more user"
        await task.compute(kernel.spec.latency.pte_set_ns * copied)
    return not task.killed


async def _build_tables(current: Current, child: MmStruct, vpn: int, nr: int) -> bool:
    """Build the page tables a child needs for some pages; False if the task is being killed."""
    kernel, frame = current.kernel, np.zeros(1, np.int64)
    while tables_needed(*kernel.space, child.number, vpn, nr):
        grant = await alloc_pages(current, table_context(current), 1, frame)
        if not grant.nr:
            return False
        await clear_pages(current, grant.nid, 1)
        kernel.pool.reserve(1)
        used = install_tables(*kernel.space, child.number, vpn, nr, frame, 1)
        kernel.placed(used)
        await free_frames(current, frame, 1 - used)
    return True
