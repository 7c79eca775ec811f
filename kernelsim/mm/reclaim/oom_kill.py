"""The OOM killer: who is killed when reclaim cannot help, and what the log says.

Linux: mm/oom_kill.c, fs/proc/base.c:proc_oom_score (6.1).
Differs: The OOM killer knows no memory cgroups and no cpusets, and a task is a process with one mm.

Interface: `select_bad_process` over the `OomTask` values of all live processes, in the order they
were created; `constrained_alloc` says beforehand what the request is confined to. The lines of the
report are made by `invoked_line`, `dump_tasks`, `oom_kill_line` and `killed_line`.
Units: pages; text in kB where it says so.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import attrs

from kernelsim.mm.page.gfp import Gfp
from kernelsim.mm.page.mempolicy import MPOL_BIND, Mempolicy
from kernelsim.trace.show import show_gfp_flags

OOM_SCORE_ADJ_MIN: Final = -1000  # never killed; include/uapi/linux/oom.h
OOM_SCORE_ADJ_MAX: Final = 1000
GLOBAL_INIT_PID: Final = 1  # never killed, either; is_global_init
KB_OF_A_PAGE: Final = 4
ORIGIN_POINTS: Final = (1 << 63) - 1  # LONG_MAX
PANIC_ALWAYS: Final = 2  # value of vm.panic_on_oom

CONSTRAINT_NONE: Final = "CONSTRAINT_NONE"
CONSTRAINT_MEMORY_POLICY: Final = "CONSTRAINT_MEMORY_POLICY"


@attrs.frozen
class OomTask:
    """What the OOM killer sees of a process."""

    pid: int
    comm: str
    total_vm: int  # pages
    rss_anon: int
    rss_file: int
    rss_shmem: int
    swapents: int
    pgtables_bytes: int
    oom_score_adj: int = 0
    uid: int = 0
    has_mm: bool = True  # False once it is exiting: what it had is being freed already
    policy: Mempolicy | None = None
    is_victim: bool = False  # chosen before, its memory is not free yet
    oom_origin: bool = False  # it runs swapoff: the first to go
    oom_skip: bool = False  # MMF_OOM_SKIP: its memory was taken already, or cannot be

    @property
    def rss(self) -> int:
        """Return the resident pages."""
        return self.rss_anon + self.rss_file + self.rss_shmem


def oom_badness(task: OomTask, totalpages: int) -> int | None:
    """Return how much memory killing a task would give, in pages, moved by its oom_score_adj.

    Args:
        task: The process.
        totalpages: RAM and swap the allocation could have used.

    Returns:
        Points, negative ones included; None when the task may not be killed, or is exiting.

    Source: Linux 6.1 mm/oom_kill.c:oom_badness
    """
    if task.pid == GLOBAL_INIT_PID or not task.has_mm:
        return None
    if task.oom_score_adj == OOM_SCORE_ADJ_MIN or task.oom_skip:
        return None
    points = task.rss + task.swapents + task.pgtables_bytes // 4096
    return points + task.oom_score_adj * (totalpages // 1000)


def oom_score(task: OomTask, totalpages: int) -> int:
    """Return what /proc/PID/oom_score shows, 0 … 2000.

    Source: Linux 6.1 fs/proc/base.c:proc_oom_score
    """
    points = oom_badness(task, totalpages)
    if points is None:
        return 0
    thousandths = abs(points) * 1000 // totalpages  # C rounds towards zero
    return max(0, (1000 + (thousandths if points >= 0 else -thousandths)) * 2 // 3)


@attrs.frozen
class OomConstraint:
    """What an allocation that found nothing was confined to.

    Attributes:
        name: CONSTRAINT_*.
        nodemask: Nodes its memory policy allows; None without constraint.
        totalpages: RAM and swap it could have used.
    """

    name: str
    nodemask: tuple[int, ...] | None
    totalpages: int


def constrained_alloc(
    nodemask: tuple[int, ...] | None,
    *,
    present_pages: Mapping[int, int],
    totalram_pages: int,
    total_swap_pages: int,
) -> OomConstraint:
    """Return what confined an allocation: a nodemask that leaves out a node with memory does.

    Args:
        nodemask: Nodes the memory policy allows; None for no policy.
        present_pages: By node with memory.
        totalram_pages: Managed pages of the machine.
        total_swap_pages: Size of all swap areas.

    Source: Linux 6.1 mm/oom_kill.c:constrained_alloc
    """
    if nodemask is None or set(present_pages) <= set(nodemask):
        return OomConstraint(CONSTRAINT_NONE, None, totalram_pages + total_swap_pages)
    own = sum(pages for nid, pages in present_pages.items() if nid in nodemask)
    return OomConstraint(CONSTRAINT_MEMORY_POLICY, nodemask, own + total_swap_pages)


def oom_eligible(task: OomTask, nodemask: tuple[int, ...] | None) -> bool:
    """Return whether a task may have pages where the allocation needs them.

    Only a task bound to other nodes is known not to.

    Source: Linux 6.1 mm/mempolicy.c:mempolicy_in_oom_domain, mm/oom_kill.c:oom_cpuset_eligible
    """
    if nodemask is None or task.policy is None or task.policy.mode != MPOL_BIND:
        return True
    return not set(nodemask).isdisjoint(task.policy.nodes)


def check_panic_on_oom(panic_on_oom: int, constraint: str) -> str | None:
    """Return the kernel's last words if it panics instead of killing; None if it does not.

    Args:
        panic_on_oom: The tunable; 2 panics even if the allocation was confined.
        constraint: CONSTRAINT_*.

    Source: Linux 6.1 mm/oom_kill.c:check_panic_on_oom
    """
    if not panic_on_oom or (panic_on_oom != PANIC_ALWAYS and constraint != CONSTRAINT_NONE):
        return None
    how = "compulsory" if panic_on_oom == PANIC_ALWAYS else "system-wide"
    return f"Out of memory: {how} panic_on_oom is enabled"


@attrs.frozen
class Selection:
    """What select_bad_process found."""

    chosen: OomTask | None  # None: no process may be killed, or a victim is still dying
    points: int = 0
    aborted: bool = False  # an earlier victim's memory is still to come: wait for it


def select_bad_process(
    tasks: Iterable[OomTask], totalpages: int, *, nodemask: tuple[int, ...] | None = None
) -> Selection:
    """Choose the task with the most points; of equals, the one created last.

    While a victim is on its way out no other is chosen. A process that exits of its own accord is
    passed over; one that was killed by another process counts as any other.

    Args:
        tasks: All processes, in order of creation.
        totalpages: As for `oom_badness`.
        nodemask: As for `oom_eligible`.

    Source: Linux 6.1 mm/oom_kill.c:select_bad_process, :oom_evaluate_task
    """
    best = Selection(None)
    for task in tasks:
        if task.pid == GLOBAL_INIT_PID or not oom_eligible(task, nodemask):
            continue
        if task.is_victim:
            if task.oom_skip:
                continue
            return Selection(None, aborted=True)
        # Who runs swapoff asks for this by what it does.
        points = ORIGIN_POINTS if task.oom_origin else oom_badness(task, totalpages)
        if points is not None and (best.chosen is None or points >= best.points):
            best = Selection(task, points)
    return best


def invoked_line(comm: str, gfp: Gfp, *, order: int, oom_score_adj: int) -> str:
    """Return the line that names the task whose allocation failed."""
    return (
        f"{comm} invoked oom-killer: gfp_mask={int(gfp):#x}({show_gfp_flags(gfp)}), "
        f"order={order}, oom_score_adj={oom_score_adj}"
    )


def stack_lines(comm: str, pid: int, *, cpu: int, release: str, machine: str) -> list[str]:
    """Return what stands above a call trace: where the task runs, and on which machine.

    Source: Linux 6.1 lib/dump_stack.c:dump_stack_print_info
    """
    # Differs from Linux: The kernel log has no call traces and no registers.
    return [
        f"CPU: {cpu} PID: {pid} Comm: {comm} Not tainted {release} #1",
        f"Hardware name: kernelsim {machine}",
    ]


def dump_tasks(tasks: Sequence[OomTask], nodemask: tuple[int, ...] | None = None) -> list[str]:
    """Return the table of eligible tasks, in pages, with its two lines of heading.

    Source: Linux 6.1 mm/oom_kill.c:dump_tasks
    """
    lines = [
        "Tasks state (memory values in pages):",
        "[  pid  ]   uid  tgid total_vm      rss pgtables_bytes swapents oom_score_adj name",
    ]
    for task in tasks:
        if not task.has_mm or not oom_eligible(task, nodemask):
            continue
        lines.append(
            f"[{task.pid:7d}] {task.uid:5d} {task.pid:5d} {task.total_vm:8d} {task.rss:8d} "
            f"{task.pgtables_bytes:8d} {task.swapents:8d}         {task.oom_score_adj:5d} "
            f"{task.comm}"
        )
    return lines


def oom_kill_line(
    victim: OomTask, *, mems_allowed: str, constraint: str = CONSTRAINT_NONE, nodemask: str = ""
) -> str:
    """Return the one-line summary.

    Args:
        victim: Who will be killed.
        mems_allowed: Nodes with memory, as a number list ("0", "0-1").
        constraint: What kept the allocation from other memory.
        nodemask: Nodes of the memory policy as a number list; empty for none.

    Source: Linux 6.1 mm/oom_kill.c:dump_oom_summary
    """
    return (
        f"oom-kill:constraint={constraint},nodemask={nodemask or '(null)'},cpuset=/,"
        f"mems_allowed={mems_allowed},global_oom,task_memcg=/,"
        f"task={victim.comm},pid={victim.pid},uid={victim.uid}"
    )


def reaped_line(pid: int, comm: str, *, anon: int, file: int, shmem: int) -> str:
    """Return the line that says what the OOM reaper left of a victim's resident pages.

    Source: Linux 6.1 mm/oom_kill.c:oom_reap_task_mm
    """
    return (
        f"oom_reaper: reaped process {pid} ({comm}), now anon-rss:{anon * KB_OF_A_PAGE}kB, "
        f"file-rss:{file * KB_OF_A_PAGE}kB, shmem-rss:{shmem * KB_OF_A_PAGE}kB"
    )


def killed_line(victim: OomTask, message: str = "Out of memory") -> str:
    """Return the line that says why, who was killed and what it had.

    Source: Linux 6.1 mm/oom_kill.c:__oom_kill_process
    """
    return (
        f"{message}: Killed process {victim.pid} ({victim.comm}) "
        f"total-vm:{victim.total_vm * KB_OF_A_PAGE}kB, "
        f"anon-rss:{victim.rss_anon * KB_OF_A_PAGE}kB, "
        f"file-rss:{victim.rss_file * KB_OF_A_PAGE}kB, "
        f"shmem-rss:{victim.rss_shmem * KB_OF_A_PAGE}kB, "
        f"UID:{victim.uid} pgtables:{victim.pgtables_bytes >> 10}kB "
        f"oom_score_adj:{victim.oom_score_adj}"
    )
