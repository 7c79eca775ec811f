"""Who runs next on a CPU: the fair scheduler's accounts of virtual run time.

Linux: kernel/sched/fair.c (CFS), 6.1.
# Differs from Linux: All tasks have nice 0, so a run time counts as it is; there are no groups and
# no buddies.
A task that has run least is next. One that slept comes back a little behind the others, at most
half a scheduling period, so it preempts a running task that is further ahead than the wake-up
granularity; else it waits until a tick finds the running task's share used up.
Interface: pure accounts, asked by the CPU; the CPU keeps the names and the answers.
Units: ns, of CPU time where a name says vruntime.
"""

from typing import Final

import attrs

SCHED_NR_LATENCY: Final = 8  # tasks a period is shared by before it grows; latency / granularity


@attrs.define(eq=False)
class SchedEntity:
    """A task's account.

    Attributes:
        vruntime_ns: CPU time it had, on the scale of the CPU it ran on last.
        queue: The accounts of that CPU; None before it ran anywhere.
        left_ns: When it last left a CPU.
        allowed: Numbers of the CPUs it may run on.
        in_memstall: Whether it stalls for want of memory, as `psi.py` counts it.
    """

    vruntime_ns: int = 0
    queue: "FairQueue | None" = None
    left_ns: int = -1
    allowed: frozenset[int] = frozenset()
    in_memstall: bool = False


@attrs.define(eq=False)
class FairQueue:
    """The accounts of one CPU.

    Attributes:
        latency_ns: Period in which every runnable task should run once.
        min_vruntime_ns: Rises with the task that has run least.
        current: Who runs, from `since_ns` on as far as it has not been charged yet.
        picked_ns: When it got the CPU, or was last left on it in its turn.
        waiting: Who wants to run, in the order they came.
    """

    latency_ns: int
    min_vruntime_ns: int = 0
    current: SchedEntity | None = None
    since_ns: int = 0
    picked_ns: int = 0
    waiting: list[SchedEntity] = attrs.field(factory=list)

    def place(self, entity: SchedEntity, *, wakeup: bool) -> None:
        """Set the account of a task that becomes runnable here.

        Source: Linux 6.1 kernel/sched/fair.c:place_entity, :migrate_task_rq_fair
        """
        if entity.queue is None:
            share_ns = self.slice_ns(len(self.waiting) + (self.current is not None) + 1)
            entity.vruntime_ns = self.min_vruntime_ns + share_ns
        elif entity.queue is not self:
            entity.vruntime_ns += self.min_vruntime_ns - entity.queue.min_vruntime_ns
        entity.queue = self
        if wakeup:
            credit_ns = self.latency_ns // 2
            entity.vruntime_ns = max(entity.vruntime_ns, self.min_vruntime_ns - credit_ns)

    def charge(self, now_ns: int) -> None:
        """Charge the running task for its time until now.

        Source: Linux 6.1 kernel/sched/fair.c:update_curr, :update_min_vruntime
        """
        least = [entity.vruntime_ns for entity in self.waiting]
        if self.current is not None:
            self.current.vruntime_ns += max(0, now_ns - self.since_ns)
            self.since_ns = max(now_ns, self.since_ns)
            least.append(self.current.vruntime_ns)
        if least:
            self.min_vruntime_ns = max(self.min_vruntime_ns, min(least))

    def run(self, entity: SchedEntity, now_ns: int) -> None:
        """Make a task the running one from a time on."""
        self.current = entity
        self.since_ns = self.picked_ns = now_ns

    def has(self, entity: SchedEntity) -> bool:
        """Tell whether a task runs or waits here."""
        return entity is self.current or entity in self.waiting

    def leave(self, now_ns: int) -> None:
        """Take the running task off."""
        self.charge(now_ns)
        if self.current is not None:
            self.current.left_ns = now_ns
        self.current = None

    def leftmost(self) -> int:
        """Return the place in `waiting` of the task that has run least."""
        return min(range(len(self.waiting)), key=lambda place: self.waiting[place].vruntime_ns)

    def slice_ns(self, nr_running: int) -> int:
        """Return how long a task may run at a stretch while others wait.

        Source: Linux 6.1 kernel/sched/fair.c:sched_slice
        """
        return self.latency_ns // min(nr_running, SCHED_NR_LATENCY)

    def preempts(self, entity: SchedEntity, now_ns: int) -> bool:
        """Tell whether a task that woke up takes the CPU from the running one.

        A task that leaves and comes back in the same instant did not sleep: the order is then
        that of the accounts alone.

        Source: Linux 6.1 kernel/sched/fair.c:check_preempt_wakeup
        """
        self.charge(now_ns)
        assert self.current is not None, "an idle CPU is not preempted"
        granularity_ns = 0 if entity.left_ns == now_ns else self.latency_ns // 6
        return self.current.vruntime_ns - entity.vruntime_ns > granularity_ns

    def check_preempt_tick(self, now_ns: int) -> bool:
        """Tell whether the running task's turn is over, at a tick.

        Source: Linux 6.1 kernel/sched/fair.c:check_preempt_tick
        """
        self.charge(now_ns)
        assert self.current is not None, "a tick comes only while a task runs"
        ahead_ns = self.current.vruntime_ns - self.waiting[self.leftmost()].vruntime_ns
        ran_ns = now_ns - self.picked_ns
        slice_ns = self.slice_ns(len(self.waiting) + 1)
        if ran_ns > slice_ns:
            if ahead_ns <= 0:  # picked once more
                self.picked_ns = now_ns
            return ahead_ns > 0
        return ran_ns >= self.latency_ns // SCHED_NR_LATENCY and ahead_ns > slice_ns
