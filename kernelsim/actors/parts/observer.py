"""Observers of what processes are told of their stores, and of what the kernel decides.

A checker keeps a record of its own from them and compares the machine with that.
Unless checking is on the observer does nothing; it never changes a thing or takes virtual time.
Interface: `Kernel.observe` seats one; each call says what has just happened, or is about to.
Units: pages, virtual page numbers.
"""

from collections.abc import Mapping, Sequence
from typing import Protocol

from kernelsim.actors.messages.node import AllocPages
from kernelsim.actors.messages.oom_killer import OutOfMemory
from kernelsim.fs.inode import Inode
from kernelsim.mm.burst.watch import Watch
from kernelsim.mm.core.mem import I64, U64
from kernelsim.mm.page.alloc_context import AllocContext
from kernelsim.mm.space.mm_struct import MmStruct
from kernelsim.sched.fair import SchedEntity


class Asker(Protocol):
    """A task that asks for pages, as far as its rights to the reserves go."""

    @property
    def name(self) -> str:
        """Its name in the log."""
        ...

    @property
    def pid(self) -> int:
        """Its number."""
        ...

    @property
    def memalloc(self) -> bool:
        """Whether it reclaims, and may use all reserves."""
        ...

    @property
    def killed(self) -> bool:
        """Whether it is being killed, and may use half of them."""
        ...


class Observer:
    """Listens to nothing: what a machine has unless told otherwise. A checker overrides it all."""

    def begins(self, pid: int, mm: MmStruct, operation: object) -> None:
        """Hear that a process begins what its program asked for."""

    def ends(self, pid: int, operation: object, result: object, token: int) -> None:
        """Hear what a program that lives on is answered, and which token its stores left."""

    def emptied(self, pid: int, first: int, end: int) -> None:
        """Hear that all has gone from pages [first, end)."""

    def moved(self, pid: int, vpn: int, nr: int, new_vpn: int) -> None:
        """Hear that what was in some pages is in others; or all of it back where it was."""

    def forks(self, parent: int, child: MmStruct, vpn: int, end: int) -> None:
        """Hear that a child finds in pages [vpn, end) what its parent does, from now on."""

    def stored(self, pid: int, vpn: int, nr: int, stride: int, token: int) -> None:
        """Hear that the CPU did `nr` stores from `vpn` on, `stride` pages from each other."""

    def loaded(self, pid: int, vpns: I64, total: int) -> None:
        """Hear that the CPU did loads from some pages, and what they read (`read_sum`)."""

    def faulting(self, pid: int, vpn: int, token: int, *, write: bool) -> None:
        """Hear that a process has faulted on a page; a store that waits would leave the token."""

    def served(self, pid: int, nr: int) -> None:
        """Hear that the fault is served, and whether the access is done: 1, or 0."""

    def delivered(self, inode: Inode, index: int, tokens: U64) -> None:
        """Hear what pages of a file from one on held when a program read them."""

    def wrote(self, inode: Inode, index: int, nr: int, token: int) -> None:
        """Hear that a program stored to pages of a file, from one on."""

    def installed(self, inode: Inode) -> None:
        """Hear that a file has come to a device with all its pages."""

    def cuts(self, inode: Inode) -> None:
        """Hear that a file has a new end, and that what is behind it is about to go."""

    def truncated(self, inode: Inode, index: int) -> None:
        """Hear that a file ends before a page."""

    def lost(self, inode: Inode, pages: I64) -> None:
        """Hear which pages of a file a device could not take."""

    def activated(self, nr: int) -> None:
        """Hear how many pages will go from a folio_batch to the active list; no event counts it."""

    def activates(self, pfns: I64) -> None:
        """Hear which pages, used twice, are about to go to the active list, if they still may."""

    def caches(self, inode: Inode, index: int, pfns: I64) -> None:
        """Hear which pages are about to be entered as those of a file from one on."""

    def cached(self, nr: int) -> None:
        """Hear how many of them were, in the same step."""

    def asks(
        self,
        task: Asker,
        context: AllocContext,
        zone: int,
        mark: int,
        alloc_flags: int,
        floor: int,
    ) -> None:
        """Hear down to how many free pages of a zone a request means to go."""

    def passed(self, cpu: str, zones: Sequence[int]) -> None:
        """Hear which zones had too little for the task on a CPU; time may have passed since."""

    def granted(self, request: AllocPages, nr: int, nr_refills: int) -> None:
        """Hear what a request was granted, before anything else happens to the zone."""

    def asks_block(
        self, task: Asker, context: AllocContext, zone: int, order: int, mark: int, alloc_flags: int
    ) -> None:
        """Hear of which zone a request for a block means to take it."""

    def took_block(self, zone: int, order: int, cpu_nid: int, preferred_nid: int) -> None:
        """Hear that a zone has handed out a block, to a CPU of a node."""

    def isolated_free(self, zone: int, nr: int) -> None:
        """Hear how many free pages of a zone were taken for others to be moved to."""

    def freed(self, pfns: I64) -> None:
        """Hear which frames have just gone back to their node."""

    def short(self, task: Asker, context: AllocContext) -> None:
        """Hear that no zone a request may use is above low, and that all were told who must be."""

    def falls_asleep(self, nid: int, highest_zoneidx: int) -> None:
        """Hear that a kswapd goes to sleep after its work for zones up to an index."""

    def kills(self, pid: int, message: OutOfMemory) -> None:
        """Hear whom the OOM killer has chosen for a request."""

    def judges(self, pfns: I64, *, may_unmap: bool = True) -> None:
        """Hear which isolated pages reclaim is about to judge by their use; perhaps none mapped."""

    def judged(self, cpu: str, *, is_scan: bool = True) -> None:
        """Hear that the task on a CPU has done so, in the same step; perhaps with chosen pages."""

    def scans(self, nid: int, lru: int) -> None:
        """Hear that pages are about to be isolated from a list."""

    def isolates(self, cpu: str, lru: int, nr_scanned: int) -> None:
        """Hear how many pages of a list the task on a CPU has looked at to isolate some."""

    def switches_lru(self) -> None:
        """Hear that the multi-generational LRU is switched on or off."""

    def ages(self, nid: int) -> None:
        """Hear that the oldest pages of a node are about to be isolated."""

    def evicts(self, cpu: str, file: int, pfns: I64, nr_sorted: int) -> None:
        """Hear which pages, of files or anonymous, were; and how many were moved instead."""

    def written(self, pfns: I64) -> None:
        """Hear whose writing ends: of pages that were written right before, else right after."""

    def reads(self, slots: I64, pfns: I64) -> None:
        """Hear which slots are about to be entered in the swap cache, and in which pages."""

    def locks(self, server: int) -> None:
        """Hear that a node's lock is granted; nothing has been done under it."""

    def unlocks(self, server: int) -> None:
        """Hear that all is done under it."""

    def looks(self) -> None:
        """Hear that CPUs are about to go on in compiled code."""

    def steps(self, watch: Watch, tasks: Mapping[int, Asker]) -> None:
        """Hear what CPUs did there, and which task runs on each."""

    def queued(self, cpu: int, entity: SchedEntity, *, wakeup: bool) -> None:
        """Hear that a task has to wait for a CPU, and that it is decided whether it preempts."""

    def wants_cpu(self, task: str) -> None:
        """Hear that a task asks for a CPU."""

    def has_cpu(self, task: str, at_ns: int) -> None:
        """Hear from when on a task has it."""

    def leaves_cpu(self, task: str) -> None:
        """Hear that a task leaves it."""

    def picked(self, cpu: int, entity: SchedEntity) -> None:
        """Hear which of the tasks that wait for a CPU is to run; it is still among them."""
