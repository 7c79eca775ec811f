"""The process table: what the kernel knows of each process, apart from the actor that runs it.

Linux: struct task_struct and struct signal_struct, 6.1. A process has one task or more and an
address space that it may share (`MmStruct.mm_users` counts its users). Reclaim, the OOM killer,
/proc and the checks read these entries.
Written by the process's own actor; identity and limits (comm, uid, oom_score_adj, CPUs) also by
the workload, at any moment, as a write to /proc is.
Interface: `Kernel.processes` is the table; `ProcessEntry` an entry, made by `new_entry`; signal.py
sends signals.
Units: pages, ns.
"""

import errno
from typing import Final

import attrs

from kernelsim.actors.core.task import Task
from kernelsim.fs.file import OpenFile
from kernelsim.mm.page.mempolicy import Mempolicy
from kernelsim.mm.reclaim.oom_kill import OOM_SCORE_ADJ_MAX, OOM_SCORE_ADJ_MIN, OomTask
from kernelsim.mm.space.binfmt_elf import ElfProgram, LoadedElf
from kernelsim.mm.space.mm_registry import MmRegistry
from kernelsim.mm.space.mm_struct import MmStruct
from kernelsim.mm.space.pgtable import MM_ANONPAGES, MM_FILEPAGES, MM_SHMEMPAGES, MM_SWAPENTS
from kernelsim.mm.space.static_program import DEFAULT_PROGRAM, StaticProgram
from kernelsim.sim.actor import ActorRef
from kernelsim.sim.locks import WaitQueue
from kernelsim.units import PAGE_SIZE

INIT_PID: Final = 1
ROOT_UID: Final = 0  # has all capabilities, CAP_SYS_RESOURCE among them


@attrs.define(eq=False, kw_only=True)
class ProcessEntry:
    """One process.

    Attributes:
        comm: Its name.
        tasks: Its threads of control; the first is the leader of the group.
        program: What it runs.
        exited: Woken when it has ended.
        signals: Where it sleeps when only a signal or time can wake it.
        uid: Its user.
        oom_score_adj: -1000 … 1000.
        oom_score_adj_min: Below this only root may set it: what root set last.
        minflt: Faults served without I/O.
        majflt: Faults that waited for I/O.
        files: Its open files, by descriptor.
        start_ns: When it started.
        group_exit_code: Signal that is to end it; 0 for none.
        exit_status: What it ended with, minus a signal's number; None while it lives.
        oom_origin: It runs swapoff, and is killed first when memory runs out.
        ref: Its actor.
        catches_faults: It has handlers for SIGSEGV and SIGBUS, and goes on after them.
        parent: The process that forked it; None for one that was started from outside.
        children: Those it has forked and not waited for, by pid.
        is_zombie: All it had is free; only its status is left.
        is_forked: It is born with an address space, and loads no program.
        vfork_parent: Who may not go on before it has ended or runs a program of its own.
        vfork_child: The other side of that.
        elf: Where its program has been loaded, if it is one from a file.
        nr_execs: Programs it has put in place of the one it began with.
        mm: Its address space; what it had after its end.
    """

    comm: str
    tasks: tuple[Task, ...]
    exited: WaitQueue
    signals: WaitQueue
    program: StaticProgram | ElfProgram = DEFAULT_PROGRAM
    uid: int = 0
    oom_score_adj: int = 0
    oom_score_adj_min: int = 0
    minflt: int = 0
    majflt: int = 0
    files: dict[int, OpenFile] = attrs.field(factory=dict)
    start_ns: int = 0
    group_exit_code: int = 0
    exit_status: int | None = None
    oom_origin: bool = False
    catches_faults: bool = False
    parent: "ProcessEntry | None" = None
    children: "dict[int, ProcessEntry]" = attrs.field(factory=dict)
    is_zombie: bool = False
    is_forked: bool = False
    vfork_parent: "ProcessEntry | None" = None
    vfork_child: "ProcessEntry | None" = None
    elf: LoadedElf | None = None
    nr_execs: int = 0
    ref: ActorRef = attrs.field(init=False)
    mm: MmStruct = attrs.field(init=False)

    @property
    def task(self) -> Task:
        """The leader of its threads."""
        return self.tasks[0]

    @property
    def pid(self) -> int:
        """Its number: that of its leader."""
        return self.task.pid

    @property
    def ppid(self) -> int:
        """The number of its parent: init's for one that was started from outside, or left over."""
        return INIT_PID if self.parent is None else self.parent.pid

    @property
    def policy(self) -> Mempolicy | None:
        """Memory policy of its leader."""
        return self.task.mempolicy

    def mm_release(self) -> None:
        """Let a parent go on that has lent it its address space, now that it uses it no more.

        Source: Linux 6.1 kernel/fork.c:mm_release, :complete_vfork_done
        """
        parent, self.vfork_parent = self.vfork_parent, None
        if parent is not None:
            parent.vfork_child = None
            parent.signals.wake_all()

    def has_ended(self) -> bool:
        """Return whether the process is gone or going: it runs no program any more."""
        return self.exit_status is not None

    def must_die(self) -> bool:
        """Return whether a fatal signal is waiting to be acted on."""
        return bool(self.group_exit_code) and not self.has_ended()

    def set_oom_score_adj(self, value: int) -> int:
        """Set what the OOM killer adds to its score, as the process itself; return 0 or an errno.

        Source: Linux 6.1 fs/proc/base.c:oom_score_adj_write, :__set_oom_adj
        """
        if not OOM_SCORE_ADJ_MIN <= value <= OOM_SCORE_ADJ_MAX:
            return -errno.EINVAL
        if value < self.oom_score_adj_min and self.uid != ROOT_UID:
            return -errno.EACCES
        self.oom_score_adj = value
        if self.uid == ROOT_UID:
            self.oom_score_adj_min = value
        return 0

    def rss(self, mms: MmRegistry) -> list[int]:
        """Return the pages that count as resident or swapped, by kind (MM_*)."""
        rss = [int(pages) for pages in mms.mms.rss[self.mm.number]]
        rss[MM_FILEPAGES] += self.mm.image_rss_pages
        return rss

    def hiwater_rss(self, mms: MmRegistry) -> int:
        """Return the most pages that were resident at one time, as last noted before unmapping."""
        pages = int(mms.mms.hiwater_rss[self.mm.number])
        return pages + self.mm.image_rss_pages if pages else 0

    def oom_task(self, mms: MmRegistry) -> OomTask:
        """Return what the OOM killer looks at."""
        rss = self.rss(mms)
        return OomTask(
            pid=self.pid,
            comm=self.comm,
            uid=self.uid,
            total_vm=self.mm.total_vm,
            rss_anon=rss[MM_ANONPAGES],
            rss_file=rss[MM_FILEPAGES],
            rss_shmem=rss[MM_SHMEMPAGES],
            swapents=rss[MM_SWAPENTS],
            pgtables_bytes=int(mms.mms.nr_ptes[self.mm.number]) * PAGE_SIZE,
            oom_score_adj=self.oom_score_adj,
            has_mm=not self.has_ended(),
            policy=self.policy,
            is_victim=self.task.oom_victim,
            oom_skip=self.mm.oom_skip,
            oom_origin=self.oom_origin,
        )


def new_entry(task: Task, comm: str, program: StaticProgram | ElfProgram) -> ProcessEntry:
    """Return the entry of a process that begins with one task."""
    engine = task.engine
    return ProcessEntry(
        comm=comm,
        tasks=(task,),
        exited=engine.wait_queue(f"exit of {task.name}", waker=task.name),
        signals=engine.wait_queue(f"signals of {task.name}"),
        program=program,
    )
