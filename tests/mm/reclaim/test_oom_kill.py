"""Who the OOM killer takes, and what it writes to the log."""

import pytest

from kernelsim.mm.page.gfp import Gfp
from kernelsim.mm.page.mempolicy import MPOL_BIND, MPOL_PREFERRED, Mempolicy
from kernelsim.mm.reclaim.oom_kill import (
    CONSTRAINT_MEMORY_POLICY,
    CONSTRAINT_NONE,
    OomConstraint,
    OomTask,
    constrained_alloc,
    dump_tasks,
    invoked_line,
    killed_line,
    oom_badness,
    oom_eligible,
    oom_kill_line,
    oom_score,
    select_bad_process,
)

TOTALPAGES = 115_952  # RAM of the recorded machine, no swap


def task(pid, comm, *, rss, pgtables_bytes=0, adj=0, swapents=0, total_vm=0, **more):
    """Return a task whose resident pages are anonymous but for 190."""
    return OomTask(
        pid=pid,
        comm=comm,
        total_vm=total_vm,
        rss_anon=rss - 190,
        rss_file=190,
        rss_shmem=0,
        swapents=swapents,
        pgtables_bytes=pgtables_bytes,
        oom_score_adj=adj,
        **more,
    )


# Figures of the recorded kernel before its first OOM kill
A = task(92, "A", rss=25779, pgtables_bytes=245760, total_vm=25971)
B = task(93, "B", rss=38517, pgtables_bytes=344064, total_vm=38771)
C = task(94, "C", rss=12975, pgtables_bytes=143360, total_vm=13171, adj=500)
D = task(95, "D", rss=30861, pgtables_bytes=286720, total_vm=31091, adj=-1000)


@pytest.mark.mission("R12")
def test_victims_in_the_recorded_order():
    """C (adj 500) dies first, then the largest, then the growing E; D (adj -1000) never."""
    first = [A, B, C, D, task(98, "E", rss=2000, pgtables_bytes=40960)]
    assert select_bad_process(first, TOTALPAGES).chosen == C
    second = [A, B, D, task(98, "E", rss=15000, pgtables_bytes=143360)]
    assert select_bad_process(second, TOTALPAGES).chosen == B
    grown = task(98, "E", rss=50464, pgtables_bytes=446464)
    assert select_bad_process([A, D, grown], TOTALPAGES).chosen == grown
    assert select_bad_process([D], TOTALPAGES).chosen is None


@pytest.mark.mission("R12")
def test_badness_adds_rss_swap_and_page_tables():
    """Points are pages: resident, on swap, of page tables, plus adj thousandths of all memory."""
    one = task(11, "x", rss=1000, swapents=200, pgtables_bytes=40960, adj=10)
    assert oom_badness(one, TOTALPAGES) == 1000 + 200 + 10 + 10 * 115
    assert oom_badness(task(11, "x", rss=1000, adj=-999), TOTALPAGES) == 1000 - 999 * 115
    assert oom_badness(D, TOTALPAGES) is None


@pytest.mark.parametrize(("who", "score"), [(A, 814), (C, 1072), (D, 0)])
def test_score_as_recorded(who, score):
    """/proc/PID/oom_score of the recorded processes."""
    assert oom_score(who, TOTALPAGES) == score


def test_score_of_a_protected_task_rounds_towards_zero():
    """Negative points lower the score below 666; it never goes below 0."""
    assert oom_score(task(11, "x", rss=190, adj=-1), 1000) == 792
    assert oom_score(task(11, "x", rss=190, adj=-200), 1000) == 660
    assert oom_score(task(11, "x", rss=190, adj=-999), 115_952) == 7


def test_of_equals_the_youngest_dies():
    """A later task replaces an earlier one with the same points."""
    twins = [task(5, "x", rss=500), task(6, "y", rss=500), task(7, "z", rss=499)]
    assert select_bad_process(twins, TOTALPAGES).chosen == twins[1]


def test_dying_victim_is_waited_for():
    """While a victim still has memory nobody else is killed; one already reaped is passed over."""
    dying = task(5, "x", rss=500, is_victim=True)
    assert select_bad_process([A, dying, B], TOTALPAGES).aborted
    reaped = task(5, "x", rss=500, is_victim=True, oom_skip=True)
    assert select_bad_process([A, reaped], TOTALPAGES).chosen == A


def test_who_is_exiting_is_passed_over():
    """What it had is coming back already; it has no score any more, and no row in the table."""
    exiting = task(5, "x", rss=90_000, has_mm=False)
    assert select_bad_process([exiting, A], TOTALPAGES).chosen == A
    assert select_bad_process([exiting], TOTALPAGES) == select_bad_process([], TOTALPAGES)
    assert oom_score(exiting, TOTALPAGES) == 0
    assert dump_tasks([exiting, A]) == dump_tasks([A])


def test_init_is_never_chosen():
    """Process 1 has no score, however large it is."""
    init = task(1, "init", rss=90_000)
    assert select_bad_process([init, A], TOTALPAGES).chosen == A
    assert select_bad_process([init], TOTALPAGES).chosen is None
    assert oom_score(init, TOTALPAGES) == 0


def test_who_runs_swapoff_goes_first_unless_a_victim_is_still_dying():
    """It has more points than anybody, wherever it stands; a victim behind it is waited for."""
    origin = task(5, "swapoff", rss=1, oom_origin=True)
    for tasks in ([origin, A], [A, origin]):
        assert select_bad_process(tasks, TOTALPAGES).chosen == origin
    younger = task(7, "swapoff", rss=1, oom_origin=True)
    assert select_bad_process([origin, younger], TOTALPAGES).chosen == younger
    victim = task(6, "x", rss=1, is_victim=True)
    assert select_bad_process([origin, victim], TOTALPAGES).aborted
    init = task(1, "init", rss=1, oom_origin=True)
    assert select_bad_process([init, A], TOTALPAGES).chosen == A


def bound(pid, *nodes, rss=1000, mode=MPOL_BIND, **more):
    """Return a task with a memory policy."""
    return task(pid, f"on{nodes[0]}", rss=rss, policy=Mempolicy(mode, nodes), **more)


def test_only_tasks_that_may_have_pages_there_are_eligible():
    """Those bound to other nodes only are spared, wherever the pages of the others are."""
    assert not oom_eligible(bound(11, 0), (1,))
    assert oom_eligible(bound(11, 0, 1), (1, 2))
    assert oom_eligible(bound(11, 0), None)
    assert oom_eligible(bound(11, 0, mode=MPOL_PREFERRED), (1,))
    assert oom_eligible(A, (1,))

    tasks = [bound(11, 0, rss=9000), bound(2, 1, rss=800), bound(3, 1, rss=700)]
    assert select_bad_process(tasks, TOTALPAGES, nodemask=(1,)).chosen == tasks[1]
    assert select_bad_process(tasks, TOTALPAGES).chosen == tasks[0]
    assert dump_tasks(tasks, (1,)) == dump_tasks(tasks[1:])


def test_a_victim_elsewhere_is_not_waited_for():
    """Its memory would not help."""
    tasks = [bound(11, 0, is_victim=True), bound(2, 1)]
    assert select_bad_process(tasks, TOTALPAGES, nodemask=(1,)).chosen == tasks[1]


def test_what_confines_an_allocation():
    """A policy that leaves out a node with memory; then only its nodes and all swap count."""

    def constraint(nodemask):
        return constrained_alloc(
            nodemask, present_pages={0: 1000, 2: 3000}, totalram_pages=3900, total_swap_pages=50
        )

    none = OomConstraint(CONSTRAINT_NONE, None, 3950)
    assert constraint(None) == none
    assert constraint((0, 2)) == none
    assert constraint((2,)) == OomConstraint(CONSTRAINT_MEMORY_POLICY, (2,), 3050)


def test_task_table_as_recorded():
    """The table has the recorded columns and widths."""
    lines = dump_tasks([A, C, D])
    assert lines == [
        "Tasks state (memory values in pages):",
        "[  pid  ]   uid  tgid total_vm      rss pgtables_bytes swapents oom_score_adj name",
        "[     92]     0    92    25971    25779   245760        0             0 A",
        "[     94]     0    94    13171    12975   143360        0           500 C",
        "[     95]     0    95    31091    30861   286720        0         -1000 D",
    ]


def test_report_lines_as_recorded():
    """The lines that tools look for are worded as the recorded kernel's."""
    gfp = Gfp(0x140DCA)
    assert invoked_line("B", gfp, order=0, oom_score_adj=0) == (
        "B invoked oom-killer: gfp_mask=0x140dca(GFP_HIGHUSER_MOVABLE|__GFP_COMP|__GFP_ZERO), "
        "order=0, oom_score_adj=0"
    )
    assert oom_kill_line(C, mems_allowed="0") == (
        "oom-kill:constraint=CONSTRAINT_NONE,nodemask=(null),cpuset=/,mems_allowed=0,"
        "global_oom,task_memcg=/,task=C,pid=94,uid=0"
    )
    policy = oom_kill_line(C, mems_allowed="0-1", constraint=CONSTRAINT_MEMORY_POLICY, nodemask="1")
    assert policy.startswith(
        "oom-kill:constraint=CONSTRAINT_MEMORY_POLICY,nodemask=1,cpuset=/,mems_allowed=0-1,"
    )
    assert killed_line(C) == (
        "Out of memory: Killed process 94 (C) total-vm:52684kB, anon-rss:51140kB, "
        "file-rss:760kB, shmem-rss:0kB, UID:0 pgtables:140kB oom_score_adj:500"
    )
