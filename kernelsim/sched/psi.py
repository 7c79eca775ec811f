"""Pressure: the share of time in which tasks stalled for want of memory, I/O or a CPU.

Linux: kernel/sched/psi.c, include/linux/psi_types.h (6.1); what /proc/pressure/* prints.
Each CPU keeps how long it has been in each state; "some" means at least one of its tasks stalled,
"full" that none did anything useful meanwhile. The machine's figures are the mean over its CPUs,
each weighted by how long it was not idle, in periods of two seconds; the averages of 10, 60 and
300 s decay from period to period.
# Differs from Linux: The periods of pressure averages run on while nothing happens. Linux stops
# its timer and makes up for the missed ones later, to the same averages but for rounding.

Interface: whoever changes what a CPU's tasks do calls `PsiGroup.catch_up` first and then the CPU's
`PsiCpu.record`; `PsiGroup.read` returns what is printed.
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
        seen_ns: Of these, what past periods have had.
    """

    nr_memstall: int = 0
    nr_memstall_running: int = 0
    states: int = 0
    since_ns: int = 0
    times_ns: list[int] = attrs.field(factory=lambda: [0] * NR_PSI_STATES)
    seen_ns: list[int] = attrs.field(factory=lambda: [0] * NR_PSI_STATES)

    def record(self, now_ns: int, *, nr_running: int, nr_iowait: int) -> None:
        """Count the time up to now, and note what holds from now on.

        Args:
            now_ns: Virtual time.
            nr_running: Tasks that run here or want to; if any, one of them runs.
            nr_iowait: Tasks that left this CPU to wait for I/O.

        Source: Linux 6.1 kernel/sched/psi.c:psi_group_change, :test_state
        """
        if self.states and now_ns > self.since_ns:
            self._count(now_ns)
        self.since_ns = now_ns
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
        self.states = states

    def _count(self, now_ns: int) -> None:
        for state in range(NR_PSI_STATES):
            if self.states >> state & 1:
                self.times_ns[state] += now_ns - self.since_ns

    def recent_ns(self, now_ns: int) -> list[int]:
        """Return the time in each state since the last period ended, up to now."""
        late_ns = now_ns - self.since_ns
        return [
            self.times_ns[state]
            - self.seen_ns[state]
            + (late_ns if self.states >> state & 1 else 0)
            for state in range(NR_PSI_STATES)
        ]


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
        period_began_ns: When the present period did.
        totals_ns: Time in each state before it, [PSI_*].
        averages: Of each state, as in `Pressure`.
    """

    cpus: list[PsiCpu] = attrs.field(factory=list)
    period_began_ns: int = 0
    totals_ns: list[int] = attrs.field(factory=lambda: [0] * NR_PSI_STATES)
    averages: list[tuple[int, ...]] = attrs.field(
        factory=lambda: [(0,) * len(EXPONENTS)] * NR_PSI_STATES
    )

    def catch_up(self, now_ns: int) -> None:
        """End the periods that are over; what the CPUs do has not changed since the last call."""
        while now_ns - self.period_began_ns >= PSI_PERIOD_NS:
            self._end_period(self.period_began_ns + PSI_PERIOD_NS)

    def _end_period(self, end_ns: int) -> None:
        """Bring totals and averages up to the end of a period.

        Source: Linux 6.1 kernel/sched/psi.c:update_averages
        """
        samples = self._samples(end_ns)
        for cpu in self.cpus:
            recent = cpu.recent_ns(end_ns)
            cpu.seen_ns = [seen + new for seen, new in zip(cpu.seen_ns, recent, strict=True)]
        self.period_began_ns = end_ns
        for state in range(PSI_NONIDLE):
            self.totals_ns[state] += samples[state]
            percent = min(samples[state], PSI_PERIOD_NS) * 100 // PSI_PERIOD_NS
            self.averages[state] = tuple(
                calc_load(average, exponent, percent * FIXED_1)
                for average, exponent in zip(self.averages[state], EXPONENTS, strict=True)
            )

    def _samples(self, now_ns: int) -> list[int]:
        """Return the time the machine spent in each state since the period began, up to now.

        Source: Linux 6.1 kernel/sched/psi.c:collect_percpu_times
        """
        weighted, weights = [0] * NR_PSI_STATES, 0
        for cpu in self.cpus:
            recent = cpu.recent_ns(now_ns)
            weight = recent[PSI_NONIDLE] // JIFFY_NS
            weights += weight
            for state in range(PSI_NONIDLE):
                weighted[state] += recent[state] * weight
        return [each // max(weights, 1) for each in weighted]

    def read(self, state: int, now_ns: int) -> Pressure:
        """Return what is printed of a state now."""
        total_ns = self.totals_at(now_ns)[state]
        ten, sixty, three_hundred = self.averages[state]
        return Pressure((ten, sixty, three_hundred), total_ns)

    def totals_at(self, now_ns: int) -> list[int]:
        """Return the time stalled since boot, up to now: [PSI_*]."""
        self.catch_up(now_ns)
        recent = self._samples(now_ns)
        return [total + new for total, new in zip(self.totals_ns, recent, strict=True)]


def calc_load(load: int, exponent: int, active: int) -> int:
    """Return a decaying average after one more period; all in fixed point.

    Source: Linux 6.1 include/linux/sched/loadavg.h:calc_load
    """
    new = load * exponent + active * (FIXED_1 - exponent)
    if active >= load:
        new += FIXED_1 - 1
    return new // FIXED_1
