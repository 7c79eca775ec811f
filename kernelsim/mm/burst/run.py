"""The loop of a burst: what is due first, on whichever CPU, up to a time.

Interface: `run_burst`, called by the machine's burst actor.
Units: ns.
"""

from typing import Final

from kernelsim.hw.leaf import inlined_leaf, leaf
from kernelsim.mm.burst.access import access_page, advance, may_enter, next_access, stop
from kernelsim.mm.burst.columns import (
    B_ENTERED,
    B_KILLED,
    B_LEFT,
    B_LOCK_BEGAN,
    B_LOCK_NS,
    B_PHASE,
    B_SEQ,
    B_SLICE_END,
    B_STIME,
    B_STOLEN,
    B_TIME,
    B_UTIME,
    C_FAULT_ENTRY,
    CALL_NOTHING,
    FAULT,
    OUT,
    STOP_DONE,
    STOP_FAULT,
    STOP_KILLED,
    STOP_SLICE,
    STOPPED,
    USER,
    Burst,
)
from kernelsim.mm.burst.faults import fault_step
from kernelsim.mm.burst.servers import drawn_ns
from kernelsim.mm.core.mem import Mem
from kernelsim.mm.space.pgtable import PT_NR_FREE, Mms, PageTables
from kernelsim.mm.swap.swap_area import SwapArea

NEVER_NS: Final = 1 << 62


@inlined_leaf
def first_due(burst: Burst) -> tuple[int, int]:
    """Return the CPU whose next event is the first, -1 for none, and when the next of others is."""
    first = -1
    other_ns = NEVER_NS
    run = burst.run
    for cpu in range(len(run)):
        phase = run[cpu, B_PHASE]
        if phase in (OUT, STOPPED):
            continue
        at_ns = run[cpu, B_TIME]
        if first < 0:
            first = cpu
        elif at_ns < run[first, B_TIME] or (
            at_ns == run[first, B_TIME] and run[cpu, B_SEQ] < run[first, B_SEQ]
        ):
            other_ns = run[first, B_TIME]
            first = cpu
        else:
            other_ns = min(other_ns, at_ns)
    return first, other_ns


@inlined_leaf
def go_on(
    mem: Mem, pt: PageTables, mms: Mms, swap: SwapArea, burst: Burst, cpu: int,
    before_ns: int,
) -> None:  # fmt: skip
    """Let a program do its accesses up to a time, its end, or the first one that faults."""
    run = burst.run[cpu]
    while True:
        if run[B_LEFT] == 0:
            stop(burst, cpu, STOP_DONE)
            return
        if run[B_KILLED]:
            stop(burst, cpu, STOP_KILLED)
            return
        if run[B_TIME] >= run[B_SLICE_END]:
            stop(burst, cpu, STOP_SLICE)
            return
        if run[B_TIME] >= before_ns:
            return
        vpn, write = next_access(burst, cpu)
        access_ns = access_page(mem, pt, mms, burst, cpu, vpn, write)
        if access_ns < 0:
            break
        run[B_TIME] += access_ns + run[B_STOLEN]
        run[B_STOLEN] = 0
        run[B_UTIME] += access_ns
        advance(burst, cpu)
    if not may_enter(mem, pt, mms, swap, burst, cpu, vpn, write):
        stop(burst, cpu, STOP_FAULT)
        return
    run[B_ENTERED] = run[B_TIME]
    run[B_LOCK_BEGAN] = run[B_LOCK_NS]
    entry_ns = drawn_ns(burst, cpu, int(burst.cost[C_FAULT_ENTRY]))
    run[B_TIME] += entry_ns
    run[B_STIME] += entry_ns
    run[B_PHASE] = FAULT


@inlined_leaf
def has_room(pt: PageTables, burst: Burst) -> bool:
    """Tell whether the arrays have room for what any one event adds."""
    return burst.holds[0, 0] < len(burst.holds) - 2 and pt.state[PT_NR_FREE] > 0


@leaf
def run_burst(
    mem: Mem, pt: PageTables, mms: Mms, swap: SwapArea, burst: Burst, before_ns: int,
    nr_max: int,
) -> tuple[int, int, int, int]:  # fmt: skip
    """Do what is due before a time, at most so many events.

    Returns:
        Events done, the CPU that had the last one, CALL_* for the actors, and when the next event
        is due. It ends early when that CPU stopped, the actors have to act, or there is no room for
        more holds or page tables.
    """
    done = 0
    call = CALL_NOTHING
    cpu = -1
    while done < nr_max and call == CALL_NOTHING:
        due, other_ns = first_due(burst)
        if due < 0 or burst.run[due, B_TIME] >= before_ns:
            break
        cpu = due
        run = burst.run[cpu]
        limit_ns = min(other_ns, before_ns)
        while True:  # events of this CPU, as long as no other one is due
            done += 1
            if run[B_PHASE] == USER:
                # Of two that are due at once this one is the first, and does one access.
                go_on(mem, pt, mms, swap, burst, cpu, max(limit_ns, int(run[B_TIME]) + 1))
            else:
                call = fault_step(mem, pt, mms, swap, burst, cpu, before_ns)
            burst.seq[0] += 1
            run[B_SEQ] = burst.seq[0]
            if call != CALL_NOTHING or run[B_PHASE] == STOPPED or run[B_TIME] >= limit_ns:
                break
            if done >= nr_max or not has_room(pt, burst):
                break
        if run[B_PHASE] == STOPPED or not has_room(pt, burst):
            break
    due, _ = first_due(burst)
    return done, cpu, call, int(burst.run[due, B_TIME]) if due >= 0 else NEVER_NS
