"""Pressure: the share of time in which tasks stalled for want of memory, I/O or a CPU.

Linux: kernel/sched/psi.c, include/linux/psi_types.h (6.1); what /proc/pressure/* prints.
Each CPU keeps how long it has been in each state; "some" means at least one of its tasks stalled,
"full" that none did anything useful meanwhile. The machine's figures are the mean over its CPUs,
each weighted by how long it was not idle, in periods of two seconds; the averages of 10, 60 and
300 s decay from period to period.
# Differs from Linux: The periods of pressure averages run on while nothing happens. Linux stops
# its timer and makes up for the missed ones later, to the same averages but for rounding.

Interface: whoever changes what a CPU's tasks do calls `PsiGroup.catch_up` first and then the CPU's
`PsiCpu.record`; `PsiGroup.read` returns what is printed. Who looks on without being a reader has a
`PsiTotals` of its own.
Units: ns; averages are percent in fixed point of 11 bits.
"""

from typing import Final

import attrs

from kernelsim.units import NS_PER_MS

PSI_IO_SOME: Final = 0
PSI_IO_FULL: Final = 1
PSI_MEM_SOME: Final = 2
PSI_MEM_FULL: Final = 3
PSI_CPU_SOME: Final = 4
PSI_CPU_FULL: Final = 5  # of memory cgroups only: 0 for the whole machine
PSI_NONIDLE: Final = 6
NR_PSI_STATES: Final = 7

# The states that a set of them has, one bit each
STATES_IN: Final = tuple(
    tuple(state for state in range(NR_PSI_STATES) if states >> state & 1)
    for states in range(1 << NR_PSI_STATES)
)
JIFFY_NS: Final = 4 * NS_PER_MS  # HZ is 250
PSI_PERIOD_NS: Final = (2 * 250 + 1) * JIFFY_NS  # PSI_FREQ
EXPONENTS: Final = (1677, 1981, 2034)  # 1/exp(2s/10s), 1/exp(2s/60s), 1/exp(2s/300s), fixed point
FSHIFT: Final = 11
FIXED_1: Final = 1 << FSHIFT


@attrs.define(slots=True)
class PsiCpu:
    """What the tasks of one CPU do, and for how long they have been in each state.

    Attributes:
        nr_memstall: Its tasks that stall on memory, asleep or not.
        nr_memstall_running: Those of them that run or want to.
        states: The states it is in now, one bit each.
        since_ns: Up to when they are counted.
        times_ns: Time in each state before that, [PSI_*].
    """

    nr_memstall: int = 0
    nr_memstall_running: int = 0
    states: int = 0
    since_ns: int = 0
    times_ns: list[int] = attrs.field(factory=lambda: [0] * NR_PSI_STATES)

    def record(self, now_ns: int, *, nr_running: int, nr_iowait: int) -> None:
        """Count the time up to now, and note what holds from now on.

        Args:
            now_ns: Virtual time.
            nr_running: Tasks that run here or want to; if any, one of them runs.
            nr_iowait: Tasks that left this CPU to wait for I/O.

        Source: Linux 6.1 kernel/sched/psi.c:psi_group_change, :test_state
        """
        if self.states and now_ns > self.since_ns:
            self.times_ns = self.times_at(now_ns)
        self.since_ns = now_ns
        self.states = self._states(nr_running, nr_iowait)

    def alternates(self, now_ns: int, *, ran_ns: int, slept_ns: int, nr_iowait: int) -> None:
        """Count what has passed since the last call: one task ran and waited for I/O by turns.

        Args:
            now_ns: Virtual time; the task runs.
            ran_ns: It did so for so long,
            slept_ns: and waited for so long.
            nr_iowait: Other tasks that left this CPU to wait for I/O.
        """
        parts = ((ran_ns, 1, nr_iowait), (slept_ns, 0, nr_iowait + 1))
        for ns, nr_running, nr_waiting in parts:
            for state in STATES_IN[self._states(nr_running, nr_waiting)]:
                self.times_ns[state] += ns
        self.since_ns = now_ns
        self.states = self._states(1, nr_iowait)

    def _states(self, nr_running: int, nr_iowait: int) -> int:
        states = 0
        if nr_iowait:
            states |= 1 << PSI_IO_SOME
            if not nr_running:
                states |= 1 << PSI_IO_FULL
        if self.nr_memstall:
            states |= 1 << PSI_MEM_SOME
            if nr_running == self.nr_memstall_running:
                states |= 1 << PSI_MEM_FULL
        if nr_running > 1:
            states |= 1 << PSI_CPU_SOME
        if states or nr_running:
            states |= 1 << PSI_NONIDLE
        return states

    def times_at(self, now_ns: int) -> list[int]:
        """Return the time in each state up to now: [PSI_*]."""
        times_ns, late_ns = self.times_ns.copy(), now_ns - self.since_ns
        for state in STATES_IN[self.states]:
            times_ns[state] += late_ns
        return times_ns


@attrs.define
class PsiTotals:
    """How long the machine was in each state, as one reader adds it up.

    What has passed since the last call is the mean over the CPUs, weighted by how long each was
    not idle meanwhile, and is never taken back: so totals only grow, and depend a little on how
    often they are asked for. Therefore Linux keeps one for /proc/pressure and one for triggers.

    Attributes:
        cpus: By CPU number.
        unit_ns: CPUs weigh by whole ones of these; one that was busy for less counts for nothing.
        total_ns: Time in each state up to the last call, [PSI_*].

    Source: Linux 6.1 include/linux/psi_types.h:enum psi_aggregators
    """

    cpus: list[PsiCpu]
    unit_ns: int = JIFFY_NS
    total_ns: list[int] = attrs.field(factory=lambda: [0] * NR_PSI_STATES)
    _seen_ns: dict[int, list[int]] = attrs.field(factory=dict)  # by CPU, of its times

    def collect(self, now_ns: int) -> list[int]:
        """Add what has passed since the last call; return the time in each state: [PSI_*].

        Source: Linux 6.1 kernel/sched/psi.c:collect_percpu_times
        """
        weighted, weights = [0] * NR_PSI_STATES, 0
        for number, cpu in enumerate(self.cpus):
            times_ns = cpu.times_at(now_ns)
            seen_ns = self._seen_ns.get(number, [0] * NR_PSI_STATES)
            self._seen_ns[number] = times_ns
            weight = (times_ns[PSI_NONIDLE] - seen_ns[PSI_NONIDLE]) // self.unit_ns
            if not weight:
                continue
            weights += weight
            for state in range(PSI_NONIDLE):
                weighted[state] += (times_ns[state] - seen_ns[state]) * weight
        if not weights:
            return self.total_ns
        self.total_ns = [
            total_ns + each // weights
            for total_ns, each in zip(self.total_ns, weighted, strict=True)
        ]
        return self.total_ns


@attrs.frozen
class Pressure:
    """One line of a file of /proc/pressure.

    Attributes:
        averages: Percent over 10, 60 and 300 s, in fixed point of 11 bits.
        total_ns: Time stalled since boot.
    """

    averages: tuple[int, int, int]
    total_ns: int


@attrs.define
class PsiGroup:
    """The pressure of the whole machine.

    Attributes:
        cpus: By CPU number.
        totals: What /proc/pressure has as its totals.
        period_began_ns: When the present period did.
        averages: Of each state, as in `Pressure`.
    """

    cpus: list[PsiCpu] = attrs.field(factory=list)
    totals: PsiTotals = attrs.field(init=False)
    period_began_ns: int = 0
    averages: list[tuple[int, ...]] = attrs.field(
        factory=lambda: [(0,) * len(EXPONENTS)] * NR_PSI_STATES
    )
    _averaged_ns: list[int] = attrs.field(factory=lambda: [0] * NR_PSI_STATES)  # of the totals

    def __attrs_post_init__(self) -> None:
        self.totals = PsiTotals(self.cpus)

    def catch_up(self, now_ns: int) -> None:
        """End the periods that are over; what the CPUs do has not changed since the last call."""
        while now_ns - self.period_began_ns >= PSI_PERIOD_NS:
            self._end_period(self.period_began_ns + PSI_PERIOD_NS)

    def _end_period(self, end_ns: int) -> None:
        """Bring totals and averages up to the end of a period.

        Source: Linux 6.1 kernel/sched/psi.c:update_averages
        """
        before_ns, self._averaged_ns = self._averaged_ns, self.totals.collect(end_ns)
        self.period_began_ns = end_ns
        for state in range(PSI_NONIDLE):
            stalled_ns = self._averaged_ns[state] - before_ns[state]
            percent = stalled_ns * 100 // PSI_PERIOD_NS
            self.averages[state] = tuple(
                calc_load(average, exponent, percent * FIXED_1)
                for average, exponent in zip(self.averages[state], EXPONENTS, strict=True)
            )

    def read(self, state: int, now_ns: int) -> Pressure:
        """Return what is printed of a state now; as in Linux, reading collects.

        Source: Linux 6.1 kernel/sched/psi.c:psi_show
        """
        self.catch_up(now_ns)
        total_ns = self.totals.collect(now_ns)[state]
        ten, sixty, three_hundred = self.averages[state]
        return Pressure((ten, sixty, three_hundred), total_ns)


def calc_load(load: int, exponent: int, active: int) -> int:
    """Return a decaying average after one more period; all in fixed point.

    Source: Linux 6.1 include/linux/sched/loadavg.h:calc_load
    """
    new = load * exponent + active * (FIXED_1 - exponent)
    if active >= load:
        new += FIXED_1 - 1
    return new // FIXED_1
