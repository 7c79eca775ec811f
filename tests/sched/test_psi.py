"""Pressure: how long tasks stalled."""

from hypothesis import given
from hypothesis import strategies as st

from kernelsim.sched.psi import (
    FIXED_1,
    JIFFY_NS,
    NR_PSI_STATES,
    PSI_CPU_SOME,
    PSI_IO_FULL,
    PSI_IO_SOME,
    PSI_MEM_FULL,
    PSI_MEM_SOME,
    PSI_NONIDLE,
    PSI_PERIOD_NS,
    PsiCpu,
    PsiGroup,
    PsiTotals,
    calc_load,
)

SECOND_NS = 1_000_000_000


def states_of(*, nr_running=0, nr_iowait=0, nr_memstall=0, nr_memstall_running=0):
    """Return the states of a CPU whose tasks do this."""
    cpu = PsiCpu(nr_memstall=nr_memstall, nr_memstall_running=nr_memstall_running)
    cpu.record(0, nr_running=nr_running, nr_iowait=nr_iowait)
    return {state for state in range(NR_PSI_STATES) if cpu.states >> state & 1}


def test_states_follow_linux():
    """Some: a task stalls. Full: and no other one runs. Tasks that wait make the CPU not idle."""
    assert states_of() == set()
    assert states_of(nr_running=1) == {PSI_NONIDLE}
    assert states_of(nr_running=2) == {PSI_NONIDLE, PSI_CPU_SOME}
    assert states_of(nr_iowait=1) == {PSI_NONIDLE, PSI_IO_SOME, PSI_IO_FULL}
    assert states_of(nr_iowait=1, nr_running=1) == {PSI_NONIDLE, PSI_IO_SOME}
    asleep = states_of(nr_memstall=1)
    assert asleep == {PSI_NONIDLE, PSI_MEM_SOME, PSI_MEM_FULL}
    reclaiming = states_of(nr_running=1, nr_memstall=1, nr_memstall_running=1)
    assert reclaiming == {PSI_NONIDLE, PSI_MEM_SOME, PSI_MEM_FULL}
    beside = states_of(nr_running=1, nr_memstall=1)
    assert beside == {PSI_NONIDLE, PSI_MEM_SOME}


def test_the_averages_approach_the_share_of_stalled_time():
    """A CPU that waits for its disk half of the time shows 50 % after many periods."""
    group = PsiGroup()
    cpu = PsiCpu()
    group.cpus.append(cpu)
    half_ns = PSI_PERIOD_NS // 4
    for turn in range(4 * 1500):
        now_ns = turn * half_ns
        group.catch_up(now_ns)
        cpu.record(now_ns, nr_running=turn % 2, nr_iowait=1 - turn % 2)
    end_ns = 4 * 1500 * half_ns
    pressure = group.read(PSI_IO_SOME, end_ns)
    assert pressure.total_ns == end_ns // 2
    assert all(abs(average / FIXED_1 - 50) < 1 for average in pressure.averages)
    assert group.read(PSI_IO_FULL, end_ns) == pressure


def test_one_period_of_stall_shows_what_linux_shows():
    """A first whole period moves the average of 10 s to 100 * (1 - 1677/2048) %: 18.11."""
    group = PsiGroup()
    cpu = PsiCpu()
    group.cpus.append(cpu)
    cpu.record(0, nr_running=0, nr_iowait=1)
    averages = group.read(PSI_IO_SOME, PSI_PERIOD_NS).averages
    assert averages[0] == calc_load(0, 1677, 100 * FIXED_1)
    assert (averages[0] >> 11, (averages[0] % FIXED_1) * 100 >> 11) == (18, 11)


def test_cpus_weigh_by_the_time_they_are_not_idle():
    """Of two CPUs, one stalled all the time and one busy a third of it: 3/4 of the time counts."""
    group = PsiGroup()
    stalled, busy = PsiCpu(), PsiCpu()
    group.cpus += [stalled, busy]
    stalled.record(0, nr_running=0, nr_iowait=1)
    busy.record(0, nr_running=1, nr_iowait=0)
    busy.record(100 * JIFFY_NS, nr_running=0, nr_iowait=0)
    assert group.read(PSI_IO_SOME, 300 * JIFFY_NS).total_ns == 225 * JIFFY_NS


@given(
    st.lists(
        st.tuples(
            st.integers(0, 3 * SECOND_NS), st.integers(0, 1), st.integers(0, 2), st.integers(0, 2)
        ),
        max_size=30,
    )
)
def test_totals_equal_a_plain_sum(steps):
    """The total of one CPU is the sum of the spans in which the state held, periods or not.

    Each period's share is weighted and divided again, which is exact with one CPU; a span in a
    period of less than a jiffy of activity counts nothing, as in Linux.
    """
    group, naive, now_ns, stalled = PsiGroup(), 0, 0, False
    group.cpus.append(PsiCpu())
    active = {}

    def note(start_ns, end_ns):
        while start_ns < end_ns:
            period = start_ns // PSI_PERIOD_NS
            cut_ns = min(end_ns, (period + 1) * PSI_PERIOD_NS)
            io_ns, nonidle_ns = active.get(period, (0, 0))
            active[period] = (
                io_ns + (cut_ns - start_ns) * stalled,
                nonidle_ns + (cut_ns - start_ns) * busy,
            )
            start_ns = cut_ns

    busy = False
    for wait_ns, _, nr_running, nr_iowait in steps:
        note(now_ns, now_ns + wait_ns)
        now_ns += wait_ns
        group.catch_up(now_ns)
        group.cpus[0].record(now_ns, nr_running=nr_running, nr_iowait=nr_iowait)
        stalled, busy = nr_iowait > 0, nr_iowait + nr_running > 0
    naive = sum(io_ns for io_ns, nonidle_ns in active.values() if nonidle_ns >= JIFFY_NS)
    assert group.read(PSI_IO_SOME, now_ns).total_ns == naive


CHANGES = st.lists(
    st.tuples(st.integers(0, SECOND_NS), st.integers(0, 1), st.integers(0, 2), st.integers(0, 2)),
    max_size=30,
)


@given(CHANGES)
def test_totals_never_fall(changes):
    """Who reads while a CPU that did not stall goes on working is not told less than before.

    A CPU that begins to work weighs more from then on; what was told of the time before stands.
    """
    group, now_ns = PsiGroup([PsiCpu(), PsiCpu()]), 0
    told_ns = [0] * PSI_NONIDLE
    for wait_ns, number, nr_running, nr_iowait in changes:
        now_ns += wait_ns
        group.catch_up(now_ns)
        before_ns = told_ns
        told_ns = [group.read(state, now_ns).total_ns for state in range(PSI_NONIDLE)]
        grown_ns = [new - old for new, old in zip(told_ns, before_ns, strict=True)]
        assert all(0 <= ns <= wait_ns for ns in grown_ns)
        group.cpus[number].record(now_ns, nr_running=nr_running, nr_iowait=nr_iowait)


@given(CHANGES)
def test_who_looks_on_changes_nothing(changes):
    """Totals of one's own leave those of /proc/pressure and its averages as they are."""
    looked_at, alone = PsiGroup([PsiCpu(), PsiCpu()]), PsiGroup([PsiCpu(), PsiCpu()])
    totals, now_ns = PsiTotals(looked_at.cpus, unit_ns=1), 0
    for wait_ns, number, nr_running, nr_iowait in changes:
        now_ns += wait_ns
        totals.collect(now_ns)
        for group in (looked_at, alone):
            group.catch_up(now_ns)
            group.cpus[number].record(now_ns, nr_running=nr_running, nr_iowait=nr_iowait)
    for state in range(PSI_NONIDLE):
        assert looked_at.read(state, now_ns) == alone.read(state, now_ns)


@given(
    turns=st.lists(st.tuples(st.integers(1, 99), st.integers(1, 99)), min_size=1),
    nr_iowait=st.integers(0, 2),
    nr_memstall=st.integers(0, 1),
)
def test_a_task_that_waits_by_turns_is_counted_at_once(turns, nr_iowait, nr_memstall):
    """Sums of its runs and its waits leave what is left when each of them is recorded."""
    one, other = (PsiCpu(nr_memstall=nr_memstall) for _ in range(2))
    now_ns = 0
    for cpu in (one, other):
        cpu.record(now_ns, nr_running=1, nr_iowait=nr_iowait)
    for ran_ns, slept_ns in turns:
        one.record(now_ns + ran_ns, nr_running=0, nr_iowait=nr_iowait + 1)
        now_ns += ran_ns + slept_ns
        one.record(now_ns, nr_running=1, nr_iowait=nr_iowait)
    first_ns = turns[0][0]
    other.record(first_ns, nr_running=0, nr_iowait=nr_iowait + 1)
    slept_ns = sum(slept for _, slept in turns)
    ran_ns = now_ns - first_ns - slept_ns
    other.alternates(now_ns, ran_ns=ran_ns, slept_ns=slept_ns, nr_iowait=nr_iowait)
    assert other == one
