"""The loop of a burst: what is due first, on whichever CPU, up to the next event of others.

Interface: `run_burst` and `next_due`, called by actors/space/bursts.py.
Units: ns.
"""

from kernelsim.hw.leaf import inlined_leaf, leaf
from kernelsim.mm.burst.access import access_page, advance, may_enter, next_access
from kernelsim.mm.burst.columns import (
    B_HITS,
    B_KILLED,
    B_LEFT,
    B_NUMBER,
    B_PHASE,
    B_SLICE_END,
    B_STOLEN,
    B_TIME,
    B_UTIME,
    C_HAS_BUS,
    CALL_NOTHING,
    ENTER,
    H_NR,
    O_HAS_NEWS,
    O_HITS,
    O_NUMBER,
    O_TIME,
    STOP_DONE,
    STOP_FAULT,
    STOP_KILLED,
    STOP_SLICE,
    STOPPED,
    T_COUNT,
    USER,
    WAITING,
    Burst,
)
from kernelsim.mm.burst.events import first_due, gather, is_before, note_due, push, stop
from kernelsim.mm.burst.faults import fault_step
from kernelsim.mm.burst.memory_path import begin_access
from kernelsim.mm.core.mem import Mem
from kernelsim.mm.space.pgtable import PT_NR_FREE, Mms, PageTables
from kernelsim.mm.swap.swap_area import SwapArea


@inlined_leaf
def go_on(
    mem: Mem, pt: PageTables, mms: Mms, swap: SwapArea, burst: Burst, cpu: int,
    before_ns: int, number_end: int,
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
        vpn, write = next_access(burst, cpu)
        access_ns = access_page(mem, pt, mms, burst, cpu, vpn, write)
        if access_ns < 0:
            break
        burst.order[O_TIME] = run[B_TIME]
        if burst.cost[C_HAS_BUS]:
            advance(burst, cpu)
            begin_access(burst, cpu, access_ns)
            return
        stolen_ns = run[B_STOLEN]
        run[B_STOLEN] = 0
        run[B_UTIME] += access_ns
        advance(burst, cpu)
        push(burst, cpu, USER, int(run[B_TIME] + access_ns + stolen_ns))
        if run[B_TIME] >= before_ns or run[B_NUMBER] >= number_end:
            return
    if may_enter(mem, pt, mms, swap, burst, cpu, vpn, write):
        push(burst, cpu, ENTER, int(run[B_TIME]))
    else:
        stop(burst, cpu, STOP_FAULT)


@inlined_leaf
def has_room(pt: PageTables, burst: Burst) -> bool:
    """Tell whether the arrays have room for what any one event adds."""
    return burst.holds[0, H_NR] < len(burst.holds) - 2 and pt.state[PT_NR_FREE] > 0


@leaf
def run_burst(
    mem: Mem, pt: PageTables, mms: Mms, swap: SwapArea, burst: Burst, before_ns: int,
    before_tie: int, before_number: int, nr_max: int,
) -> tuple[int, int, int, int]:  # fmt: skip
    """Do what is due before an event of others, at least one event, at most so many.

    Returns:
        Events done, the CPU that had the last one, CALL_* for the actors, for that CPU, and the
        CPU whose event is the next, or -1. It ends early when that CPU has stopped, when the actors
        have to act, or when there is no room for more holds or page tables.
    """
    done = 0
    call = CALL_NOTHING
    cpu = -1
    number_end = int(burst.order[O_NUMBER]) + nr_max
    gather(burst)
    while call == CALL_NOTHING:
        due, other_ns = first_due(burst)
        if due < 0 or not is_before(burst, due, before_ns, before_tie, before_number):
            break
        if burst.run[due, B_PHASE] == STOPPED:
            break
        if done and (burst.order[O_NUMBER] >= number_end or not has_room(pt, burst)):
            break
        cpu = due
        run = burst.run[cpu]
        limit_ns = min(other_ns, before_ns)
        while True:  # events of this CPU, as long as no other one is due
            done += 1
            number = run[B_NUMBER]
            burst.order[O_TIME] = run[B_TIME]
            if run[B_PHASE] == USER:
                go_on(mem, pt, mms, swap, burst, cpu, limit_ns, number_end)
            else:
                call = fault_step(mem, pt, mms, swap, burst, cpu)
            if call != CALL_NOTHING or run[B_PHASE] in (STOPPED, WAITING):
                break
            if run[B_NUMBER] == number and done < nr_max:
                continue  # in the same event
            if run[B_TIME] >= limit_ns or burst.order[O_NUMBER] >= number_end:
                break
            if done >= nr_max or not has_room(pt, burst):
                break
        note_due(burst, cpu)
        if done >= nr_max:
            break
    note_news(burst)
    due, _ = first_due(burst)
    return done, cpu, call, due


@inlined_leaf
def note_news(burst: Burst) -> None:
    """Tell the actors what they have to look at: O_HAS_NEWS, O_HITS."""
    has_news, hits = False, 0
    for server in range(len(burst.traffic)):
        has_news = has_news or burst.traffic[server, T_COUNT] != 0
    for nid in range(len(burst.kswapd_wanted)):
        has_news = has_news or burst.kswapd_wanted[nid] != 0
    for cpu in range(len(burst.run)):
        hits += burst.run[cpu, B_HITS]
    burst.order[O_HAS_NEWS] = has_news
    burst.order[O_HITS] = hits


@leaf
def next_due(burst: Burst) -> int:
    """Return the CPU whose event is the next, -1 if there is none."""
    gather(burst)
    due, _ = first_due(burst)
    return due
