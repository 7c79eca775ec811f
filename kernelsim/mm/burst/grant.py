"""Pages for a task that takes many steps at once: from its CPU's list, refilled under zone->lock.

Linux: mm/page_alloc.c:get_page_from_freelist, :rmqueue_pcplist, 6.1.
Only what is at hand: a zone above its low watermark, a list with pages or a lock that is free and
pages of the right kind to refill it with. Everything else the task does with messages.

Interface: in a run of steps (lock_run.py), `zone_at_hand`, then `grant_pages` if there is time for
`longest_refill_ns`.
Units: pages, ns.
"""

from kernelsim.hw.leaf import leaf
from kernelsim.mm.burst.bands import note_bands
from kernelsim.mm.burst.columns import (
    R_HIGHEST,
    R_MIGRATETYPE,
    R_NR_ZONES,
    R_PREFERRED,
    R_ZONES,
    Burst,
)
from kernelsim.mm.burst.lock_run import (
    LR_ALLOC_NS,
    LR_CPU,
    LR_NID,
    LR_NOW_NS,
    LR_NUMBER,
    hold,
    is_lock_free,
    longest_hold_ns,
)
from kernelsim.mm.burst.pages import refill_ns
from kernelsim.mm.burst.servers import drawn_ns
from kernelsim.mm.core.mem import (
    I64,
    L_COUNT,
    MAX_ORDER,
    MIGRATE_MOVABLE,
    Z_BOOSTED_WATERMARK,
    Z_FREE,
    Z_FRESH_END,
    Z_FRESH_START,
    Z_NID,
    Z_WMARK_LOW,
    Mem,
    free_list,
    pcp_list,
)
from kernelsim.mm.file.dirty_limits import node_dirty_limit, nr_node_dirty
from kernelsim.mm.page.node_reclaim import wants_node_reclaim
from kernelsim.mm.page.page_alloc import watermark_floor
from kernelsim.mm.page.pcp import alloc_pages_bulk, refill_batch


@leaf
def zone_at_hand(mem: Mem, burst: Burst, request: I64, run: I64, dirty_ratio: int) -> int:
    """Return the zone a request above low is served by, -1 if that takes more than its lock.

    Args:
        mem: Physical memory.
        burst: Locks.
        request: What allocations are served by, R_*.
        run: State of the run.
        dirty_ratio: vm.dirty_ratio for pages to be dirtied, since a node with more dirty pages is
            passed over; -1 for others.

    Source: Linux 6.1 mm/page_alloc.c:get_page_from_freelist
    """
    for i in range(R_ZONES, R_ZONES + request[R_NR_ZONES]):
        zone = int(request[i])
        nid = int(mem.zone[zone, Z_NID])
        if dirty_ratio >= 0 and nr_node_dirty(mem, nid) > node_dirty_limit(mem, nid, dirty_ratio):
            continue
        if mem.zone[zone, Z_FREE] <= watermark_floor(
            mem, zone, Z_WMARK_LOW, int(request[R_HIGHEST]), 0
        ):
            distance = int(burst.distance[request[R_PREFERRED], nid])
            if wants_node_reclaim(mem, zone, int(run[LR_NID]), distance):
                return -1
            continue
        if mem.zone[zone, Z_BOOSTED_WATERMARK]:
            return -1
        migratetype = int(request[R_MIGRATETYPE])
        if mem.lists[pcp_list(mem, zone, int(run[LR_CPU]), migratetype), L_COUNT]:
            return zone
        if is_lock_free(burst, run, zone) and has_batch(mem, zone, migratetype):
            return zone
        return -1
    return -1


@leaf
def has_batch(mem: Mem, zone: int, migratetype: int) -> bool:
    """Tell whether a list can be refilled with pages of its own kind."""
    left = refill_batch(mem, zone)
    if migratetype == MIGRATE_MOVABLE:
        left -= int(mem.zone[zone, Z_FRESH_END] - mem.zone[zone, Z_FRESH_START])
    for order in range(MAX_ORDER):
        if left <= 0:
            return True
        left -= int(mem.lists[free_list(zone, order, migratetype), L_COUNT]) << order
    return left <= 0


@leaf
def grant_pages(
    mem: Mem, burst: Burst, request: I64, zone: int, want: int, out: I64, start: int, run: I64
) -> int:
    """Take pages from the CPU's list, or refill that under zone->lock; return how many.

    The node's actor grants the same (on_alloc_pages).

    Source: Linux 6.1 mm/page_alloc.c:rmqueue_pcplist
    """
    cpu, nid = int(run[LR_CPU]), int(run[LR_NID])
    migratetype, preferred = int(request[R_MIGRATETYPE]), int(request[R_PREFERRED])
    floor = watermark_floor(mem, zone, Z_WMARK_LOW, int(request[R_HIGHEST]), 0)
    nr_listed = int(mem.lists[pcp_list(mem, zone, cpu, migratetype), L_COUNT])
    run[LR_NUMBER] += 2  # the question and its answer
    if nr_listed:
        nr = min(want, nr_listed)
        got, _ = alloc_pages_bulk(
            mem, zone, cpu, nid, preferred, migratetype, floor, nr, out, start
        )
    else:
        nr = min(want, refill_batch(mem, zone)) - 1
        got, _ = alloc_pages_bulk(mem, zone, cpu, nid, preferred, migratetype, -1, 1, out, start)
        if nr:
            more, _ = alloc_pages_bulk(
                mem, zone, cpu, nid, preferred, migratetype, floor, nr, out, start + got
            )
            got += more
        owner = int(mem.zone[zone, Z_NID])
        note_bands(mem, burst, owner, int(run[LR_NOW_NS]))
        ratio = int(burst.distance[nid, owner])
        hold_ns = drawn_ns(burst, cpu, refill_ns(mem, burst, zone)) * ratio // 10
        hold(burst, run, zone, hold_ns)
        run[LR_ALLOC_NS] += hold_ns
    burst.granted[mem.zone[zone, Z_NID]] += got
    return got


@leaf
def longest_refill_ns(mem: Mem, burst: Burst, run: I64, zone: int) -> int:
    """Return the longest that it may take to get pages of a zone."""
    ratio = int(burst.distance[run[LR_NID], mem.zone[zone, Z_NID]])
    return longest_hold_ns(burst, refill_ns(mem, burst, zone)) * ratio // 10
