"""What a CPU knows of the address spaces in its TLB, and how it keeps up with their flushes.

Linux: arch/x86/mm/tlb.c (switch_mm_irqs_off, choose_new_asid, flush_tlb_func), 6.1.
An address space counts the changes of its translations (`MmStruct.tlb_gen`), and a CPU remembers up
to which it has followed. So flushes need only reach the CPUs that run the address space now
(`MmStruct.cpu_bitmap`): one that runs something else finds out when it comes back. A CPU that is
idle or runs a kernel thread keeps the address space loaded, but is lazy: only the freeing of
page tables reaches it, and makes it leave.
Interface: `TlbState`, one a CPU. Units: pages, ns.
"""

from typing import Final

import attrs

from kernelsim.actors.tracing import Named, trace
from kernelsim.config.latency import LatencySpec
from kernelsim.hw.tlb import (
    TLB_SINGLE_PAGE_FLUSH_CEILING,
    Tlb,
    tlb_flush_asid,
    tlb_flush_range,
)
from kernelsim.mm.space.mm_struct import MmStruct
from kernelsim.trace.tlb import tlb_flush

TLB_FLUSH_ON_TASK_SWITCH: Final = 0  # enum tlb_flush_reason, include/linux/mm_types.h
TLB_REMOTE_SHOOTDOWN: Final = 1
TLB_LOCAL_SHOOTDOWN: Final = 2
TLB_FLUSH_ALL: Final = (1 << 64) - 1  # `pages` of the tracepoint when everything goes
TLB_NR_DYN_ASIDS: Final = 6  # address spaces that a CPU's TLB holds at a time


@attrs.define
class TlbContext:
    """One address space in a CPU's TLB: which, and up to which change its entries are good."""

    ctx_id: int
    tlb_gen: int


class TlbState:
    """The address spaces of one CPU (cpu_tlbstate).

    Args:
        owner: The CPU, for the log.
        number: Its number.
        tlb: Its TLB.
        latency: What flushes cost.

    Attributes:
        loaded_mm: The address space in CR3; None for the kernel's own.
        user: Name of the task it was loaded for.
        is_switched: A task was switched to since; while one runs on, it waits for interrupts.
    """

    def __init__(self, owner: Named, number: int, tlb: Tlb, latency: LatencySpec) -> None:
        self.loaded_mm: MmStruct | None = None
        self.user = ""
        self._owner = owner
        self.is_switched = False
        self._bit = 1 << number
        self._tlb = tlb
        self._latency = latency
        self._contexts: list[TlbContext] = []
        self._next = 0
        self._context = TlbContext(0, 0)

    def switch_mm(self, mm: MmStruct, task: str) -> None:
        """Load the address space of a task that is about to use it; its entries are good then.

        What it costs is part of the context switch.

        Source: Linux 6.1 arch/x86/mm/tlb.c:switch_mm_irqs_off, linux/mm_types.h:lru_gen_use_mm
        """
        self.user = task
        is_switched, self.is_switched = self.is_switched, False
        if is_switched:
            mm.lru_gen_bitmap = -1
        if mm is not self.loaded_mm:
            self.leave_mm()
            self.loaded_mm = mm
            mm.cpu_bitmap |= self._bit
            self._context = self._choose_context(mm.ctx_id)
        elif not is_switched or self._context.tlb_gen == mm.tlb_gen:
            return
        is_behind = self._context.tlb_gen != mm.tlb_gen
        if is_behind:
            tlb_flush_asid(self._tlb, mm.ctx_id)
            self._context.tlb_gen = mm.tlb_gen
        trace(self._owner, tlb_flush(TLB_FLUSH_ON_TASK_SWITCH, TLB_FLUSH_ALL if is_behind else 0))

    def follows(self) -> bool:
        """Return whether it has heard of all changes of the address space that is loaded."""
        return self.loaded_mm is None or self._context.tlb_gen == self.loaded_mm.tlb_gen

    def leave_mm(self) -> None:
        """Run on the kernel's own page tables: flushes of the address space come here no more.

        Source: Linux 6.1 arch/x86/mm/tlb.c:leave_mm
        """
        if self.loaded_mm is not None:
            self.loaded_mm.cpu_bitmap &= ~self._bit
            self.loaded_mm = None

    def flush(self, asid: int | None, vpn: int, nr_pages: int, reason: int) -> int:
        """Follow the changes of the loaded address space; return the time it takes, in ns.

        Args:
            asid: The address space that changed; None for any.
            vpn: First page whose translation changed.
            nr_pages: How many pages; more than the ceiling flush all of the address space.
            reason: TLB_*_SHOOTDOWN.

        Source: Linux 6.1 arch/x86/mm/tlb.c:flush_tlb_func
        """
        mm, context = self.loaded_mm, self._context
        if mm is None or (asid is not None and asid != mm.ctx_id) or context.tlb_gen == mm.tlb_gen:
            return 0
        is_next = context.tlb_gen + 1 == mm.tlb_gen
        context.tlb_gen = mm.tlb_gen
        if asid is None or nr_pages > TLB_SINGLE_PAGE_FLUSH_CEILING or not is_next:
            trace(self._owner, tlb_flush(reason, TLB_FLUSH_ALL))
            tlb_flush_asid(self._tlb, mm.ctx_id)
            return self._latency.tlb_flush_ns
        trace(self._owner, tlb_flush(reason, nr_pages))
        tlb_flush_range(self._tlb, mm.ctx_id, vpn, nr_pages)
        return self._latency.tlb_flush_page_ns * nr_pages

    def flush_kernel(self, nr_pages: int) -> int:
        """Drop translations of the kernel; return the time it takes, in ns.

        Source: Linux 6.1 arch/x86/mm/tlb.c:do_flush_tlb_all, :do_kernel_range_flush
        """
        # Differs from Linux: Translations of the kernel's own addresses take no room in TLBs.
        if nr_pages <= TLB_SINGLE_PAGE_FLUSH_CEILING:
            return self._latency.tlb_flush_page_ns * nr_pages
        for context in self._contexts:
            tlb_flush_asid(self._tlb, context.ctx_id)
        return self._latency.tlb_flush_ns

    def _choose_context(self, ctx_id: int) -> TlbContext:
        """Return the address space's place in the TLB; the one whose place it takes is forgotten.

        Source: Linux 6.1 arch/x86/mm/tlb.c:choose_new_asid
        """
        for context in self._contexts:
            if context.ctx_id == ctx_id:
                return context
        context = TlbContext(ctx_id, 0)
        if len(self._contexts) < TLB_NR_DYN_ASIDS:
            self._contexts.append(context)
        else:
            tlb_flush_asid(self._tlb, self._contexts[self._next].ctx_id)
            self._contexts[self._next] = context
            self._next = (self._next + 1) % TLB_NR_DYN_ASIDS
        return context
