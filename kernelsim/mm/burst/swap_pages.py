"""Pages for a window of swap slots, all at once: allocated, and entered in the swap cache, locked.

Linux: mm/swap_state.c:swap_vma_readahead, :swap_cluster_readahead, :__read_swap_cache_async, 6.1.
A major fault asks its CPU's page list, now and then zone->lock, and lru_lock. The leaf here takes
these steps, in the same order and with the same times, as long as nobody else can notice
(lock_run.py). What is left, and whatever needs more than this, the task does with messages.

Interface: `enter_window`, whose state (`SW_*`) says what is wanted and how far it came.
Units: slots, pages, ns.
"""

from typing import Final

import numpy as np

from kernelsim.hw.leaf import leaf
from kernelsim.mm.burst.columns import C_LRU_HOLD_PAGE, Burst
from kernelsim.mm.burst.grant import grant_pages, longest_refill_ns, zone_at_hand
from kernelsim.mm.burst.lock_run import (
    NR_LR_FIELDS,
    has_time,
    hold_lru_lock,
    is_lock_free,
    longest_hold_ns,
)
from kernelsim.mm.burst.servers import lru_lock
from kernelsim.mm.core.mem import I64, I64_2D, Mem, nid_of
from kernelsim.mm.swap.swap_area import SwapArea
from kernelsim.mm.swap.swap_readahead import still_missing_slots
from kernelsim.mm.swap.swap_state import begin_swap_read

# State of a run behind LR_*: what is given,
SW_TARGET: Final = NR_LR_FIELDS  # the slot that a task waits for
SW_NR: Final = SW_TARGET + 1  # slots of the window
SW_IN_FAULT: Final = SW_TARGET + 2  # whether a page fault uses the page of the target now
# and what has come of it.
SW_HAVE: Final = SW_TARGET + 3  # pages allocated
SW_NID: Final = SW_TARGET + 4  # node under whose lock all were entered, -1 if they were not
NR_SW_FIELDS: Final = SW_TARGET + 5


def new_swap_run() -> I64:
    """Return the state of a run, for its caller to fill."""
    return np.zeros(NR_SW_FIELDS, np.int64)


@leaf
def enter_window(
    mem: Mem, swap: SwapArea, lruvec: I64_2D, burst: Burst, request: I64, slots: I64, pfns: I64,
    run: I64,
) -> None:  # fmt: skip
    """Allocate a page for each slot and enter them, as long as nobody can notice.

    Args:
        mem: Physical memory.
        swap: The swap areas.
        lruvec: What reclaim remembers of each node.
        burst: Locks and costs.
        request: What allocations are served by, R_*.
        slots: The window.
        pfns: Gets the page of each slot.
        run: State of the run.
    """
    nr, have = int(run[SW_NR]), 0
    run[SW_NID] = -1
    while have < nr:
        zone = zone_at_hand(mem, burst, request, run, -1)
        if zone < 0 or not has_time(burst, run, longest_refill_ns(mem, burst, run, zone)):
            return
        have += grant_pages(mem, burst, request, zone, nr - have, pfns, have, run)
        run[SW_HAVE] = have
    if nr == 0 or still_missing_slots(swap, slots, nr, int(run[SW_TARGET])) < nr:
        return
    nid = nid_of(mem, int(pfns[0]))
    lru_ns = longest_hold_ns(burst, int(burst.cost[C_LRU_HOLD_PAGE]) * nr)
    if not is_lock_free(burst, run, lru_lock(burst, nid)) or not has_time(burst, run, lru_ns):
        return
    in_fault = run[SW_IN_FAULT] != 0
    begin_swap_read(mem, swap, lruvec, slots, pfns, nr, int(run[SW_TARGET]), in_fault)
    hold_lru_lock(burst, run, nid, nr)
    burst.placed[0] += nr
    run[SW_NID] = nid
