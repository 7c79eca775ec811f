"""The OOM killer: when reclaim gets nowhere, kill the process with the most to give.

Linux: mm/oom_kill.c: out_of_memory, oom_kill_process, mark_oom_victim, 6.1.
# Differs from Linux: The victim of an OOM kill gives its memory back itself on its way out; the
# oom_reaper is not a thread of its own.
Owns: the choice of a victim.
Interface: ask `OutOfMemory`; the answer says whether a process is dying. The asker tries again
a moment later, or dies if it was the victim itself.
"""

from typing import Any

from kernelsim.actors.core.kernel import PANIC, Kernel
from kernelsim.actors.core.signal import SIGKILL, send_signal
from kernelsim.actors.messages.oom_killer import OutOfMemory
from kernelsim.actors.tracing import trace
from kernelsim.config.number_list import format_number_list
from kernelsim.mm.core.mem import Z_MANAGED, Z_NID, Z_PRESENT
from kernelsim.mm.core.vmstat import OOM_KILL
from kernelsim.mm.reclaim.oom_kill import (
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
)
from kernelsim.sim.actor import Actor
from kernelsim.trace.oom import mark_victim
from kernelsim.units import KIB, PAGE_SIZE

KILLED_ALLOCATING_TASK = "Out of memory (oom_kill_allocating_task)"


class OomKiller(Actor):
    """The actor that picks victims, one at a time.

    Args:
        kernel: The machine.
    """

    def __init__(self, kernel: Kernel) -> None:
        super().__init__("oom_killer")
        self._kernel = kernel

    def receive(self, message: Any) -> bool:  # noqa: ANN401 - an OutOfMemory
        """Kill a process, unless a victim is still on its way out; False if none is left.

        Source: Linux 6.1 mm/oom_kill.c:out_of_memory
        """
        assert isinstance(message, OutOfMemory)
        kernel = self._kernel
        asking = kernel.processes.get(message.pid)
        if asking is not None and asking.must_die():
            self._mark_victim(asking.oom_task(kernel.mms))
            return True
        tasks = [process.oom_task(kernel.mms) for process in kernel.processes.values()]
        constraint = self._constraint(message)
        last_words = check_panic_on_oom(kernel.sysctl.vm_panic_on_oom, constraint.name)
        if last_words is not None:
            self._dump_header(message, tasks, constraint)
            return self._panic(last_words)
        if kernel.sysctl.vm_oom_kill_allocating_task and asking is not None:
            own = asking.oom_task(kernel.mms)
            if oom_eligible(own, constraint.nodemask) and oom_badness(own, 0) is not None:
                self._kill(message, tasks, constraint, own, KILLED_ALLOCATING_TASK)
                return True
        selection = select_bad_process(tasks, constraint.totalpages, nodemask=constraint.nodemask)
        if selection.aborted:
            return True
        if selection.chosen is None:
            self._dump_header(message, tasks, constraint)
            return self._panic("Out of memory and no killable processes...")
        self._kill(message, tasks, constraint, selection.chosen)
        return True

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

    def _kill(
        self,
        message: OutOfMemory,
        tasks: list[OomTask],
        constraint: OomConstraint,
        victim: OomTask,
        why: str = "Out of memory",
    ) -> None:
        """Kill a task, and report it unless it is dying anyway.

        Source: Linux 6.1 mm/oom_kill.c:oom_kill_process
        """
        kernel = self._kernel
        kernel.observer.kills(victim.pid, message)
        if victim.will_free_mem:
            self._mark_victim(victim)
            return
        self._dump_header(message, tasks, constraint)
        with_memory = {int(row[Z_NID]) for row in kernel.mem.zone if row[Z_MANAGED]}
        summary = oom_kill_line(
            victim,
            mems_allowed=format_number_list(with_memory),
            constraint=constraint.name,
            nodemask=format_number_list(constraint.nodemask or ()),
        )
        self._log(summary)
        kernel.mem.vm_event[OOM_KILL] += 1
        self._mark_victim(victim)
        self._log(killed_line(victim, why))
        send_signal(kernel, kernel.processes[victim.pid], SIGKILL)

    def _dump_header(
        self, message: OutOfMemory, tasks: list[OomTask], constraint: OomConstraint
    ) -> None:
        asking = self._kernel.processes.get(message.pid)
        adj = 0 if asking is None else asking.oom_score_adj
        comm = message.task if asking is None else asking.comm
        self._log(invoked_line(comm, message.gfp, order=0, oom_score_adj=adj))
        if self._kernel.sysctl.vm_oom_dump_tasks:
            for line in dump_tasks(tasks, constraint.nodemask):
                self._log(line)

    def _mark_victim(self, victim: OomTask) -> None:
        """Count on a task's memory, and let it use the reserves to die.

        Source: Linux 6.1 mm/oom_kill.c:mark_oom_victim
        """
        kernel = self._kernel
        task = kernel.processes[victim.pid].task
        if task.oom_victim:
            return
        task.oom_victim = True
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

    def _log(self, line: str) -> None:
        self._kernel.dmesg.append((self.engine.now_ns, line))

    def _panic(self, why: str) -> bool:
        self._log(f"Kernel panic - not syncing: {why}")
        self.engine.stop(why, state=PANIC)
        return False
