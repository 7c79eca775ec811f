"""What a checker writes down while a machine runs: stores, and who may take which pages.

It listens to what programs and processes are told, never looks at page tables, and so can say
what every page must hold: what a call does to content is in its entry of the table of calls. Of a
request for pages it works out itself how far down it may take a zone, and remembers each that went
further.
Interface: `observe` before the first process starts; `check_record` at a look.
Units: pages, virtual page numbers, ns.
"""

from collections.abc import Iterator
from typing import Final

import numpy as np

from kernelsim.actors.core.kernel import Kernel
from kernelsim.actors.messages.node import AllocPages
from kernelsim.actors.parts.observer import Asker, Observer
from kernelsim.actors.process.calls.effect import StoreRun
from kernelsim.actors.process.calls.table import CALLS
from kernelsim.check.content import Content, Pages, check_content, found_tokens
from kernelsim.check.tables import PFN_MASK, PRESENT, SHIFT, SPECIAL, Tables, cut_short
from kernelsim.check.watermarks import lowest_allowed, wrong_grant
from kernelsim.mm.core.mem import Z_FREE
from kernelsim.mm.page.alloc_context import AllocContext
from kernelsim.mm.space.mm_struct import MmStruct
from kernelsim.units import PAGE_SHIFT

PROBLEMS_MAX: Final = 100  # of grants, kept until the next look


class Record(Observer):
    """The observer of one machine.

    Args:
        kernel: The machine.

    Attributes:
        contents: What each process wrote, by pid.
        problems: What requests for pages did that they may not.
    """

    def __init__(self, kernel: Kernel) -> None:
        self.contents: dict[int, Content] = {}
        self.problems: list[str] = []
        self._kernel = kernel

    def content_of(self, pid: int) -> Content:
        """Return what a process wrote; empty if it wrote nothing yet."""
        content = self.contents.get(pid)
        if content is None:
            content = self.contents[pid] = Content()
        return content

    def begins(self, pid: int, mm: MmStruct, operation: object) -> None:
        """Note which pages may go while a call is under way."""
        effect = CALLS.by_value[type(operation)].effect
        self.content_of(pid).leaving = effect.leaves(mm, operation)

    def ends(self, pid: int, operation: object, result: object, token: int) -> None:
        """Note what the program now knows of its memory."""
        effect = CALLS.by_value[type(operation)].effect
        content = self.content_of(pid)
        leaving, content.leaving = content.leaving, None
        dropped = effect.drops(operation, result, leaving)
        if dropped is not None:
            content.drop(*dropped)
        for stores in effect.stores(operation, result):
            if isinstance(stores, StoreRun):
                content.write_run(*stores, token)
            else:
                content.write(stores, token)

    def stored(self, pid: int, vpn: int, nr: int, stride: int, token: int) -> None:
        """Enter a run of stores."""
        if nr:
            self.content_of(pid).write_run(vpn, nr, stride, token)

    def faulting(self, pid: int, vpn: int, token: int, *, write: bool) -> None:
        """Note which page may be stored to from now on."""
        self.content_of(pid).store = (vpn, token) if write else None

    def served(self, pid: int, nr: int) -> None:
        """Enter the store that was done with the fault."""
        content = self.content_of(pid)
        store, content.store = content.store, None
        if store is not None:
            self.stored(pid, store[0], nr, 1, store[1])

    def asks(
        self,
        task: Asker,
        context: AllocContext,
        zone: int,
        mark: int,
        alloc_flags: int,
        floor: int,
    ) -> None:
        """Compare how far a request means to go with how far it may."""
        lowest = lowest_allowed(self._kernel.mem, task, context, zone, mark, alloc_flags)
        if floor < lowest:
            self._note(
                f"{task.name} may take zone {zone} down to {lowest} free pages with alloc_flags "
                f"{alloc_flags:#x}, and means to go to {floor}"
            )
        free = int(self._kernel.mem.zone[zone, Z_FREE])
        if free <= floor:
            self._note(
                f"{task.name} asks zone {zone} for a page: {free} are free, and it had to stop at "
                f"{floor}"
            )

    def granted(self, request: AllocPages, nr: int, nr_refills: int) -> None:
        """Check that pages beyond the first were granted above the mark.

        The first was asked for above it; others may have taken theirs while it waited for the lock.
        """
        if nr <= 1:
            return
        problem = wrong_grant(self._kernel.mem, request, nr, nr_refills)
        if problem:
            self._note(f"{request.user} got {nr} pages of zone {request.zone}: {problem}")

    def forget_ended(self) -> None:
        """Forget what processes wrote whose memory is gone."""
        living = {mm.owner_pid for mm in self._kernel.mms.by_number.values()}
        for pid in [pid for pid in self.contents if pid not in living]:
            del self.contents[pid]

    def _note(self, text: str) -> None:
        if len(self.problems) < PROBLEMS_MAX:
            self.problems.append(f"{text}, at {self._kernel.engine.now_ns} ns")


def observe(kernel: Kernel) -> Record:
    """Keep a record of a machine from now on, before its first process starts."""
    record = Record(kernel)
    kernel.observe(record)
    return record


def check_record(kernel: Kernel, record: Record, tables: Tables) -> list[str]:
    """Return where the machine is not as its processes were told, one line each.

    Checked: what every page of every living process holds; no page is mapped outside its mappings;
    what stands for the zero page is the zero page; no request went below its watermark.
    """
    record.forget_ended()
    lines = list(record.problems)
    tokens = found_tokens(kernel.mem, kernel.swap, tables)
    for number, mm in sorted(kernel.mms.by_number.items()):
        part = tables.entries_of(number)
        pid = mm.owner_pid
        process = kernel.processes.get(pid)
        is_ending = process is not None and process.has_ended()
        content = record.content_of(pid)
        pages = Pages(pid, tables.vpn[part], tables.pte[part], tokens[part])
        lines += check_content(pages, content, kernel.swap, is_ending=is_ending)
        if not is_ending:
            lines += check_inside(mm, pages, content)
    zeros = np.flatnonzero(tables.bits & (PRESENT | SPECIAL) == PRESENT | SPECIAL)
    wrong = zeros[tables.pte[zeros] & PFN_MASK != kernel.zero_pfn << SHIFT]
    lines += cut_short(
        f"mm {tables.mm[i]} vpn {tables.vpn[i]:#x}: another page than the zero page stands for it"
        for i in wrong.tolist()
    )
    return lines


def check_inside(mm: MmStruct, pages: Pages, content: Content) -> Iterator[str]:
    """Find entries of pages that no mapping covers, and no operation under way is about to take."""
    ranges = [(vma.start >> PAGE_SHIFT, vma.end >> PAGE_SHIFT) for vma in mm.map]
    bounds = np.searchsorted(pages.vpn, np.array(ranges, np.int64).reshape(-1, 2))
    if int((bounds[:, 1] - bounds[:, 0]).sum()) == len(pages.vpn):
        return
    outside = np.ones(len(pages.vpn), np.bool_)
    for first, end in bounds.tolist():
        outside[first:end] = False
    if content.leaving is not None:
        first, end = np.searchsorted(pages.vpn, content.leaving).tolist()
        outside[first:end] = False
    yield from cut_short(
        f"pid {pages.pid} vpn {pages.vpn[i]:#x}: has an entry, but no mapping covers it"
        for i in np.flatnonzero(outside).tolist()
    )
