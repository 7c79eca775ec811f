"""Locks and controllers inside a burst: first come, first served, each wait written down.

Linux: queued spinlocks are first come, first served (kernel/locking/qspinlock.c).

Interface: `ask_lock` for zone->lock and lru_lock, `pass_traffic` for controllers and links. Behind
actors that wait at a lock (`is_queued`) a CPU queues as they do (actors/parts/shared_server.py).
Units: ns.
"""

from kernelsim.hw.leaf import inlined_leaf, leaf
from kernelsim.hw.spread import spread_ns
from kernelsim.mm.burst.columns import (
    B_BEGAN,
    B_HOLD,
    B_NUMBER,
    B_PHASE,
    B_SERVER,
    B_TIME,
    C_LINE,
    C_NR_NODES,
    C_NR_ZONES,
    C_SEED,
    C_SPREAD,
    C_ZONE_HOLD,
    C_ZONE_HOLD_PAGE,
    CALL_QUEUE,
    H_ASKED,
    H_BEGIN,
    H_CPU,
    H_HOLD,
    H_NR,
    H_SERVER,
    H_WAITED,
    LRU,
    NEVER_NS,
    REFILL,
    T_COUNT,
    T_HOLD,
    T_WAIT,
    T_WAIT_MAX,
    T_WAITS,
    WAITING,
    Burst,
)
from kernelsim.mm.burst.events import note_due, push


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
def zone_hold_ns(burst: Burst, nr_pages: int) -> int:
    """Return how long zone->lock is held in the mean while so many pages are moved."""
    return int(burst.cost[C_ZONE_HOLD] + burst.cost[C_ZONE_HOLD_PAGE] * nr_pages)


@inlined_leaf
def drawn_ns(burst: Burst, cpu: int, mean_ns: int) -> int:
    """Return how long a path of a mean takes a CPU this time."""
    cost = burst.cost
    return spread_ns(
        int(cost[C_SEED]), burst.nr_draws, cpu, mean_ns, int(cost[C_LINE]), int(cost[C_SPREAD])
    )


@inlined_leaf
def is_queued(burst: Burst, server: int) -> bool:
    """Tell whether actors wait at a lock: a CPU that comes now has to queue behind them."""
    return burst.queued[server] != 0


@inlined_leaf
def ask_lock(burst: Burst, cpu: int, server: int, granted: int, mean_ns: int, ratio: int) -> bool:
    """Queue for a lock, to hold it for a time; True if it is granted at once.

    Else `granted` is the phase at the grant. Only who waits as the first knows its turn now; that
    of each other one is scheduled when the one before it gets the lock.

    Args:
        burst: The burst.
        cpu: Who asks.
        server: The lock.
        granted: What happens at the grant.
        mean_ns: How long it is held in the mean.
        ratio: How much longer, the distance to the lock's node: 10 is local.
    """
    run = burst.run[cpu]
    now_ns = int(run[B_TIME])
    begin_ns = max(now_ns, int(burst.free_ns[server]))
    run[B_SERVER] = server
    run[B_BEGAN] = now_ns
    run[B_HOLD] = drawn_ns(burst, cpu, mean_ns) * ratio // 10
    burst.free_ns[server] = begin_ns + run[B_HOLD]
    if begin_ns == now_ns and burst.nr_waiting[server] == 0:
        return True
    burst.nr_waiting[server] += 1
    if burst.nr_waiting[server] == 1:
        push(burst, cpu, granted, begin_ns)
    else:
        run[B_PHASE], run[B_TIME], run[B_NUMBER] = granted, begin_ns, NEVER_NS
    return False


@leaf
def let_next_wait(burst: Burst, server: int) -> None:
    """Schedule the turn of the first CPU that waits at a lock, which has just been granted."""
    burst.nr_waiting[server] -= 1
    if burst.nr_waiting[server] == 0:
        return
    first = -1
    for cpu in range(len(burst.run)):
        run = burst.run[cpu]
        if run[B_PHASE] not in (REFILL, LRU) or run[B_SERVER] != server:
            continue
        if run[B_NUMBER] == NEVER_NS and (first < 0 or run[B_TIME] < burst.run[first, B_TIME]):
            first = cpu
    assert first >= 0, "a CPU waits at a lock and is nowhere"
    push(burst, first, int(burst.run[first, B_PHASE]), int(burst.run[first, B_TIME]))
    note_due(burst, first)


@leaf
def note_hold(burst: Burst, cpu: int) -> None:
    """Write down a hold that begins now, for the lock's account and the log."""
    run = burst.run[cpu]
    burst.holds[0, H_NR] += 1
    row = burst.holds[burst.holds[0, H_NR]]
    row[H_SERVER] = run[B_SERVER]
    row[H_ASKED] = run[B_BEGAN]
    row[H_BEGIN] = run[B_TIME]
    if row[H_BEGIN] > row[H_ASKED]:
        burst.holds[0, H_WAITED] = 1
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


@inlined_leaf
def queue(burst: Burst, cpu: int, server: int) -> int:
    """Queue at a lock behind actors; return CALL_*."""
    run = burst.run[cpu]
    run[B_SERVER] = server
    run[B_PHASE] = WAITING
    return CALL_QUEUE
