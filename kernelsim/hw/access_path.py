"""The way of one load or store from the CPU to memory and back, step by step.

Differs: A store that misses the caches sends its data to memory at once; real caches with
write-back read the line first and write it later. Each access misses the caches, each entry that a
page walk reads is in them.

Interface: `walk_steps` and `memory_steps` give the steps in their order; those of an access on an
idle machine add up to what it costs (`AccessCost` in tlb.py).
Units: ns; addresses in bytes.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

from kernelsim.config.latency import LatencySpec
from kernelsim.config.machine import LOCAL_DISTANCE

LOAD: Final = "load"
STORE: Final = "store"


class AccessStep(NamedTuple):
    """One step of an access.

    Attributes:
        step: TLB, walk, fault, cache, bus, interconnect, controller or DRAM.
        what: What came of it, or what was on the way.
        address: Physical address, of the entry read or of the page; 0 before it is known.
        latency_ns: How long it took.
    """

    step: str
    what: str
    address: int
    latency_ns: int


class QueueWaits(NamedTuple):
    """How long an access waited for others, ns: at the bus or the links, and at the controller."""

    bus_ns: int = 0
    controller_ns: int = 0


NO_WAITS: Final = QueueWaits()


def walk_steps(
    latency: LatencySpec, entries: Sequence[tuple[str, int]], *, is_hit: bool
) -> list[AccessStep]:
    """Return the steps of a translation that succeeds.

    Args:
        latency: What each costs.
        entries: Table and physical address of each entry that a walk reads, the top first.
        is_hit: The TLB has it, so nothing is read.
    """
    if is_hit:
        return [AccessStep("TLB", "hit", 0, latency.tlb_hit_ns)]
    each_ns = latency.page_walk_step_ns
    read = [AccessStep("walk", f"{table} entry", at, each_ns) for table, at in entries]
    return [AccessStep("TLB", "miss", 0, 0), *read]


def fault_steps(entries: Sequence[tuple[str, int]]) -> list[AccessStep]:
    """Return the steps of a translation that ends in a fault; its costs are those of the fault.

    Args:
        entries: As for `walk_steps`, down to the one that does not permit the access.
    """
    read = [AccessStep("walk", f"{table} entry", at, 0) for table, at in entries]
    return [AccessStep("TLB", "miss", 0, 0), *read]


def memory_steps(
    latency: LatencySpec,
    address: int,
    distance: int,
    *,
    write: bool,
    waits: QueueWaits = NO_WAITS,
) -> list[AccessStep]:
    """Return the steps of an access whose physical address is known.

    A load sends its address and gets data back. A store sends its address, then its data. What
    memory of another node costs more is the way there, half of it in each direction. Where the
    parts are more than the whole, the last ones are cut.

    Args:
        latency: What each costs.
        address: Physical.
        distance: Of the memory, 10 is local.
        write: It is a store.
        waits: For others.
    """
    way = "bus" if distance == LOCAL_DISTANCE else "interconnect"
    whole_ns = latency.memory_access_ns(distance)
    extra_ns = whole_ns - latency.memory_local_ns
    there_ns = latency.bus_crossing_ns + extra_ns // 2
    parts = [
        ("cache", "miss", latency.cache_miss_ns),
        (way, "address", there_ns),
        (way, "data", latency.bus_crossing_ns + extra_ns - extra_ns // 2),
        ("controller", "store" if write else "load", latency.memory_controller_ns),
    ]
    left_ns, steps = whole_ns, list[AccessStep]()
    for step, what, part_ns in parts:
        taken_ns = min(part_ns, left_ns)
        left_ns -= taken_ns
        if (step, what) == (way, "address"):
            taken_ns += waits.bus_ns
        if step == "controller":
            taken_ns += waits.controller_ns
        steps.append(AccessStep(step, what, address, taken_ns))
    steps.append(AccessStep("DRAM", "row and column", address, left_ns))
    if not write:  # what it asked for comes back last
        steps.append(steps.pop(2))
    return steps
