"""The duties of the kernel, checked when it does what it decides.

Who must be woken, who may not be served, who is chosen, what a lock guards, what must be flushed
before a frame goes back, what must be counted. Each rule has a file; here is when it is asked.
Interface: `Duties` is an observer; its `problems` are read at a look. `check_duties` has the rules
that hold at any moment.
Units: pages, virtual page numbers, ns.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Final

import numpy as np
from numpy.typing import NDArray

from kernelsim.actors.core.kernel import Kernel
from kernelsim.actors.messages.node import AllocPages
from kernelsim.actors.messages.oom_killer import OutOfMemory
from kernelsim.actors.parts.observer import Asker, Observer
from kernelsim.check.aging import Judgement, Scan
from kernelsim.check.balance import wrong_node, wrong_silence, wrong_sleep, wrong_zone
from kernelsim.check.commitment import check_commitment
from kernelsim.check.flight import check_flight
from kernelsim.check.lru import count_by_node
from kernelsim.check.lru_gen import Oldest
from kernelsim.check.marks import check_lists, check_marks, longest_lists
from kernelsim.check.refaults import Refaults
from kernelsim.check.requests import burst_context
from kernelsim.check.sums import Ledger, check_sums
from kernelsim.check.tables import Tables
from kernelsim.check.times import Times, check_times
from kernelsim.check.translations import Frames, check_tlbs
from kernelsim.check.turns import check_turns, wrong_pick, wrong_queueing
from kernelsim.check.victim import wrong_victim
from kernelsim.check.watermarks import lowest_allowed, wrong_block, wrong_grant
from kernelsim.fs.inode import Inode
from kernelsim.mm.burst.columns import R_ALLOC_FLAGS
from kernelsim.mm.burst.watch import Watch
from kernelsim.mm.core.mem import (
    I64,
    LRU_INACTIVE_FILE,
    Z_FREE,
    Z_NID,
    Z_WMARK_LOW,
    Z_WMARK_MIN,
    Mem,
    PG_active,
    PG_dirty,
    PG_locked,
    PG_lru,
    PG_reclaim,
    PG_unevictable,
    zones_of,
)
from kernelsim.mm.file.dirty_limits import node_dirty_ok
from kernelsim.mm.page.alloc_context import AllocContext
from kernelsim.mm.page.gfp import Gfp
from kernelsim.mm.page.page_alloc import ALLOC_NO_WATERMARKS
from kernelsim.mm.space.mm_struct import MmStruct
from kernelsim.sched.fair import SchedEntity

ROTATED_OF: Final = PG_lru | PG_reclaim | PG_locked | PG_dirty | PG_unevictable
PROBLEMS_MAX: Final = 100  # kept until the next look


class Duties(Observer):
    """Listens to what the kernel decides, and notes what is against its rules.

    Args:
        kernel: The machine.

    Attributes:
        problems: What was against a rule.
        ledger: What was handed out, given back and reclaimed.
        frames: Where frames were mapped at the last look.
        times: What CPU time tasks had.
        longest: Most pages of each zone that a CPU could have on its lists so far.
    """

    def __init__(self, kernel: Kernel) -> None:
        self.problems: list[str] = []
        self.ledger = Ledger(kernel.mem, kernel.phys.tunables)
        self.frames = Frames(kernel)
        self.times = Times()
        self.longest = longest_lists(kernel.mem)
        self._kernel = kernel
        self._guarded = kernel.mem.zone[:, Z_FREE].copy()
        self._judgement: Judgement | None = None
        self._caching: tuple[I64, NDArray[np.bool_]]  # pages, and which of them are remembered
        self._refaults = Refaults(kernel)
        self._scan: Scan
        self._oldest: Oldest
        self._refused: dict[str, list[int]] = {}
        self._asked: dict[str, tuple[int, int]] = {}  # zone and floor, by the task

    def asks(
        self,
        task: Asker,
        context: AllocContext,
        zone: int,
        mark: int,
        alloc_flags: int,
        floor: int,
    ) -> None:
        """Compare which zone a request goes to, and how far down, with what it may."""
        mem = self._kernel.mem
        self._asked[task.name] = (zone, floor)
        self.times.asks_zone(task.name, self._kernel.engine.now_ns)
        lowest = partial(lowest_allowed, mem, task, context, mark=mark, alloc_flags=alloc_flags)
        if floor < lowest(zone):
            self.note(
                f"{task.name} may take zone {zone} down to {lowest(zone)} free pages with "
                f"alloc_flags {alloc_flags:#x}, and means to go to {floor}"
            )
        free = int(mem.zone[zone, Z_FREE])
        if free <= floor:
            stop = f"{free} are free, and it had to stop at {floor}"
            self.note(f"{task.name} asks zone {zone} for a page: {stop}")
        if not alloc_flags & ALLOC_NO_WATERMARKS:  # else it may have what is left on any node
            self.note(wrong_node(self._kernel, task.pid, context, zone))
        open_zones = self._open_zones(context, mark)
        self.note(self._wrong_choice(task.pid, open_zones, zone, lowest))

    def _open_zones(self, context: AllocContext, mark: int) -> list[int]:
        """Return the zones a request may try: above low, a write avoids nodes with much dirty."""
        kernel = self._kernel
        if mark != Z_WMARK_LOW or Gfp.WRITE not in context.gfp:
            return list(context.zonelist)
        nid_of_zone = kernel.mem.zone[:, Z_NID].tolist()
        return [zone for zone in context.zonelist if node_dirty_ok(kernel.phys, nid_of_zone[zone])]

    def _wrong_choice(
        self, pid: int, zonelist: Sequence[int], zone: int, lowest: Callable[[int], int]
    ) -> str:
        """Say whether a request passes a zone by that has not just refused it."""
        entry = self._kernel.processes.get(pid)
        if entry is None:
            return ""
        refused = self._refused.get(entry.task.cpu.name, [])
        left = [other for other in zonelist if other not in refused or other == zone]
        return wrong_zone(left, zone, self._kernel.mem.zone[:, Z_FREE], lowest)

    def passed(self, cpu: str, zones: Sequence[int]) -> None:
        """Note which zones a request need not come back to."""
        self._refused.setdefault(cpu, []).extend(zones)

    def granted(self, request: AllocPages, nr: int, nr_refills: int) -> None:
        """Enter pages that were handed out, those beyond the first above the request's mark.

        The first was asked for above it; others may have taken theirs while it waited for the lock.
        """
        cpu = self._kernel.cpus[request.cpu]
        asker = str(cpu.state.current) if request.user == cpu.name else request.user
        self.times.has_zone(asker, self._kernel.engine.now_ns)
        zone, floor = self._asked.get(asker, (request.zone, request.floor))
        if request.zone != zone or request.floor < floor:
            self.note(
                f"{asker} may take zone {zone} down to {floor} free pages, and asked "
                f"for zone {request.zone} down to {request.floor}"
            )
        if nr:
            nid = cpu.nid
            self.ledger.took(request.zone, nid, request.preferred_nid, nr)
            self._refused.pop(request.user, None)
        else:
            self._refused.setdefault(request.user, []).append(request.zone)
        problem = wrong_grant(self._kernel.mem, request, nr, nr_refills) if nr > 1 else ""
        if problem:
            self.note(f"{request.user} got {nr} pages of zone {request.zone}: {problem}")

    def asks_block(
        self, task: Asker, context: AllocContext, zone: int, order: int, mark: int, alloc_flags: int
    ) -> None:
        """Compare how far down a request for a block means to take a zone with what it may."""
        self.note(wrong_block(self._kernel.mem, task, context, zone, order, mark, alloc_flags))
        if not alloc_flags & ALLOC_NO_WATERMARKS:
            self.note(wrong_node(self._kernel, task.pid, context, zone))

    def took_block(self, zone: int, order: int, cpu_nid: int, preferred_nid: int) -> None:
        """Enter a block that was handed out."""
        self.ledger.took(zone, cpu_nid, preferred_nid, 1, order)

    def isolated_free(self, zone: int, nr: int) -> None:
        """Enter free pages that were taken for compaction."""
        self.ledger.isolated[zone] += nr

    def freed(self, pfns: I64) -> None:
        """Enter frames that go back; no TLB may have them."""
        self.longest = np.maximum(self.longest, longest_lists(self._kernel.mem))
        zones = zones_of(self._kernel.mem, pfns)
        np.add.at(self.ledger.freed, zones[zones >= 0], 1)
        for problem in self.frames.give_back(pfns):
            self.note(problem)

    def activated(self, nr: int) -> None:
        """Enter pages that go to the active list without an event."""
        self.ledger.quietly_active += nr

    def activates(self, pfns: I64) -> None:
        """Enter pages that are on an inactive list and go to the active one."""
        flags = self._kernel.mem.pages.flags[pfns] & np.uint32(PG_lru | PG_active | PG_unevictable)
        self.ledger.activated += int(np.count_nonzero(flags == PG_lru))

    def short(self, task: Asker, context: AllocContext) -> None:
        """Find a kswapd that should have been woken."""
        self.note(wrong_silence(self._kernel, self._kernel.mem, task.name, context))

    def falls_asleep(self, nid: int, highest_zoneidx: int) -> None:
        """Find a kswapd that has not done its work."""
        self.note(wrong_sleep(self._kernel, nid, highest_zoneidx))

    def kills(self, pid: int, message: OutOfMemory) -> None:
        """Compare the victim with the one that must be chosen."""
        self.note(wrong_victim(self._kernel, pid, message))

    def judges(self, pfns: I64, *, may_unmap: bool = True) -> None:
        """Note what is known of pages before they are judged."""
        self._judgement = Judgement(self._kernel, pfns, may_unmap=may_unmap)

    def judged(self, cpu: str, *, is_scan: bool = True) -> None:
        """Compare what became of them with what must; only what a scan takes counts as stolen."""
        judgement, self._judgement = self._judgement, None
        assert judgement is not None, "it has been told which pages are judged"
        for problem in judgement.outcome():
            self.note(problem)
        if is_scan:
            self.ledger.stolen[int(self._is_kswapd_on(cpu))] += judgement.stolen()
        activated, deactivated = judgement.moved()
        self.ledger.activated += activated
        self.ledger.deactivated += deactivated

    def scans(self, nid: int, lru: int) -> None:
        """Note which page has to be looked at first."""
        self._scan = Scan(self._kernel, nid, lru)

    def isolates(self, cpu: str, lru: int, nr_scanned: int) -> None:
        """Enter pages that were looked at."""
        self.note(self._scan.outcome(nr_scanned))
        if lru & 1:
            self.ledger.refilled += nr_scanned
        else:
            is_file = int(lru >= LRU_INACTIVE_FILE)
            self.ledger.scanned[int(self._is_kswapd_on(cpu)), is_file] += nr_scanned

    def switches_lru(self) -> None:
        """Note that the multi-generational LRU is switched on or off."""
        self.ledger.had_generations = True

    def ages(self, nid: int) -> None:
        """Note which generation each page is of."""
        self._oldest = Oldest(self._kernel.mem, nid)

    def evicts(self, cpu: str, file: int, pfns: I64, nr_sorted: int) -> None:
        """Enter pages that were taken off the lists of the oldest generation, or moved."""
        self.note(self._oldest.outcome(file, pfns))
        self.ledger.scanned[int(self._is_kswapd_on(cpu)), file] += len(pfns)
        self.ledger.refilled += nr_sorted

    def written(self, pfns: I64) -> None:
        """Enter them, and those that go to the tail of their lists, since reclaim wants them."""
        self.ledger.written += count_by_node(self._kernel.mem, pfns)
        flags = self._kernel.mem.pages.flags[pfns] & np.uint32(ROTATED_OF)
        self.ledger.rotated += int(np.count_nonzero(flags == PG_lru | PG_reclaim))

    def reads(self, slots: I64, pfns: I64) -> None:
        """Enter pages whose eviction is remembered."""
        again = self._refaults.of_swap(slots, pfns)
        self.ledger.refaults += count_by_node(self._kernel.mem, again)

    def caches(self, inode: Inode, index: int, pfns: I64) -> None:
        """Note which places of a file remember an eviction, before it gets pages there."""
        self._caching = pfns, self._refaults.of_file(inode, index, pfns)

    def cached(self, nr: int) -> None:
        """Enter those that came to such a place."""
        pfns, is_remembered = self._caching
        again = pfns[:nr][is_remembered[:nr]]
        self.ledger.refaults += count_by_node(self._kernel.mem, again)

    def _is_kswapd_on(self, name: str) -> bool:
        kernel = self._kernel
        [task] = [cpu.state.current for cpu in kernel.cpus if cpu.name == name]
        return task is not None and task in [f"kswapd{nid}" for nid in range(len(kernel.nodes))]

    def locks(self, server: int) -> None:
        """Find pages that moved between CPUs' lists and zones before the lock was granted."""
        if server < len(self._guarded):
            self.find_unguarded()

    def unlocks(self, server: int) -> None:
        """Note what the lock has guarded."""
        if server < len(self._guarded):  # pages of a node are freed under one of its locks
            zones = self._kernel.mem.zone
            own = zones[:, Z_NID] == zones[server, Z_NID]
            self._guarded[own] = zones[own, Z_FREE]

    def looks(self) -> None:
        """Find changes of zones before CPUs go on, and enter all they do by the same tunables."""
        self.find_unguarded()
        self.ledger.follow_tunables()

    def find_unguarded(self) -> None:
        """Find zones whose free pages changed while zone->lock was not held for it."""
        free = self._kernel.mem.zone[:, Z_FREE]
        if free.tobytes() == self._guarded.tobytes():  # the quick way for so few numbers
            return
        for zone in np.flatnonzero(free != self._guarded).tolist():
            self.note(
                f"zone {zone}: free pages went from {self._guarded[zone]} to {free[zone]} without "
                "zone->lock"
            )
        self._guarded[:] = free

    def steps(self, watch: Watch, tasks: Mapping[int, Asker]) -> None:
        """Find what CPUs did in compiled code against the rules."""
        kernel = self._kernel
        for cpu, wanted, zone in np.argwhere(watch.took).tolist():
            context = burst_context(kernel, cpu, wanted, tasks[cpu].pid)
            nr = int(watch.took[cpu, wanted, zone])
            self.ledger.took(zone, kernel.cpus[cpu].nid, context.preferred_nid, nr)
        mem = kernel.mem._replace(zone=watch.zone)
        for cpu, wanted, zone, *free in watch.chosen[1 : 1 + watch.chosen[0, 0]].tolist():
            mem.zone[:, Z_FREE] = free
            flags = int(kernel.burst.request[cpu, wanted, R_ALLOC_FLAGS])
            context = burst_context(kernel, cpu, wanted, tasks[cpu].pid)
            self._check_burst_choice(mem, tasks[cpu], context, zone, flags)
        self._guarded[:] = watch.guarded
        self.find_unguarded()

    def _check_burst_choice(
        self, mem: Mem, task: Asker, context: AllocContext, zone: int, flags: int
    ) -> None:
        """Check which zone a fault gets its page from, by how the zones stood when it chose.

        Args:
            mem: Those zones.
            task: Whose fault it is.
            context: What it wants.
            zone: What it chose.
            flags: ALLOC_* it may use below low.
        """
        kernel, free = self._kernel, mem.zone[:, Z_FREE]
        self.note(wrong_node(kernel, task.pid, context, zone))
        low = partial(lowest_allowed, mem, task, context, mark=Z_WMARK_LOW, alloc_flags=0)
        if any(int(free[other]) > low(other) for other in context.zonelist):
            self.note(wrong_zone(context.zonelist, zone, free, low))
            return
        self.note(wrong_silence(kernel, mem, task.name, context))
        least = partial(lowest_allowed, mem, task, context, mark=Z_WMARK_MIN, alloc_flags=flags)
        self.note(wrong_zone(context.zonelist, zone, free, least))

    def queued(self, cpu: int, entity: SchedEntity, *, wakeup: bool) -> None:
        """Find a task that should take the CPU and does not."""
        self.note(wrong_queueing(self._kernel.cpus[cpu], entity, wakeup=wakeup))

    def picked(self, cpu: int, entity: SchedEntity) -> None:
        """Find a task that gets the CPU though it is another one's turn."""
        self.note(wrong_pick(self._kernel.cpus[cpu], entity))

    def wants_cpu(self, task: str) -> None:
        """Note when a task asks for a CPU."""
        self.times.wants(task, self._kernel.engine.now_ns)

    def has_cpu(self, task: str, at_ns: int) -> None:
        """Note from when on it has it."""
        self.times.runs(task, at_ns)

    def leaves_cpu(self, task: str) -> None:
        """Note when it leaves."""
        self.times.leaves(task, self._kernel.engine.now_ns)

    def note(self, text: str) -> None:
        """Keep what is wrong until the next look; an empty text is nothing wrong."""
        if text and len(self.problems) < PROBLEMS_MAX:
            self.problems.append(f"{text}, at {self._kernel.engine.now_ns} ns")


def check_duties(
    kernel: Kernel, duties: Duties, tables: Tables, is_leaving: Callable[[MmStruct, int], bool]
) -> list[str]:
    """Return what is against the rules that hold at any moment, and what was before, one line each.

    Args:
        kernel: The machine.
        duties: What has listened from the start.
        tables: What all page tables say.
        is_leaving: Whether a process is in the middle of unmapping a page, or ends.
    """
    duties.find_unguarded()
    lines = list(duties.problems)
    lines += check_flight(kernel)
    lines += check_sums(kernel, duties.ledger)
    lines += check_tlbs(kernel, tables, is_leaving)
    lines += [*check_turns(kernel), *check_marks(kernel)]
    lines += check_lists(kernel, duties.longest)
    lines += check_times(kernel, duties.times)
    lines += check_commitment(kernel)
    duties.frames.note(tables)
    return lines
