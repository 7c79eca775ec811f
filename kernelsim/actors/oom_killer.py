"""The OOM killer: when reclaim gets nowhere, kill the process with the most to give.

Linux: mm/oom_kill.c: out_of_memory, select_bad_process, oom_kill_process, oom_reaper, 6.1.
# Differs from Linux: the victim gives its memory back itself on its way out; the oom_reaper is not
# a thread of its own.
Interface: ask `OutOfMemory`; the answer says whether somebody is dying. The asker tries again
a moment later, or dies if it was the victim itself.
"""

from typing import Any

import attrs

from kernelsim.actors.kernel import Kernel
from kernelsim.mm.gfp import Gfp
from kernelsim.mm.oom_kill import (
    OomTask,
    dump_tasks,
    invoked_line,
    killed_line,
    oom_kill_line,
    select_bad_process,
)
from kernelsim.mm.vmstat import OOM_KILL
from kernelsim.sim.actor import Actor
from kernelsim.trace.oom import mark_victim
from kernelsim.units import KIB, PAGE_SIZE


@attrs.frozen
class OutOfMemory:
    """A request found nothing to reclaim.

    Attributes:
        gfp: Bits of the request.
        task: Who asks.
        pid: Its pid.
    """

    gfp: Gfp
    task: str
    pid: int


class OomKiller(Actor):
    """The actor that picks victims, one at a time.

    Args:
        kernel: The machine.
    """

    def __init__(self, kernel: Kernel) -> None:
        super().__init__("oom_killer")
        self._kernel = kernel

    def receive(self, message: Any) -> bool:  # noqa: ANN401 - an OutOfMemory
        """Kill somebody, unless a victim is still on its way out; False if nobody is left."""
        assert isinstance(message, OutOfMemory)
        kernel = self._kernel
        tasks = [process.oom_task() for process in kernel.processes.values()]
        totalpages = kernel.phys.totalram_pages + kernel.nr_swap_pages
        selection = select_bad_process(tasks, totalpages)
        if selection.aborted:
            return True
        victim = selection.chosen
        if victim is None:
            self.engine.stop("kernel panic: Out of memory and no killable processes...")
            return False
        kernel.mem.vm_event[OOM_KILL] += 1
        self._report(message, tasks, victim)
        kernel.processes[victim.pid].kill()
        return True

    def _report(self, message: OutOfMemory, tasks: list[OomTask], victim: OomTask) -> None:
        kernel = self._kernel
        asking = kernel.processes.get(message.pid)
        adj = 0 if asking is None else asking.oom_score_adj
        comm = message.task if asking is None else asking.comm
        nodes = range(len(kernel.nodes))
        lines = [
            invoked_line(comm, message.gfp, order=0, oom_score_adj=adj),
            *dump_tasks(tasks),
            oom_kill_line(victim, mems_allowed="0" if len(nodes) == 1 else f"0-{nodes[-1]}"),
            killed_line(victim),
        ]
        kernel.dmesg.extend((self.engine.now_ns, line) for line in lines)
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
        kernel.trace(self.name, point)
