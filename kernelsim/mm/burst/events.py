"""Events inside a burst: what is due first, on whichever CPU.

They are events of the machine's clock like any others and take their numbers from it, one for each
message and each wait of the actors whose steps a burst takes. So it is the same event that comes
first when two are due at once.

Interface: `push` schedules a CPU's next event; `gather` and `note_due` keep the list of them,
`first_due` and `is_before` look at it; `stop` ends a CPU's part.
Units: ns.
"""

from kernelsim.hw.leaf import inlined_leaf
from kernelsim.hw.spread import mixed_bits
from kernelsim.mm.burst.columns import (
    B_NUMBER,
    B_PHASE,
    B_STIME,
    B_STOP,
    B_TIME,
    D_NUMBER,
    D_TIE,
    D_TIME,
    NEVER_NS,
    O_IS_SEEDED,
    O_NUMBER,
    O_SEED,
    OUT,
    STOPPED,
    WAITING,
    Burst,
)


@inlined_leaf
def push(burst: Burst, cpu: int, phase: int, at_ns: int) -> None:
    """Schedule a CPU's next event."""
    run = burst.run[cpu]
    run[B_PHASE] = phase
    run[B_TIME] = at_ns
    burst.order[O_NUMBER] += 1
    run[B_NUMBER] = burst.order[O_NUMBER]


@inlined_leaf
def spend(burst: Burst, cpu: int, phase: int, ns: int) -> None:
    """Let time pass in the kernel; what takes none goes on in the same event."""
    run = burst.run[cpu]
    run[B_STIME] += ns
    run[B_PHASE] = phase
    if ns:
        push(burst, cpu, phase, int(run[B_TIME]) + ns)


@inlined_leaf
def stop(burst: Burst, cpu: int, why: int) -> None:
    """End a CPU's part in the burst: its task goes on in the event that is being done."""
    burst.run[cpu, B_PHASE] = STOPPED
    burst.run[cpu, B_STOP] = why


@inlined_leaf
def tie_of(burst: Burst, number: int) -> int:
    """Return what decides between events that are due at once, before their numbers do."""
    if not burst.order[O_IS_SEEDED] or number == 0:
        return 0
    return mixed_bits(int(burst.order[O_SEED]), number)


@inlined_leaf
def note_due(burst: Burst, cpu: int) -> None:
    """Enter a CPU's next event in the list."""
    run, due = burst.run[cpu], burst.due
    if run[B_PHASE] in (OUT, WAITING):
        due[D_TIME, cpu] = NEVER_NS
        return
    due[D_TIME, cpu] = run[B_TIME]
    due[D_NUMBER, cpu] = run[B_NUMBER]
    due[D_TIE, cpu] = tie_of(burst, int(run[B_NUMBER]))


@inlined_leaf
def gather(burst: Burst) -> None:
    """Enter the next events of all CPUs in the list."""
    for cpu in range(len(burst.run)):
        note_due(burst, cpu)


@inlined_leaf
def is_before(burst: Burst, cpu: int, at_ns: int, tie: int, number: int) -> bool:
    """Tell whether a CPU's next event comes before another one."""
    due = burst.due
    if due[D_TIME, cpu] != at_ns:
        return due[D_TIME, cpu] < at_ns
    if due[D_TIE, cpu] != tie:
        return due[D_TIE, cpu] < tie
    return due[D_NUMBER, cpu] < number


@inlined_leaf
def first_due(burst: Burst) -> tuple[int, int]:
    """Return the CPU whose next event is the first, -1 for none, and when the next of others is."""
    times = burst.due[D_TIME]
    first = -1
    first_ns, other_ns = NEVER_NS, NEVER_NS
    for cpu in range(len(times)):
        at_ns = times[cpu]
        if at_ns < first_ns:
            other_ns = first_ns
            first_ns = at_ns
            first = cpu
        elif at_ns < other_ns:
            other_ns = at_ns
    if other_ns != first_ns or first < 0:
        return first, other_ns
    for cpu in range(first + 1, len(times)):  # of those that are due at once
        if times[cpu] == first_ns:
            tie, number = int(burst.due[D_TIE, first]), int(burst.due[D_NUMBER, first])
            if is_before(burst, cpu, first_ns, tie, number):
                first = cpu
    return first, other_ns
