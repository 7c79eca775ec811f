"""What a checker writes down while a machine runs: stores, and what the kernel decides.

It listens to what programs and processes are told, never looks at page tables, and so can say
what every page must hold: what a call does to content is in its entry of the table of calls. What
the kernel decides is judged in duties.py.
Interface: `observe` before the first process starts; `check_record` at a look.
Units: pages, virtual page numbers, ns.
"""

from collections.abc import Iterator

import numpy as np

from kernelsim.actors.core.kernel import Kernel
from kernelsim.actors.process.calls.effect import StoreRun
from kernelsim.actors.process.calls.table import CALLS
from kernelsim.check.content import Content, Pages, check_content, found_tokens
from kernelsim.check.duties import Duties, check_duties
from kernelsim.check.page_cache import FileContents
from kernelsim.check.tables import PFN_MASK, PRESENT, SHIFT, SPECIAL, Tables, cut_short
from kernelsim.fs.inode import Inode
from kernelsim.mm.core.mem import I64, U64
from kernelsim.mm.space.mm_struct import MmStruct
from kernelsim.units import PAGE_SHIFT


class Record(Duties):
    """The observer of one machine.

    Args:
        kernel: The machine.

    Attributes:
        contents: What each process wrote, by pid.
        files: What files hold, and what reads of them brought.
    """

    def __init__(self, kernel: Kernel) -> None:
        super().__init__(kernel)
        self.contents: dict[int, Content] = {}
        self.files = FileContents()
        self.files.learn(kernel.files.inodes)

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

    def delivered(self, inode: Inode, index: int, tokens: U64) -> None:
        """Compare what a read brought with what the file holds."""
        self.files.delivered(inode, index, tokens)

    def loaded(self, pid: int, vpns: I64, total: int) -> None:
        """Compare what a program read with what it wrote."""
        if len(vpns) and self.content_of(pid).read(vpns) != total:
            self.note(
                f"pid {pid} did not read what it wrote: {len(vpns)} loads from vpn {vpns[0]:#x} on"
            )

    def faulting(self, pid: int, vpn: int, token: int, *, write: bool) -> None:
        """Note which page may be stored to from now on."""
        self.content_of(pid).store = (vpn, token) if write else None

    def served(self, pid: int, nr: int) -> None:
        """Enter the store that was done with the fault."""
        content = self.content_of(pid)
        store, content.store = content.store, None
        if store is not None:
            self.stored(pid, store[0], nr, 1, store[1])

    def is_leaving(self, mm: MmStruct, vpn: int) -> bool:
        """Tell whether a process is in the middle of unmapping a page, or ends."""
        process = self._kernel.processes.get(mm.owner_pid)
        if process is None or process.has_ended() or mm.unstable:
            return True
        leaving = self.content_of(mm.owner_pid).leaving
        return leaving is not None and leaving[0] <= vpn < leaving[1]

    def forget_ended(self) -> None:
        """Forget what processes wrote whose memory is gone."""
        living = {mm.owner_pid for mm in self._kernel.mms.by_number.values()}
        for pid in [pid for pid in self.contents if pid not in living]:
            del self.contents[pid]


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
    kernel.bursts.tell_stores()
    record.forget_ended()
    lines = check_duties(kernel, record, tables, record.is_leaving) + record.files.wrong
    tokens = found_tokens(kernel.mem, kernel.swap, tables)
    for number, mm in sorted(kernel.mms.by_number.items()):
        part = tables.entries_of(number)
        pid = mm.owner_pid
        process = kernel.processes.get(pid)
        is_ending = mm.unstable or (process is not None and process.has_ended())
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
