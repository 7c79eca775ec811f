"""Pages for slabs, and back from them, inside a run of steps that nobody else can notice.

Linux: mm/slub.c:new_slab, :discard_slab (6.1).
The steps are those of a task that settles with messages (actors/alloc/slab.py), at the same times.
Only what is at hand: a zone above its low watermark, a lock that is free, pages of the right kind.

Interface: `settle_slabs` between the steps of a run (lock_run.py); giving back is for runs that
free pages, whose state has `FR_AT` (free_pages.py).
Units: pages, ns.
"""

from typing import Final

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
from kernelsim.mm.burst.free_pages import FR_AT, free_unref_pages
from kernelsim.mm.burst.grant import grant_pages, longest_refill_ns, zone_at_hand
from kernelsim.mm.burst.lock_run import (
    LR_ALLOC_NS,
    LR_CPU,
    LR_NID,
    LR_NOW_NS,
    LR_NUMBER,
    has_time,
    hold,
    is_lock_free,
    longest_hold_ns,
)
from kernelsim.mm.burst.servers import drawn_ns, zone_hold_ns
from kernelsim.mm.core.mem import (
    I64,
    I64_2D,
    MAX_ORDER,
    PAGEBLOCK_ORDER,
    Z_BOOSTED_WATERMARK,
    Z_NID,
    Z_WATERMARK_BOOST,
    Z_WMARK_LOW,
    Mem,
    PG_kernel,
    nid_of,
    zone_of,
)
from kernelsim.mm.core.slab import slab_gone, slab_paid, take_empty, take_owed
from kernelsim.mm.core.slab_cache import (
    KMEM_CACHES,
    NO_PAGE,
    NR_KMEM_CACHES,
    SB_CACHE,
    SB_NID,
    SB_ORDER,
    SB_PFN,
    SC_ORDER,
    SLAB_EMPTY,
    SLAB_EMPTY_HEAD,
    SLAB_OWED,
    SLAB_OWED_HEAD,
)
from kernelsim.mm.core.vmstat import NR_SLAB_RECLAIMABLE, NR_SLAB_UNRECLAIMABLE, PGFREE
from kernelsim.mm.page.free_area import free_area_empty
from kernelsim.mm.page.node_reclaim import wants_node_reclaim
from kernelsim.mm.page.page_alloc import (
    free_one_page,
    rmqueue,
    zone_statistics,
    zone_watermark_ok,
)

COUNTERS: Final = tuple(  # of the pages of each cache's slabs
    NR_SLAB_RECLAIMABLE if cache.is_reclaimable else NR_SLAB_UNRECLAIMABLE for cache in KMEM_CACHES
)


@leaf
def settle_slabs(mem: Mem, burst: Burst, requests: I64_2D, run: I64, gives_back: bool) -> bool:
    """Get the pages that new slabs owe, and give back those of empty ones.

    Args:
        mem: Physical memory.
        burst: Locks and costs.
        requests: What slabs of each cache are served by, R_*.
        run: State of the run.
        gives_back: Whether it may do the second.

    Returns:
        Whether nothing is left to be settled; else that takes messages.
    """
    state = mem.slabs.state
    while state[SLAB_OWED] or state[SLAB_EMPTY]:
        if state[SLAB_OWED]:
            if not pay_slab(mem, burst, requests, run):
                return False
        elif not gives_back or not discard_slab(mem, burst, run):
            return False
    return True


@leaf
def pay_slab(mem: Mem, burst: Burst, requests: I64_2D, run: I64) -> bool:
    """Get pages for the slab whose turn it is; False if they are not at hand.

    Source: Linux 6.1 mm/slub.c:allocate_slab
    """
    slabs = mem.slabs
    row = int(slabs.state[SLAB_OWED_HEAD])
    cache, owner = int(slabs.row[row, SB_CACHE]), int(slabs.row[row, SB_NID])
    order = int(slabs.cache[owner * NR_KMEM_CACHES + cache, SC_ORDER])
    request = requests[cache]
    if order:
        pfn = take_block(mem, burst, request, run, order)
    else:
        pfn = take_page(mem, burst, request, run)
    if pfn == 0:
        return False
    take_owed(slabs)
    mem.pages.flags[pfn : pfn + (1 << order)] = PG_kernel
    account_slab(mem, pfn, cache, 1 << order)
    burst.placed[0] += 1 << order
    slab_paid(slabs, row, pfn, order)
    return True


@leaf
def account_slab(mem: Mem, pfn: int, cache: int, nr_pages: int) -> None:
    """Count pages of a cache's slabs; a negative number of those given back.

    Source: Linux 6.1 mm/slab.h:account_slab, :unaccount_slab
    """
    mem.node_stat[nid_of(mem, pfn), COUNTERS[cache]] += nr_pages


@leaf
def take_page(mem: Mem, burst: Burst, request: I64, run: I64) -> int:
    """Take a page from the CPU's list, refilled if need be; 0 if that takes messages."""
    zone = int(zone_at_hand(mem, burst, request, run, -1))
    if zone < 0 or not has_time(burst, run, longest_refill_ns(mem, burst, run, zone)):
        return 0
    grant_pages(mem, burst, request, zone, 1, burst.spare, 0, run)
    return int(burst.spare[0])


@leaf
def take_block(mem: Mem, burst: Burst, request: I64, run: I64, order: int) -> int:
    """Take a block of its own kind under zone->lock; 0 if that takes messages.

    The node's actor does the same (node_blocks.py).

    Source: Linux 6.1 mm/page_alloc.c:get_page_from_freelist, :rmqueue_buddy
    """
    migratetype = int(request[R_MIGRATETYPE])
    zone = int(block_zone(mem, burst, run, request, order))
    if zone < 0 or mem.zone[zone, Z_BOOSTED_WATERMARK] or not is_lock_free(burst, run, zone):
        return 0
    ratio = int(burst.distance[run[LR_NID], mem.zone[zone, Z_NID]])
    mean_ns = int(zone_hold_ns(burst, 1))
    if not has_time(burst, run, longest_hold_ns(burst, mean_ns) * ratio // 10):
        return 0
    if not has_block(mem, zone, order, migratetype):
        return 0  # one of another kind would have to be stolen
    cpu, nid = int(run[LR_CPU]), int(run[LR_NID])
    pfn = int(rmqueue(mem, zone, order, migratetype))
    zone_statistics(mem, zone, nid, int(request[R_PREFERRED]), 1)
    owner = int(mem.zone[zone, Z_NID])
    burst.granted[owner] += 1 << order
    note_bands(mem, burst, owner, int(run[LR_NOW_NS]))
    hold_ns = int(drawn_ns(burst, cpu, mean_ns)) * ratio // 10
    run[LR_NUMBER] += 2  # the question and its answer
    hold(burst, run, zone, hold_ns)
    run[LR_ALLOC_NS] += hold_ns
    return pfn


@leaf
def block_zone(mem: Mem, burst: Burst, run: I64, request: I64, order: int) -> int:
    """Return the zone a request for a block above low is served by, -1 if it takes more."""
    highest = int(request[R_HIGHEST])
    for i in range(R_ZONES, R_ZONES + request[R_NR_ZONES]):
        zone = int(request[i])
        mark = int(mem.zone[zone, Z_WMARK_LOW] + mem.zone[zone, Z_WATERMARK_BOOST])
        if zone_watermark_ok(mem, zone, order, mark, highest, 0):
            return zone
        distance = int(burst.distance[request[R_PREFERRED], mem.zone[zone, Z_NID]])
        if wants_node_reclaim(mem, zone, int(run[LR_NID]), distance):
            return -1
    return -1


@leaf
def has_block(mem: Mem, zone: int, order: int, migratetype: int) -> bool:
    """Tell whether a zone has a block of a kind."""
    for each in range(order, MAX_ORDER):
        if not free_area_empty(mem, zone, each, migratetype):
            return True
    return False


@leaf
def discard_slab(mem: Mem, burst: Burst, run: I64) -> bool:
    """Give the pages of the empty slab whose turn it is back; False if that takes messages.

    Source: Linux 6.1 mm/slub.c:__free_slab
    """
    slabs = mem.slabs
    row = int(slabs.state[SLAB_EMPTY_HEAD])
    cache, order = int(slabs.row[row, SB_CACHE]), int(slabs.row[row, SB_ORDER])
    pfn = int(slabs.row[row, SB_PFN])
    if pfn != NO_PAGE:
        is_done = (
            free_block(mem, burst, run, pfn, order) if order else free_page(mem, burst, run, pfn)
        )
        if not is_done:
            return False
        account_slab(mem, pfn, cache, -(1 << order))
        burst.placed[0] -= 1 << order
    take_empty(slabs)
    slab_gone(slabs, row)
    return True


@leaf
def free_page(mem: Mem, burst: Burst, run: I64, pfn: int) -> bool:
    """Put a page on the CPU's lists; False if that takes messages."""
    burst.spare[0] = pfn
    run[FR_AT] = 0
    mem.pages.flags[pfn] = 0
    free_unref_pages(mem, burst, nid_of(mem, pfn), burst.spare, 1, run)
    if run[FR_AT] == 0:
        mem.pages.flags[pfn] = PG_kernel
    return bool(run[FR_AT] == 1)


@leaf
def free_block(mem: Mem, burst: Burst, run: I64, pfn: int, order: int) -> bool:
    """Put a block back under zone->lock; False if that takes messages.

    Source: Linux 6.1 mm/page_alloc.c:__free_pages_ok
    """
    zone = int(zone_of(mem, pfn))
    mean_ns = int(zone_hold_ns(burst, 1))
    if not is_lock_free(burst, run, zone):
        return False
    if not has_time(burst, run, longest_hold_ns(burst, mean_ns)):
        return False
    mem.pages.flags[pfn : pfn + (1 << order)] = 0
    free_one_page(mem, zone, pfn, order, int(mem.block_mt[pfn >> PAGEBLOCK_ORDER]), False)
    mem.vm_event[PGFREE] += 1 << order
    owner = int(mem.zone[zone, Z_NID])
    burst.granted[owner] -= 1 << order
    note_bands(mem, burst, owner, int(run[LR_NOW_NS]))
    run[LR_NUMBER] += 2  # the question and its answer
    hold(burst, run, zone, int(drawn_ns(burst, int(run[LR_CPU]), mean_ns)))
    return True
