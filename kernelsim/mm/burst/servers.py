"""Locks and controllers inside a burst: first come, first served, each wait written down.

Linux: queued spinlocks are first come, first served (kernel/locking/qspinlock.c).

Interface: `take_lock` for zone->lock and lru_lock, `pass_traffic` for controllers and links; both
return when the service begins. Requests of actors that wait at a lock come before those of a burst,
which then has to stop (`is_queued`).
Units: ns.
"""

from kernelsim.hw.leaf import inlined_leaf, leaf
from kernelsim.hw.spread import spread_ns
from kernelsim.mm.burst.columns import (
    B_BEGAN,
    B_HOLD,
    B_TIME,
    C_LINE,
    C_NR_NODES,
    C_NR_ZONES,
    C_SEED,
    C_SPREAD,
    H_ASKED,
    H_BEGIN,
    H_CPU,
    H_HOLD,
    H_SERVER,
    T_COUNT,
    T_HOLD,
    T_WAIT,
    T_WAIT_MAX,
    T_WAITS,
    Burst,
)


@inlined_leaf
def lru_lock(burst: Burst, nid: int) -> int:
    """Return the server that stands for a node's lru_lock."""
    return int(burst.cost[C_NR_ZONES]) + nid


@inlined_leaf
def controller(burst: Burst, nid: int) -> int:
    """Return the server that stands for a node's memory controller."""
    return int(burst.cost[C_NR_ZONES] + burst.cost[C_NR_NODES]) + nid


@inlined_leaf
def link(burst: Burst, source: int, target: int) -> int:
    """Return the server that stands for the link from one node to another."""
    nr_nodes = int(burst.cost[C_NR_NODES])
    return int(burst.cost[C_NR_ZONES]) + 2 * nr_nodes + source * nr_nodes + target


@inlined_leaf
def drawn_ns(burst: Burst, cpu: int, mean_ns: int) -> int:
    """Return how long a path of a mean takes a CPU this time."""
    cost = burst.cost
    return spread_ns(
        int(cost[C_SEED]), burst.nr_draws, cpu, mean_ns, int(cost[C_LINE]), int(cost[C_SPREAD])
    )


@inlined_leaf
def is_queued(burst: Burst, server: int) -> bool:
    """Tell whether a burst must not queue at a lock, since actors wait there."""
    return burst.queued[server] != 0


@inlined_leaf
def take_lock(burst: Burst, server: int, now_ns: int, hold_ns: int) -> int:
    """Queue for a lock and hold it for a time; return when it is granted."""
    begin_ns = max(now_ns, int(burst.free_ns[server]))
    burst.free_ns[server] = begin_ns + hold_ns
    return begin_ns


@leaf
def note_hold(burst: Burst, server: int, cpu: int) -> None:
    """Write down a hold that begins now, for the lock's account and the log."""
    run = burst.run[cpu]
    burst.holds[0, 0] += 1
    row = burst.holds[burst.holds[0, 0]]
    row[H_SERVER] = server
    row[H_ASKED] = run[B_BEGAN]
    row[H_BEGIN] = run[B_TIME]
    row[H_HOLD] = run[B_HOLD]
    row[H_CPU] = cpu


@inlined_leaf
def pass_traffic(burst: Burst, server: int, now_ns: int, hold_ns: int) -> int:
    """Let bytes pass a controller or a link in their turn; return when the last has passed."""
    begin_ns = max(now_ns, int(burst.free_ns[server]))
    burst.free_ns[server] = begin_ns + hold_ns
    account = burst.traffic[server]
    wait_ns = begin_ns - now_ns
    account[T_COUNT] += 1
    account[T_HOLD] += hold_ns
    if wait_ns:
        account[T_WAITS] += 1
        account[T_WAIT] += wait_ns
        account[T_WAIT_MAX] = max(account[T_WAIT_MAX], wait_ns)
    return begin_ns + hold_ns
