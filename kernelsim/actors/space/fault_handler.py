"""The page-fault handler: the kernel side of one process.

Linux: mm/memory.c: handle_mm_fault, do_anonymous_page, do_swap_page; arch/x86/mm/fault.c, 6.1.
Each process has its own, working in that process's time: the process waits for its answer, and
that wait is the stall. It runs on the process's CPU, and leaves it whenever it sleeps.
A fault is served as a burst: a run of pages of one VMA that need the same thing. The burst is cut
where the page allocator grants less, at a watermark.
Interface: ask `PageFault`, answered with a `FaultResult`.
Units: pages, ns.
"""

from typing import Any

import numpy as np

from kernelsim.actors.alloc.free_pages import free_frames
from kernelsim.actors.alloc.page_allocator import Grant, alloc_context, alloc_pages, table_context
from kernelsim.actors.core.current import Current
from kernelsim.actors.messages.fault_handler import FaultResult, PageFault
from kernelsim.actors.messages.node import LruAdd
from kernelsim.actors.space.memory_access import clear_pages
from kernelsim.actors.space.mmu_gather import free_anonymous, take_anonymous
from kernelsim.actors.space.swap_in import SwapIn
from kernelsim.actors.tracing import trace, wants
from kernelsim.mm.core.vmstat import PGFAULT, PGMAJFAULT
from kernelsim.mm.page.alloc_context import AllocContext
from kernelsim.mm.page.gfp import GFP_HIGHUSER_MOVABLE
from kernelsim.mm.page.mempolicy import Mempolicy
from kernelsim.mm.space.memory import (
    FAULT_ANON,
    FAULT_NONE_PRESENT,
    FAULT_SWAP,
    FAULT_ZERO_WP,
    fault_run,
    map_anon,
    map_zero,
    touch_present,
)
from kernelsim.mm.space.mm_struct import MmStruct
from kernelsim.mm.space.pgtable import install_tables, tables_needed
from kernelsim.mm.space.wp_page import wp_page_copy, wp_page_reuse
from kernelsim.sim.actor import Actor
from kernelsim.trace.exceptions import page_fault_user
from kernelsim.trace.ks import ks_fault
from kernelsim.units import PAGE_SHIFT

X86_PF_WRITE = 2  # bits of an exception's error code; arch/x86/include/asm/trap_pf.h
X86_PF_USER = 4
FAR_STRIDE_PAGES = 512  # pages further apart than a table covers are faulted one by one


KILLED = FaultResult(0, 0, 0, 0)


class FaultHandler(Actor):
    """The actor that serves one process's faults.

    Args:
        current: The process's task.
        mm: Its address space.
        policy: Memory policy of its pages and tables; None for the node of the CPU it runs on.
    """

    def __init__(self, current: Current, mm: MmStruct, policy: Mempolicy | None) -> None:
        super().__init__(f"fault-{current.task.pid}")
        self._current = current
        self._kernel, self._task = current
        self._mm = mm
        self._policy = policy
        self._pfns = np.zeros(max(self._kernel.burst_pages, 512), np.int64)
        self._tables = np.zeros(1024, np.int64)
        self._swap_in = SwapIn(current, mm, self.user_context)

    async def receive(self, message: Any) -> FaultResult:  # noqa: ANN401 - a PageFault
        """Serve a fault and log it."""
        assert isinstance(message, PageFault)
        if wants(self, page_fault_user):
            error_code = X86_PF_USER | (X86_PF_WRITE if message.write else 0)
            trace(self, page_fault_user(message.vpn << PAGE_SHIFT, 0, error_code))
        clock = self.engine.clock
        began_ns = clock.now_ns
        waits = self._task.waits
        lock_ns, reclaim_ns, io_ns = waits.lock_ns, waits.reclaim_ns, waits.io_ns
        kernel = self._kernel
        limit = kernel.burst_pages if message.stride < FAR_STRIDE_PAGES else 1
        kind, length = fault_run(
            *kernel.space, self._mm.number, message.vpn,
            min(message.nr, limit), message.stride, message.write,
        )  # fmt: skip
        if kind == FAULT_SWAP:
            nr, majflt = await self._swap_in.serve(message, length)
            result = self._touched(message, nr, majflt=majflt)
            per_page_ns = kernel.spec.latency.fault_entry_ns + kernel.spec.latency.pte_set_ns
            await self._task.compute(per_page_ns * nr)
        elif kind in (FAULT_ANON, FAULT_ZERO_WP):
            result = await self._do_anonymous_page(message, length)
        else:
            result = await self._do_wp_page(message, length, spurious=kind == FAULT_NONE_PRESENT)
        change = RSS_CHANGE[kind if message.write or kind == FAULT_SWAP else FAULT_NONE_PRESENT]
        self._task.rss_stat.count_faults(result.minflt + result.majflt, change)
        kernel.mem.vm_event[PGFAULT] += result.minflt + result.majflt
        kernel.mem.vm_event[PGMAJFAULT] += result.majflt
        if wants(self._task, ks_fault):
            point = ks_fault(
                pid=self._task.pid,
                vpn=message.vpn,
                nr_pages=result.nr,
                kind=KIND_NAMES[kind],
                major=bool(result.majflt),
                latency_ns=clock.now_ns - began_ns,
                lock_ns=waits.lock_ns - lock_ns,
                reclaim_ns=waits.reclaim_ns - reclaim_ns,
                io_ns=waits.io_ns - io_ns,
            )
            trace(self._task, point)
        return result

    async def _do_anonymous_page(self, fault: PageFault, length: int) -> FaultResult:
        kernel, mm = self._kernel, self._mm
        latency = kernel.spec.latency
        if not await self._make_tables(fault, length):
            return KILLED
        if not fault.write:
            done = map_zero(
                *kernel.space, mm.number, fault.vpn, length,
                fault.stride, kernel.zero_pfn,
            )  # fmt: skip
            await self._task.compute((latency.fault_entry_ns + latency.pte_set_ns) * done)
            return self._touched(fault, done, majflt=0)
        await self._task.compute(latency.fault_entry_ns)
        grant = await alloc_pages(self._current, self.user_context(), length, self._pfns)
        if not grant.nr:
            return KILLED
        await clear_pages(self._current, grant.nid, grant.nr)
        return await self._map(fault, grant)

    async def _map(self, fault: PageFault, grant: Grant) -> FaultResult:
        kernel, mm, task = self._kernel, self._mm, self._task
        latency = kernel.spec.latency
        done = map_anon(
            *kernel.space, mm.number, fault.vpn, grant.nr,
            fault.stride, self._pfns, grant.nr, True, True, fault.token,
        )  # fmt: skip
        kernel.placed(done)
        assert done == grant.nr, "the address space of a faulting process changed under it"
        result = self._touched(fault, done, majflt=0)
        await kernel.nodes[grant.nid].ref.ask(LruAdd(self._pfns, done, task.cpu.name))
        await task.compute(latency.fault_entry_ns * (done - 1) + latency.pte_set_ns * done)
        return result

    async def _do_wp_page(self, fault: PageFault, length: int, *, spurious: bool) -> FaultResult:
        """Make pages writable that only this process maps; no frame is needed."""
        kernel, mm = self._kernel, self._mm
        latency = kernel.spec.latency
        done = length
        if not spurious:
            done = wp_page_reuse(
                *kernel.space, mm.number, fault.vpn, length,
                fault.stride,
            )  # fmt: skip
            if not done:
                return await self._copy_page(fault)
        result = self._touched(fault, done, majflt=0)
        await self._task.compute((latency.fault_entry_ns + latency.pte_set_ns) * done)
        return result

    async def _copy_page(self, fault: PageFault) -> FaultResult:
        """Give the process a private copy of a page that others, or the swap cache, have too.

        Source: Linux 6.1 mm/memory.c:wp_page_copy
        """
        kernel, mm, task = self._kernel, self._mm, self._task
        latency = kernel.spec.latency
        grant = await alloc_pages(self._current, self.user_context(), 1, self._pfns)
        if not grant.nr:
            return KILLED
        await task.compute(latency.fault_entry_ns + latency.page_copy_ns)
        unused = np.zeros(1, np.int64)
        done, nr_unused = wp_page_copy(
            *kernel.space, mm.number, fault.vpn, 1, 1, self._pfns, 1,
            fault.token, unused,
        )  # fmt: skip
        kernel.placed(done)
        frames = take_anonymous(kernel, unused, nr_unused)
        if not done:  # no longer a page to be copied: let the access find out
            await free_frames(self._current, self._pfns, 1)
            return FaultResult(0, 1, 0, 0)
        result = self._touched(fault, done, majflt=0)
        await kernel.nodes[grant.nid].ref.ask(LruAdd(self._pfns, 1, task.cpu.name))
        await free_anonymous(self._current, unused[:nr_unused], frames)
        return result

    async def _make_tables(self, fault: PageFault, length: int) -> bool:
        """Build the page tables a run needs from frames of the zones; False if killed meanwhile."""
        kernel, mm = self._kernel, self._mm
        span = (length - 1) * fault.stride + 1
        while True:
            needed = tables_needed(*kernel.space, mm.number, fault.vpn, span)
            if not needed:
                return True
            context = table_context(self._current, self._policy)
            want = min(needed, len(self._tables))
            grant = await alloc_pages(self._current, context, want, self._tables)
            if not grant.nr:
                return False
            await clear_pages(self._current, grant.nid, grant.nr)
            kernel.pool.reserve(grant.nr)
            used = install_tables(
                *kernel.space, mm.number, fault.vpn, span,
                self._tables, grant.nr,
            )  # fmt: skip
            kernel.placed(used)
            assert used == grant.nr, "page tables appeared while others were being allocated"
            if used == needed:
                return True

    def _touched(self, fault: PageFault, nr: int, *, majflt: int) -> FaultResult:
        # The program's instruction runs again as soon as its page is there. Doing it here, before
        # anything else can happen, keeps a tiny machine from reclaiming a page nobody ever used.
        kernel, task, mm = self._kernel, self._task, self._mm
        mm.cpu_bitmap |= 1 << task.cpu.number  # it may have slept, and woken up on another CPU
        done, _, user_ns, _, _ = touch_present(
            *kernel.space, task.cpu.tlb, mm.number, mm.ctx_id,
            fault.vpn, nr, fault.stride, fault.write, fault.token, 1 << 60,
            task.cpu.access_cost,
        )  # fmt: skip
        return FaultResult(done, max(nr - majflt, 0), majflt, user_ns)

    def user_context(self) -> AllocContext:
        """Return what a page of the program is allocated by: its policy, or its CPU's node."""
        return alloc_context(self._current, self._policy, GFP_HIGHUSER_MOVABLE)


KIND_NAMES = ("spurious", "anon", "zero_wp", "swap", "wp")
# What a fault adds to MM_FILEPAGES, MM_ANONPAGES, MM_SWAPENTS, MM_SHMEMPAGES; by kind.
RSS_CHANGE = ((0, 0, 0, 0), (0, 1, 0, 0), (0, 1, 0, 0), (0, 1, -1, 0), (0, 0, 0, 0))
