"""A batch of an inactive list, step by step: off the list, judged, back on it, the rest freed.

Linux: mm/vmscan.c:shrink_inactive_list (6.1).
A reclaimer takes these steps one by one, waiting for a lock or the CPU before each. `reclaim_run`
takes as many as nobody else can notice (lock_run.py), in the same order and with the same times;
the step it stops at the reclaimer takes itself, and goes on behind it.

Interface: the state of a batch is one array, `WORK_*`; `begin_batch` fills it in, `WORK_STEP` says
which step is next. `judge_chunk`, `after_flush` and `after_write` set it, and the reclaimer does
where it takes another step itself.
Units: pages, ns.
"""

from typing import Final

import numpy as np

from kernelsim.hw.leaf import inlined_leaf, leaf
from kernelsim.mm.burst.columns import B_STOLEN, C_LRU_HOLD_PAGE, Burst
from kernelsim.mm.burst.free_pages import FR_AT, free_unref_pages
from kernelsim.mm.burst.lock_run import (
    LR_CPU,
    LR_NOW_NS,
    has_time,
    hold_lru_lock,
    is_lock_free,
    longest_hold_ns,
    pass_time,
)
from kernelsim.mm.burst.servers import lru_lock
from kernelsim.mm.burst.slab_pages import settle_slabs
from kernelsim.mm.core.mem import I64, I64_2D, L_COUNT, Z_MANAGED, Mem, lru_list
from kernelsim.mm.file.address_space import FileMappings
from kernelsim.mm.reclaim.reclaim_batch import (
    STAT_NR_RECLAIMED,
    STAT_NR_TAKEN,
    STAT_NR_TO_FREE,
    STAT_NR_TO_WRITE,
    STAT_NR_UNMAPPED,
    STAT_NR_UNQUEUED_DIRTY,
    ReclaimBatch,
)
from kernelsim.mm.reclaim.vmscan_folio import shrink_folio_list
from kernelsim.mm.reclaim.vmscan_list import isolate_lru_folios, putback_inactive
from kernelsim.mm.space.pgtable import Mms, PageTables
from kernelsim.mm.swap.swap_area import SwapArea
from kernelsim.mm.swap.swap_plug import SwapPlug, join

CHUNK_PAGES: Final = 8  # pages of a batch that are judged in one go

# Steps of a batch
ISOLATE: Final = 0  # take pages off the list, under lru_lock
JUDGE: Final = 1  # decide about a chunk of them
FLUSH: Final = 2  # have TLBs forget what was unmapped
WRITE: Final = 3  # hand pages that are to be written to the plug
PUT_BACK: Final = 4  # put what stays back on its list, under lru_lock
FREE: Final = 5  # give what does not stay to the CPU's lists
DONE: Final = 6

# State of a batch: what is wanted,
WORK_NID: Final = 0
WORK_LRU: Final = 1
WORK_NR_TO_SCAN: Final = 2
WORK_HIGHEST: Final = 3  # highest zone type to reclaim from
WORK_HOW: Final = 4
WORK_SCAN_NS: Final = 5  # cost of judging a page
WORK_SLOT_NS: Final = 6  # cost of handing one to the plug
WORK_MAX_SEGMENTS: Final = 7  # of all swap devices; 0 if they differ
# how far it is,
WORK_STEP: Final = 8
WORK_JUDGED: Final = 9
WORK_PLUGGED: Final = 10  # of `batch.to_write`, pages that are in the plug
WORK_CHARGED: Final = 11  # of these, pages whose cost is paid
WORK_FREED: Final = 12  # of `batch.to_free`, pages that are free
# and what has come of it.
WORK_SCANNED: Final = 13
WORK_SKIPPED: Final = 14
WORK_ISOLATED_NS: Final = 15  # when compiled code had taken pages off the list, -1 if others did
WORK_COMPUTED_NS: Final = 16  # time on the CPU in compiled code, not yet charged
NR_WORK_FIELDS: Final = 17


def new_work(scan_page_ns: int, swap_slot_ns: int, max_segments: int) -> I64:
    """Return the state of batches, with what is the same for all of them."""
    work = np.zeros(NR_WORK_FIELDS, np.int64)
    work[WORK_SCAN_NS], work[WORK_SLOT_NS] = scan_page_ns, swap_slot_ns
    work[WORK_MAX_SEGMENTS] = max_segments
    work[WORK_STEP] = DONE
    return work


def begin_batch(
    work: I64, nid: int, lru: int, *, nr_to_scan: int, highest_zoneidx: int, how: int
) -> None:
    """Let the next batch be one of an inactive list."""
    work[: WORK_HOW + 1] = (nid, lru, nr_to_scan, highest_zoneidx, how)
    work[WORK_STEP:] = 0
    work[WORK_ISOLATED_NS] = -1


@leaf
def reclaim_run(
    mem: Mem, pt: PageTables, mms: Mms, swap: SwapArea, files: FileMappings, lruvec: I64_2D,
    burst: Burst, batch: ReclaimBatch, plug: SwapPlug, work: I64, flushes: I64, is_lazy: bool,
    slabs: I64_2D, run: I64,
) -> None:  # fmt: skip
    """Take the steps of a batch, as long as nobody can notice.

    Args:
        mem: Physical memory.
        pt: Page tables.
        mms: Address spaces.
        swap: The swap areas.
        files: Page caches.
        lruvec: What reclaim remembers of each node.
        burst: Locks and costs.
        batch: The batch.
        plug: Writes held back.
        work: State of the batch.
        flushes: Gets for each mm the flushes that it has to count.
        is_lazy: Whether no CPU runs a program, so that none has to flush now.
        slabs: What slabs of each cache are served by, R_*.
        run: State of the run, LR_* and FR_*.

    Source: Linux 6.1 mm/vmscan.c:shrink_inactive_list
    """
    goes_on = work[WORK_STEP] != DONE
    while goes_on and settle_slabs(mem, burst, slabs, run, True):
        step = work[WORK_STEP]
        if step == ISOLATE:
            goes_on = isolate(mem, burst, batch, work, run)
        elif step == JUDGE:
            goes_on = judge(mem, pt, mms, swap, files, lruvec, burst, batch, work, run)
        elif step == FLUSH and is_lazy:
            flush(mms, batch, work, flushes)
        elif step == WRITE:
            goes_on = write(mem, burst, batch, plug, work, run)
        elif step == PUT_BACK:
            goes_on = put_back(mem, lruvec, burst, batch, work, run)
        elif step == FREE:
            goes_on = free(mem, burst, batch, work, run)
        else:
            goes_on = False
        goes_on = goes_on and work[WORK_STEP] != DONE


@inlined_leaf
def may_hold_lru_lock(burst: Burst, run: I64, nid: int, nr_pages: int) -> bool:
    """Tell whether lru_lock is free, and can be held for so many pages before others notice."""
    mean_ns = int(burst.cost[C_LRU_HOLD_PAGE]) * nr_pages
    is_free = is_lock_free(burst, run, lru_lock(burst, nid))
    return is_free and has_time(burst, run, longest_hold_ns(burst, mean_ns))


@inlined_leaf
def compute(burst: Burst, work: I64, run: I64, ns: int) -> None:
    """Use the CPU for a time, and make up for what interrupts took of it."""
    cpu = int(run[LR_CPU])
    pass_time(run, int(ns + burst.run[cpu, B_STOLEN]))
    burst.run[cpu, B_STOLEN] = 0
    work[WORK_COMPUTED_NS] += ns


@leaf
def isolate(mem: Mem, burst: Burst, batch: ReclaimBatch, work: I64, run: I64) -> bool:
    """Take pages off the list; False if that cannot be done now."""
    cpu, nid, lru = int(run[LR_CPU]), int(work[WORK_NID]), int(work[WORK_LRU])
    if mem.lru_batch[cpu, 0] or mem.activate_batch[cpu, 0]:
        return False  # they have to be emptied before
    nr_listed = int(mem.lists[lru_list(mem, nid, lru), L_COUNT])
    most = min(nr_listed, int(work[WORK_NR_TO_SCAN]))
    per_node = mem.lowmem_reserve.shape[1]
    for zone in range(nid * per_node + work[WORK_HIGHEST] + 1, (nid + 1) * per_node):
        if mem.zone[zone, Z_MANAGED]:
            most = nr_listed  # it may have to step over all pages of this zone
    if nr_listed == 0 or not may_hold_lru_lock(burst, run, nid, most):
        return False
    taken, scanned, skipped = isolate_lru_folios(
        mem, nid, lru, int(work[WORK_NR_TO_SCAN]), int(work[WORK_HIGHEST]), int(work[WORK_HOW]),
        batch,
    )  # fmt: skip
    hold_lru_lock(burst, run, nid, scanned)
    work[WORK_SCANNED] = scanned
    work[WORK_SKIPPED] = skipped
    work[WORK_ISOLATED_NS] = run[LR_NOW_NS]
    work[WORK_STEP] = JUDGE if taken else DONE
    return True


@leaf
def judge(
    mem: Mem, pt: PageTables, mms: Mms, swap: SwapArea, files: FileMappings, lruvec: I64_2D,
    burst: Burst, batch: ReclaimBatch, work: I64, run: I64,
) -> bool:  # fmt: skip
    """Decide about a chunk; False if others may notice."""
    ns = int(work[WORK_SCAN_NS]) * nr_to_judge(batch, work)
    cpu = int(run[LR_CPU])
    if not has_time(burst, run, int(ns + burst.run[cpu, B_STOLEN])):
        return False
    compute(burst, work, run, ns)
    burst.placed[0] -= judge_chunk(mem, pt, mms, swap, files, lruvec, cpu, batch, work)
    return True


@leaf
def nr_to_judge(batch: ReclaimBatch, work: I64) -> int:
    """Return how many pages the next chunk has."""
    return int(min(CHUNK_PAGES, batch.stat[STAT_NR_TAKEN] - work[WORK_JUDGED]))


@leaf
def judge_chunk(
    mem: Mem, pt: PageTables, mms: Mms, swap: SwapArea, files: FileMappings, lruvec: I64_2D,
    cpu: int, batch: ReclaimBatch, work: I64,
) -> int:  # fmt: skip
    """Decide about the next chunk; return how many of its pages were reclaimed.

    A page that its process has just unmapped may still be in a TLB, too.
    """
    unmapped = batch.stat[STAT_NR_UNMAPPED]
    first = int(work[WORK_JUDGED])
    last = first + nr_to_judge(batch, work)
    freed = shrink_folio_list(
        mem, pt, mms, swap, files, lruvec, cpu, int(work[WORK_HOW]), batch, first, last
    )
    work[WORK_JUDGED] = last
    must_flush = batch.stat[STAT_NR_UNMAPPED] > unmapped
    for number in range(len(mms.tlb_flush_batched)):
        must_flush = must_flush or mms.tlb_flush_batched[number] != 0
    if must_flush:
        work[WORK_STEP] = FLUSH
    else:
        after_flush(batch, work)
    return freed


@leaf
def after_flush(batch: ReclaimBatch, work: I64) -> None:
    """Set what comes when no TLB has a page any more that was judged."""
    if work[WORK_PLUGGED] < batch.stat[STAT_NR_TO_WRITE]:
        work[WORK_STEP] = WRITE
    else:
        after_write(batch, work)


@leaf
def after_write(batch: ReclaimBatch, work: I64) -> None:
    """Set what comes when all that is to be written is in the plug."""
    work[WORK_PLUGGED] = work[WORK_CHARGED] = batch.stat[STAT_NR_TO_WRITE]
    work[WORK_STEP] = JUDGE if work[WORK_JUDGED] < batch.stat[STAT_NR_TAKEN] else PUT_BACK


@leaf
def flush(mms: Mms, batch: ReclaimBatch, work: I64, flushes: I64) -> None:
    """Note that TLBs have to forget what was unmapped, when a program runs again.

    Source: Linux 6.1 mm/rmap.c:try_to_unmap_flush
    """
    for number in range(len(mms.tlb_flush_batched)):
        if mms.tlb_flush_batched[number]:
            mms.tlb_flush_batched[number] = 0
            flushes[number] += 1
    after_flush(batch, work)


@leaf
def write(mem: Mem, burst: Burst, batch: ReclaimBatch, plug: SwapPlug, work: I64, run: I64) -> bool:
    """Let pages join the latest request; False if one needs another, or others may notice.

    Source: Linux 6.1 mm/vmscan.c:pageout
    """
    nr = int(batch.stat[STAT_NR_TO_WRITE])
    ns = int(work[WORK_SLOT_NS] * (nr - work[WORK_CHARGED]))
    if not has_time(burst, run, int(ns + burst.run[run[LR_CPU], B_STOLEN])):
        return False
    work[WORK_PLUGGED] = join(
        mem, plug, batch.to_write, int(work[WORK_PLUGGED]), nr, int(work[WORK_MAX_SEGMENTS])
    )
    if work[WORK_PLUGGED] < nr:
        return False
    compute(burst, work, run, ns)
    after_write(batch, work)
    return True


@leaf
def put_back(
    mem: Mem, lruvec: I64_2D, burst: Burst, batch: ReclaimBatch, work: I64, run: I64
) -> bool:
    """Put what stays back; False if the flushers have to be told of it, or others may notice."""
    nid, taken = int(work[WORK_NID]), int(batch.stat[STAT_NR_TAKEN])
    if batch.stat[STAT_NR_UNQUEUED_DIRTY] == taken or not may_hold_lru_lock(burst, run, nid, taken):
        return False
    nr = putback_inactive(mem, lruvec, nid, int(work[WORK_LRU]), int(work[WORK_HOW]), batch)
    burst.placed[0] -= nr - batch.stat[STAT_NR_RECLAIMED]
    hold_lru_lock(burst, run, nid, taken)
    work[WORK_STEP] = FREE if nr else DONE
    return True


@leaf
def free(mem: Mem, burst: Burst, batch: ReclaimBatch, work: I64, run: I64) -> bool:
    """Free what can be freed before others notice; False if some is left."""
    nr = int(batch.stat[STAT_NR_TO_FREE])
    run[FR_AT] = work[WORK_FREED]
    free_unref_pages(mem, burst, int(work[WORK_NID]), batch.to_free, nr, run)
    work[WORK_FREED] = run[FR_AT]
    if run[FR_AT] < nr:
        return False
    work[WORK_STEP] = DONE
    return True
