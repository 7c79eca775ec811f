"""Pages of a range of frames, moved away many at a time: off their lists, copied, on lists again.

Linux: mm/memory_hotplug.c:do_migrate_range, mm/migrate.c:migrate_pages (6.1).
Who moves them takes these steps one by one, waiting for a lock or a disk where that is needed.
`migrate_run` takes as many as nobody else can notice (lock_run.py), in the same order and with the
same times; the step it stops at the task takes itself, and goes on behind it.

Interface: the state of a range is a `MigrateBatch`; `begin_range` fills it in, `MW_STEP` says which
step is next. `next_batch` sets it when a batch has been freed.
Units: pages, pfn, ns.
"""

from typing import Final, NamedTuple

import numpy as np

from kernelsim.hw.leaf import leaf
from kernelsim.mm.burst.columns import C_LRU_HOLD_PAGE, C_NR_NODES, Burst
from kernelsim.mm.burst.free_pages import FR_AT, free_unref_pages
from kernelsim.mm.burst.grant import grant_pages, longest_refill_ns, zone_at_hand
from kernelsim.mm.burst.lock_run import (
    are_lru_locks_free,
    has_time,
    hold_lru_lock,
    is_lock_free,
    longest_hold_ns,
    pass_time,
)
from kernelsim.mm.burst.servers import lru_lock
from kernelsim.mm.core.mem import I64, SWAP_CLUSTER_MAX, Mem, nid_of
from kernelsim.mm.file.address_space import FileMappings
from kernelsim.mm.file.migrate_folio import (
    MOVED,
    STAYS,
    Translations,
    isolate_movable,
    move_to_new_folio,
    putback_movable_pages,
    try_to_migrate,
)
from kernelsim.mm.space.pgtable import Mms, PageTables
from kernelsim.mm.swap.swap_area import SwapArea

# Steps of a batch
ISOLATE: Final = 0  # take the next pages off their lists, under lru_lock
ALLOC: Final = 1  # get frames for them
UNMAP: Final = 2  # let migration entries stand for them
COPY: Final = 3  # no TLB may have them then; copy them, and map them where they are now
FLUSH: Final = 4  # have TLBs forget those that were not waited for
PUT_BACK: Final = 5  # put them on lists again, under lru_lock
FREE: Final = 6  # give the frames they have left to the buddy system
DONE: Final = 7

# State of a range: what is wanted,
MW_NID: Final = 0
MW_END: Final = 1
MW_PTE_NS: Final = 2  # cost of changing the entries of a page,
MW_COPY_NS: Final = 3  # of copying it,
MW_FLUSH_NS: Final = 4  # and at most of having TLBs forget one of its mappings
# how far it is,
MW_STEP: Final = 5
MW_AT: Final = 6  # the next frame to look at
MW_NR: Final = 7  # of the batch, pages isolated
MW_HAVE: Final = 8  # frames for them
MW_FREED: Final = 9  # frames that are free again
# and what has come of it.
MW_NR_TRIED: Final = 10
MW_NR_MOVED: Final = 11
MW_COMPUTED_NS: Final = 12  # time on the CPU in compiled code, not yet charged
NR_MW_FIELDS: Final = 13


class MigrateBatch(NamedTuple):
    """The pages that are being moved, and how far that is."""

    work: I64  # [MW_*]
    old: I64  # the pages
    new: I64  # their new frames
    kinds: I64  # as what each counts while it is off its list
    state: I64  # what `try_to_migrate` and `move_to_new_folio` say of each
    part: I64  # room for those of one node,
    part_kinds: I64  # and as what they count
    nr_flushes: I64  # [mm] flushes that compiled code has put off until a program runs again


def new_batch(nr_mms: int) -> MigrateBatch:
    """Return a batch without pages."""
    pages = np.zeros((6, SWAP_CLUSTER_MAX), np.int64)
    return MigrateBatch(
        work=np.zeros(NR_MW_FIELDS, np.int64),
        old=pages[0],
        new=pages[1],
        kinds=pages[2],
        state=pages[3],
        part=pages[4],
        part_kinds=pages[5],
        nr_flushes=np.zeros(nr_mms, np.int64),
    )


def begin_range(work: I64, nid: int, start: int, end: int, costs: tuple[int, int, int]) -> None:
    """Let the frames of a range of a node be those to be left; MW_PTE_NS and so on are `costs`."""
    work[:] = 0
    work[MW_NID], work[MW_AT], work[MW_END] = nid, start, end
    work[MW_PTE_NS : MW_FLUSH_NS + 1] = costs


@leaf
def migrate_run(
    mem: Mem, pt: PageTables, mms: Mms, swap: SwapArea, files: FileMappings, burst: Burst,
    cpus: Translations, is_run: I64, request: I64, batch: MigrateBatch, run: I64,
) -> None:  # fmt: skip
    """Take the steps of batch after batch, as long as nobody can notice.

    Args:
        mem: Physical memory.
        pt: Page tables.
        mms: Address spaces.
        swap: Swap slots.
        files: Page caches.
        burst: Locks and costs.
        cpus: What their TLBs have.
        is_run: Of each mm, 1 if a CPU would have to be interrupted to forget a page of it.
        request: What allocations are served by, R_*.
        batch: The batch.
        run: State of the run, LR_* and FR_*.

    Source: Linux 6.1 mm/migrate.c:migrate_pages
    """
    work = batch.work
    goes_on = True
    while goes_on and work[MW_STEP] != DONE:
        step = work[MW_STEP]
        if step == ISOLATE:
            goes_on = isolate(mem, burst, batch, run)
        elif step == ALLOC:
            goes_on = alloc(mem, burst, request, batch, run)
        elif step == UNMAP:
            goes_on = unmap(mem, pt, mms, burst, cpus, is_run, batch, run)
        elif step == COPY:
            goes_on = copy(mem, pt, mms, swap, files, burst, cpus, batch, run)
        elif step == FLUSH:
            goes_on = may_flush_later(cpus, is_run, batch)
            work[MW_STEP] = PUT_BACK if goes_on else FLUSH
        elif step == PUT_BACK:
            goes_on = put_back(mem, burst, batch, run)
        else:
            goes_on = free(mem, burst, batch, run)


@leaf
def isolate(mem: Mem, burst: Burst, batch: MigrateBatch, run: I64) -> bool:
    """Take pages off their lists; False if that cannot be done now."""
    work = batch.work
    nid = int(work[MW_NID])
    longest_ns = longest_hold_ns(burst, int(burst.cost[C_LRU_HOLD_PAGE]) * len(batch.old))
    if not is_lock_free(burst, run, lru_lock(burst, nid)) or not has_time(burst, run, longest_ns):
        return False
    nr, at = isolate_movable(mem, int(work[MW_AT]), int(work[MW_END]), batch.old, batch.kinds)
    hold_lru_lock(burst, run, nid, nr)
    work[MW_NR], work[MW_AT] = nr, at
    if nr:
        work[MW_STEP] = ALLOC
    else:
        next_batch(work)
    return True


@leaf
def alloc(mem: Mem, burst: Burst, request: I64, batch: MigrateBatch, run: I64) -> bool:
    """Get some frames; False if that takes more than a lock that is free."""
    work = batch.work
    zone = int(zone_at_hand(mem, burst, request, run, -1))
    if zone < 0 or not has_time(burst, run, longest_refill_ns(mem, burst, run, zone)):
        return False
    have = int(work[MW_HAVE])
    want = int(work[MW_NR]) - have
    work[MW_HAVE] += grant_pages(mem, burst, request, zone, want, batch.new, have, run)
    if work[MW_HAVE] == work[MW_NR]:
        work[MW_STEP] = UNMAP
    return True


@leaf
def unmap(
    mem: Mem, pt: PageTables, mms: Mms, burst: Burst, cpus: Translations, is_run: I64,
    batch: MigrateBatch, run: I64,
) -> bool:  # fmt: skip
    """Put migration entries in place of the pages; False if somebody may meet them, or they wait.

    Nobody does if all of the pages are in their new frames before anybody else has an event.
    """
    work = batch.work
    nr, nr_mappings = int(work[MW_HAVE]), 0
    if nr < work[MW_NR]:
        return False
    for i in range(nr):
        nr_mappings = max(nr_mappings, int(mem.pages.mapcount[batch.old[i]]))
    page_ns = work[MW_PTE_NS] + work[MW_COPY_NS] + work[MW_FLUSH_NS] * nr_mappings
    if not has_time(burst, run, int(page_ns * nr)):
        return False
    try_to_migrate(mem, pt, mms, cpus, batch.old[:nr], batch.state[:nr])
    work[MW_STEP] = COPY
    return bool(may_flush_later(cpus, is_run, batch))


@leaf
def may_flush_later(cpus: Translations, is_run: I64, batch: MigrateBatch) -> bool:
    """Tell whether no CPU has to be interrupted for entries that changed; they count then."""
    for mm in range(len(cpus.flushes)):
        if cpus.flushes[mm] and is_run[mm]:
            return False
    for mm in range(len(cpus.flushes)):
        if cpus.flushes[mm]:
            cpus.flushes[mm] = 0
            batch.nr_flushes[mm] += 1
    return True


@leaf
def copy(
    mem: Mem, pt: PageTables, mms: Mms, swap: SwapArea, files: FileMappings, burst: Burst,
    cpus: Translations, batch: MigrateBatch, run: I64,
) -> bool:  # fmt: skip
    """Copy the pages and map them where they are then; False if others may notice."""
    work = batch.work
    nr, nr_copied = int(work[MW_HAVE]), 0
    for i in range(nr):
        nr_copied += batch.state[i] != STAYS
    pte_ns, copy_ns = int(work[MW_PTE_NS]) * nr, int(work[MW_COPY_NS]) * nr_copied
    if not has_time(burst, run, pte_ns + copy_ns):
        return False
    pass_time(run, pte_ns)
    pass_time(run, copy_ns)
    work[MW_COMPUTED_NS] += pte_ns + copy_ns
    move_to_new_folio(
        mem, pt, mms, swap, files, cpus, batch.old[:nr], batch.new[:nr], batch.kinds[:nr],
        batch.state[:nr],
    )  # fmt: skip
    work[MW_STEP] = FLUSH
    return True


@leaf
def put_back(mem: Mem, burst: Burst, batch: MigrateBatch, run: I64) -> bool:
    """Put the pages on the lists of their nodes, one after the other; False if some did not move.

    Source: Linux 6.1 mm/migrate.c:unmap_and_move
    """
    work = batch.work
    nr = int(work[MW_NR])
    if work[MW_HAVE] < nr:
        return False
    for i in range(nr):
        if batch.state[i] != MOVED:
            return False
    longest_ns = nr * longest_hold_ns(burst, int(burst.cost[C_LRU_HOLD_PAGE]))
    if not are_lru_locks_free(burst, run) or not has_time(burst, run, longest_ns):
        return False
    for nid in range(burst.cost[C_NR_NODES]):
        nr_there = 0
        for i in range(nr):
            if nid_of(mem, int(batch.new[i])) == nid:
                batch.part[nr_there], batch.part_kinds[nr_there] = batch.new[i], batch.kinds[i]
                nr_there += 1
        if nr_there:
            part, kinds = batch.part[:nr_there], batch.part_kinds[:nr_there]
            nr_free = putback_movable_pages(mem, part, kinds, burst.spare)
            assert nr_free == 0, "a page that was moved just now has no user"
            hold_lru_lock(burst, run, nid, nr_there)
    work[MW_STEP] = FREE
    return True


@leaf
def free(mem: Mem, burst: Burst, batch: MigrateBatch, run: I64) -> bool:
    """Free frames that were left, as far as others do not notice; False if some are not free."""
    work = batch.work
    run[FR_AT] = work[MW_FREED]
    free_unref_pages(mem, burst, int(work[MW_NID]), batch.old, int(work[MW_NR]), run)
    work[MW_FREED] = run[FR_AT]
    if work[MW_FREED] < work[MW_NR]:
        return False
    work[MW_NR_TRIED] += work[MW_NR]
    work[MW_NR_MOVED] += work[MW_NR]
    next_batch(work)
    return True


@leaf
def next_batch(work: I64) -> None:
    """Let the next pages of the range be those to be moved."""
    work[MW_NR] = work[MW_HAVE] = work[MW_FREED] = 0
    work[MW_STEP] = ISOLATE if work[MW_AT] < work[MW_END] else DONE
