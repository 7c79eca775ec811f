"""Pages that nobody uses any more, many at a time: off their LRU lists, and to the allocator.

Linux: mm/swap.c:release_pages, mm/page_alloc.c:free_unref_page_list, 6.1.

Interface: `release_run` and `free_unref_pages` go on as far as nobody else can notice, see
lock_run.py; with the rest the task goes on with messages.
Units: pages, ns.
"""

from typing import Final

import numpy as np

from kernelsim.hw.leaf import leaf
from kernelsim.mm.burst.bands import note_bands
from kernelsim.mm.burst.columns import C_LRU_HOLD_PAGE, Burst
from kernelsim.mm.burst.lock_run import (
    LR_CPU,
    LR_NOW_NS,
    LR_NUMBER,
    NR_LR_FIELDS,
    has_time,
    hold,
    hold_lru_lock,
    is_lock_free,
    longest_hold_ns,
)
from kernelsim.mm.burst.servers import drawn_ns, lru_lock, zone_hold_ns
from kernelsim.mm.core.mem import I64, SWAP_CLUSTER_MAX, Z_NID, Z_PCP_HIGH, Mem, nid_of
from kernelsim.mm.page.pcp_free import drain_full, free_isolated, free_unref_run
from kernelsim.mm.swap.free_swap import release_pages

FR_AT: Final = NR_LR_FIELDS  # the next page
FR_NR_FREED: Final = FR_AT + 1  # of those released, the ones to be freed, which are in `out`
NR_FR_FIELDS: Final = FR_NR_FREED + 1


def new_free_run() -> I64:
    """Return the state of a run, for its caller to fill."""
    return np.zeros(NR_FR_FIELDS, np.int64)


@leaf
def release_run(mem: Mem, burst: Burst, pfns: I64, n: int, out: I64, run: I64) -> None:
    """Take pages off their lists, 32 of a node for each hold of its lru_lock."""
    while run[FR_AT] < n:
        at = int(run[FR_AT])
        nid, end = nid_of(mem, int(pfns[at])), at + 1
        while end < min(at + SWAP_CLUSTER_MAX, n) and nid_of(mem, int(pfns[end])) == nid:
            end += 1
        mean_ns, server = int(burst.cost[C_LRU_HOLD_PAGE]) * (end - at), lru_lock(burst, nid)
        if not is_lock_free(burst, run, server):
            break
        if not has_time(burst, run, longest_hold_ns(burst, mean_ns)):
            break
        nr = release_pages(mem, pfns[at:end], end - at, out[run[FR_NR_FREED] :])
        burst.placed[0] -= nr
        run[FR_NR_FREED] += nr
        hold_lru_lock(burst, run, nid, end - at)
        run[FR_AT] = end


@leaf
def free_unref_pages(mem: Mem, burst: Burst, nid: int, pfns: I64, n: int, run: I64) -> None:
    """Put pages of one node on the CPU's lists, and drain those that are full.

    Source: Linux 6.1 mm/page_alloc.c:free_unref_page_list
    """
    cpu, most = int(run[LR_CPU]), 1
    for zone in range(len(mem.zone)):
        if mem.zone[zone, Z_NID] == nid:
            most = max(most, int(mem.zone[zone, Z_PCP_HIGH]))
    longest_ns = longest_hold_ns(burst, zone_hold_ns(burst, most))
    while run[FR_AT] < n and has_time(burst, run, longest_ns):
        if not are_zones_free(mem, burst, run, nid):
            break
        at = int(run[FR_AT])
        end, zone, is_isolated = free_unref_run(mem, cpu, pfns, at, n)
        nr_drained = 1
        if is_isolated:
            free_isolated(mem, zone, int(pfns[end]))
            end += 1
        elif zone >= 0:
            nr_drained = drain_full(mem, zone, cpu, pfns, end)
        burst.granted[nid] -= end - at
        run[FR_AT] = end
        run[LR_NUMBER] += 2
        if zone >= 0:
            note_bands(mem, burst, nid, int(run[LR_NOW_NS]))
            hold(burst, run, zone, drawn_ns(burst, cpu, zone_hold_ns(burst, nr_drained)))


@leaf
def are_zones_free(mem: Mem, burst: Burst, run: I64, nid: int) -> bool:
    """Tell whether no zone->lock of a node is held or waited for."""
    for zone in range(len(mem.zone)):
        if mem.zone[zone, Z_NID] == nid and not is_lock_free(burst, run, zone):
            return False
    return True
