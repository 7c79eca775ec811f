"""What a program does with its memory: loads and stores, on its CPU, until they are done.

A run of accesses goes on in compiled code as far as it can (bursts.py); an access that needs more
goes to the fault handler, and the program waits. With `burst_pages` of 1 every access takes that
way, message by message; the outcome is the same.
Interface: `Accesses.run` does a run, `Accesses.listed` accesses in a given order.
Units: virtual page numbers, pages, ns.
"""

from collections.abc import Callable
from functools import partial
from typing import Final, Protocol

import msgspec
import numpy as np

from kernelsim.actors.alloc.page_allocator import get_vma_policy, table_context
from kernelsim.actors.core.current import Current
from kernelsim.actors.core.memory_access import access_line, accessed_nid
from kernelsim.actors.core.page_requests import fill_request
from kernelsim.actors.core.process_table import ProcessEntry
from kernelsim.actors.core.shared_mm import mmap_lock_of
from kernelsim.actors.messages.fault_handler import KEEP, FaultResult, PageFault
from kernelsim.actors.space.access_trace import AccessTrace
from kernelsim.actors.space.fault_handler import KIND_NAMES, FaultHandler, rss_change
from kernelsim.actors.tracing import Listened, trace, wants
from kernelsim.mm.burst.columns import (
    ACCESSES_MAX,
    B_ASID,
    B_AT,
    B_DONE,
    B_ENTERED,
    B_FAULT_LOCK_NS,
    B_FAULT_NS,
    B_FILE,
    B_FIRST_VPN,
    B_HITS,
    B_IN_LRU_FAULT,
    B_INDEX,
    B_LAST_HIT,
    B_LEFT,
    B_LISTED,
    B_LOCK_BEGAN,
    B_LOCK_NS,
    B_LOCKED,
    B_MM,
    B_NID,
    B_NR_FAULTS,
    B_NR_INTERLEAVED,
    B_NR_ZERO,
    B_SLICE_END,
    B_SPREADS_TABLES,
    B_STOLEN,
    B_STOP,
    B_STRIDE,
    B_TOKEN,
    B_VPN,
    B_WRITE,
    FOR_NODE,
    FOR_PAGE,
    FOR_TABLE,
    NR_KINDS,
    STOP_ENTERED,
    STOP_FAULT,
)
from kernelsim.mm.core.lru_gen import lru_gen_enabled
from kernelsim.mm.core.mem import I64, U8
from kernelsim.mm.page.gfp import GFP_ZEROED_USER_FOLIO
from kernelsim.mm.page.mempolicy import Mempolicy
from kernelsim.mm.space.memory import FAULT_ANON, FAULT_SWAP, TOUCH_FAULT, touch_present
from kernelsim.mm.space.mlock import is_locked
from kernelsim.mm.space.mm_struct import MmStruct
from kernelsim.mm.space.mmap import VmArea
from kernelsim.mm.space.vm_flags import vma_has_recency
from kernelsim.trace.exceptions import page_fault_user
from kernelsim.trace.kmem import mm_page_alloc
from kernelsim.trace.ks import ks_fault
from kernelsim.units import PAGE_SHIFT, PAGE_SIZE

NO_END: Final = 1 << 60  # ns


class FaultCounts(Protocol):
    """Where faults are counted, besides the process."""

    minflt: int
    majflt: int
    signal: int  # that the last fault raises, which ends the accesses


class Accesses:
    """The accesses of one process.

    Args:
        current: The task of the process.
        entry: The process.
        handler: Its fault handler.

    Attributes:
        trace: Tells the steps of each access to who wants them.
    """

    def __init__(self, current: Current, entry: ProcessEntry, handler: FaultHandler) -> None:
        self._current = current
        self._kernel = current.kernel
        self._entry = entry
        self._handler = handler
        self.trace = AccessTrace(current.kernel, entry)
        self._logs_pages = Listened(current.kernel.nodes, mm_page_alloc)

    def _pages_at_once(self) -> int:
        """Return how many pages a burst may have; 1, by messages, where each is to be logged."""
        kernel = self._kernel
        is_told = self.trace.is_wanted or wants(self._handler, page_fault_user)
        if is_told or self._entry.mm.mm_users > 1:
            return 1
        return 1 if self._logs_pages() else kernel.burst_pages

    async def run(
        self, vma: VmArea, vpn: int, nr: int, stride: int, token: int, result: FaultCounts,
        *, write: bool,
    ) -> int:  # fmt: skip
        """Access `nr` pages of a VMA, `stride` apart; return how many, fewer if it must end."""
        task, done = self._entry.task, 0
        pages_at_once, is_alone = self._pages_at_once(), self._entry.mm.mm_users == 1
        while done < nr and not task.killed and not result.signal:
            at = vpn + done * stride
            if pages_at_once == 1:
                done += await self._one(vma, at, token, result, write=write)
                if not is_alone:  # the mapping may be another one by now
                    break
                continue
            policy = get_vma_policy(task, vma)
            row = self._begin(token, min(nr - done, pages_at_once), policy)
            row[B_INDEX] = vma.index_of(0)
            row[B_VPN], row[B_STRIDE], row[B_WRITE], row[B_LISTED] = at, stride, write, 0
            row[B_LOCKED], row[B_FILE] = is_locked(vma), vma.file_number != 0
            row[B_IN_LRU_FAULT] = vma_has_recency(vma.flags)
            columns = await self._burst(row, policy, result)
            done += await self._settle(columns, lambda _vpn: vma, result)
        return done

    async def fault_in(self, vma: VmArea, vpn: int, result: FaultCounts, *, write: bool) -> int:
        """Have a page mapped that keeps what it holds; return 1, or 0 if it must be tried again."""
        return await self._fault(PageFault(vpn, write, vma, KEEP), result)

    async def listed(
        self, mm: MmStruct, vpns: I64, writes: U8, token: int, result: FaultCounts
    ) -> int:
        """Access pages in a given order, each inside a VMA that permits it; return as `run`."""
        task, done, nr = self._entry.task, 0, len(vpns)
        # A burst of listed accesses does not know which of them are to mappings that are locked,
        # hinted or have a policy. Where that is the task's, pages are interleaved by their numbers.
        is_alike = not mm.locked_vm and all(vma.policy is None for vma in mm.map)
        if lru_gen_enabled(self._kernel.mem):
            is_alike = is_alike and all(vma_has_recency(vma.flags) for vma in mm.map)
        pages_at_once = min(self._pages_at_once(), ACCESSES_MAX) if is_alike else 1
        packed = vpns << 1 | (writes != 0)

        def vma_of(vpn: int) -> VmArea:
            vma = mm.map.find_vma(vpn << PAGE_SHIFT)
            assert vma is not None, "the listing of the accesses has checked it"
            return vma

        while done < nr and not task.killed and not result.signal:
            if pages_at_once == 1:
                vpn, write = int(vpns[done]), bool(writes[done])
                done += await self._one(vma_of(vpn), vpn, token, result, write=write)
                if mm.mm_users > 1:
                    break
                continue
            row = self._begin(token, min(nr - done, pages_at_once), task.mempolicy)
            self._kernel.burst.access[task.cpu.number, : row[B_LEFT]] = packed[done:][: row[B_LEFT]]
            row[B_LISTED], row[B_AT], row[B_FILE] = 1, 0, mm.map.nr_of_files != 0
            row[B_IN_LRU_FAULT] = 1
            columns = await self._burst(row, task.mempolicy, result)
            done += await self._settle(columns, vma_of, result)
        return done

    async def _one(
        self, vma: VmArea, vpn: int, token: int, result: FaultCounts, *, write: bool
    ) -> int:
        """Access one page; return 1, or 0 if that has to be tried again or it is killed."""
        kernel, task, mm = self._kernel, self._entry.task, self._entry.mm
        task.cpu.tlb_state.switch_mm(mm, task.name)
        if task.cpu.must_give_way():  # it looks whenever it is about to leave the kernel
            await task.give_way()
            return 0
        done, why, elapsed_ns, hits, read = touch_present(
            *kernel.space, task.cpu.tlb, mm.number, mm.ctx_id, vpn, 1, 1, write, token, NO_END,
            task.cpu.access_cost,
        )  # fmt: skip
        if done and write:
            kernel.observer.stored(task.pid, vpn, 1, 1, token)
        elif done and kernel.is_observed:
            kernel.observer.loaded(task.pid, np.array([vpn]), read)
        if done:
            nid = accessed_nid(self._current, mm, vpn)
            await self._reach_memory(vpn, nid, elapsed_ns, write=write, is_hit=hits > 0)
        elif why == TOUCH_FAULT and not task.killed:
            done = await self._fault(PageFault(vpn, write, vma, token), result)
        return done

    async def _reach_memory(
        self, vpn: int, nid: int, ns: int, *, write: bool, is_hit: bool
    ) -> None:
        """Let an access whose translation was there take its time."""
        if not self.trace.is_wanted:
            await access_line(self._current, nid, ns)
            return
        access = self.trace.begin(vpn, write=write, is_hit=is_hit)
        self.trace.end(access, await access_line(self._current, nid, ns))

    def _begin(self, token: int, nr: int, policy: Mempolicy | None) -> I64:
        """Fill in what the CPU needs to know to go on by itself; the policy is of the pages."""
        task, mm = self._entry.task, self._entry.mm
        cpu = task.cpu
        cpu.tlb_state.switch_mm(mm, task.name)
        row: I64 = cpu.row
        slice_end_ns, stolen_ns = row[B_SLICE_END], row[B_STOLEN]
        row[:] = 0
        row[B_SLICE_END], row[B_STOLEN] = slice_end_ns, stolen_ns
        row[B_MM], row[B_ASID], row[B_TOKEN], row[B_LEFT] = mm.number, mm.ctx_id, token, nr
        row[B_NID] = cpu.nid
        self._fill_requests(row, policy)
        return row

    def _fill_requests(self, row: I64, policy: Mempolicy | None) -> None:
        """Fill in what the pages and page tables of a burst are allocated by."""
        kernel, task = self._kernel, self._entry.task
        requests, contexts = kernel.burst.request[task.cpu.number], kernel.alloc_contexts
        victim = task.oom_victim
        tables, nid, gfp = table_context(self._current), task.cpu.nid, GFP_ZEROED_USER_FOLIO
        row[B_SPREADS_TABLES] = tables.is_interleaved
        fill_request(requests[FOR_TABLE], tables, oom_victim=victim)
        if policy is None or not policy.is_interleaved:
            fill_request(requests[FOR_PAGE], contexts.get(nid, policy, gfp), oom_victim=victim)
            return
        row[B_NR_INTERLEAVED] = len(policy.nodes)
        for number, node in enumerate(policy.nodes, start=FOR_NODE):
            context = contexts.get(nid, policy.on_node(node), gfp)
            fill_request(requests[number], context, oom_victim=victim)

    async def _burst(self, row: I64, policy: Mempolicy | None, result: FaultCounts) -> list[int]:
        """Let the CPU go on by itself, and count the faults it served, also when the run ends.

        Returns:
            What its columns say then.
        """
        fill_requests = partial(self._fill_requests, row, policy)
        try:
            await self._kernel.bursts.run(self._entry.task, fill_requests)
        finally:
            columns: list[int] = row.tolist()
            for kind in range(NR_KINDS):
                if columns[B_NR_FAULTS + kind]:
                    self._count(columns, kind, result)
        return columns

    async def _settle(
        self, columns: list[int], vma_of: Callable[[int], VmArea], result: FaultCounts
    ) -> int:
        """Do what stopped a burst; return the accesses done."""
        kernel, task = self._kernel, self._entry.task
        if columns[B_HITS] or columns[B_NR_FAULTS + FAULT_SWAP]:
            vpn = columns[B_LAST_HIT]
            self._handler.note_hits(vma_of(vpn).start, vpn, columns[B_HITS])
        done, stop = columns[B_DONE], columns[B_STOP]
        if stop in (STOP_FAULT, STOP_ENTERED):
            if columns[B_LISTED]:
                packed = int(kernel.burst.access[task.cpu.number, columns[B_AT]])
                vpn, write = packed >> 1, bool(packed & 1)
            else:
                vpn, write = columns[B_VPN], bool(columns[B_WRITE])
            entered_ns, lock_ns = -1, 0
            if stop == STOP_ENTERED:
                entered_ns = columns[B_ENTERED]
                lock_ns = columns[B_LOCK_NS] - columns[B_LOCK_BEGAN]
            fault = PageFault(vpn, write, vma_of(vpn), columns[B_TOKEN], entered_ns, lock_ns)
            done += await self._fault(fault, result)
        elif task.cpu.must_give_way():  # also when it is killed or done, as in `compute`
            await task.give_way()
        return done

    def _count(self, columns: list[int], kind: int, result: FaultCounts) -> None:
        """Count the faults of a kind that a burst served."""
        task, nr = self._entry.task, columns[B_NR_FAULTS + kind]
        result.minflt += nr
        nr_zero = columns[B_NR_ZERO] if kind == FAULT_ANON else 0
        task.rss_stat.count_faults(nr_zero, rss_change(kind, write=False))
        task.rss_stat.count_faults(nr - nr_zero, rss_change(kind, write=True))
        if wants(task, ks_fault):
            point = ks_fault(
                pid=task.pid,
                vpn=columns[B_FIRST_VPN + kind],
                nr_pages=nr,
                kind=KIND_NAMES[kind],
                major=False,
                latency_ns=columns[B_FAULT_NS + kind],
                lock_ns=columns[B_FAULT_LOCK_NS + kind],
                reclaim_ns=0,
                io_ns=0,
            )
            trace(task, point)

    async def _fault(self, fault: PageFault, result: FaultCounts) -> int:
        """Wait for the fault handler; return 1 when the access is done.

        Source: Linux 6.1 arch/x86/mm/fault.c:do_user_addr_fault
        """
        mm, task = self._entry.mm, self._entry.task
        lock = mmap_lock_of(self._current, mm)
        if lock is None:
            return await self._serve(fault, result)
        async with lock.held(task, write=False):
            address = fault.vpn << PAGE_SHIFT
            vma = mm.map.find_vma_intersection(address, address + PAGE_SIZE)
            if vma is None or not vma.permits(write=fault.write):
                return 0
            if fault.write:
                vma = mm.anon_vma_prepare(vma)
            return await self._serve(msgspec.structs.replace(fault, vma=vma), result)

    async def _serve(self, fault: PageFault, result: FaultCounts) -> int:
        kernel, entry = self._kernel, self._entry
        is_store = fault.write and fault.token != KEEP
        kernel.observer.faulting(entry.pid, fault.vpn, fault.token, write=is_store)
        at_once = fault.entered_ns >= 0  # the burst has told the handler
        began_ns = kernel.engine.now_ns
        steps = self.trace.walked(fault.vpn) if self.trace.is_wanted else []
        served: FaultResult = await self._handler.ref.ask(fault, at_once=at_once)
        kernel.observer.served(entry.pid, int(served.is_served))
        if served.signal:  # a fault that failed is none of the process's
            result.signal = served.signal
            return 0
        result.minflt += served.minflt
        result.majflt += served.majflt
        entry.minflt += served.minflt
        entry.majflt += served.majflt
        if steps:
            self.trace.faulted(fault.vpn, steps, began_ns, write=fault.write)
        if served.user_ns:
            await self._reach_memory(
                fault.vpn, served.nid, served.user_ns, write=fault.write, is_hit=False
            )
        return int(served.is_served)
