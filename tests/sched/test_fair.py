"""The fair scheduler's accounts: who is next, who preempts, whose turn is over."""

from kernelsim.sched.fair import FairQueue, SchedEntity

LATENCY_NS = 6000


def queue(*, running_ns=10_000, min_vruntime_ns=10_000):
    """Make the accounts of a CPU on which a task runs that had so much time."""
    fair = FairQueue(LATENCY_NS, min_vruntime_ns=min_vruntime_ns)
    fair.run(SchedEntity(running_ns, fair), 0)
    return fair


def test_a_long_sleep_is_not_saved_up():
    """Whoever wakes up is at most half a period behind the others."""
    fair = queue()
    slept, awake = SchedEntity(0, fair), SchedEntity(9_000, fair)
    fair.place(slept, wakeup=True)
    fair.place(awake, wakeup=True)
    assert (slept.vruntime_ns, awake.vruntime_ns) == (10_000 - LATENCY_NS // 2, 9_000)


def test_a_task_from_another_cpu_keeps_its_distance():
    """Accounts of two CPUs run apart; what counts is how far a task is from the least there."""
    there, here = FairQueue(LATENCY_NS, min_vruntime_ns=70_000), queue()
    moved = SchedEntity(71_000, there)
    here.place(moved, wakeup=False)
    assert moved.vruntime_ns == 11_000
    assert moved.queue is here


def test_a_new_task_begins_with_a_share_to_its_debit():
    """Else forking would be a way to get more than others."""
    fair, new = queue(), SchedEntity()
    fair.place(new, wakeup=False)
    assert new.vruntime_ns == 10_000 + LATENCY_NS // 2


def test_only_who_is_far_enough_behind_preempts():
    """A sixth of a period; in the instant a task left, any lead of the others will do."""
    fair = queue()
    assert fair.preempts(SchedEntity(10_000 - LATENCY_NS // 6 - 1, fair), 0)
    assert not fair.preempts(SchedEntity(10_000 - LATENCY_NS // 6, fair), 0)
    assert fair.preempts(SchedEntity(9_999, fair, left_ns=0), 0)
    assert not fair.preempts(SchedEntity(10_000, fair, left_ns=0), 0)


def test_the_running_task_is_charged_for_its_time():
    """And the least of all accounts rises with it, but never beyond who waits."""
    fair = queue()
    fair.charge(500)
    assert (fair.current.vruntime_ns, fair.min_vruntime_ns) == (10_500, 10_500)
    fair.waiting.append(SchedEntity(10_600, fair))
    fair.charge(1000)
    assert (fair.current.vruntime_ns, fair.min_vruntime_ns) == (11_000, 10_600)


def test_a_turn_ends_when_the_share_is_used_up():
    """Half a period for each of two; who is still behind then is picked once more."""
    fair = queue()
    fair.waiting.append(SchedEntity(10_000, fair))
    assert not fair.check_preempt_tick(LATENCY_NS // 2)
    assert fair.check_preempt_tick(LATENCY_NS // 2 + 1)
    behind = queue()
    behind.waiting.append(SchedEntity(90_000, behind))
    assert not behind.check_preempt_tick(LATENCY_NS)
    assert behind.picked_ns == LATENCY_NS


def test_who_ran_least_is_next():
    """Of equals the one that came first."""
    fair = queue()
    fair.waiting += [SchedEntity(vruntime_ns, fair) for vruntime_ns in (30, 10, 20, 10)]
    assert fair.leftmost() == 1
