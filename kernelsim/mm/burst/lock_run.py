"""Steps of one task that take locks of nodes, many of them while nobody else can notice.

A step is begun only if every lock it needs is free and it ends before the next event of anybody
else, however long its holds turn out. So nobody is met, and none of its events needs a place in the
order of events; they are only counted, as the clock numbers events.

Interface: `LR_*`, the first entries of the state of such a run; `has_time` and `is_lock_free` tell
whether the next step may be begun, `hold`, `hold_lru_lock` and `pass_time` let its time pass.
Units: ns.
"""

from typing import Final

from kernelsim.hw.leaf import inlined_leaf, leaf
from kernelsim.hw.spread import longest_ns
from kernelsim.mm.burst.columns import (
    C_LINE,
    C_LRU_HOLD_PAGE,
    C_NR_NODES,
    C_SPREAD,
    H_ASKED,
    H_BEGIN,
    H_CPU,
    H_HOLD,
    H_NR,
    H_SERVER,
    NR_HOLD_COLUMNS,
    Burst,
)
from kernelsim.mm.burst.servers import drawn_ns, lru_lock
from kernelsim.mm.core.mem import I64, I64_2D

LR_CPU: Final = 0
LR_NID: Final = 1  # of the CPU
LR_UNTIL_NS: Final = 2  # next event of anybody else
LR_NUMBER_END: Final = 3  # events may have numbers below this
LR_NOW_NS: Final = 4
LR_NUMBER: Final = 5  # of the last event
LR_ALLOC_NS: Final = 6  # time in the page allocator so far
NR_LR_FIELDS: Final = 7

# Columns of sums of holds: those of the last one, then of the others
HS_COUNT: Final = NR_HOLD_COLUMNS
HS_HOLD: Final = NR_HOLD_COLUMNS + 1
NR_HS_COLUMNS: Final = NR_HOLD_COLUMNS + 2

HOLDS_MAX: Final = 20  # of a step; each is two events, the question and its answer


@leaf
def has_time(burst: Burst, run: I64, ns: int) -> bool:
    """Tell whether a step of a length at most ends before others notice, and has room for notes."""
    is_late = run[LR_NOW_NS] + ns >= run[LR_UNTIL_NS]
    is_last = run[LR_NUMBER] + 2 * HOLDS_MAX >= run[LR_NUMBER_END]
    has_room = burst.holds[0, H_NR] + HOLDS_MAX < len(burst.holds)
    has_room = has_room and burst.notes[0, 0] + 2 * len(burst.band) < len(burst.notes)
    return bool(has_room and not is_late and not is_last)


@leaf
def longest_hold_ns(burst: Burst, mean_ns: int) -> int:
    """Return the longest that a lock may be held whose holds have a mean."""
    return longest_ns(mean_ns, int(burst.cost[C_LINE]), int(burst.cost[C_SPREAD]))


@inlined_leaf
def is_lock_free(burst: Burst, run: I64, server: int) -> bool:
    """Tell whether nobody holds a lock or waits for it."""
    is_asked = burst.queued[server] != 0 or burst.nr_waiting[server] != 0
    return not is_asked and burst.free_ns[server] <= run[LR_NOW_NS]


@inlined_leaf
def hold(burst: Burst, run: I64, server: int, hold_ns: int) -> None:
    """Hold a lock that is free, and write that down for its account."""
    burst.holds[0, H_NR] += 1
    row = burst.holds[burst.holds[0, H_NR]]
    row[H_SERVER] = server
    row[H_ASKED] = run[LR_NOW_NS]
    row[H_BEGIN] = run[LR_NOW_NS]
    row[H_HOLD] = hold_ns
    row[H_CPU] = run[LR_CPU]
    run[LR_NOW_NS] += hold_ns
    burst.free_ns[server] = run[LR_NOW_NS]


@leaf
def are_lru_locks_free(burst: Burst, run: I64) -> bool:
    """Tell whether nobody holds the lru_lock of any node, or waits for it."""
    for nid in range(burst.cost[C_NR_NODES]):
        if not is_lock_free(burst, run, lru_lock(burst, nid)):
            return False
    return True


@inlined_leaf
def hold_lru_lock(burst: Burst, run: I64, nid: int, nr_pages: int) -> None:
    """Hold a node's lru_lock for so many pages, as a message to the node has it done."""
    run[LR_NUMBER] += 2  # the question and its answer
    mean_ns = int(burst.cost[C_LRU_HOLD_PAGE]) * nr_pages
    hold(burst, run, lru_lock(burst, nid), drawn_ns(burst, int(run[LR_CPU]), mean_ns))


@inlined_leaf
def pass_time(run: I64, ns: int) -> None:
    """Let time pass without a lock; that is an event if it takes any."""
    run[LR_NOW_NS] += ns
    run[LR_NUMBER] += ns != 0


@leaf
def sum_holds(burst: Burst, sums: I64_2D) -> int:
    """Add up the holds written down, lock by lock; nobody waited for any of them.

    Args:
        burst: The burst.
        sums: Gets a row for each lock in use: all holds but the last, and the last, HS_*.

    Returns:
        How many rows.
    """
    nr_rows = 0
    for at in range(1, 1 + burst.holds[0, H_NR]):
        row = burst.holds[at]
        found = 0
        while found < nr_rows and sums[found, H_SERVER] != row[H_SERVER]:
            found += 1
        own = sums[found]
        if found == nr_rows:
            nr_rows += 1
            own[HS_COUNT] = own[HS_HOLD] = 0
        else:
            own[HS_COUNT] += 1
            own[HS_HOLD] += own[H_HOLD]
        for column in range(NR_HOLD_COLUMNS):
            own[column] = row[column]
    return nr_rows
