"""What TLBs may still hold: pages that are mapped, and others only while they are being flushed.

Linux: mm/mmu_gather.c, mm/rmap.c:try_to_unmap_flush, arch/x86/mm/tlb.c, 6.1.
Two rules for entries that a CPU may go through without a flush before. A frame that goes back to
its node is in no such TLB any more, at the page it was mapped at. And an entry of a page that is
not mapped may be there only while its process is unmapping it or some task is reclaiming. One of
a page that is mapped leads to its frame, and lets stores through only if the page is dirty.
Interface: `Frames` remembers where frames were mapped at the last look, and is asked when frames
go back; `check_tlbs` at a look.
Units: virtual page numbers, page frame numbers.
"""

from collections.abc import Callable, Iterator
from typing import Final

import numpy as np

from kernelsim.actors.core.kernel import Kernel
from kernelsim.check.tables import PFN_MASK, PRESENT, SHIFT, SPECIAL, Tables, cut_short
from kernelsim.hw.tlb import TLB_PFN_SHIFT, TLB_STORES
from kernelsim.mm.burst.columns import B_PHASE, OUT
from kernelsim.mm.core.mem import I64, PG_writeback
from kernelsim.mm.space.mm_struct import MmStruct
from kernelsim.mm.space.pgtable import pte_at

TAG_SHIFT: Final = 36  # of the address-space identifier in a TLB's tag
TAG_MASK: Final = (1 << TAG_SHIFT) - 1
MAY_STORE: Final = 1 << 1 | 1 << 6  # of a PTE: writable and dirty


class Frames:
    """Where frames were mapped when all tables were walked last.

    Args:
        kernel: The machine.
    """

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._mm = np.zeros(len(kernel.mem.pages.flags), np.int64)
        self._vpn = np.zeros(len(kernel.mem.pages.flags), np.int64)

    def note(self, tables: Tables) -> None:
        """Take note of where frames are mapped now."""
        is_mapped = tables.bits & (PRESENT | SPECIAL) == PRESENT
        pfns = tables.pfns(is_mapped)
        self._mm[:] = 0
        self._mm[pfns] = tables.mm[is_mapped]
        self._vpn[pfns] = tables.vpn[is_mapped]

    def give_back(self, pfns: I64) -> Iterator[str]:
        """Find frames that go back to their node while a TLB still has them; forget them all."""
        kernel = self._kernel
        known = pfns[self._mm[pfns] != 0]
        numbers, vpns = self._mm[known], self._vpn[known]
        self._mm[known] = 0
        for pfn, number, vpn in zip(known.tolist(), numbers.tolist(), vpns.tolist(), strict=True):
            mm = kernel.mms.by_number.get(number)
            if mm is None:
                continue
            sets = kernel.burst.tlb_tag.shape[1]
            line = kernel.burst.tlb_tag[:, vpn & (sets - 1), :]
            is_held = line == (mm.ctx_id << TAG_SHIFT | vpn)
            # An entry may lead to what was mapped there since.
            is_held &= kernel.burst.tlb_entry[:, vpn & (sets - 1), :] >> TLB_PFN_SHIFT == pfn
            cpus = np.flatnonzero(is_held.any(axis=1)).tolist()
            holders = [cpu for cpu in cpus if uses(kernel, cpu, mm)]
            if holders and not pte_at(*kernel.space, number, vpn) & PRESENT:
                yield (
                    f"frame {pfn} is given back, and the TLB of cpu{holders[0]} still has "
                    f"vpn {vpn:#x} of mm {number}"
                )


def check_tlbs(
    kernel: Kernel, tables: Tables, is_leaving: Callable[[MmStruct, int], bool]
) -> Iterator[str]:
    """Find entries that lead to another frame, or allow more, than the page tables do.

    Those of pages that are not mapped may be there while some task is about to flush them.

    Args:
        kernel: The machine.
        tables: What all page tables say.
        is_leaving: Whether a process is in the middle of unmapping a page, or ends.
    """
    is_entry = kernel.burst.tlb_tag != 0
    cpus, _, _ = np.nonzero(is_entry)
    tags, entries = kernel.burst.tlb_tag[is_entry], kernel.burst.tlb_entry[is_entry]
    by_ctx = {mm.ctx_id: mm for mm in kernel.mms.by_number.values()}
    number_of = np.zeros(kernel.mms.next_ctx_id, np.int64)
    for ctx_id, mm in by_ctx.items():
        number_of[ctx_id] = mm.number
    numbers, vpns = number_of[tags >> TAG_SHIFT], tags & TAG_MASK
    present = tables.bits & PRESENT != 0
    keys = tables.mm[present] << TAG_SHIFT | tables.vpn[present]
    wanted = numbers << TAG_SHIFT | vpns
    place = np.searchsorted(keys, wanted)
    found = np.append(keys, -1)[place] == wanted

    def left(suspects: I64) -> Iterator[int]:
        for i in suspects.tolist():
            mm = kernel.mms.by_number[int(numbers[i])]
            if int(vpns[i]) in mm.tlb_flush_pending:
                continue
            if mm.number in kernel.reaped_mms:  # another task unmaps, and flushes before it ends
                continue
            if uses(kernel, int(cpus[i]), mm) and not is_leaving(mm, int(vpns[i])):
                yield i

    ptes = np.append(tables.pte[present], 0)[place]
    pfns = entries >> TLB_PFN_SHIFT
    is_wrong = pfns != (ptes & PFN_MASK) >> SHIFT
    # Stores are to end when a page begins to be written to its disk: a flush may be under way.
    begins = kernel.mem.pages.flags[pfns] & np.uint32(PG_writeback) != 0
    is_wrong |= (entries & TLB_STORES != 0) & (ptes & MAY_STORE != MAY_STORE) & ~begins
    yield from cut_short(
        f"the TLB of cpu{cpus[i]} has vpn {vpns[i]:#x} of mm {numbers[i]} in frame "
        f"{pfns[i]}, not as it is mapped"
        for i in left(np.flatnonzero(is_wrong & found & (numbers != 0)))
    )
    stale = np.flatnonzero(~found & (numbers != 0))
    if len(stale) and not is_reclaiming(kernel):
        yield from cut_short(
            f"the TLB of cpu{cpus[i]} has vpn {vpns[i]:#x} of mm {numbers[i]}, which is not mapped"
            for i in left(stale)
        )


def uses(kernel: Kernel, cpu: int, mm: MmStruct) -> bool:
    """Tell whether a CPU may go through its entries of an address space without a flush before.

    One that runs something else, or has heard of less than there was, flushes when it comes back.
    """
    actor = kernel.cpus[cpu]
    state = actor.tlb_state
    if state.loaded_mm is not mm or actor.is_lazy():
        return False
    return state.follows() or bool(kernel.burst.run[cpu, B_PHASE] != OUT)


def is_reclaiming(kernel: Kernel) -> bool:
    """Tell whether some task is reclaiming pages: it flushes what it unmaps before it ends."""
    if not all(state.asleep for state in kernel.kswapd_states):
        return True
    return any(entry.task.memalloc for entry in kernel.processes.values())
