"""Making, changing and tearing down the address space of a process.

Linux: kernel/fork.c:mm_init, mm/memory.c:unmap_page_range, mm/mmap.c:exit_mmap, kernel/exit.c, 6.1.
These run in the time of the task that makes the system call. Frames go back through the node that
owns them, after every CPU that may have used them has flushed its TLB.
Units: bytes for addresses; pages.
"""

import numpy as np

from kernelsim.actors.alloc.page_allocator import alloc_pages
from kernelsim.actors.core.kernel import Kernel
from kernelsim.actors.core.task import Task
from kernelsim.actors.messages.cpu import FlushTlb
from kernelsim.actors.messages.node import FreePages, LruDeleted
from kernelsim.actors.space.memory_access import clear_pages
from kernelsim.mm.core.mem import I64, nids_of
from kernelsim.mm.page.alloc_context import AllocContext
from kernelsim.mm.page.gfp import GFP_KERNEL_ACCOUNT, Gfp
from kernelsim.mm.page.mempolicy import Mempolicy
from kernelsim.mm.space.address_layout import ADDRESS_LAYOUTS
from kernelsim.mm.space.exec import load_image, static_image
from kernelsim.mm.space.memory import unmap_range
from kernelsim.mm.space.mm_struct import MmStruct
from kernelsim.mm.space.mmap import MappedFile
from kernelsim.mm.space.pgtable import free_pgtables, pgd_alloc, pgd_free
from kernelsim.mm.space.vm_flags import MAP_PRIVATE, PROT_READ
from kernelsim.mm.swap.swap_state import free_swap_and_cache, free_swap_cache
from kernelsim.units import PAGE_SHIFT, PAGE_SIZE

ZAP_BATCH_PAGES = 512  # pages unmapped between two flushes; MMU_GATHER_BUNDLE is of this order
# The static program every process runs: sizes as /proc showed them of the recording tool.
IMAGE_TEXT_BYTES = 808 << 10
IMAGE_DATA_BYTES = 40 << 10
IMAGE_BSS_BYTES = 344 << 10
IMAGE_HEAP_BYTES = 136 << 10  # what its libc asks for before main
IMAGE_FILE_PAGES = 190  # of text and data, mapped while it starts; they are page cache anyway
IMAGE_ANON_PAGES = 11  # of data, bss and heap, written while it starts
IMAGE_STACK_PAGES = 2
FORK_FAULTS = 22  # of the parent's pages that the child copies before exec
IMAGE_FILE_FAULTS = 19  # each maps 16 pages at most (fault_around_bytes), some at an edge fewer
VDSO_PAGES = (("[vdso]", 2), ("[vvar]", 4))  # the second lies below the first


def alloc_context(kernel: Kernel, task: Task, policy: Mempolicy | None, gfp: Gfp) -> AllocContext:
    """Return what a task's request is served by: its policy, and the node it runs on.

    Source: Linux 6.1 mm/mempolicy.c:alloc_pages
    """
    return kernel.alloc_contexts.get(task.cpu.nid, policy, gfp)


def table_context(kernel: Kernel, task: Task, policy: Mempolicy | None) -> AllocContext:
    """Return what page tables are allocated by: the policy of the task, in zones below HighMem.

    Source: Linux 6.1 arch/x86/mm/pgtable.c:pte_alloc_one (GFP_PGTABLE_USER)
    """
    return alloc_context(kernel, task, policy, GFP_KERNEL_ACCOUNT | Gfp.ZERO)


async def make_address_space(
    kernel: Kernel, task: Task, policy: Mempolicy | None
) -> tuple[MmStruct, bool]:
    """Give a new process an address space with an image, a heap and a stack, none of it touched.

    Returns:
        The address space, and whether the whole image is in it; if not, exec has failed behind
        the point from which it cannot go back, and the process must die.

    Source: Linux 6.1 kernel/fork.c:mm_init, fs/binfmt_elf.c:load_elf_binary
    """
    out = np.zeros(1, np.int64)
    grant = await alloc_pages(kernel, task, table_context(kernel, task, policy), 1, out)
    await clear_pages(kernel, task, grant.nid, 1)
    mm = kernel.mms.mm_alloc(task.pid)
    kernel.pool.reserve(1)
    pgd_alloc(kernel.mem, kernel.pool.pt, kernel.mms.mms, mm.number, int(out[0]))
    kernel.placed(1)
    image = static_image(
        text_bytes=IMAGE_TEXT_BYTES,
        data_bytes=IMAGE_DATA_BYTES,
        bss_bytes=IMAGE_BSS_BYTES,
        start=ADDRESS_LAYOUTS[kernel.spec.arch].image_start,
    )
    return mm, not load_image(mm, MappedFile("/init"), image).failed


def map_libc_start(mm: MmStruct) -> tuple[I64, I64]:
    """Give a program what its C library asks for before main.

    Returns:
        Virtual page numbers of the stack, and of data, bss and heap, that it then writes.

    Source: Linux 6.1 arch/x86/entry/vdso/vma.c:map_vdso
    """
    for name, nr_pages in VDSO_PAGES:
        mm.mmap(nr_pages << PAGE_SHIFT, PROT_READ, MAP_PRIVATE, file=MappedFile(name))
    mm.set_brk(mm.brk + IMAGE_HEAP_BYTES)
    stack = (mm.start_stack >> PAGE_SHIFT) - np.arange(IMAGE_STACK_PAGES, dtype=np.int64)
    data = (mm.start_data >> PAGE_SHIFT) + np.arange(IMAGE_ANON_PAGES, dtype=np.int64)
    data[-1] = mm.start_brk >> PAGE_SHIFT
    return stack, data


async def zap(kernel: Kernel, task: Task, mm: MmStruct, start: int, end: int) -> int:
    """Take the pages of a range out of the page tables and free them; return how many.

    Source: Linux 6.1 mm/memory.c:zap_page_range, mm/mmu_gather.c
    """
    vpn, last = start >> PAGE_SHIFT, end >> PAGE_SHIFT
    pfns = np.zeros(ZAP_BATCH_PAGES, np.int64)
    slots = np.zeros(ZAP_BATCH_PAGES, np.int64)
    freed = 0
    is_flushed = False
    while vpn < last:
        nr_pfns, nr_slots, vpn = unmap_range(
            kernel.mem, kernel.pool.pt, kernel.mms.mms, mm.number, vpn, last - vpn, pfns, slots
        )
        frames = take_anonymous(kernel, pfns, nr_pfns)
        if nr_slots:
            freed += await _free_slots(kernel, task, slots, nr_slots)
        if nr_pfns:
            await flush_tlbs(kernel, task, mm)
            is_flushed = True
            freed += await free_anonymous(kernel, task, pfns[:nr_pfns], frames)
        await task.compute(kernel.spec.latency.pte_set_ns * (nr_pfns + nr_slots))
    if not is_flushed:  # entries of the zero page, or of pages others map too, are gone as well
        await flush_tlbs(kernel, task, mm)
    return freed


async def flush_tlbs(kernel: Kernel, task: Task, mm: MmStruct) -> None:
    """Have every CPU the address space ran on forget it, and wait for their word.

    Source: Linux 6.1 arch/x86/mm/tlb.c:flush_tlb_mm_range
    """
    mm.tlb_gen += 1
    for cpu in kernel.cpus:
        if mm.cpu_bitmap >> cpu.number & 1:
            if cpu is task.cpu:
                await task.compute(cpu.flush(mm.ctx_id, ()))
            else:
                await cpu.ref.ask(FlushTlb(mm.ctx_id, ()))


async def _free_slots(kernel: Kernel, task: Task, slots: I64, nr: int) -> int:
    out = np.zeros(nr, np.int64)
    nr_free = kernel.taken(free_swap_and_cache(kernel.mem, kernel.swap, slots, nr, out))
    return await free_frames(kernel, task, out, nr_free)


def take_anonymous(kernel: Kernel, pfns: I64, nr: int) -> I64:
    """Take unmapped pages off their lists, in the step that unmapped them; return those to free.

    Those the swap cache or a reclaimer still wants are freed by reclaim.
    """
    # Differs from Linux: No reference keeps reclaim from freeing a clean page of the swap cache
    # while its TLB entries are flushed, so it leaves its list before, and the hold of lru_lock is
    # paid for after.
    out = np.zeros(nr, np.int64)
    return out[: kernel.taken(free_swap_cache(kernel.mem, kernel.swap, pfns, nr, out))]


async def free_anonymous(kernel: Kernel, task: Task, pfns: I64, frames: I64) -> int:
    """Free `frames`, which `take_anonymous` made of the unmapped pages `pfns`; return how many."""
    for nid, part in by_node(kernel, pfns, len(pfns)):
        await kernel.nodes[nid].ref.ask(LruDeleted(len(part), task.cpu.name))
    return await free_frames(kernel, task, frames, len(frames))


async def free_frames(kernel: Kernel, task: Task, pfns: I64, nr: int) -> int:
    """Give frames that are not used any more back to their nodes."""
    assert not nr or int(pfns[:nr].min()) > 0, "frame 0 belongs to the firmware, it ends all lists"
    cpu = task.cpu
    for nid, part in by_node(kernel, pfns, nr):
        await kernel.nodes[nid].ref.ask(FreePages(cpu.number, part, len(part), cpu.name))
    return nr


async def free_tables(
    kernel: Kernel, task: Task, mm: MmStruct, floor_vpn: int, ceiling_vpn: int
) -> int:
    """Free the page tables that only serve pages of [floor, ceiling); return how many."""
    tables = np.zeros(ZAP_BATCH_PAGES, np.int64)
    freed = 0
    while True:
        nr = free_pgtables(
            kernel.mem, kernel.pool.pt, kernel.mms.mms, mm.number, floor_vpn, ceiling_vpn, tables
        )
        freed += await free_frames(kernel, task, tables, kernel.taken(nr))
        if nr < len(tables):
            return freed


async def free_address_space(kernel: Kernel, task: Task, mm: MmStruct) -> int:
    """Unmap everything, free the page tables, forget the address space; return frames freed.

    Source: Linux 6.1 mm/mmap.c:exit_mmap
    """
    assert kernel.mms.mms.pgd_row[mm.number], f"{task.name} gives its address space back twice"
    freed = 0
    for vma in mm.exit_mmap().unmapped:
        freed += await zap(kernel, task, mm, vma.start, vma.end)
    end_vpn = (mm.map.task_size + PAGE_SIZE) >> PAGE_SHIFT  # the table of the last page included
    freed += await free_tables(kernel, task, mm, 0, end_vpn)
    tables = np.zeros(1, np.int64)
    tables[0] = pgd_free(kernel.mem, kernel.pool.pt, kernel.mms.mms, mm.number)
    freed += await free_frames(kernel, task, tables, kernel.taken(1))
    kernel.mms.mm_free(mm)
    return freed


def by_node(kernel: Kernel, pfns: I64, nr: int) -> list[tuple[int, I64]]:
    """Sort frames by the node that owns them: pairs of nid and frames, in rising nid."""
    if not nr:
        return []
    part = pfns[:nr].copy()
    if len(kernel.nodes) == 1:
        return [(0, part)]
    nids = nids_of(kernel.mem, part)
    return [(nid, part[nids == nid]) for nid in range(len(kernel.nodes)) if (nids == nid).any()]
