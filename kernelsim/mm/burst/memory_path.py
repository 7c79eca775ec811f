"""The way of a program's accesses to memory inside a burst, on a machine whose CPUs share a bus.

The bus or the link, then the controller: each is a first come, first served server, and so is what
pages pass that are cleared (pages.py); the steps are those of actors/core/memory_access.py.
Interface: `begin_access` once it is known what an access costs on an idle machine; the phases
behind it are `LINK` to `PASSED` with `B_IS_LINE`, and `end_access`.
Units: ns.
"""

from kernelsim.hw.leaf import inlined_leaf
from kernelsim.mm.burst.columns import (
    B_BEGAN,
    B_IS_LINE,
    B_NID,
    B_PHASE,
    B_STOLEN,
    B_TARGET,
    B_TIME,
    B_USER_NS,
    B_UTIME,
    C_BUS_LINE,
    C_CACHE_MISS,
    C_CONTROLLER_LINE,
    C_LINK_LINE,
    LINK,
    SENT,
    USER,
    Burst,
)
from kernelsim.mm.burst.events import push


@inlined_leaf
def crossing_ns(burst: Burst, cpu: int) -> int:
    """Return how long the line of an access takes on the bus, or on the link to another node."""
    is_near = burst.run[cpu, B_NID] == burst.run[cpu, B_TARGET]
    return int(burst.cost[C_BUS_LINE if is_near else C_LINK_LINE])


@inlined_leaf
def begin_access(burst: Burst, cpu: int, access_ns: int) -> None:
    """Let an access that costs so much on an idle machine look for its data in the caches."""
    run = burst.run[cpu]
    memory_ns = int(burst.memory_ns[run[B_NID], run[B_TARGET]])
    left_ns = memory_ns - min(memory_ns, int(burst.cost[C_CACHE_MISS]))
    before_ns = access_ns - left_ns
    run[B_USER_NS] = left_ns
    run[B_IS_LINE] = 1
    run[B_UTIME] += before_ns
    run[B_PHASE] = SENT
    if before_ns:
        push(burst, cpu, SENT, int(run[B_TIME]) + before_ns)


@inlined_leaf
def send(burst: Burst, cpu: int) -> None:
    """Let it leave the CPU."""
    run = burst.run[cpu]
    run[B_BEGAN] = run[B_TIME]
    push(burst, cpu, LINK, int(run[B_TIME]))


@inlined_leaf
def end_access(burst: Burst, cpu: int) -> None:
    """Let an access that has passed the controller take the time that is no queueing."""
    run = burst.run[cpu]
    passed_ns = crossing_ns(burst, cpu) + int(burst.cost[C_CONTROLLER_LINE])
    left_ns = max(0, int(run[B_USER_NS]) - passed_ns)
    run[B_UTIME] += run[B_TIME] - run[B_BEGAN] + left_ns
    left_ns += int(run[B_STOLEN])
    run[B_STOLEN] = 0
    run[B_IS_LINE] = 0
    run[B_PHASE] = USER
    if left_ns:
        push(burst, cpu, USER, int(run[B_TIME]) + left_ns)
