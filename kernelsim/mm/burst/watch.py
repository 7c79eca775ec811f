"""A burst that is watched: what an observer needs to judge each of its steps.

Steps are the same as unwatched, one at a time. Noted are the zones that faults choose, with what
was free then, and whether free pages change only under zone->lock.
Interface: `new_watch` once a machine; `begin_watch`, then `run_watched` instead of `run_burst`.
`note_refill` is for a CPU whose refill is no step of a burst, as it queued behind actors.
Units: pages, ns.
"""

from typing import Final, NamedTuple

import numpy as np

from kernelsim.hw.leaf import inlined_leaf, leaf
from kernelsim.mm.burst.columns import (
    B_FOR,
    B_PFN,
    B_PHASE,
    B_ZONE,
    CALL_NOTHING,
    CLEAR,
    H_NR,
    O_NUMBER,
    OUT,
    REFILL,
    TAKE,
    Burst,
)
from kernelsim.mm.burst.run import has_room, next_due, run_burst
from kernelsim.mm.core.mem import I64, I64_2D, I64_3D, Z_FREE, Z_NID, Mem
from kernelsim.mm.space.pgtable import Mms, PageTables
from kernelsim.mm.swap.swap_area import SwapArea

CHOICES_MAX: Final = 256  # between two looks of the observer

# Columns of `Watch.chosen`
W_CPU: Final = 0
W_FOR: Final = 1
W_ZONE: Final = 2
W_FREE: Final = 3  # free pages of the first zone, those of the others behind it


class Watch(NamedTuple):
    """What was seen since the burst was let go on."""

    zone: I64_2D  # [zone, Z_*] as it was then
    guarded: I64  # [zone] free pages when zone->lock was given back last
    took: I64_3D  # [cpu, FOR_*, zone] pages that faults got
    chosen: I64_2D  # [1 + CHOICES_MAX, W_*] which zone faults chose; [0, 0] = how many


def new_watch(mem: Mem, burst: Burst) -> Watch:
    """Return what is needed to watch the bursts of a machine."""
    nr_zones, nr_cpus = mem.pcp_count.shape
    return Watch(
        zone=np.zeros_like(mem.zone),
        guarded=np.zeros(nr_zones, np.int64),
        took=np.zeros((nr_cpus, burst.request.shape[1], nr_zones), np.int64),
        chosen=np.zeros((1 + CHOICES_MAX, W_FREE + nr_zones), np.int64),
    )


@leaf
def begin_watch(mem: Mem, watch: Watch) -> None:
    """Note how the zones stand, and forget what was seen before."""
    watch.chosen[0, 0] = 0
    for zone in range(len(mem.zone)):
        watch.guarded[zone] = mem.zone[zone, Z_FREE]
        for column in range(mem.zone.shape[1]):
            watch.zone[zone, column] = mem.zone[zone, column]
        for cpu in range(len(watch.took)):
            for wanted in range(watch.took.shape[1]):
                watch.took[cpu, wanted, zone] = 0


@inlined_leaf
def note_step(
    mem: Mem, burst: Burst, watch: Watch, cpu: int, before: int, has_locked: bool
) -> None:
    """Note what a step of a CPU did.

    Args:
        mem: Physical memory.
        burst: What the CPU is doing now.
        watch: Where it is noted.
        cpu: The CPU.
        before: Its phase before the step.
        has_locked: Whether it was granted a lock.
    """
    run = burst.run[cpu]
    if run[B_PHASE] == TAKE:
        watch.chosen[0, 0] += 1
        row = watch.chosen[watch.chosen[0, 0]]
        row[W_CPU], row[W_FOR], row[W_ZONE] = cpu, run[B_FOR], run[B_ZONE]
        for zone in range(len(mem.zone)):
            row[W_FREE + zone] = watch.guarded[zone]
    elif before in (TAKE, REFILL) and has_locked:
        note_refill(mem, burst, watch, cpu)
    elif before == TAKE and run[B_PHASE] == CLEAR:
        note_page(burst, watch, cpu)


@inlined_leaf
def note_page(burst: Burst, watch: Watch, cpu: int) -> None:
    """Note the page that a CPU got, if it got one."""
    run = burst.run[cpu]
    if run[B_PFN]:
        watch.took[cpu, run[B_FOR], run[B_ZONE]] += 1


@leaf
def note_refill(mem: Mem, burst: Burst, watch: Watch, cpu: int) -> None:
    """Note what a CPU did under zone->lock, where pages of its whole node may be freed."""
    note_page(burst, watch, cpu)
    nid = mem.zone[burst.run[cpu, B_ZONE], Z_NID]
    for zone in range(len(mem.zone)):
        if mem.zone[zone, Z_NID] == nid:
            watch.guarded[zone] = mem.zone[zone, Z_FREE]


@inlined_leaf
def must_look(mem: Mem, watch: Watch) -> bool:
    """Tell whether the observer has to look.

    Free pages have changed without zone->lock, or there is no room for more choices.
    """
    for zone in range(len(mem.zone)):
        if mem.zone[zone, Z_FREE] != watch.guarded[zone]:
            return True
    return bool(watch.chosen[0, 0] >= len(watch.chosen) - 1)


@leaf
def run_watched(
    mem: Mem, pt: PageTables, mms: Mms, swap: SwapArea, burst: Burst, watch: Watch, before_ns: int,
    before_tie: int, before_number: int, nr_max: int,
) -> tuple[int, int, int, int]:  # fmt: skip
    """Do what is due before an event of others, as `run_burst` does and with its result.

    It also ends early when the observer has to look.
    """
    done, cpu = 0, -1
    call = CALL_NOTHING
    number_end = int(burst.order[O_NUMBER]) + nr_max
    due = next_due(burst)
    while True:
        before = int(burst.run[due, B_PHASE]) if due >= 0 else OUT
        nr_holds = burst.holds[0, H_NR]
        nr, last, call, due = run_burst(
            mem, pt, mms, swap, burst, before_ns, before_tie, before_number, 1
        )
        if nr == 0:
            break
        done, cpu = done + nr, last
        note_step(mem, burst, watch, cpu, before, bool(burst.holds[0, H_NR] > nr_holds))
        if call != CALL_NOTHING or done >= nr_max or burst.order[O_NUMBER] >= number_end:
            break
        if must_look(mem, watch) or not has_room(pt, burst):
            break
    return done, cpu, call, due
