"""Whose turn it is on a CPU, worked out apart from the scheduler.

Linux: kernel/sched/fair.c: check_preempt_wakeup, check_preempt_tick, pick_next_entity, 6.1.
The task that has run least is next. A task that wakes up takes the CPU from one that is ahead of it
by more than the wake-up granularity. While others wait a tick comes, and what it decides is done at
the next boundary.
Interface: `wrong_queueing` and `wrong_pick` when a CPU has decided; `check_turns` at a look.
Units: ns.
"""

from collections.abc import Iterator
from typing import Final

from kernelsim.actors.core.kernel import Kernel
from kernelsim.actors.parts.cpu import Cpu
from kernelsim.mm.burst.columns import B_SLICE_END
from kernelsim.sched.fair import SchedEntity
from kernelsim.units import NS_PER_MS

STRETCH_NS: Final = 20 * NS_PER_MS  # no path through the kernel is longer without a boundary


def ran_ns(cpu: Cpu) -> int:
    """Return the account of the task that runs, up to now."""
    fair = cpu.fair
    assert fair.current is not None, "only asked of a CPU that runs a task"
    return fair.current.vruntime_ns + max(0, cpu.engine.now_ns - fair.since_ns)


def wrong_queueing(cpu: Cpu, entity: SchedEntity, *, wakeup: bool) -> str:
    """Say what is wrong with how a task was queued behind the one that runs."""
    state, fair, now_ns = cpu.state, cpu.fair, cpu.engine.now_ns
    if not wakeup:
        return ""
    if entity.vruntime_ns < fair.min_vruntime_ns - fair.latency_ns // 2:
        return f"a task that woke up on {cpu.name} is more than half a period behind the others"
    granularity_ns = 0 if entity.left_ns == now_ns else fair.latency_ns // 6
    ahead_ns = ran_ns(cpu) - entity.vruntime_ns
    if ahead_ns <= granularity_ns or (state.need_resched and state.slice_end_ns <= now_ns):
        return ""
    return f"{state.current} is {ahead_ns} ns ahead of a task that woke up and keeps {cpu.name}"


def wrong_pick(cpu: Cpu, entity: SchedEntity) -> str:
    """Say whether another task has run less than the one chosen to be next."""
    least_ns = min(other.vruntime_ns for other in cpu.fair.waiting)
    if entity.vruntime_ns <= least_ns:
        return ""
    return f"{cpu.name} goes to a task at {entity.vruntime_ns} ns, one that waits is at {least_ns}"


def check_turns(kernel: Kernel) -> Iterator[str]:
    """Find CPUs that keep tasks waiting for longer than the scheduler may."""
    tick_ns = kernel.spec.latency.timer_tick_ns
    for cpu in kernel.cpus:
        state, fair = cpu.state, cpu.fair
        if fair.current is None or not state.run_queue:
            continue
        now_ns = cpu.engine.now_ns
        latest_ns = max(now_ns, fair.since_ns) + tick_ns
        if cpu.row[B_SLICE_END] > latest_ns or state.slice_end_ns > latest_ns:
            yield f"{cpu.name}: tasks wait and no tick is to come before {cpu.row[B_SLICE_END]} ns"
        if state.need_resched and now_ns - state.slice_end_ns > STRETCH_NS:
            yield f"{cpu.name}: {state.current} does not give way to a task that woke up"
        ahead_ns = ran_ns(cpu) - min(other.vruntime_ns for other in fair.waiting)
        if ahead_ns > fair.latency_ns + 2 * tick_ns + STRETCH_NS:
            yield f"{cpu.name}: {state.current} is {ahead_ns} ns ahead of a task that waits"
