"""What a checker writes down while a machine runs: stores, and what the kernel decides.

It listens to what programs and processes are told, never looks at page tables, and so can say
what every page must hold: what a call does to content is in its entry of the table of calls.
Within a fork or mremap the kernel says how far it is; from the answer on, what that means is
expected. What the kernel decides is judged in duties.py.
Interface: `observe` before the first process starts; `check_record` at a look.
Units: pages, virtual page numbers, ns.
"""

from collections.abc import Iterator

import numpy as np

from kernelsim.actors.core.kernel import Kernel
from kernelsim.actors.process.calls.effect import PageRange, StoreRun, Stores
from kernelsim.actors.process.calls.file_write import Fdatasync, Fsync, Sync
from kernelsim.actors.process.calls.forking import Fork
from kernelsim.actors.process.calls.table import CALLS
from kernelsim.check.content import ALL_PAGES, Content, Pages, UnderWay, check_content, found_tokens
from kernelsim.check.dirty import check_kept
from kernelsim.check.durable import ANYTHING, Promises
from kernelsim.check.duties import Duties, check_duties
from kernelsim.check.mapped_files import maps_file
from kernelsim.check.page_cache import LOST, FileContents
from kernelsim.check.store_order import StoreOrder
from kernelsim.check.tables import PFN_MASK, PRESENT, SHIFT, SPECIAL, Tables, cut_short
from kernelsim.fs.inode import Inode
from kernelsim.mm.core.mem import I64, U64
from kernelsim.mm.space.i_mmap import FV_FLAGS
from kernelsim.mm.space.memory import READ_MASK
from kernelsim.mm.space.mm_struct import MmStruct
from kernelsim.mm.space.mmap import VmArea
from kernelsim.mm.space.vm_flags import VmFlag
from kernelsim.units import PAGE_SHIFT


class Record(Duties):
    """The observer of one machine.

    Args:
        kernel: The machine.

    Attributes:
        contents: What was written to each address space, by its number that is never used again.
        files: What files hold, and what reads of them brought.
        promises: What disks must hold if the power fails.
    """

    def __init__(self, kernel: Kernel) -> None:
        super().__init__(kernel)
        self.contents: dict[int, Content] = {}
        self.files = FileContents()
        self.promises = Promises()
        self.files.learn(kernel.files.inodes)
        self._order = StoreOrder(kernel, self.files)
        self._begun: dict[int, tuple[Content, UnderWay]] = {}  # what calls began with, by pid
        self._crowded: dict[int, bool] = {}  # files that were stored to while others saw it

    def content_of(self, pid: int) -> Content:
        """Return what a process, or one that shares its memory, wrote; empty if nothing yet."""
        process = self._kernel.processes.get(pid)
        return Content() if process is None else self.content_in(process.mm)

    def content_in(self, mm: MmStruct) -> Content:
        """Return what was written to an address space; empty if nothing yet."""
        content = self.contents.get(mm.ctx_id)
        if content is None:
            content = self.contents[mm.ctx_id] = Content()
        return content

    def begins(self, pid: int, mm: MmStruct, operation: object) -> None:
        """Note which pages may go while a call is under way."""
        effect = CALLS.by_value[type(operation)].effect
        content = self.content_in(mm)
        for other in [each for each in content.calls if not self._uses(each, mm)]:
            del content.calls[other]  # it has ended, or lives elsewhere since execve
        freed, protected = effect.frees(operation), effect.protects(operation)
        call = UnderWay(
            effect.leaves(mm, operation),
            () if freed is None else (freed,),
            () if protected is None else (protected,),
        )
        call.is_shared = mm.mm_users > 1
        content.begin(pid, call)
        self._begun[pid] = content, call
        for vma in _anonymous(mm, freed):
            self._kernel.bursts.tell_stores()
            content.free_lazily(vma.vpn, vma.vpn + vma.nr_pages)
        if isinstance(operation, Sync | Fsync | Fdatasync):
            self._kernel.bursts.tell_stores()
        if isinstance(operation, Sync):
            self.promises.begins(pid, None)
        elif isinstance(operation, Fsync | Fdatasync):
            file = self._kernel.processes[pid].files.get(operation.fd)
            self.promises.begins(pid, file.inode.number if file else 0)

    def ends(self, pid: int, operation: object, result: object, token: int) -> None:
        """Note what the program now knows of its memory."""
        effect = CALLS.by_value[type(operation)].effect
        if isinstance(operation, Sync | Fsync | Fdatasync) and result == 0:
            self.promises.acknowledged(pid)
        content, call = self._begun.pop(pid)
        content.calls.pop(pid, None)  # those it left behind with execve may have struck it off
        drops = effect.drops(operation, result, call.leaving)
        for dropped in drops:
            content.drop(*dropped)
        if call.is_beside:
            content.unknown += (*call.raced(), *drops)
        wanted = effect.moves(operation, result)
        if call.moved != wanted and not self._kernel.processes[pid].task.killed:
            moved = call.moved
            self.note(f"pid {pid} knows that its pages are moved: {wanted}, and moved are: {moved}")
        if isinstance(operation, Fork) and isinstance(result, int) and result > 0:
            self._inherits(pid, result, call)
        for stores in () if call.is_shared else effect.stores(operation, result):
            if self._maps_files(pid):  # stores to shared pages have been told one by one
                content.write(self._private(pid, pages_of(stores)), token)
            elif isinstance(stores, StoreRun):
                content.write_run(*stores, token)
            else:
                content.write(stores, token)

    def _inherits(self, parent: int, child: int, call: UnderWay) -> None:
        """Let a child have what its parent has, but for mappings it gets empty or not at all."""
        process = self._kernel.processes[parent]
        mm, copy = process.mm, process.children[child].mm
        if copy is mm:
            return
        if call.is_beside:  # others may have stored to what was copied, until it was flushed
            content = self.content_in(copy)
            content.made_by, content.unknown = None, (ALL_PAGES,)
            return
        content = self.contents[copy.ctx_id] = Content()
        content.copy_from(self.content_of(parent), *ALL_PAGES)
        for vma in mm.map:
            if vma.flags & (VmFlag.VM_DONTCOPY | VmFlag.VM_WIPEONFORK):
                content.drop(vma.vpn, vma.vpn + vma.nr_pages)

    def emptied(self, pid: int, first: int, end: int) -> None:
        """Forget what was there; what comes now is new."""
        self._kernel.bursts.tell_stores()
        self.content_of(pid).drop(first, end)

    def moved(self, pid: int, vpn: int, nr: int, new_vpn: int) -> None:
        """Expect what was stored to some pages in others; or back again, all of it at once."""
        self._kernel.bursts.tell_stores()
        content = self.content_of(pid)
        call = content.calls[pid]
        first, done, new_first = call.moved or (vpn, 0, new_vpn)
        is_back = (vpn, nr, new_vpn) == (new_first, done, first)
        if not is_back and (vpn, new_vpn) != (first + done, new_first + done):
            self.note(f"pid {pid} vpn {vpn:#x}: is moved out of its turn")
        call.moved = None if is_back else (first, done + nr, new_first)
        if nr:
            content.move(vpn, nr, new_vpn)

    def forks(self, parent: int, child: MmStruct, vpn: int, end: int) -> None:
        """Let a child have what its parent has at this moment."""
        self._kernel.bursts.tell_stores()
        content = self.content_of(parent)
        call = content.calls[parent]
        call.is_fork = True
        copy = self.content_in(child)
        copy.made_by = call
        copy.copy_from(content, vpn, end)

    def stored(self, pid: int, vpn: int, nr: int, stride: int, token: int) -> None:
        """Enter a run of stores, those to a file behind what others have stored until now."""
        if not nr:
            return
        if not self._maps_files(pid):
            self.content_of(pid).write_run(vpn, nr, stride, token)
            return
        vpns = pages_of(StoreRun(vpn, nr, stride))
        self.content_of(pid).write(self._private(pid, vpns), token)
        for vma, inside in self._shared(pid, vpns):
            inode = self._kernel.files.inodes[vma.file_number]
            pages = self._order.enter(inode, vma.pgoff + inside - vma.vpn, token)
            if self._is_crowded(vma.file_number):
                self._crowded[vma.file_number] = True
            self.promises.wrote(inode, pages.tolist(), token)

    def _maps_files(self, pid: int) -> bool:
        process = self._kernel.processes.get(pid)
        return process is not None and process.mm.map.nr_of_files != 0

    def _shared(self, pid: int, vpns: I64) -> Iterator[tuple[VmArea, I64]]:
        """Yield the shared mappings of files in which some pages lie, with these."""
        for vma in self._kernel.processes[pid].mm.map:
            if vma.file_number and vma.flags & VmFlag.VM_SHARED:
                inside = vpns[(vpns >= vma.vpn) & (vpns < vma.vpn + vma.nr_pages)]
                if len(inside):
                    yield vma, inside

    def _private(self, pid: int, vpns: I64) -> I64:
        """Return those of some pages that lie in no shared mapping of a file."""
        for _, inside in self._shared(pid, vpns):
            vpns = np.setdiff1d(vpns, inside)
        return vpns

    def delivered(self, inode: Inode, index: int, tokens: U64) -> None:
        """Compare what a read brought with what the file holds, mappings of it included."""
        self._kernel.bursts.tell_stores()
        self.files.delivered(inode, index, tokens)

    def wrote(self, inode: Inode, index: int, nr: int, token: int) -> None:
        """Enter what a program wrote to a file, behind what others have stored until now."""
        self._kernel.bursts.tell_stores()
        self.files.wrote(inode, index, nr, token)
        self.promises.wrote(inode, range(index, index + nr), token)

    def installed(self, inode: Inode) -> None:
        """Learn what a file holds that has come with all its pages."""
        self.files.expected[inode.number] = inode.disk.copy()

    def cuts(self, inode: Inode) -> None:
        """Expect no more that a disk has what is behind the new end of a file."""
        self._kernel.bursts.tell_stores()
        self.promises.truncated(inode, inode.nr_pages)

    def truncated(self, inode: Inode, index: int) -> None:
        """Forget what a file had behind its new end, and what private mappings had made of it."""
        self._kernel.bursts.tell_stores()
        self.files.truncated(inode, index)
        self.promises.truncated(inode, index)
        for mm in self._kernel.mms.by_number.values():
            for first, end in behind_files(self._kernel, mm):
                self.content_in(mm).drop(first, end)

    def lost(self, inode: Inode, pages: I64) -> None:
        """Expect anything of pages that a device could not take."""
        self.files.lost(inode, pages)
        self.promises.wrote(inode, pages.tolist(), ANYTHING)

    def loaded(self, pid: int, vpns: I64, total: int) -> None:
        """Compare what a program read with what it, or others to a file it maps, wrote."""
        content = self.content_of(pid)
        if not content.is_known(pid, vpns):
            return
        wanted = content.read(vpns)
        is_lazy = content.is_lazy(vpns)
        if is_lazy.any():
            if len(vpns) == 1 and not total:
                content.drop(int(vpns[0]), int(vpns[0]) + 1)
            return
        if self._maps_files(pid) and not self._see_files(pid, vpns, wanted):
            return
        if int((wanted & np.uint64(READ_MASK)).sum()) & READ_MASK != total:
            self.note(
                f"pid {pid} did not read what it wrote: {len(vpns)} loads from vpn {vpns[0]:#x} on"
            )

    def _see_files(self, pid: int, vpns: I64, wanted: U64) -> bool:
        """Enter what loads find in files; False if that is not known.

        It is not if others may have stored to the file since the loads.
        """
        kernel = self._kernel
        is_copied = (wanted != 0) | np.isin(vpns, self.content_of(pid).zeros)
        for vma in kernel.processes[pid].mm.map:
            is_inside = (vpns >= vma.vpn) & (vpns < vma.vpn + vma.nr_pages)
            if not vma.file_number or not is_inside.any():
                continue
            is_seen = is_inside if vma.flags & VmFlag.VM_SHARED else is_inside & ~is_copied
            pages = vma.pgoff + vpns[is_inside] - vma.vpn
            is_behind = int(pages.max()) >= kernel.files.inodes[vma.file_number].nr_pages
            if is_behind or vma.file_number in self._crowded or self._is_crowded(vma.file_number):
                return False
            wanted[is_seen] = self.files.held(vma.file_number, vma.pgoff + vpns[is_seen] - vma.vpn)
        return not (wanted == LOST).any()

    def _is_crowded(self, number: int) -> bool:
        """Tell whether what is stored to a file through one mapping is seen through another."""
        rows = self._kernel.mms.i_mmap.mappings(number)
        return len(rows) > 1 and any(row[FV_FLAGS] & VmFlag.VM_SHARED for row in rows)

    def faulting(self, pid: int, vpn: int, token: int, *, write: bool) -> None:
        """Note which page may be stored to from now on."""
        stores = self.content_of(pid).stores
        stores.pop(pid, None)
        if write:
            stores[pid] = (vpn, token)

    def served(self, pid: int, nr: int) -> None:
        """Enter the store that was done with the fault."""
        content = self.content_of(pid)
        store = content.stores.pop(pid, None)
        if store is not None:
            self.stored(pid, store[0], nr, 1, store[1])

    def is_leaving(self, mm: MmStruct, vpn: int) -> bool:
        """Tell whether a process is unmapping a page, makes it clean or forks; or ends."""
        if self.user_of(mm) is None or mm.unstable:
            return True
        return any(call.may_be_stale(vpn) for call in self.content_in(mm).calls.values())

    def user_of(self, mm: MmStruct) -> int | None:
        """Return the pid of one that lives in an address space; None if it is going."""
        if self._uses(mm.owner_pid, mm):
            return mm.owner_pid
        return min((pid for pid in self._kernel.processes if self._uses(pid, mm)), default=None)

    def _uses(self, pid: int, mm: MmStruct) -> bool:
        """Tell whether a process has an address space and lives."""
        process = self._kernel.processes.get(pid)
        return process is not None and process.mm is mm and not process.has_ended()

    def forget_ended(self) -> None:
        """Forget what processes wrote whose memory is gone."""
        living = {mm.ctx_id for mm in self._kernel.mms.by_number.values()}
        for ctx_id in [ctx_id for ctx_id in self.contents if ctx_id not in living]:
            del self.contents[ctx_id]
        for pid in [pid for pid in self._begun if pid not in self._kernel.processes]:
            del self._begun[pid]


def _anonymous(mm: MmStruct, pages: PageRange | None) -> Iterator[VmArea]:
    """Yield the pieces of anonymous mappings in a range of pages."""
    if pages is not None:
        first, end = pages.first << PAGE_SHIFT, pages.end << PAGE_SHIFT
        for vma in mm.map.overlapping(first, end):
            if vma.is_anonymous:
                yield vma


def behind_files(kernel: Kernel, mm: MmStruct) -> Iterator[tuple[int, int]]:
    """Yield the pages [first, end) of mappings of files that lie behind the end of their file."""
    for vma in mm.map if mm.map.nr_of_files else ():
        if vma.file_number:
            nr_pages = kernel.files.inodes[vma.file_number].nr_pages
            first, end = vma.vpn + max(0, nr_pages - vma.pgoff), vma.vpn + vma.nr_pages
            if first < end:
                yield first, end


def pages_of(stores: Stores) -> I64:
    """Return the pages that some stores went to."""
    if isinstance(stores, StoreRun):
        return stores.vpn + stores.stride * np.arange(stores.nr, dtype=np.int64)
    return stores


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
    lines = check_duties(kernel, record, tables, record.is_leaving) + record.files.wrong
    lines += record.promises.broken(kernel.files.inodes)
    lines += check_kept(kernel.mem, kernel, record.files)
    tokens = found_tokens(kernel.mem, kernel.swap, tables)
    tokens[maps_file(kernel.mem, tables)] = 0  # they are the file's
    for number, mm in sorted(kernel.mms.by_number.items()):
        part = tables.entries_of(number)
        user = record.user_of(mm)
        # Who runs swapoff keeps the memory of one that has ended for a while.
        is_ending, pid = mm.unstable or user is None, user or mm.owner_pid
        content = record.content_in(mm)
        for first, end in behind_files(kernel, mm):  # they go when a file becomes shorter
            content.drop(first, end)
            tokens[part][(tables.vpn[part] >= first) & (tables.vpn[part] < end)] = 0
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
    for leaving in content.leaving:
        first, end = np.searchsorted(pages.vpn, leaving).tolist()
        outside[first:end] = False
    yield from cut_short(
        f"pid {pages.pid} vpn {pages.vpn[i]:#x}: has an entry, but no mapping covers it"
        for i in np.flatnonzero(outside).tolist()
    )
