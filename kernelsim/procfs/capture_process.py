"""Take a snapshot of the processes of a running machine.

Linux: fs/proc/task_mmu.c:smaps_account, fs/proc/array.c, 6.1.
Differs: A process has one thread.

Interface: `capture_processes`.
Units: as in snapshot.py; a vpn is a virtual page number.
"""

from collections.abc import Iterator
from typing import Final

import attrs
import numpy as np
from numpy.typing import NDArray

from kernelsim.actors.core.kernel import Kernel
from kernelsim.actors.core.process_table import ProcessEntry
from kernelsim.mm.core.mem import (
    I64,
    U64,
    Z_PRESENT,
    PG_active,
    PG_anon,
    PG_dirty,
    PG_referenced,
    PG_swapbacked,
    PG_swapcache,
    PG_unevictable,
    PG_writeback,
    nids_of,
)
from kernelsim.mm.file.shmem import next_swapped
from kernelsim.mm.page.mempolicy import mpol_to_str
from kernelsim.mm.reclaim.oom_kill import oom_score
from kernelsim.mm.space.mmap import MappedFile, VmArea, page_align
from kernelsim.mm.space.pgtable import (
    _SWP_OFFSET_SHIFT,
    MM_ANONPAGES,
    MM_FILEPAGES,
    MM_SHMEMPAGES,
    MM_SWAPENTS,
    PT_BITS,
    PT_LEVELS,
)
from kernelsim.mm.space.rss_stat import shown
from kernelsim.mm.space.vm_flags import SMAPS_LETTERS, VmFlag
from kernelsim.mm.swap.swap_area import SWAP_MAP_COUNT
from kernelsim.procfs.snapshot import MemoryUsage, NumaUsage, ProcessSnapshot, VmaSnapshot
from kernelsim.units import PAGE_SHIFT, PAGE_SIZE

PRESENT: Final = np.uint64(0x001)
ACCESSED: Final = np.uint64(0x020)
DIRTY: Final = np.uint64(0x040)
SPECIAL: Final = np.uint64(0x200)
PFN_MASK: Final = np.uint64(0x000F_FFFF_FFFF_F000)
PFN_SHIFT: Final = np.uint64(12)
SLOT_SHIFT: Final = np.uint64(_SWP_OFFSET_SHIFT)


Entries = tuple[I64, U64]  # vpn in rising order, entry that is not zero


def capture_processes(kernel: Kernel, *, usage: bool) -> Iterator[ProcessSnapshot]:
    """Yield the processes, by pid; of those that have ended, what is left of them.

    Args:
        kernel: The machine.
        usage: Whether to walk the page tables.
    """
    for pid, process in sorted((kernel.processes | kernel.zombies).items()):
        if pid in kernel.processes:
            yield capture_process(kernel, process, usage=usage)
        else:
            yield capture_zombie(kernel, process)


def capture_zombie(kernel: Kernel, process: ProcessEntry) -> ProcessSnapshot:
    """Return a process that has ended and that its parent has not waited for: it has no memory."""
    status = process.exit_status or 0
    return attrs.evolve(
        _identity(kernel, process), state="Z", exit_code=-status if status < 0 else status << 8
    )


def capture_process(kernel: Kernel, process: ProcessEntry, *, usage: bool) -> ProcessSnapshot:
    """Return one process."""
    kernel.bursts.enter_tasks()
    mm = process.mm
    rss = shown_rss(kernel, process)
    entries = leaf_entries(kernel, mm.number) if usage else None
    totalpages = kernel.phys.totalram_pages + kernel.nr_swap_pages
    return attrs.evolve(
        _identity(kernel, process),
        state=state_of(kernel, process),
        vmas=tuple(capture_vma(kernel, process, vma, entries) for vma in mm.map),
        rss_anon=rss[MM_ANONPAGES],
        rss_file=rss[MM_FILEPAGES],
        rss_shmem=rss[MM_SHMEMPAGES],
        swap=rss[MM_SWAPENTS],
        hiwater_rss=process.hiwater_rss(kernel.mms),
        total_vm=mm.total_vm,
        hiwater_vm=mm.hiwater_vm,
        locked_vm=mm.locked_vm,
        data_vm=mm.data_vm,
        stack_vm=mm.stack_vm,
        exec_vm=mm.exec_vm,
        text_bytes=page_align(mm.end_code) - (mm.start_code & -PAGE_SIZE),
        start_code=mm.start_code,
        end_code=mm.end_code,
        start_data=mm.start_data,
        end_data=mm.end_data,
        start_brk=mm.start_brk,
        start_stack=mm.start_stack,
        pgtables_bytes=int(kernel.mms.mms.nr_ptes[mm.number]) * PAGE_SIZE,
        oom_score=oom_score(process.oom_task(kernel.mms), totalpages),
    )


def shown_rss(kernel: Kernel, process: ProcessEntry) -> list[int]:
    """Return the pages of each kind (MM_*) without those that faults have not added yet.

    Of memory that several tasks use each of them may keep some back.
    """
    rss, mm = process.rss(kernel.mms), process.mm
    users = [process] if mm.mm_users == 1 else kernel.processes.values()
    return shown(rss, [each.task.rss_stat for each in users if each.mm is mm])


def _identity(kernel: Kernel, process: ProcessEntry) -> ProcessSnapshot:
    """Return what is known of a process apart from its memory."""
    task, nr_types = process.task, len(kernel.phys.zone_types)
    with_memory = np.flatnonzero(kernel.mem.zone[:, Z_PRESENT]) // nr_types
    return ProcessSnapshot(
        pid=process.pid,
        ppid=process.ppid,
        comm=process.comm,
        uid=process.uid,
        minflt=process.minflt,
        majflt=process.majflt,
        utime_ns=task.utime_ns,
        stime_ns=task.stime_ns,
        start_ns=kernel.spec.boot.uptime_ns + process.start_ns,
        cpu=task.cpu.number,
        voluntary_switches=task.nvcsw,
        nonvoluntary_switches=task.nivcsw,
        cpus_allowed=tuple(sorted(cpu.number for cpu in task.cpus)),
        mems_allowed=tuple(int(nid) for nid in np.unique(with_memory)),
        oom_score_adj=process.oom_score_adj,
    )


def state_of(kernel: Kernel, process: ProcessEntry) -> str:
    """Return R for a process that runs or wants to, D for one that sleeps in a fault, else S."""
    task = process.task
    queue = task.entity.queue
    if task.on_cpu or (queue is not None and queue.has(task.entity)):
        return "R"
    handler = kernel.engine.actors.get(f"fault-{task.pid}")
    return "D" if handler is not None and handler.is_serving else "S"


def capture_vma(
    kernel: Kernel, process: ProcessEntry, vma: VmArea, entries: Entries | None
) -> VmaSnapshot:
    """Return one mapping."""
    file = vma.file or MappedFile(path="")
    major, minor = file.device
    access = zip("rwx", (VmFlag.VM_READ, VmFlag.VM_WRITE, VmFlag.VM_EXEC), strict=True)
    letters = "".join(letter if vma.flags & flag else "-" for letter, flag in access)
    usage, numa = MemoryUsage(), NumaUsage()
    if entries is not None:
        first, last = np.searchsorted(entries[0], (vma.vpn, vma.end >> PAGE_SHIFT))
        ptes = entries[1][first:last]
        usage = usage_of(kernel, ptes, is_locked=VmFlag.VM_LOCKED in vma.flags)
        in_swap = shmem_swap_usage(kernel, vma, entries[0][first:last])
        usage = attrs.evolve(usage, swap=usage.swap + in_swap * PAGE_SIZE)
        numa = numa_usage_of(kernel, ptes)
    shown = vma.flags | VmFlag.VM_SOFTDIRTY  # all have it from birth, and nobody clears it
    return VmaSnapshot(
        start=vma.start,
        end=vma.end,
        flags=letters + ("s" if vma.flags & VmFlag.VM_MAYSHARE else "p"),
        offset=vma.pgoff << PAGE_SHIFT if vma.file else 0,
        dev=f"{major:02x}:{minor:02x}",
        inode=file.inode,
        name=file.path or process.mm.vma_name(vma),
        usage=usage,
        vm_flags=tuple(name for flag, name in SMAPS_LETTERS if shown & flag),
        policy=mpol_to_str(process.policy if vma.policy is None else vma.policy),
        numa=numa,
    )


def shmem_swap_usage(kernel: Kernel, vma: VmArea, mapped: I64) -> int:
    """Return what a mapping shows of shared memory that is in swap, in pages.

    Of a private mapping that may be written, pages with an entry of their own do not count.

    Source: Linux 6.1 mm/shmem.c:shmem_swap_usage, fs/proc/task_mmu.c:smap_gather_stats
    """
    swap, spaces, number = kernel.swap, kernel.spaces, vma.file_number
    inode = kernel.files.inodes.get(number)
    if inode is None or not inode.is_shmem or not spaces.swapped(number):
        return 0
    is_private = vma.flags & (VmFlag.VM_SHARED | VmFlag.VM_WRITE) == VmFlag.VM_WRITE
    own = set((mapped - vma.vpn + vma.pgoff).tolist()) if is_private else set()
    nr, index, last = 0, vma.pgoff, vma.pgoff + vma.nr_pages - 1
    while index >= 0:
        index = next_swapped(spaces.mappings, number, index, last, 0, len(swap.map))
        if index >= 0:
            nr += index not in own
            index += 1
    return nr


def numa_usage_of(kernel: Kernel, ptes: U64) -> NumaUsage:
    """Return where the pages of one mapping are, and in what state.

    Source: Linux 6.1 fs/proc/task_mmu.c:gather_stats
    """
    mapped = ptes[(ptes & PRESENT != 0) & (ptes & SPECIAL == 0)]
    if not len(mapped):
        return NumaUsage()
    mem = kernel.mem
    pfns = ((mapped & PFN_MASK) >> PFN_SHIFT).astype(np.int64)
    flags = mem.pages.flags[pfns]
    nids = nids_of(mem, pfns)

    def nr_with(bits: int) -> int:
        return int(np.count_nonzero(flags & np.uint32(bits)))

    is_dirty = (mapped & DIRTY != 0) | (flags & np.uint32(PG_dirty) != 0)
    return NumaUsage(
        pages_by_node=tuple(np.bincount(nids, minlength=len(kernel.nodes)).tolist()),
        anon=nr_with(PG_anon),
        dirty=int(is_dirty.sum()),
        mapcount_max=int(mem.pages.mapcount[pfns].max()),
        swapcache=nr_with(PG_swapcache),
        active=nr_with(PG_active | PG_unevictable),
        writeback=nr_with(PG_writeback),
    )


def usage_of(kernel: Kernel, ptes: U64, *, is_locked: bool) -> MemoryUsage:
    """Return what the entries of one mapping hold.

    Source: Linux 6.1 fs/proc/task_mmu.c:smaps_pte_entry, :smaps_account
    """
    if not len(ptes):
        return MemoryUsage()
    pages = kernel.mem.pages
    is_present, is_special = ptes & PRESENT != 0, ptes & SPECIAL != 0
    mapped = ptes[is_present != is_special]
    # Of a page that is being moved the entry says nothing, and nobody looks who else has it.
    is_moving = mapped & PRESENT == 0
    pfns = ((mapped & PFN_MASK) >> PFN_SHIFT).astype(np.int64)
    flags = pages.flags[pfns]
    counts = np.where(is_moving, 1, pages.mapcount[pfns].astype(np.int64))
    dirty = ((mapped & DIRTY != 0) & ~is_moving) | (flags & np.uint32(PG_dirty) != 0)
    young = (mapped & ACCESSED != 0) & ~is_moving
    referenced = young | (flags & np.uint32(PG_referenced) != 0)
    shared, is_anon = counts > 1, flags & np.uint32(PG_anon) != 0
    parts = PAGE_SIZE // np.maximum(counts, 1)
    pss = int(parts.sum())
    slots = (ptes[~is_present & ~is_special] >> SLOT_SHIFT).astype(np.int64)
    users = np.maximum(kernel.swap.map[slots].astype(np.int64) & SWAP_MAP_COUNT, 1)
    return MemoryUsage(
        rss=len(pfns) * PAGE_SIZE,
        pss=pss,
        pss_dirty=int(parts[dirty].sum()),
        pss_anon=int(parts[is_anon].sum()),
        pss_file=int(parts[~is_anon].sum()),
        shared_clean=nr_bytes(shared & ~dirty),
        shared_dirty=nr_bytes(shared & dirty),
        private_clean=nr_bytes(~shared & ~dirty),
        private_dirty=nr_bytes(~shared & dirty),
        referenced=nr_bytes(referenced),
        anonymous=nr_bytes(is_anon),
        lazyfree=nr_bytes(is_anon & ~dirty & (flags & np.uint32(PG_swapbacked) == 0)),
        swap=len(slots) * PAGE_SIZE,
        swap_pss=int((PAGE_SIZE // users).sum()),
        locked=pss if is_locked else 0,
    )


def nr_bytes(mask: NDArray[np.bool_]) -> int:
    """Return the size of the pages chosen."""
    return int(mask.sum()) * PAGE_SIZE


def leaf_entries(kernel: Kernel, mm: int) -> Entries:
    """Return every entry of an address space's page tables that is not zero."""
    root = int(kernel.mms.mms.pgd_row[mm])
    state = kernel.pool.pt.state
    tables = list(leaf_tables(kernel, root, int(state[PT_LEVELS]), 0)) if root else []
    if not tables:
        return np.zeros(0, np.int64), np.zeros(0, np.uint64)
    rows = np.array([row for row, _ in tables], np.int64)
    base = np.array([vpn for _, vpn in tables], np.int64)
    entries = kernel.pool.pt.entry[rows]
    which, index = np.nonzero(entries)
    return base[which] + index, entries[which, index]


def leaf_tables(kernel: Kernel, row: int, level: int, base_vpn: int) -> Iterator[tuple[int, int]]:
    """Yield the tables of the last level: row and first vpn, in rising order."""
    if level == 1:
        yield row, base_vpn
        return
    pt = kernel.pool.pt
    span = 1 << (int(pt.state[PT_BITS]) * (level - 1))
    indices = np.flatnonzero(pt.entry[row])
    pfns = ((pt.entry[row, indices] & PFN_MASK) >> PFN_SHIFT).astype(np.int64)
    for index, child in zip(indices.tolist(), kernel.mem.pages.private[pfns].tolist(), strict=True):
        yield from leaf_tables(kernel, child, level - 1, base_vpn + index * span)
