"""Getting a clean page inside a burst: from the CPU's list or under zone->lock, then cleared.

Linux: mm/page_alloc.c:get_page_from_freelist, :rmqueue_pcplist, 6.1.

Interface: `allocate` begins it; each other function does the step its phase is named for. At `MAP`
the page in `B_PFN` is clean.
Units: ns, pages.
"""

from typing import Final

from kernelsim.hw.leaf import (
    inlined_leaf,
    leaf,
)
from kernelsim.mm.burst.bands import (
    note_bands,
)
from kernelsim.mm.burst.columns import (
    B_BEGAN,
    B_FOR,
    B_HOLD,
    B_IS_LINE,
    B_LOCK_NS,
    B_NID,
    B_PFN,
    B_PHASE,
    B_SLICE_END,
    B_STIME,
    B_TARGET,
    B_TIME,
    B_ZONE,
    C_BUS_PAGE,
    C_CLEAR_PAGE,
    C_CONTROLLER_LINE,
    C_CONTROLLER_PAGE,
    C_HAS_BUS,
    C_LINK_PAGE,
    CALL_BOOSTED,
    CALL_EXTFRAG,
    CALL_NOTHING,
    CLEAR,
    CROSSED,
    FOR_NODE,
    LINK,
    MAP,
    PASSED,
    R_ALLOC_FLAGS,
    R_HIGHEST,
    R_MIGRATETYPE,
    R_NR_ZONES,
    R_PREFERRED,
    R_ZONES,
    REFILL,
    STOP_ENTERED,
    TAKE,
    TRAFFIC,
    Burst,
)
from kernelsim.mm.burst.events import (
    push,
    spend,
    stop,
)
from kernelsim.mm.burst.memory_path import crossing_ns
from kernelsim.mm.burst.servers import (
    ask_lock,
    controller,
    drawn_ns,
    is_queued,
    let_next_wait,
    link,
    note_hold,
    pass_traffic,
    queue,
    zone_hold_ns,
)
from kernelsim.mm.core.mem import (
    I64,
    L_COUNT,
    Z_BOOSTED_WATERMARK,
    Z_FREE,
    Z_NID,
    Z_WMARK_LOW,
    Z_WMARK_MIN,
    Mem,
    pcp_list,
)
from kernelsim.mm.page.node_reclaim import wants_node_reclaim
from kernelsim.mm.page.page_alloc import (
    count_interleave_hit,
    watermark_floor,
)
from kernelsim.mm.page.pcp import (
    alloc_pages_bulk,
    refill_batch,
    take_listed_page,
)

NO_ZONE: Final = -1
RECLAIM_FIRST: Final = -2


@inlined_leaf
def allocate(mem: Mem, burst: Burst, cpu: int) -> None:
    """Find a zone that may give a page, and ask for it.

    Source: Linux 6.1 mm/page_alloc.c:get_page_from_freelist
    """
    run = burst.run[cpu]
    request = burst.request[cpu, run[B_FOR]]
    zone = zone_above(mem, burst, cpu, request, Z_WMARK_LOW, 0)
    if zone == NO_ZONE and may_go_below_low(mem, burst, cpu):
        zone = zone_above(mem, burst, cpu, request, Z_WMARK_MIN, int(request[R_ALLOC_FLAGS]))
    if zone < 0:
        stop(burst, cpu, STOP_ENTERED)
        return
    run[B_ZONE] = zone
    push(burst, cpu, TAKE, int(run[B_TIME]))


@inlined_leaf
def zone_above(mem: Mem, burst: Burst, cpu: int, request: I64, mark: int, alloc_flags: int) -> int:
    """Return the first zone with more free pages than a watermark asks for, NO_ZONE for none.

    RECLAIM_FIRST if the task is to reclaim from a node before it goes further.
    """
    highest = int(request[R_HIGHEST])
    for i in range(R_ZONES, R_ZONES + request[R_NR_ZONES]):
        zone = int(request[i])
        if mem.zone[zone, Z_FREE] > watermark_floor(mem, zone, mark, highest, alloc_flags):
            return zone
        distance = int(burst.distance[request[R_PREFERRED], mem.zone[zone, Z_NID]])
        if wants_node_reclaim(mem, zone, int(burst.run[cpu, B_NID]), distance):
            return RECLAIM_FIRST
    return NO_ZONE


@leaf
def may_go_below_low(mem: Mem, burst: Burst, cpu: int) -> bool:
    """Tell whether every kswapd that a request below low has to tell is at work already.

    Nor may the task have to give way, as it does there if its time is over.

    Source: Linux 6.1 mm/page_alloc.c:wake_all_kswapds
    """
    run = burst.run[cpu]
    if run[B_TIME] >= run[B_SLICE_END]:
        return False
    request = burst.request[cpu, run[B_FOR]]
    zones = request[R_ZONES : R_ZONES + request[R_NR_ZONES]]
    for zone in zones:
        if burst.kswapd_asleep[mem.zone[zone, Z_NID]]:
            return False
    for zone in zones:
        nid = mem.zone[zone, Z_NID]
        burst.kswapd_wanted[nid] = max(burst.kswapd_wanted[nid], request[R_HIGHEST] + 1)
    return True


@inlined_leaf
def take(mem: Mem, burst: Burst, cpu: int) -> int:
    """Take a page from the CPU's list, or queue for zone->lock to refill it; return CALL_*.

    Source: Linux 6.1 mm/page_alloc.c:rmqueue_pcplist
    """
    run = burst.run[cpu]
    zone, nid = int(run[B_ZONE]), int(run[B_NID])
    request = burst.request[cpu, run[B_FOR]]
    migratetype = int(request[R_MIGRATETYPE])
    run[B_BEGAN] = run[B_TIME]
    if mem.lists[pcp_list(mem, zone, cpu, migratetype), L_COUNT]:
        run[B_PFN] = take_listed_page(mem, zone, cpu, nid, int(request[R_PREFERRED]), migratetype)
        burst.granted[mem.zone[zone, Z_NID]] += 1
        push(burst, cpu, CLEAR, int(run[B_TIME]))
        return CALL_NOTHING
    if is_queued(burst, zone):
        return queue(burst, cpu, zone)
    ratio = int(burst.distance[nid, mem.zone[zone, Z_NID]])
    if ask_lock(burst, cpu, zone, REFILL, refill_ns(mem, burst, zone), ratio):
        return refill(mem, burst, cpu)
    return CALL_NOTHING


@leaf
def refill(mem: Mem, burst: Burst, cpu: int) -> int:
    """Refill the CPU's list now that zone->lock is granted, and take a page; return CALL_*."""
    run = burst.run[cpu]
    zone = int(run[B_ZONE])
    has_waited = run[B_PHASE] == REFILL
    note_hold(burst, cpu)
    take_page(mem, burst, cpu)
    note_bands(mem, burst, int(mem.zone[zone, Z_NID]), int(run[B_TIME]))
    push(burst, cpu, CLEAR, int(run[B_TIME] + run[B_HOLD]))
    if has_waited:
        let_next_wait(burst, zone)
    return CALL_EXTFRAG if mem.extfrag[0, 0] else CALL_NOTHING


@leaf
def refill_in_turn(mem: Mem, burst: Burst, cpu: int) -> int:
    """Do as `refill` for a CPU that queued behind actors; return how long the lock is held."""
    run = burst.run[cpu]
    zone = int(run[B_ZONE])
    take_page(mem, burst, cpu)
    ratio = int(burst.distance[run[B_NID], mem.zone[zone, Z_NID]])
    return drawn_ns(burst, cpu, refill_ns(mem, burst, zone)) * ratio // 10


@inlined_leaf
def refill_ns(mem: Mem, burst: Burst, zone: int) -> int:
    """Return how long zone->lock is held for a refill in the mean."""
    return zone_hold_ns(burst, refill_batch(mem, zone))


@leaf
def take_page(mem: Mem, burst: Burst, cpu: int) -> None:
    """Refill the CPU's list from the zone and take one page of it, if there is one."""
    run = burst.run[cpu]
    request = burst.request[cpu, run[B_FOR]]
    zone, preferred_nid = int(run[B_ZONE]), int(request[R_PREFERRED])
    got, _ = alloc_pages_bulk(
        mem, zone, cpu, int(run[B_NID]), preferred_nid, int(request[R_MIGRATETYPE]), -1, 1,
        burst.spare, 0,
    )  # fmt: skip
    run[B_PFN] = burst.spare[0] if got else 0
    burst.granted[mem.zone[zone, Z_NID]] += got


@inlined_leaf
def clear(mem: Mem, burst: Burst, cpu: int) -> int:
    """Begin to clear the page; return CALL_*, after which this is to be done again."""
    run = burst.run[cpu]
    zone = int(run[B_ZONE])
    if mem.zone[zone, Z_BOOSTED_WATERMARK]:
        return CALL_BOOSTED
    lock_ns = run[B_TIME] - run[B_BEGAN]
    run[B_LOCK_NS] += lock_ns
    run[B_STIME] += lock_ns
    if run[B_PFN] == 0:
        stop(burst, cpu, STOP_ENTERED)
        return CALL_NOTHING
    if run[B_FOR] >= FOR_NODE:
        preferred_nid = int(burst.request[cpu, run[B_FOR], R_PREFERRED])
        count_interleave_hit(mem, int(run[B_PFN]), preferred_nid, 1)
    run[B_BEGAN] = run[B_TIME]
    is_near = run[B_NID] == mem.zone[zone, Z_NID] and not burst.cost[C_HAS_BUS]
    push(burst, cpu, TRAFFIC if is_near else LINK, int(run[B_TIME]))
    return CALL_NOTHING


@inlined_leaf
def traffic_nid(mem: Mem, burst: Burst, cpu: int) -> int:
    """Return the node whose memory a CPU's bytes go to: of the page it clears, or accesses."""
    run = burst.run[cpu]
    return int(run[B_TARGET]) if run[B_IS_LINE] else int(mem.zone[run[B_ZONE], Z_NID])


@inlined_leaf
def cross(mem: Mem, burst: Burst, cpu: int) -> None:
    """Let bytes of a page or of a line cross the interconnect, or the bus of the node."""
    run = burst.run[cpu]
    source, target = int(run[B_NID]), traffic_nid(mem, burst, cpu)
    server = link(burst, source, target)
    if run[B_IS_LINE]:
        hold_ns = crossing_ns(burst, cpu)
    else:
        hold_ns = int(burst.cost[C_BUS_PAGE if source == target else C_LINK_PAGE])
    push(burst, cpu, CROSSED, pass_traffic(burst, server, int(run[B_TIME]), hold_ns))


@inlined_leaf
def traffic(mem: Mem, burst: Burst, cpu: int) -> None:
    """Let bytes of a page or of a line pass the controller."""
    run = burst.run[cpu]
    server = controller(burst, traffic_nid(mem, burst, cpu))
    hold_ns = int(burst.cost[C_CONTROLLER_LINE if run[B_IS_LINE] else C_CONTROLLER_PAGE])
    push(burst, cpu, PASSED, pass_traffic(burst, server, int(run[B_TIME]), hold_ns))


@inlined_leaf
def go_on_clearing(mem: Mem, burst: Burst, cpu: int) -> None:
    """Let the CPU be busy at least as long as it clears."""
    run = burst.run[cpu]
    nid = int(mem.zone[run[B_ZONE], Z_NID])
    waited_ns = int(run[B_TIME] - run[B_BEGAN])
    run[B_STIME] += waited_ns
    busy_ns = int(burst.cost[C_CLEAR_PAGE] * burst.distance[run[B_NID], nid]) // 10
    spend(burst, cpu, MAP, max(0, busy_ns - waited_ns))
