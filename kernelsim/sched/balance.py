"""How many waiting tasks a CPU takes over from which other one, and when it looks.

Linux: kernel/sched/fair.c (load_balance, newidle_balance, rebalance_domains), topology.c, 6.1.
# Differs from Linux: A CPU's load is the number of its runnable tasks, now and not averaged over
# the past. On a real machine interrupts and daemons keep balancing out of step with the turns that
# tasks take; here a coin does, which lets half a task move at the second try or the third. Only
# waiting tasks move, never a running one; there are no SMT siblings, no CPUs of different speed,
# and a CPU that becomes idle looks around however short its idle times are.

A domain is a set of CPUs that share work: those of a node, then those of all nodes up to a
distance. In each, groups are compared, single CPUs in the first, nodes above; of the busiest
group, the busiest CPU gives. A CPU that is idle takes half of the difference; one that is busy as
much as makes both equal. A task that is more than that is moved at a later try, so three tasks on
two CPUs get about equal shares.
Interface: `make_domains`, then a `DomainState` for each: `imbalance`, `nr_tasks`, `note`.
Units: ns; loads are tasks.
"""

from collections.abc import Sequence
from typing import Final

import attrs

from kernelsim.units import NS_PER_MS, NS_PER_US

NICE_0_LOAD: Final = 1024
IMBALANCE_PCT: Final = 117  # topology.c:sd_init
BUSY_FACTOR: Final = 16  # topology.c:sd_init: a busy CPU looks that much more rarely
MIGRATION_COST_NS: Final = 500 * NS_PER_US  # sysctl_sched_migration_cost: caches are warm so long
INTERVAL_MAX_MS: Final = 100  # a CPU; fair.c:update_max_interval
CACHE_NICE_TRIES: Final = (1, 2)  # within a node, between nodes; topology.c:sd_init


@attrs.frozen
class SchedDomain:
    """CPUs that share work, as one of them sees them."""

    groups: tuple[tuple[int, ...], ...]
    """CPU numbers; the first group has the CPU whose domain it is."""
    cache_nice_tries: int
    """Failures after which tasks with warm caches are moved, too."""

    @property
    def nr_cpus(self) -> int:
        """CPUs of all groups."""
        return sum(map(len, self.groups))


def make_domains(
    cpu: int, cpu_nid: Sequence[int], distances: Sequence[Sequence[int]]
) -> tuple[SchedDomain, ...]:
    """Return the domains of a CPU, smallest first; none for a CPU that is alone.

    Source: Linux 6.1 kernel/sched/topology.c:sched_init_numa, :build_sched_domains
    """
    home = cpu_nid[cpu]
    near = [other for other, nid in enumerate(cpu_nid) if nid == home]
    domains = []
    if len(near) > 1:
        alone = ((cpu,), *((other,) for other in near if other != cpu))
        domains.append(SchedDomain(alone, CACHE_NICE_TRIES[0]))
    nodes = [nid for nid in sorted(set(cpu_nid)) if nid != home]
    for limit in sorted({distances[home][nid] for nid in nodes}):
        within = [home, *(nid for nid in nodes if distances[home][nid] <= limit)]
        groups = tuple(
            tuple(other for other, nid in enumerate(cpu_nid) if nid == each) for each in within
        )
        domains.append(SchedDomain(groups, CACHE_NICE_TRIES[1]))
    return tuple(domains)


@attrs.define
class DomainState:
    """What a CPU remembers of its attempts in one domain."""

    domain: SchedDomain
    interval_ms: int = attrs.field(init=False)
    last_ns: int = 0
    nr_failed: int = 0
    """Attempts in a row that found too much on another CPU and moved nothing."""

    def __attrs_post_init__(self) -> None:
        """Begin with the shortest interval."""
        self.interval_ms = self.domain.nr_cpus

    def due_ns(self, nr_online: int, tick_ns: int, *, busy: bool) -> int:
        """Return when to look next.

        One tick less on a busy CPU keeps the intervals of domains from being multiples of each
        other, and of the turns that tasks take.

        Args:
            nr_online: CPUs of the machine.
            tick_ns: Between two timer interrupts.
            busy: Whether the CPU runs a task.

        Source: Linux 6.1 kernel/sched/fair.c:get_sd_balance_interval
        """
        interval_ms = self.interval_ms * (BUSY_FACTOR if busy else 1)
        nr_ticks = -(-interval_ms * NS_PER_MS // tick_ns) - busy
        nr_ticks_max = INTERVAL_MAX_MS * nr_online * NS_PER_MS // tick_ns
        return self.last_ns + max(1, min(nr_ticks, nr_ticks_max)) * tick_ns

    def imbalance(self, cpu: int, loads: Sequence[int], *, newidle: bool = False) -> int:
        """Return the load that a CPU should take over; 0 if there is none, or others are to do it.

        Args:
            cpu: Its number.
            loads: Runnable tasks by CPU.
            newidle: It has become idle just now; of a node any CPU may look then.

        Source: Linux 6.1 kernel/sched/fair.c:should_we_balance, :find_busiest_group,
            :calculate_imbalance
        """
        local = self.domain.groups[0]
        idle = [other for other in local if not loads[other]]
        if not newidle and cpu != min(idle or local):
            return 0
        group = self.busiest_group(loads)
        here, busiest = group_load(local, loads), group_load(group, loads)
        if not loads[cpu]:
            if len(local) == len(group) == 1:
                return NICE_0_LOAD * (loads[group[0]] // 2)
            return NICE_0_LOAD * len(idle) if busiest > NICE_0_LOAD else 0
        if 100 * busiest <= IMBALANCE_PCT * here:
            return 0
        everybody = [number for each in self.domain.groups for number in each]
        average = group_load(everybody, loads)
        return max(0, min(busiest - average, average - here) * len(local))

    def nr_tasks(self, imbalance: int) -> int:
        """Return how many tasks make up for an imbalance: after a failure, half a task is one.

        Source: Linux 6.1 kernel/sched/fair.c:detach_tasks
        """
        nr_whole = imbalance // NICE_0_LOAD
        return nr_whole or int(NICE_0_LOAD >> self.nr_failed <= imbalance)

    def busiest_group(self, loads: Sequence[int]) -> tuple[int, ...]:
        """Return the group, other than that of this CPU, with most tasks a CPU; the first such."""
        return max(self.domain.groups[1:], key=lambda group: group_load(group, loads))

    def note(self, now_ns: int, *, imbalance: int, nr_moved: int) -> None:
        """Remember how an attempt went; how soon the next one is depends on it.

        Args:
            now_ns: When.
            imbalance: Load that was to be taken over, from tasks that may run here.
            nr_moved: Tasks that were.

        Source: Linux 6.1 kernel/sched/fair.c:load_balance
        """
        self.last_ns = now_ns
        self.nr_failed = self.nr_failed + 1 if imbalance and not nr_moved else 0
        shortest = self.domain.nr_cpus
        self.interval_ms = shortest if imbalance else min(2 * self.interval_ms, 2 * shortest)


def group_load(group: Sequence[int], loads: Sequence[int]) -> int:
    """Return the load of a group for each of its CPUs; a task is `NICE_0_LOAD`."""
    return NICE_0_LOAD * sum(loads[cpu] for cpu in group) // len(group)


def is_cache_hot(left_ns: int, now_ns: int) -> bool:
    """Tell whether a task that left a CPU at a time, -1 for never, has its data there still.

    Source: Linux 6.1 kernel/sched/fair.c:task_hot
    """
    return left_ns >= 0 and now_ns - left_ns < MIGRATION_COST_NS
