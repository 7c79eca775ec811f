"""The duties of the kernel, checked when it does what it decides.

Who must be woken, who may not be served, who is chosen, what a lock guards, what must be flushed
before a frame goes back, and what must be counted. Each rule is in a file of its own; here is when
it is asked.
Interface: `Duties` is an observer; its `problems` are read at a look. `check_duties` has the rules
that hold at any moment.
Units: pages, virtual page numbers, ns.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Final

import numpy as np

from kernelsim.actors.core.kernel import Kernel
from kernelsim.actors.core.task import Task
from kernelsim.actors.messages.node import AllocPages
from kernelsim.actors.messages.oom_killer import OutOfMemory
from kernelsim.actors.parts.observer import Asker, Observer
from kernelsim.check.aging import Judgement
from kernelsim.check.balance import wrong_node, wrong_silence, wrong_sleep, wrong_zone
from kernelsim.check.flight import check_flight
from kernelsim.check.lru import zones_of
from kernelsim.check.sums import Ledger, check_sums
from kernelsim.check.tables import Tables
from kernelsim.check.translations import Frames, check_tlbs
from kernelsim.check.turns import check_turns, wrong_pick, wrong_queueing
from kernelsim.check.victim import wrong_victim
from kernelsim.check.watermarks import lowest_allowed, wrong_grant
from kernelsim.mm.burst.columns import (
    B_FOR,
    B_PHASE,
    B_TIME,
    B_ZONE,
    CLEAR,
    FOR_TABLE,
    R_ALLOC_FLAGS,
    REFILL,
    TAKE,
)
from kernelsim.mm.core.mem import I64, Z_FREE, Z_NID, Z_WMARK_LOW, Z_WMARK_MIN
from kernelsim.mm.page.alloc_context import AllocContext
from kernelsim.mm.page.gfp import GFP_PGTABLE_USER, GFP_ZEROED_USER_FOLIO
from kernelsim.mm.space.mm_struct import MmStruct
from kernelsim.mm.space.vm_flags import VmFlag
from kernelsim.sched.fair import SchedEntity

PROBLEMS_MAX: Final = 100  # kept until the next look


class Duties(Observer):
    """Listens to what the kernel decides, and notes what is against its rules.

    Args:
        kernel: The machine.

    Attributes:
        problems: What was against a rule.
        ledger: What was handed out, given back and reclaimed.
        frames: Where frames were mapped at the last look.
    """

    def __init__(self, kernel: Kernel) -> None:
        self.problems: list[str] = []
        self.ledger = Ledger(kernel.mem, kernel.phys.tunables)
        self.frames = Frames(kernel)
        self._kernel = kernel
        self._guarded = kernel.mem.zone[:, Z_FREE].copy()
        self._judgement: Judgement | None = None
        self._refused: dict[str, list[int]] = {}

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
        lowest = partial(lowest_allowed, mem, task, context, mark=mark, alloc_flags=alloc_flags)
        if floor < lowest(zone):
            self.note(
                f"{task.name} may take zone {zone} down to {lowest(zone)} free pages with "
                f"alloc_flags {alloc_flags:#x}, and means to go to {floor}"
            )
        free = int(mem.zone[zone, Z_FREE])
        if free <= floor:
            self.note(
                f"{task.name} asks zone {zone} for a page: {free} are free, and it had to stop at "
                f"{floor}"
            )
        self.note(wrong_node(self._kernel, task.pid, context, zone))
        self.note(self._wrong_choice(task.pid, context.zonelist, zone, lowest))

    def _wrong_choice(
        self, pid: int, zonelist: tuple[int, ...], zone: int, lowest: Callable[[int], int]
    ) -> str:
        """Say whether a request passes a zone by that has not just refused it."""
        entry = self._kernel.processes.get(pid)
        if entry is None:
            return ""
        refused = self._refused.get(entry.task.cpu.name, [])
        left = [other for other in zonelist if other not in refused or other == zone]
        return wrong_zone(left, zone, self._kernel.mem.zone[:, Z_FREE], lowest)

    def granted(self, request: AllocPages, nr: int, nr_refills: int) -> None:
        """Enter pages that were handed out, those beyond the first above the request's mark.

        The first was asked for above it; others may have taken theirs while it waited for the lock.
        """
        if nr:
            nid = self._kernel.cpus[request.cpu].nid
            self.ledger.took(request.zone, nid, request.preferred_nid, nr)
            self._refused.pop(request.user, None)
        else:
            self._refused.setdefault(request.user, []).append(request.zone)
        problem = wrong_grant(self._kernel.mem, request, nr, nr_refills) if nr > 1 else ""
        if problem:
            self.note(f"{request.user} got {nr} pages of zone {request.zone}: {problem}")

    def freed(self, pfns: I64) -> None:
        """Enter frames that go back; no TLB may have them."""
        zones = zones_of(self._kernel.mem, pfns)
        np.add.at(self.ledger.freed, zones[zones >= 0], 1)
        for problem in self.frames.give_back(pfns):
            self.note(problem)

    def activated(self, nr: int) -> None:
        """Enter pages that go to the active list without an event."""
        self.ledger.activated += nr

    def short(self, task: Asker, context: AllocContext) -> None:
        """Find a kswapd that should have been woken."""
        problem = wrong_silence(self._kernel, context)
        if problem:
            self.note(f"{task.name}: {problem}")

    def falls_asleep(self, nid: int, highest_zoneidx: int) -> None:
        """Find a kswapd that has not done its work."""
        self.note(wrong_sleep(self._kernel, nid, highest_zoneidx))

    def kills(self, pid: int, message: OutOfMemory) -> None:
        """Compare the victim with the one that must be chosen."""
        self.note(wrong_victim(self._kernel, pid, message))

    def judges(self, pfns: I64) -> None:
        """Note what is known of pages before they are judged."""
        self._judgement = Judgement(self._kernel, pfns)

    def judged(self, *, is_kswapd: bool) -> None:
        """Compare what became of them with what must."""
        assert self._judgement is not None, "it has been told which pages are judged"
        for problem in self._judgement.outcome():
            self.note(problem)
        self.ledger.stolen[int(is_kswapd)] += self._judgement.stolen()
        self._judgement = None

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
        """Find changes of zones before a CPU takes an event."""
        self.find_unguarded()

    def find_unguarded(self) -> None:
        """Find zones whose free pages changed while zone->lock was not held for it."""
        free = self._kernel.mem.zone[:, Z_FREE]
        if (free == self._guarded).all():
            return
        for zone in np.flatnonzero(free != self._guarded).tolist():
            self.note(
                f"zone {zone}: free pages went from {self._guarded[zone]} to {free[zone]} without "
                "zone->lock"
            )
        self._guarded[:] = free

    def steps(self, cpu: int, before: I64) -> None:
        """Find what a CPU did in compiled code against the rules."""
        kernel = self._kernel
        after, was = kernel.burst.run[cpu], int(before[B_PHASE])
        zone, phase = int(after[B_ZONE]), int(after[B_PHASE])
        if phase == TAKE:
            self._check_burst_choice(cpu, zone)
        if was in (TAKE, REFILL) and phase == CLEAR:
            context = self._context_of(cpu)
            self.ledger.took(zone, kernel.cpus[cpu].nid, context.preferred_nid, 1)
        if was == REFILL or (was == TAKE and after[B_TIME] > before[B_TIME]):  # under zone->lock
            self.unlocks(int(before[B_ZONE]))
        self.find_unguarded()

    def _task_on(self, cpu: int) -> Task:
        name = self._kernel.cpus[cpu].state.current
        [task] = [e.task for e in self._kernel.processes.values() if e.task.name == name]
        return task

    def _context_of(self, cpu: int) -> AllocContext:
        """Return what the page is allocated by that a CPU asks for in a burst."""
        kernel = self._kernel
        policy = kernel.processes[self._task_on(cpu).pid].policy
        is_table = kernel.burst.run[cpu, B_FOR] == FOR_TABLE
        gfp = GFP_PGTABLE_USER if is_table else GFP_ZEROED_USER_FOLIO
        return kernel.alloc_contexts.get(kernel.cpus[cpu].nid, policy, gfp)

    def _check_burst_choice(self, cpu: int, zone: int) -> None:
        """Check which zone a fault gets its page from; free pages are those it has found."""
        kernel, task = self._kernel, self._task_on(cpu)
        context = self._context_of(cpu)
        self.note(wrong_node(kernel, task.pid, context, zone))
        free, mem = self._guarded, kernel.mem
        low = partial(lowest_allowed, mem, task, context, mark=Z_WMARK_LOW, alloc_flags=0)
        if any(int(free[other]) > low(other) for other in context.zonelist):
            self.note(wrong_zone(context.zonelist, zone, free, low))
            return
        self.short(task, context)
        wanted = kernel.burst.run[cpu, B_FOR]
        flags = int(kernel.burst.request[cpu, wanted, R_ALLOC_FLAGS])
        least = partial(lowest_allowed, mem, task, context, mark=Z_WMARK_MIN, alloc_flags=flags)
        self.note(wrong_zone(context.zonelist, zone, free, least))

    def queued(self, cpu: int, entity: SchedEntity, *, wakeup: bool) -> None:
        """Find a task that should take the CPU and does not."""
        self.note(wrong_queueing(self._kernel.cpus[cpu], entity, wakeup=wakeup))

    def picked(self, cpu: int, entity: SchedEntity) -> None:
        """Find a task that gets the CPU though it is another one's turn."""
        self.note(wrong_pick(self._kernel.cpus[cpu], entity))

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
    lines += check_turns(kernel)
    lines += check_commitment(kernel)
    duties.frames.note(tables)
    return lines


def check_commitment(kernel: Kernel) -> Iterator[str]:
    """Compare what is promised with the mappings that were promised memory."""
    promised = 0
    for number, mm in sorted(kernel.mms.by_number.items()):
        areas = list(mm.map)
        promised += sum(vma.nr_pages for vma in areas if vma.flags & VmFlag.VM_ACCOUNT)
        mapped = sum(vma.nr_pages for vma in areas)
        if mapped != mm.total_vm:
            yield f"mm {number}: total_vm is {mm.total_vm}, its mappings have {mapped} pages"
    counted = kernel.mms.commit.committed_pages
    if counted != promised:
        yield f"Committed_AS is {counted} pages, mappings were promised {promised}"
