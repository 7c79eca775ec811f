"""The page-fault handler: the kernel side of one process.

Linux: mm/memory.c: handle_mm_fault, do_anonymous_page, do_swap_page; arch/x86/mm/fault.c, 6.1.
Each process has its own, working in that process's time: the process waits for its answer, and
that wait is the stall. It runs on the process's CPU, and leaves it whenever it sleeps.
A message is one fault on one page. Faults that need no more than a page of the CPU's list, a lock
and the memory controller do not come here as long as CPUs go on by themselves (mm/burst): those
take the same steps, at the same times.
Owns: swap readahead states of its areas; with its process, the page tables, as under mmap_lock.
Interface: ask `PageFault`, answered with a `FaultResult`.
Units: pages, ns.
"""

from typing import Any

import msgspec
import numpy as np

from kernelsim.actors.alloc.page_allocator import alloc_pages, table_context, vma_context
from kernelsim.actors.core.current import Current
from kernelsim.actors.core.free_pages import free_frames
from kernelsim.actors.core.lru_add import folio_add_lru
from kernelsim.actors.core.memory_access import accessed_nid, clear_pages, copy_pages
from kernelsim.actors.core.tlb_flush import flush_relatives, flush_tlb_mm_range, note_flushed
from kernelsim.actors.messages.fault_handler import KEEP, FaultResult, PageFault
from kernelsim.actors.space.file_fault import FileFault, opened_by
from kernelsim.actors.space.file_fault_result import BEHIND_END, FileFaultResult, VmFault
from kernelsim.actors.space.migration_wait import migration_entry_wait
from kernelsim.actors.space.mlock import move_folios
from kernelsim.actors.space.mmu_gather import free_pages_and_swap_cache
from kernelsim.actors.space.swap_in import SwapIn
from kernelsim.actors.tracing import trace, wants
from kernelsim.mm.core.mem import PG_anon, nid_of
from kernelsim.mm.core.mlock import mlock_new_folio, munlock_folios
from kernelsim.mm.core.vmstat import PGFAULT
from kernelsim.mm.page.alloc_context import AllocContext
from kernelsim.mm.page.gfp import GFP_USER_FOLIO, GFP_ZEROED_USER_FOLIO
from kernelsim.mm.space.memory import (
    FAULT_ANON,
    FAULT_FILE,
    FAULT_MIGRATION,
    FAULT_SWAP,
    FAULT_WP,
    FAULT_ZERO_WP,
    fault_run,
    map_anon,
    map_zero,
    touch_present,
)
from kernelsim.mm.space.mlock import is_locked
from kernelsim.mm.space.mm_struct import MmStruct
from kernelsim.mm.space.mmap import VmArea
from kernelsim.mm.space.pgtable import (
    _PAGE_PRESENT,
    _PAGE_RW,
    PT_BITS,
    install_tables,
    pte_at,
    pte_pfn,
    tables_needed,
)
from kernelsim.mm.space.signal_msg import X86_PF_USER, X86_PF_WRITE
from kernelsim.mm.space.vm_flags import VmFlag, vma_has_recency
from kernelsim.mm.space.wp_page import wp_page_copy, wp_page_reuse
from kernelsim.sim.actor import Actor
from kernelsim.trace.exceptions import page_fault_user
from kernelsim.trace.ks import ks_fault, ks_fault_failed
from kernelsim.units import PAGE_SHIFT

KILLED = FaultResult(is_served=False, minflt=0, majflt=0, user_ns=0)
RETRY = FaultResult(is_served=False, minflt=1, majflt=0, user_ns=0)  # let the access find out


class FaultHandler(Actor):
    """The actor that serves one process's faults, in that process's time.

    Args:
        current: The process's task.
        mm: Its address space.
    """

    serves_in_asker = True

    def __init__(self, current: Current, mm: MmStruct) -> None:
        super().__init__(f"fault-{current.task.pid}")
        self._current = current
        self._kernel, self._task = current
        self._pfn = np.zeros(1, np.int64)
        self.exec_mmap(mm)

    def exec_mmap(self, mm: MmStruct) -> None:
        """Serve the faults of another address space from now on."""
        self._mm = mm
        self._swap_in = SwapIn(self._current, mm, self._user_context)
        self._file = FileFault(self._current, mm, self._user_context)

    async def receive(self, message: Any) -> FaultResult:  # noqa: ANN401 - a PageFault
        """Serve a fault and log it."""
        assert isinstance(message, PageFault)
        kernel, task, clock = self._kernel, self._task, self.engine.clock
        if wants(self, page_fault_user):
            error_code = X86_PF_USER | (X86_PF_WRITE if message.write else 0)
            trace(self, page_fault_user(message.vpn << PAGE_SHIFT, 0, error_code))
        began_ns = message.entered_ns
        if began_ns < 0:
            kernel.mem.vm_event[PGFAULT] += 1
            began_ns = clock.now_ns
            latency = kernel.spec.latency
            await task.compute(kernel.drawn_ns(task.cpu, latency.fault_entry_ns), resched=False)
        waits = task.waits
        before = (waits.lock_ns, waits.reclaim_ns, waits.io_ns)
        kind, _ = fault_run(*kernel.space, self._mm.number, message.vpn, 1, 1, message.write)
        if kind == FAULT_ANON and message.vma.file_number:
            kind = FAULT_FILE
        task.in_lru_fault = vma_has_recency(message.vma.flags)
        result = await self._handle(message, kind)
        task.in_lru_fault = False
        nr_faults = result.minflt + result.majflt
        change = result.rss or rss_change(kind, message.write)
        task.rss_stat.count_faults(nr_faults, change)
        if (result.signal or not nr_faults) and wants(task, ks_fault_failed):
            trace(task, ks_fault_failed(task.pid, message.vpn, result.why or "killed"))
        if wants(task, ks_fault):
            point = ks_fault(
                pid=task.pid,
                vpn=message.vpn,
                nr_pages=int(result.is_served),
                kind=kind_name(kind, message.vma),
                major=bool(result.majflt),
                latency_ns=clock.now_ns - began_ns,
                lock_ns=message.lock_ns + waits.lock_ns - before[0],
                reclaim_ns=waits.reclaim_ns - before[1],
                io_ns=waits.io_ns - before[2],
            )
            trace(task, point)
        return result

    async def _handle(self, fault: PageFault, kind: int) -> FaultResult:
        """Serve a fault of a kind, in the kernel.

        Source: Linux 6.1 mm/memory.c:handle_pte_fault
        """
        kernel = self._kernel
        is_hopeless = kind == FAULT_FILE and self._file.is_hopeless(fault)
        may_lack_tables = kind in (FAULT_ANON, FAULT_FILE)  # all others have an entry
        if may_lack_tables and not await self._make_tables(fault, nr_left_out=int(is_hopeless)):
            return KILLED
        if is_hopeless:
            return await self._end_file_fault(fault, BEHIND_END)
        space, number = kernel.space, self._mm.number  # the pool of tables may have grown
        if kind == FAULT_MIGRATION:
            await migration_entry_wait(self._current, self._mm, fault.vpn)
            return RETRY
        if kind == FAULT_SWAP:
            is_mapped, majflt, signal = await self._swap_in.serve(fault)
            if not is_mapped:
                why = "I/O error" if signal else ""
                return FaultResult(False, 1 - majflt, majflt, user_ns=0, signal=signal, why=why)
            if is_locked(fault.vma):
                await self._swap_in.lock(fault.vpn)
            if fault.write and self._must_copy(fault.vpn):
                copied = await self._copy_page(fault)
                return msgspec.structs.replace(
                    copied, minflt=1 - majflt, majflt=majflt, rss=SWAP_RSS
                )
            return await self._leave(fault, majflt=majflt)
        if kind == FAULT_FILE:
            return await self._do_fault(fault)
        if kind == FAULT_ZERO_WP or (kind == FAULT_ANON and fault.write):
            return await self._do_anonymous_page(fault, kind)
        if kind == FAULT_ANON:
            if self._mm.unstable:
                return KILLED
            map_zero(*space, number, fault.vpn, 1, 1, kernel.zero_pfn)
        elif kind == FAULT_WP and not wp_page_reuse(*space, number, fault.vpn, 1, 1):
            if fault.vma.flags & VmFlag.VM_SHARED:
                return await self._end_file_fault(fault, self._file.wp_page_shared(fault))
            return await self._copy_page(fault)
        return await self._leave(fault, majflt=0)

    async def _do_fault(self, fault: PageFault) -> FaultResult:
        """Map a page of a file, or a copy of it.

        Source: Linux 6.1 mm/memory.c:do_fault
        """
        return await self._end_file_fault(fault, await self._file.serve(fault))

    async def _end_file_fault(self, fault: PageFault, found: FileFaultResult) -> FaultResult:
        if found.end is not VmFault.DONE:
            return msgspec.structs.replace(KILLED, signal=found.signal, why=found.why)
        result = await self._leave(fault, majflt=found.majflt, new_pfn=found.new_pfn)
        if fault.write and fault.vma.flags & VmFlag.VM_SHARED:
            await self._file.balance_dirty(fault)
        nr, is_new = found.nr_mapped, int(found.new_pfn != 0)
        is_shmem = opened_by(fault).inode.is_shmem
        rss = (0, is_new, 0, nr) if is_shmem else (nr, is_new, 0, 0)
        return msgspec.structs.replace(result, rss=rss)

    async def _do_anonymous_page(self, fault: PageFault, kind: int) -> FaultResult:
        """Map a fresh page, perhaps in place of the zero page.

        Not if the OOM reaper takes the process's pages by now.

        Source: Linux 6.1 mm/memory.c:do_anonymous_page, :wp_page_copy,
            linux/oom.h:check_stable_address_space
        """
        kernel = self._kernel
        context = vma_context(self._current, fault.vma, fault.vpn, GFP_ZEROED_USER_FOLIO)
        grant = await alloc_pages(self._current, context, 1, self._pfn)
        if not grant.nr:
            return KILLED
        await clear_pages(self._current, grant.nid, 1)
        if self._mm.unstable:
            await free_frames(self._current, self._pfn, 1)
            return KILLED
        token, number = max(fault.token, 0), self._mm.number
        # A zero page that somebody has read meanwhile may be in TLBs: that is for the next fault.
        done = 0
        if kind == FAULT_ZERO_WP or not pte_at(*kernel.space, number, fault.vpn):
            done = map_anon(*kernel.space, number, fault.vpn, 1, 1, self._pfn, 1, token)
        kernel.placed(done)
        if not done:  # another task that shares the memory was faster
            await free_frames(self._current, self._pfn, 1)
            return FaultResult(is_served=False, minflt=1, majflt=0, user_ns=0, rss=NO_RSS)
        new_pfn = int(self._pfn[0])
        if is_locked(fault.vma):
            mlock_new_folio(kernel.mem, new_pfn)
        if kind == FAULT_ZERO_WP:  # ptep_clear_flush
            await flush_tlb_mm_range(self._current, self._mm, fault.vpn, 1)
        return await self._leave(fault, majflt=0, new_pfn=new_pfn)

    def _must_copy(self, vpn: int) -> bool:
        """Tell whether a page that has just come from swap is mapped for loads only.

        Source: Linux 6.1 mm/memory.c:do_swap_page, which goes on to do_wp_page
        """
        pte = pte_at(*self._kernel.space, self._mm.number, vpn)
        return pte & (_PAGE_PRESENT | _PAGE_RW) == _PAGE_PRESENT

    async def _copy_page(self, fault: PageFault) -> FaultResult:
        """Give the process a private copy of a page that others, or the swap cache, have too.

        Source: Linux 6.1 mm/memory.c:wp_page_copy
        """
        kernel, task = self._kernel, self._task
        old_pfn = pte_pfn(pte_at(*kernel.space, self._mm.number, fault.vpn))
        is_of_file = not int(kernel.mem.pages.flags[old_pfn]) & PG_anon
        context = self._user_context(fault.vma, fault.vpn)
        grant = await alloc_pages(self._current, context, 1, self._pfn)
        if not grant.nr:
            return KILLED
        nids = (nid_of(kernel.mem, old_pfn), grant.nid)
        await copy_pages(self._current, nids, 1, resched=False)
        unused = np.zeros(1, np.int64)
        old_pfn = pte_pfn(pte_at(*kernel.space, self._mm.number, fault.vpn))  # it may have moved
        token = fault.token if fault.token != KEEP else int(kernel.mem.pages.token[old_pfn])
        self._mm.tlb_flush_pending.add(fault.vpn)
        done, nr_unused = wp_page_copy(
            *kernel.space, self._mm.number, fault.vpn, 1, 1, self._pfn, 1, token, unused
        )
        kernel.placed(done)
        if done and fault.token == KEEP:  # from now on it is a copy of what it was made of
            kernel.observer.stored(task.pid, fault.vpn, 1, 1, token)
        if done and is_locked(fault.vma):
            mlock_new_folio(kernel.mem, int(self._pfn[0]))
            munlock_folios(kernel.mem, unused, nr_unused)
            if not nr_unused:  # others have the old one; it may move as soon as others run
                await move_folios(self._current, np.array([old_pfn], np.int64), 1, locks=False)
        if done:
            await flush_tlb_mm_range(self._current, self._mm, fault.vpn, 1)
        self._mm.tlb_flush_pending.discard(fault.vpn)
        if not done:  # no longer a page to be copied
            await free_frames(self._current, self._pfn, 1)
            return RETRY
        note_flushed(self._current, self._mm, int(is_of_file))
        result = await self._leave(fault, majflt=0, new_pfn=int(self._pfn[0]))
        if nr_unused:
            await flush_relatives(self._current, self._mm)
        await free_pages_and_swap_cache(self._current, unused[:nr_unused])
        return msgspec.structs.replace(result, rss=(-1, 1, 0, 0)) if is_of_file else result

    async def _make_tables(self, fault: PageFault, *, nr_left_out: int = 0) -> bool:
        """Build the page tables a page needs from frames of the zones; False if killed meanwhile.

        The last one is left out where there will be no entry for it.

        Source: Linux 6.1 mm/memory.c:__handle_mm_fault, :__pte_alloc
        """
        kernel = self._kernel
        while tables_needed(*kernel.space, self._mm.number, fault.vpn, 1) > nr_left_out:
            grant = await alloc_pages(self._current, table_context(self._current), 1, self._pfn)
            if not grant.nr:
                return False
            await clear_pages(self._current, grant.nid, 1)
            kernel.pool.reserve(1)
            used = install_tables(*kernel.space, self._mm.number, fault.vpn, 1, self._pfn, 1)
            kernel.placed(used)
            if not used:  # another task has made it meanwhile
                await free_frames(self._current, self._pfn, 1)
        return True

    async def _leave(self, fault: PageFault, *, majflt: int, new_pfn: int = 0) -> FaultResult:
        """Let the program have its page, put a new one on the LRU, and leave the kernel.

        The instruction runs again as soon as its page is there. Doing it here, before anything
        else can happen, keeps a tiny machine from reclaiming a page that was never used.
        """
        kernel, task, mm = self._kernel, self._task, self._mm
        task.cpu.tlb_state.switch_mm(mm, task.name)  # it may have woken up on another CPU
        token = fault.token
        if token == KEEP:
            token = self._token_at(fault.vpn)
        done, _, user_ns, _, read = touch_present(
            *kernel.space, task.cpu.tlb, mm.number, mm.ctx_id, fault.vpn, 1, 1, fault.write,
            token, 1 << 60, task.cpu.access_cost,
        )  # fmt: skip
        # What was stored is told now: others may store to the page before the fault ends.
        if done and fault.write and fault.token != KEEP:
            kernel.observer.served(task.pid, 1)
        elif done and not fault.write and kernel.is_observed:
            kernel.observer.loaded(task.pid, np.array([fault.vpn]), read)
        nid = accessed_nid(self._current, mm, fault.vpn) if done else 0
        if new_pfn:
            await folio_add_lru(self._current, new_pfn)
        await self._set_pte(fault.vpn)
        return FaultResult(bool(done), 1 - majflt, majflt, user_ns, nid=nid)

    async def _set_pte(self, vpn: int) -> None:
        """Spend the time of setting an entry, under the lock of its table if others use it, too."""
        kernel, mm = self._kernel, self._mm
        hold_ns = kernel.spec.latency.pte_set_ns
        lock = kernel.mmap_locks.get(mm.number) if mm.mm_users > 1 else None
        if lock is None:
            await self._task.compute(hold_ns, resched=False)
        else:
            await lock.set_pte(vpn >> int(kernel.pool.pt.state[PT_BITS]), hold_ns)

    def _token_at(self, vpn: int) -> int:
        """Return what a mapped page holds; 0 for one that is not there any more."""
        pte = pte_at(*self._kernel.space, self._mm.number, vpn)
        return int(self._kernel.mem.pages.token[pte_pfn(pte)]) if pte & _PAGE_PRESENT else 0

    def note_hits(self, vma_start: int, last_vpn: int, hits: int) -> None:
        """Note that faults of a burst found pages in the swap cache, for readahead."""
        self._swap_in.note_hits(vma_start, last_vpn, hits)

    def _user_context(self, vma: VmArea, vpn: int) -> AllocContext:
        return vma_context(self._current, vma, vpn, GFP_USER_FOLIO)


WP_SHARED = "wp_shared"
NO_RSS = (0, 0, 0, 0)
SWAP_RSS = (0, 1, -1, 0)  # of a page that comes from swap
KIND_NAMES = ("spurious", "anon", "zero_wp", "swap", "wp", "file", "migration", WP_SHARED)


def kind_name(kind: int, vma: VmArea) -> str:
    """Return what the log calls a fault; first stores to pages that others see are apart."""
    is_shared = kind == FAULT_WP and vma.flags & VmFlag.VM_SHARED
    return WP_SHARED if is_shared else KIND_NAMES[kind]


def rss_change(kind: int, write: bool) -> tuple[int, int, int, int]:
    """Return what a fault adds to MM_FILEPAGES, MM_ANONPAGES, MM_SWAPENTS, MM_SHMEMPAGES."""
    if kind == FAULT_SWAP:
        return SWAP_RSS
    return (0, 1, 0, 0) if write and kind in (FAULT_ANON, FAULT_ZERO_WP) else (0, 0, 0, 0)
