"""New pages of files, many at a time: allocated, entered in the cache and put on the LRU lists.

Linux: mm/readahead.c:page_cache_ra_unbounded, mm/filemap.c:generic_perform_write, 6.1.
A task that reads or writes a file asks its CPU's page list, zone->lock and lru_lock every few
pages. The leaves here take these steps, in the same order and with the same times, as long as
nobody else can notice (lock_run.py). What is left, and whatever needs more than this (a watermark,
a lock that is held, memory of another kind to be stolen), the task does with messages.

Interface: `fill_run` for readahead, `store_new_run` for writes; both go on with what their state
(`CR_*`) says and leave in it how far they came.
Units: pages of the file, ns.
"""

from typing import Final

import numpy as np

from kernelsim.hw.leaf import leaf
from kernelsim.mm.burst.columns import (
    C_LRU_HOLD_PAGE,
    Burst,
)
from kernelsim.mm.burst.grant import grant_pages, longest_refill_ns, zone_at_hand
from kernelsim.mm.burst.lock_run import (
    LR_CPU,
    NR_LR_FIELDS,
    are_lru_locks_free,
    has_time,
    hold_lru_lock,
    longest_hold_ns,
    pass_time,
)
from kernelsim.mm.burst.slab_pages import settle_slabs
from kernelsim.mm.core.folio_batch import folio_batch_move_lru, folio_batch_run
from kernelsim.mm.core.mem import (
    I64,
    I64_2D,
    PAGEVEC_SIZE,
    SWAP_CLUSTER_MAX,
    Mem,
    PG_batched,
)
from kernelsim.mm.file.address_space import FileMappings
from kernelsim.mm.file.filemap import filemap_add_run, is_cached, page_cache_next_page
from kernelsim.mm.file.filemap_write import write_run

# State of a run behind LR_*: what is given,
CR_FILE: Final = NR_LR_FIELDS  # number of the file
CR_SWAP_FREE: Final = 8  # free slots of swap, for pages that come back
CR_DIRTY_RATIO: Final = 9  # of a write, vm.dirty_ratio: a node with more dirty pages is passed over
CR_TOKEN: Final = 10  # of a write, what it leaves
CR_PAGE_NS: Final = 11  # of a write, cost of a page besides locks
CR_NR_DIRTY_MAX: Final = 12  # of a write, it stops before it has made so many pages dirty
CR_AT: Final = 13  # the next page of the file
CR_END: Final = 14  # behind the last one
CR_MARK: Final = 15  # page at which to read ahead, -1 for none
# and what has come of it.
CR_HAVE: Final = 16  # of a read, pages allocated so far; as many more as entered are in `pfns`
CR_NR_DIRTY: Final = 17  # pages made dirty
CR_NR_PLACED: Final = 18  # pages entered in the cache
CR_IN_FAULT: Final = 19  # of a read, what is given: it is for a page fault
NR_CR_FIELDS: Final = 20


def new_cache_run() -> I64:
    """Return the state of a run, for its caller to fill."""
    return np.zeros(NR_CR_FIELDS, np.int64)


@leaf
def fill_run(
    mem: Mem, files: FileMappings, lruvec: I64_2D, burst: Burst, request: I64, slabs: I64_2D,
    pfns: I64, run: I64,
) -> None:  # fmt: skip
    """Allocate pages for a window and enter them, locked, as long as nobody can notice.

    Args:
        mem: Physical memory.
        files: Page caches; there are rows for all of the window.
        lruvec: What reclaim remembers of each node.
        burst: Locks and costs.
        request: What allocations are served by, R_*.
        slabs: What slabs of each cache are served by, R_*.
        pfns: Gets the page of each index, from that of the first entered on.
        run: State of the run; `CR_AT` is the first page of the window.

    Source: Linux 6.1 mm/readahead.c:page_cache_ra_unbounded
    """
    cpu, number = int(run[LR_CPU]), int(run[CR_FILE])
    start, length = int(run[CR_AT]), int(run[CR_END] - run[CR_AT])
    done = have = 0
    while done < length and can_go_on(mem, burst, slabs, run):
        zone = -1
        if done == have:
            zone = zone_at_hand(mem, burst, request, run, -1)
            if zone < 0:
                break
        if ends_too_late(mem, burst, run, zone, 0):
            break
        if done == have:
            want = min(length - done, SWAP_CLUSTER_MAX)
            have += grant_pages(mem, burst, request, zone, want, pfns, have, run)
        before = done
        done = filemap_add_run(
            mem, files, lruvec, cpu, number, start, pfns, done, have, int(run[CR_MARK]),
            int(run[CR_SWAP_FREE]), run[CR_IN_FAULT] != 0,
        )  # fmt: skip
        burst.placed[0] += done - before
        if mem.lru_batch[cpu, 0] == PAGEVEC_SIZE:
            drain_batch(mem, burst, run)
        elif done < have:  # one of them is cached
            break
    run[CR_AT] = start + done
    run[CR_HAVE] = have
    run[CR_NR_PLACED] = done


@leaf
def store_new_run(
    mem: Mem, files: FileMappings, lruvec: I64_2D, burst: Burst, request: I64, slabs: I64_2D,
    pfns: I64, run: I64,
) -> None:  # fmt: skip
    """Store to whole pages that are not cached, as long as nobody can notice.

    Each step is one of `generic_perform_write` between two looks at the limits of dirty pages; none
    is begun after which the task would have to look.

    Args:
        mem: Physical memory.
        files: Page caches; there are rows for all pages.
        lruvec: What reclaim remembers of each node.
        burst: Locks and costs.
        request: What allocations are served by, R_*.
        slabs: What slabs of each cache are served by, R_*.
        pfns: Room for a folio_batch.
        run: State of the run.

    Source: Linux 6.1 mm/filemap.c:generic_perform_write
    """
    cpu, number = int(run[LR_CPU]), int(run[CR_FILE])
    while run[CR_AT] < run[CR_END] and can_go_on(mem, burst, slabs, run):
        at = int(run[CR_AT])
        if is_cached(files, number, at):
            break
        nr = min(int(run[CR_END]) - at, PAGEVEC_SIZE - int(mem.lru_batch[cpu, 0]))
        if run[CR_NR_DIRTY] + nr >= run[CR_NR_DIRTY_MAX]:
            break
        nr = page_cache_next_page(files, number, at, at + nr) - at
        zone = zone_at_hand(mem, burst, request, run, int(run[CR_DIRTY_RATIO]))
        if zone < 0 or ends_too_late(mem, burst, run, zone, int(run[CR_PAGE_NS]) * nr):
            break
        got = grant_pages(mem, burst, request, zone, nr, pfns, 0, run)
        done = filemap_add_run(
            mem, files, lruvec, cpu, number, at, pfns, 0, got, -1, int(run[CR_SWAP_FREE]), False
        )
        assert done == got, "a folio_batch had no room for the pages of a write"
        burst.placed[0] += got
        nr_dirty = write_run(mem, files, number, at, got, int(run[CR_TOKEN]))
        if mem.lru_batch[cpu, 0] == PAGEVEC_SIZE:
            drain_batch(mem, burst, run)
        pass_time(run, int(run[CR_PAGE_NS]) * got)
        run[CR_NR_DIRTY] += nr_dirty
        run[CR_NR_PLACED] += got
        run[CR_AT] += got


@leaf
def can_go_on(mem: Mem, burst: Burst, slabs: I64_2D, run: I64) -> bool:
    """Settle slabs; tell whether the CPU's folio_batch can be emptied at once.

    All of it has to stay in use.
    """
    if not settle_slabs(mem, burst, slabs, run, False):
        return False
    batch = mem.lru_batch[run[LR_CPU]]
    for i in range(1, batch[0] + 1):
        if mem.pages.flags[batch[i]] == PG_batched:
            return False  # it lost its last user, and has to be freed then
    return are_lru_locks_free(burst, run)


@leaf
def ends_too_late(mem: Mem, burst: Burst, run: I64, zone: int, ns: int) -> bool:
    """Tell whether a step may end as late as the next event of others.

    Args:
        mem: Physical memory.
        burst: Costs.
        run: State of the run.
        zone: Where pages come from; -1 if none are wanted.
        ns: What the step takes besides locks.
    """
    lru_ns = longest_hold_ns(burst, int(burst.cost[C_LRU_HOLD_PAGE]))
    ns += PAGEVEC_SIZE * lru_ns  # its pages may lie on nodes by turns
    if zone >= 0:
        ns += longest_refill_ns(mem, burst, run, zone)
    return not has_time(burst, run, ns)


@leaf
def drain_batch(mem: Mem, burst: Burst, run: I64) -> None:
    """Move the pages of the CPU's folio_batch to their lists.

    Source: Linux 6.1 mm/swap.c:folio_batch_move_lru
    """
    cpu = int(run[LR_CPU])
    for _ in range(PAGEVEC_SIZE):
        nid, nr_pages = folio_batch_run(mem, cpu)
        if nr_pages == 0:
            break
        nr_free = folio_batch_move_lru(mem, cpu, nr_pages, burst.spare)
        assert nr_free == 0, "a page lost its last user, which nobody can have been"
        hold_lru_lock(burst, run, nid, nr_pages)
