"""The OOM killer: when reclaim gets nowhere, kill the process with the most to give.

Linux: mm/oom_kill.c: out_of_memory, oom_kill_process, mark_oom_victim, queue_oom_reaper, 6.1.
Owns: the choice of a victim.
Interface: ask `OutOfMemory`; the answer says whether a process is dying. The asker tries again
a moment later, or dies if it was the victim itself. A victim that does not die in time is the
business of space/oom_reaper.py.
"""

from typing import Any, Final

from kernelsim.actors.alloc.mem_info import mem_info
from kernelsim.actors.core.kernel import (
    KERN_EMERG,
    KERN_ERR,
    KERN_INFO,
    KERN_WARNING,
    PANIC,
    Kernel,
)
from kernelsim.actors.core.process_table import ProcessEntry
from kernelsim.actors.core.ratelimit import RateLimit
from kernelsim.actors.core.signal import SIGKILL, send_signal
from kernelsim.actors.messages.oom_killer import OutOfMemory
from kernelsim.actors.messages.oom_reaper import ReapLater
from kernelsim.actors.tracing import trace
from kernelsim.config.number_list import format_number_list
from kernelsim.mm.core.mem import Z_MANAGED, Z_NID, Z_PRESENT
from kernelsim.mm.core.vmstat import OOM_KILL
from kernelsim.mm.page.gfp import Gfp
from kernelsim.mm.reclaim.oom_kill import (
    GLOBAL_INIT_PID,
    OomConstraint,
    OomTask,
    check_panic_on_oom,
    constrained_alloc,
    dump_tasks,
    invoked_line,
    killed_line,
    oom_badness,
    oom_eligible,
    oom_kill_line,
    select_bad_process,
    stack_lines,
)
from kernelsim.sim.actor import Actor
from kernelsim.trace.oom import mark_victim
from kernelsim.units import KIB, NS_PER_S, PAGE_SIZE

KILLED_ALLOCATING_TASK: Final = "Out of memory (oom_kill_allocating_task)"
OOM_REAPER_DELAY_NS: Final = 2 * NS_PER_S  # mm/oom_kill.c: 2*HZ


class OomKiller(Actor):
    """The actor that picks victims, one at a time.

    Args:
        kernel: The machine.
    """

    def __init__(self, kernel: Kernel) -> None:
        super().__init__("oom_killer")
        self._kernel = kernel
        self._reports = RateLimit()

    def receive(self, message: Any) -> bool:  # noqa: ANN401 - an OutOfMemory
        """Kill a process, unless a victim is still on its way out; False if none is left.

        Source: Linux 6.1 mm/oom_kill.c:out_of_memory
        """
        assert isinstance(message, OutOfMemory)
        kernel = self._kernel
        asking = kernel.processes.get(message.pid)
        if asking is not None and self._will_free_mem(asking):
            self._mark_victim(asking)
            self._queue_oom_reaper(asking)
            return True
        if not message.gfp & Gfp.FS:  # what may not enter file systems has not reclaimed all
            return True
        constraint = self._constraint(message)
        last_words = check_panic_on_oom(kernel.sysctl.vm_panic_on_oom, constraint.name)
        if last_words is not None:
            self._dump_header(message, constraint)
            return self._panic(last_words)
        if kernel.sysctl.vm_oom_kill_allocating_task and asking is not None:
            own = asking.oom_task(kernel.mms)
            if oom_eligible(own, constraint.nodemask) and oom_badness(own, 0) is not None:
                self._oom_kill_process(message, constraint, own, KILLED_ALLOCATING_TASK)
                return True
        tasks = self._tasks()
        selection = select_bad_process(tasks, constraint.totalpages, nodemask=constraint.nodemask)
        if selection.aborted:
            return True
        if selection.chosen is None:
            self._dump_header(message, constraint)
            kernel.printk(KERN_WARNING, "Out of memory and no killable processes...")
            return self._panic("System is deadlocked on memory")
        self._oom_kill_process(message, constraint, selection.chosen)
        return True

    def _tasks(self) -> list[OomTask]:
        kernel = self._kernel
        return [process.oom_task(kernel.mms) for process in kernel.processes.values()]

    def _constraint(self, message: OutOfMemory) -> OomConstraint:
        present: dict[int, int] = {}
        for row in self._kernel.mem.zone:
            if row[Z_MANAGED]:
                nid = int(row[Z_NID])
                present[nid] = present.get(nid, 0) + int(row[Z_PRESENT])
        return constrained_alloc(
            message.nodemask,
            present_pages=present,
            totalram_pages=self._kernel.phys.totalram_pages,
            total_swap_pages=self._kernel.nr_swap_pages,
        )

    def _will_free_mem(self, entry: ProcessEntry) -> bool:
        """Return whether a process is dying, and with it all that share its address space.

        Source: Linux 6.1 mm/oom_kill.c:task_will_free_mem
        """
        if entry.has_ended() or entry.mm.oom_skip:
            return False
        return all(each.must_die() or each.has_ended() for each in (entry, *self._sharing(entry)))

    def _sharing(self, entry: ProcessEntry) -> list[ProcessEntry]:
        """Return the other processes that live in the address space of one."""
        if entry.mm.mm_users == 1:
            return []
        return [
            each
            for each in self._kernel.processes.values()
            if each.mm is entry.mm and each is not entry
        ]

    def _oom_kill_process(
        self,
        message: OutOfMemory,
        constraint: OomConstraint,
        victim: OomTask,
        why: str = "Out of memory",
    ) -> None:
        """Kill a task, and report it unless it is dying anyway.

        Source: Linux 6.1 mm/oom_kill.c:oom_kill_process
        """
        kernel = self._kernel
        kernel.observer.kills(victim.pid, message)
        entry = kernel.processes[victim.pid]
        if self._will_free_mem(entry):
            self._mark_victim(entry)
            self._queue_oom_reaper(entry)
            return
        allowed, suppressed = self._reports.allows(self.engine.now_ns)
        if suppressed:
            line = f"oom_kill_process: {suppressed} callbacks suppressed"
            kernel.printk(KERN_WARNING, line)
        if allowed:
            self._dump_header(message, constraint)
            self._dump_oom_summary(victim, constraint)
        self._kill(entry, victim, why)

    def _kill(self, entry: ProcessEntry, victim: OomTask, why: str) -> None:
        """Kill a process and all that share its memory.

        Source: Linux 6.1 mm/oom_kill.c:__oom_kill_process
        """
        kernel = self._kernel
        kernel.mem.vm_event[OOM_KILL] += 1
        send_signal(kernel, entry, SIGKILL)
        self._mark_victim(entry)
        kernel.printk(KERN_ERR, killed_line(victim, why))
        can_oom_reap = True
        for other in self._sharing(entry):
            if other.pid == GLOBAL_INIT_PID:
                can_oom_reap = False
                entry.mm.oom_skip = True
                pinned = f"has mm pinned by {other.pid} ({other.comm})"
                kernel.printk(KERN_INFO, f"oom killer {entry.pid} ({entry.comm}) {pinned}")
            else:
                send_signal(kernel, other, SIGKILL)
        if can_oom_reap:
            self._queue_oom_reaper(entry)

    def _queue_oom_reaper(self, entry: ProcessEntry) -> None:
        """Give a victim time to die by itself.

        Source: Linux 6.1 mm/oom_kill.c:queue_oom_reaper
        """
        if entry.mm.oom_reap_queued:
            return
        entry.mm.oom_reap_queued = True
        due_ns = self.engine.now_ns + OOM_REAPER_DELAY_NS
        self._kernel.oom_reaper.tell(ReapLater(entry.pid, due_ns))

    def _dump_header(self, message: OutOfMemory, constraint: OomConstraint) -> None:
        """Report who asked, what memory there is, and who has it.

        Source: Linux 6.1 mm/oom_kill.c:dump_header
        """
        kernel, spec = self._kernel, self._kernel.spec
        asking = kernel.processes.get(message.pid)
        adj = 0 if asking is None else asking.oom_score_adj
        comm = message.task.rpartition("-")[0] if asking is None else asking.comm
        stack = stack_lines(
            comm, message.pid, cpu=message.cpu, release=spec.era.release, machine=spec.name
        )
        kernel.printk(
            KERN_WARNING,
            invoked_line(comm, message.gfp, order=message.order, oom_score_adj=adj),
            *stack,
            *mem_info(kernel, message.cpu, message.gfp, constraint.nodemask),
        )
        if kernel.sysctl.vm_oom_dump_tasks:
            kernel.printk(KERN_INFO, *dump_tasks(self._tasks(), constraint.nodemask))

    def _dump_oom_summary(self, victim: OomTask, constraint: OomConstraint) -> None:
        kernel = self._kernel
        with_memory = {int(row[Z_NID]) for row in kernel.mem.zone if row[Z_MANAGED]}
        summary = oom_kill_line(
            victim,
            mems_allowed=format_number_list(with_memory),
            constraint=constraint.name,
            nodemask=format_number_list(constraint.nodemask or ()),
        )
        kernel.printk(KERN_INFO, summary)

    def _mark_victim(self, entry: ProcessEntry) -> None:
        """Count on a process's memory, and let it use the reserves to die.

        Source: Linux 6.1 mm/oom_kill.c:mark_oom_victim
        """
        if entry.task.oom_victim:
            return
        entry.task.oom_victim = True
        victim = entry.oom_task(self._kernel.mms)
        kb = PAGE_SIZE // KIB
        point = mark_victim(
            pid=victim.pid,
            comm=victim.comm,
            total_vm=victim.total_vm * kb,
            anon_rss=victim.rss_anon * kb,
            file_rss=victim.rss_file * kb,
            shmem_rss=victim.rss_shmem * kb,
            uid=victim.uid,
            pgtables=victim.pgtables_bytes // KIB,
            oom_score_adj=victim.oom_score_adj,
        )
        trace(self, point)

    def _panic(self, why: str) -> bool:
        self._kernel.printk(KERN_EMERG, f"Kernel panic - not syncing: {why}")
        self.engine.stop(why, state=PANIC)
        return False
