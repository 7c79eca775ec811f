"""Faults on pages of mapped files: the part of the fault handler that knows the page cache.

Linux: mm/memory.c: do_read_fault, do_cow_fault, do_shared_fault; mm/filemap.c: filemap_fault, 6.1.
What is in memory around the page is mapped with it at once. Else the page is looked for, and read
with a window around it; the fault is begun afresh when it has come, as the kernel does after it has
let mmap_lock go for that (VM_FAULT_RETRY). Such a fault counts twice in pgfault, and as a major
one for its process; pgmajfault counts pages that were not in memory at all.
Units: virtual page numbers, pages of the file.
"""

from collections.abc import Callable

import attrs
import numpy as np

from kernelsim.actors.alloc.page_allocator import alloc_context, alloc_pages
from kernelsim.actors.alloc.slab import settle_slabs
from kernelsim.actors.core.current import Current
from kernelsim.actors.core.free_pages import free_frames
from kernelsim.actors.core.memory_access import copy_pages
from kernelsim.actors.core.page_reads import wait_on_page_read
from kernelsim.actors.file.balance_dirty import balance_dirty_pages_ratelimited
from kernelsim.actors.file.file_write import FileWriter
from kernelsim.actors.file.filemap import READAHEAD_GFP, page_cache_async_ra
from kernelsim.actors.file.page_io import read_again, read_window
from kernelsim.actors.messages.fault_handler import KEEP, PageFault
from kernelsim.actors.space.fault_retry import count_retry
from kernelsim.actors.space.file_fault_result import (
    BEHIND_END,
    IO_ERROR,
    KILLED,
    NO_SPACE,
    RETRY,
    FileFaultResult,
    VmFault,
)
from kernelsim.actors.space.mlock import mlock_vma_pages_range
from kernelsim.actors.space.shmem import shmem_fault
from kernelsim.fs.file import OpenFile
from kernelsim.fs.inode import Inode
from kernelsim.mm.core.mem import PG_dirty, PG_locked, PG_readahead, PG_reclaim, PG_uptodate, nid_of
from kernelsim.mm.core.mlock import mlock_new_folio
from kernelsim.mm.core.vmstat import PGMAJFAULT
from kernelsim.mm.core.xarray import xa_load, xa_next
from kernelsim.mm.file.address_space import page_key
from kernelsim.mm.file.filemap_fault import (
    FAULT_AROUND_PAGES,
    around,
    filemap_map_pages,
    make_writable,
    map_file_page,
    page_prot,
)
from kernelsim.mm.file.readahead import (
    MMAP_LOTSAMISS,
    Window,
    mmap_read_around,
    sync_readahead,
)
from kernelsim.mm.page.alloc_context import AllocContext
from kernelsim.mm.page.gfp import GFP_HIGHUSER_MOVABLE
from kernelsim.mm.space.memory import map_anon
from kernelsim.mm.space.mlock import is_locked
from kernelsim.mm.space.mm_struct import MmStruct
from kernelsim.mm.space.mmap import VmArea
from kernelsim.mm.space.pgtable import PT_BITS, pte_at, pte_pfn
from kernelsim.mm.space.vm_flags import VmFlag
from kernelsim.units import PAGE_SHIFT


class FileFault:
    """Serves faults on mapped files for one fault handler.

    Args:
        current: The faulting task.
        mm: Its address space.
        context: Returns what its own page of a mapping is allocated by.
    """

    def __init__(
        self,
        current: Current,
        mm: MmStruct,
        context: Callable[[VmArea, int], AllocContext],
    ) -> None:
        self._current = current
        self._kernel, self._task = current
        self._mm = mm
        self._context = context
        self._writer = FileWriter(current)
        self._vpns = np.zeros(FAULT_AROUND_PAGES, np.int64)
        self._pfn = np.zeros(1, np.int64)

    async def serve(self, fault: PageFault) -> FileFaultResult:
        """Map a page of a file where there is no entry.

        Source: Linux 6.1 mm/memory.c:do_fault, arch/x86/mm/fault.c:do_user_addr_fault
        """
        tried = False
        while not self._is_ending():
            result = await self._do_fault(fault, tried=tried)
            if result.end is not VmFault.RETRY:
                # What the kernel brings in for a call forgets that it has tried before.
                is_major = result.majflt or (tried and fault.token != KEEP)
                return attrs.evolve(result, majflt=int(is_major))
            tried = True
            self._task.rss_stat.count_faults(1, (result.nr_mapped,))
            if not self._is_ending():
                count_retry(self._current, fault, is_major=bool(result.majflt))
        return KILLED

    async def _do_fault(self, fault: PageFault, *, tried: bool) -> FileFaultResult:
        if not fault.write:
            return await self._do_read_fault(fault, tried=tried)
        if fault.vma.flags & VmFlag.VM_SHARED:
            return await self._do_shared_fault(fault, tried=tried)
        return await self._do_cow_fault(fault, tried=tried)

    async def _do_read_fault(self, fault: PageFault, *, tried: bool) -> FileFaultResult:
        """Map what is in memory around the page, or wait for the page.

        Source: Linux 6.1 mm/memory.c:do_read_fault, :do_fault_around
        """
        kernel, vma = self._kernel, fault.vma
        nr, is_mapped = self._map_around(fault)
        if nr and is_locked(vma):
            await self._lock(self._vpns[:nr].tolist())
        if is_mapped:
            return FileFaultResult(VmFault.DONE, nr_mapped=nr)
        pfn, result = await self._filemap_fault(fault, tried=tried)
        if not pfn:
            return attrs.evolve(result, nr_mapped=nr)
        done = map_file_page(*kernel.space, self._mm.number, fault.vpn, pfn, self._prot(fault))
        if done and is_locked(vma):
            await self._lock([fault.vpn])
        return attrs.evolve(result, nr_mapped=nr + done)

    def _map_around(self, fault: PageFault) -> tuple[int, bool]:
        """Return how many pages were mapped, and whether that of the fault is among them."""
        kernel, vma = self._kernel, fault.vma
        file = opened_by(fault)
        first, end = around(vma, fault.vpn, int(kernel.pool.pt.state[PT_BITS]))
        nr, nr_seen = filemap_map_pages(
            *kernel.space, kernel.spaces.mappings, file.inode.number, self._mm.number,
            first, end - first, vma.index_of(first), file.inode.nr_pages, self._prot(fault),
            self._vpns,
        )  # fmt: skip
        file.ra.mmap_miss = max(0, file.ra.mmap_miss - nr_seen)
        return nr, fault.vpn in self._vpns[:nr]

    async def _do_cow_fault(self, fault: PageFault, *, tried: bool) -> FileFaultResult:
        """Give a private mapping a copy of the page, which is then stored to.

        Source: Linux 6.1 mm/memory.c:do_cow_fault
        """
        kernel, task = self._kernel, self._task
        context = self._context(fault.vma, fault.vpn)
        grant = await alloc_pages(self._current, context, 1, self._pfn)
        if not grant.nr:
            return KILLED
        new_pfn = int(self._pfn[0])
        pfn, majflt = -1, 0
        # Again if it went meanwhile, which it cannot in Linux, where it is locked: it counts once.
        while pfn != self._uptodate(fault) or self._mm.unstable:
            pfn, result = await self._filemap_fault(fault, tried=tried, again=pfn >= 0)
            majflt |= result.majflt
            if not pfn:
                await free_frames(self._current, np.array([new_pfn], np.int64), 1)
                return result
            nids = (nid_of(kernel.mem, pfn), grant.nid)
            await copy_pages(self._current, nids, 1, resched=False)
        token = fault.token if fault.token != KEEP else int(kernel.mem.pages.token[pfn])
        done = map_anon(*kernel.space, self._mm.number, fault.vpn, 1, 1, self._pfn, 1, token)
        kernel.placed(done)
        if not done:  # another task that shares the memory was faster
            await free_frames(self._current, self._pfn, 1)
            return attrs.evolve(result, majflt=majflt)
        if fault.token == KEEP:  # from now on it is a copy of what it was made of
            kernel.observer.stored(task.pid, fault.vpn, 1, 1, token)
        if is_locked(fault.vma):
            mlock_new_folio(kernel.mem, new_pfn)
        return attrs.evolve(result, majflt=majflt, new_pfn=new_pfn)

    async def _do_shared_fault(self, fault: PageFault, *, tried: bool) -> FileFaultResult:
        """Map a page of a file for stores that others see.

        Source: Linux 6.1 mm/memory.c:do_shared_fault
        """
        kernel, file = self._kernel, opened_by(fault)
        pfn, result = await self._filemap_fault(fault, tried=tried)
        if not pfn:
            return result
        if self._mkwrite(file.inode, fault.vma.index_of(fault.vpn), pfn):
            return NO_SPACE
        space = kernel.space
        done = map_file_page(*space, self._mm.number, fault.vpn, pfn, self._prot(fault))
        if done:  # else the access finds what another task has mapped meanwhile
            make_writable(*space, self._mm.number, fault.vpn)
            if is_locked(fault.vma):
                await self._lock([fault.vpn])
        return attrs.evolve(result, nr_mapped=done)

    def wp_page_shared(self, fault: PageFault) -> FileFaultResult:
        """Let stores through to a page that is mapped for reading only.

        Source: Linux 6.1 mm/memory.c:wp_page_shared
        """
        kernel, number = self._kernel, self._mm.number
        pfn = pte_pfn(pte_at(*kernel.space, number, fault.vpn))
        inode, index = opened_by(fault).inode, fault.vma.index_of(fault.vpn)
        if self._mkwrite(inode, index, pfn):
            return NO_SPACE
        make_writable(*kernel.space, number, fault.vpn)
        return FileFaultResult(VmFault.DONE)

    def _mkwrite(self, inode: Inode, index: int, pfn: int) -> int:
        """Let a page be stored to, which is dirty from then on; return an errno, 0 for none."""
        if not inode.is_shmem:
            return self._writer.page_mkwrite(inode, index, pfn)
        self._kernel.mem.pages.flags[pfn] |= np.uint32(PG_dirty)
        return 0

    def _prot(self, fault: PageFault) -> int:
        return page_prot(fault.vma, is_shmem=opened_by(fault).inode.is_shmem)

    async def balance_dirty(self, fault: PageFault) -> None:
        """Wait if too much is dirty, after a store for which a page became so.

        Source: Linux 6.1 mm/memory.c:fault_dirty_shared_page
        """
        inode = opened_by(fault).inode
        if inode.is_shmem:
            return
        await settle_slabs(self._current)
        bdi = self._kernel.backing_devs[inode.device]
        await balance_dirty_pages_ratelimited(self._current, bdi)

    async def _filemap_fault(
        self, fault: PageFault, *, tried: bool, again: bool = False
    ) -> tuple[int, FileFaultResult]:
        """Get the page of a fault into memory.

        Args:
            fault: The fault.
            tried: It has been begun afresh, and waits with mmap_lock.
            again: It has had the page already, which counts once.

        Returns:
            The page, up to date, to be mapped in the same step; 0 if there is none, and then why.

        Source: Linux 6.1 mm/filemap.c:filemap_fault
        """
        kernel, file, index = self._kernel, opened_by(fault), fault.vma.index_of(fault.vpn)
        inode, majflt, dropped = file.inode, 0, False
        if index >= inode.nr_pages:
            return 0, BEHIND_END
        if inode.is_shmem:
            context = self._context(fault.vma, fault.vpn)
            pfn, majflt = await shmem_fault(self._current, self._mm, inode, index, context)
            kernel.mem.vm_event[PGMAJFAULT] += majflt
            if pfn or self._is_ending():
                return pfn, FileFaultResult(VmFault.DONE, majflt=majflt) if pfn else KILLED
            return 0, NO_SPACE if index < inode.nr_pages else BEHIND_END
        if self._cached(fault) <= 0:
            majflt = int(not again)
            kernel.mem.vm_event[PGMAJFAULT] += majflt
            dropped = await self._do_sync_mmap_readahead(fault, file, index) and not tried
        elif not tried:
            dropped = await self._do_async_mmap_readahead(fault, file, index)
        while not self._is_ending() and index < inode.nr_pages:
            pfn = self._cached(fault)
            flags = int(kernel.mem.pages.flags[pfn]) if pfn > 0 else 0
            if pfn > 0 and flags & PG_uptodate and not flags & PG_locked:
                if dropped:
                    return 0, attrs.evolve(RETRY, majflt=majflt)
                return pfn, FileFaultResult(VmFault.DONE, majflt=majflt)
            if pfn <= 0:
                context = alloc_context(self._current, GFP_HIGHUSER_MOVABLE)
                await read_window(self._current, inode, Window(index, 1, -1), context)
                continue
            dropped = dropped or not tried  # it waits without mmap_lock
            if flags & PG_locked:
                await wait_on_page_read(self._current, page_key(inode.number, index), pfn)
                continue
            error = await read_again(self._current, inode, index, pfn)
            if dropped:
                return 0, attrs.evolve(RETRY, majflt=majflt)
            if error:
                return 0, IO_ERROR
        return 0, KILLED if self._is_ending() else BEHIND_END

    def is_hopeless(self, fault: PageFault) -> bool:
        """Tell whether a fault is behind the end of its file, and maps nothing around it, either.

        Source: Linux 6.1 mm/filemap.c:filemap_map_pages, which needs a page table for the first
        """
        kernel, inode = self._kernel, opened_by(fault).inode
        if fault.vma.index_of(fault.vpn) < inode.nr_pages:
            return False
        first, end = around(fault.vma, fault.vpn, int(kernel.pool.pt.state[PT_BITS]))
        index, last = fault.vma.index_of(first), min(fault.vma.index_of(end), inode.nr_pages) - 1
        if fault.write or index > last:
            return True
        return int(xa_next(kernel.spaces.pool.xa, inode.number, index, last)) < 0

    def _is_ending(self) -> bool:
        """Tell whether nothing may be mapped any more, since the process is being killed."""
        return self._task.killed or self._mm.unstable

    def _cached(self, fault: PageFault) -> int:
        """Return the page in the page cache; 0 or less if there is none."""
        index, number = fault.vma.index_of(fault.vpn), fault.vma.file_number
        return int(xa_load(self._kernel.spaces.pool.xa, number, index))

    def _uptodate(self, fault: PageFault) -> int:
        """Return the page if it is part of the file and holds what it should; 0 if not."""
        pfn = self._cached(fault)
        if pfn <= 0 or fault.vma.index_of(fault.vpn) >= opened_by(fault).inode.nr_pages:
            return 0
        return pfn if int(self._kernel.mem.pages.flags[pfn]) & PG_uptodate else 0

    async def _do_sync_mmap_readahead(self, fault: PageFault, file: OpenFile, index: int) -> bool:
        """Start to read what a mapping lacks, with pages around it; tell whether any is read.

        Source: Linux 6.1 mm/filemap.c:do_sync_mmap_readahead
        """
        kernel, ra = self._kernel, file.ra
        if fault.vma.flags & VmFlag.VM_RAND_READ or not ra.ra_pages:
            return False
        if fault.vma.flags & VmFlag.VM_SEQ_READ:
            files = kernel.spaces.mappings
            window = sync_readahead(files, file.inode.number, ra, index, ra.ra_pages)
        else:
            ra.mmap_miss = min(ra.mmap_miss + 1, MMAP_LOTSAMISS * 10)
            if ra.mmap_miss > MMAP_LOTSAMISS:
                return False
            window = mmap_read_around(ra, index)
        await read_window(self._current, file.inode, window, self._readahead_context())
        return True

    async def _do_async_mmap_readahead(self, fault: PageFault, file: OpenFile, index: int) -> bool:
        """Read ahead if the page is marked for that; tell whether it was.

        Source: Linux 6.1 mm/filemap.c:do_async_mmap_readahead
        """
        ra = file.ra
        if fault.vma.flags & VmFlag.VM_RAND_READ or not ra.ra_pages:
            return False
        ra.mmap_miss = max(0, ra.mmap_miss - 1)
        flags = int(self._kernel.mem.pages.flags[self._cached(fault)])
        if not flags & (PG_readahead | PG_reclaim):  # one bit of Linux
            return False
        context = self._readahead_context()
        await page_cache_async_ra(self._current, file, index, ra.ra_pages, context)
        return True

    def _readahead_context(self) -> AllocContext:
        return alloc_context(self._current, READAHEAD_GFP)

    async def _lock(self, vpns: list[int]) -> None:
        """Mark pages that were just mapped as locked.

        Source: Linux 6.1 mm/rmap.c:page_add_file_rmap
        """
        for vpn in vpns:
            start = vpn << PAGE_SHIFT
            await mlock_vma_pages_range(
                self._current, self._mm, start, start + (1 << PAGE_SHIFT), locks=True
            )


def opened_by(fault: PageFault) -> OpenFile:
    """Return the open file that a fault's mapping was made of."""
    file = fault.vma.file
    assert file is not None, "the mapping is one of a file"
    assert isinstance(file.opened, OpenFile), "and keeps it open"
    return file.opened
