"""Pages on their way to LRU lists: each CPU collects fifteen, then takes lru_lock once.

Linux: mm/swap.c: folio_add_lru, folio_activate, folio_batch_add_and_move, lru_add_drain_cpu, 6.1.
Differs: Only pages to be added to an LRU list and pages of files to be activated are batched; what
is deactivated or rotated moves at once.

A page in a batch has PG_batched, which stands for the reference the batch holds: when its last user
goes meanwhile, it stays, bare of all other flags, and is freed when the batch is emptied.
A page to be activated stays on its list meanwhile, with PG_activating; the batch frees one that its
file dropped.
Interface: `folio_batch_add` needs no lock; `folio_batch_run` says which node's lru_lock is needed
for how many pages, `folio_batch_move_lru` moves them under it. `folio_mark_accessed` activates
pages that are used twice; `activate_batch_run` and `activate_batch_move` as for new pages.
"""

from typing import Final

from kernelsim.hw.leaf import inlined_leaf, leaf
from kernelsim.mm.core.lru_gen import folio_inc_refs, lru_gen_enabled
from kernelsim.mm.core.mem import (
    I64,
    I64_2D,
    PAGEVEC_SIZE,
    Mem,
    PG_activating,
    PG_active,
    PG_batched,
    PG_idle,
    PG_isolated,
    PG_lru,
    PG_referenced,
    PG_swapcache,
    PG_unevictable,
    nid_of,
)
from kernelsim.mm.core.mlock import page_cache_release
from kernelsim.mm.core.swap import ALL_FLAGS, lru_add, lruvec_add_folio, lruvec_del_folio
from kernelsim.mm.core.vmstat import PGACTIVATE
from kernelsim.mm.core.workingset import workingset_age_nonresident

# What folio_mark_accessed did
MARK_DONE: Final = 0
MARK_FULL: Final = 1  # the CPU's batch of pages to activate is full and must be emptied
MARK_ACTIVATED: Final = 2  # a page on its way to the LRU will go to the active list


@inlined_leaf
def folio_batch_add(mem: Mem, cpu: int, pfn: int) -> bool:
    """Put a page that is on no list in a CPU's batch; True when that is full and must be emptied.

    Source: Linux 6.1 mm/swap.c:folio_batch_add_and_move
    """
    mem.pages.flags[pfn] |= PG_batched
    return append(mem.lru_batch[cpu], pfn)


@inlined_leaf
def lru_gen_in_fault(mem: Mem, pfn: int) -> None:
    """Let a page that is faulted in, and on no list, come to the youngest generation.

    Source: Linux 6.1 mm/swap.c:folio_add_lru
    """
    if lru_gen_enabled(mem):
        mem.pages.flags[pfn] |= PG_active


@inlined_leaf
def append(batch: I64, pfn: int) -> bool:
    """Put a page in a batch; True when that is full and must be emptied before anything else."""
    nr = int(batch[0])
    assert nr < PAGEVEC_SIZE, "a full batch of pages has not been emptied"
    batch[1 + nr] = pfn
    batch[0] = nr + 1
    return nr + 1 == PAGEVEC_SIZE


@leaf
def folio_batch_run(mem: Mem, cpu: int) -> tuple[int, int]:
    """Return the node of the first page in a batch, and how many from there on lie on it."""
    return run_of_batch(mem, mem.lru_batch[cpu])


@leaf
def activate_batch_run(mem: Mem, cpu: int) -> tuple[int, int]:
    """Return the same of the pages to be activated."""
    return run_of_batch(mem, mem.activate_batch[cpu])


@leaf
def run_of_batch(mem: Mem, batch: I64) -> tuple[int, int]:
    """Return the node of the first page in a batch, and how many from there on lie on it."""
    nr = int(batch[0])
    if nr == 0:
        return 0, 0
    nid = nid_of(mem, int(batch[1]))
    run = 1
    while run < nr and nid_of(mem, int(batch[1 + run])) == nid:
        run += 1
    return nid, run


@leaf
def folio_batch_move_lru(mem: Mem, cpu: int, nr: int, out: I64) -> int:
    """Move the first `nr` pages of a batch to their LRU lists.

    Returns:
        How many nobody uses any more: they are in `out`, to be freed.

    Source: Linux 6.1 mm/swap.c:folio_batch_move_lru
    """
    batch = mem.lru_batch[cpu]
    flags = mem.pages.flags
    kept = 0
    free = 0
    for i in range(1, nr + 1):
        pfn = int(batch[i])
        flags[pfn] &= ALL_FLAGS ^ PG_batched
        if flags[pfn] == 0:
            out[free] = pfn
            free += 1
        else:
            kept += 1
            batch[kept] = pfn
    lru_add(mem, batch[1:], kept)
    drop_first(batch, nr)
    return free


@inlined_leaf
def drop_first(batch: I64, nr: int) -> None:
    """Take the first `nr` pages out of a batch."""
    left = int(batch[0]) - nr
    for i in range(left):
        batch[1 + i] = batch[1 + nr + i]
    batch[0] = left


@inlined_leaf
def folio_mark_accessed(mem: Mem, lruvec: I64_2D, cpu: int, pfn: int) -> int:
    """Note that a page of a file was used: the second time it is to be activated.

    The multi-generational LRU counts its uses instead.

    Returns:
        MARK_*.

    Source: Linux 6.1 mm/swap.c:folio_mark_accessed, :folio_activate, :__lru_cache_activate_folio
    """
    if lru_gen_enabled(mem):
        folio_inc_refs(mem, pfn)
        return MARK_DONE
    mem.pages.flags[pfn] &= ALL_FLAGS ^ PG_idle
    flags = mem.pages.flags[pfn]
    if not flags & PG_referenced:
        mem.pages.flags[pfn] = flags | PG_referenced
        return MARK_DONE
    if flags & (PG_unevictable | PG_active):
        return MARK_DONE
    what = MARK_DONE
    if not flags & PG_lru:
        if activate_new(mem, cpu, pfn):
            what = MARK_ACTIVATED
    elif not flags & PG_activating:
        # Differs from Linux: A page is in one CPU's batch at most.
        mem.pages.flags[pfn] |= PG_activating
        if append(mem.activate_batch[cpu], pfn):
            what = MARK_FULL
    mem.pages.flags[pfn] &= ALL_FLAGS ^ PG_referenced
    workingset_age_nonresident(lruvec, nid_of(mem, pfn), 1)
    return what


@leaf
def activate_new(mem: Mem, cpu: int, pfn: int) -> bool:
    """Let a page go to the active list, if it waits in this CPU's folio_batch; no event counts it.

    Source: Linux 6.1 mm/swap.c:__lru_cache_activate_folio
    """
    batch = mem.lru_batch[cpu]
    for i in range(batch[0], 0, -1):
        if batch[i] == pfn:
            mem.pages.flags[pfn] |= PG_active
            return True
    return False


@leaf
def activate_batch_move(mem: Mem, cpu: int, nr: int, out: I64) -> int:
    """Move the first `nr` pages to be activated to the active list.

    Returns:
        How many nobody uses any more: they are in `out`, to be freed.

    Source: Linux 6.1 mm/swap.c:folio_activate_fn
    """
    batch = mem.activate_batch[cpu]
    flags = mem.pages.flags
    free = 0
    for i in range(1, nr + 1):
        pfn = int(batch[i])
        flags[pfn] &= ALL_FLAGS ^ PG_activating
        if flags[pfn] & PG_lru and not flags[pfn] & (PG_active | PG_unevictable):
            lruvec_del_folio(mem, pfn)
            flags[pfn] |= PG_active
            lruvec_add_folio(mem, pfn, False)
            mem.vm_event[PGACTIVATE] += 1
        if (
            mem.pages.mapping[pfn] != 0 or flags[pfn] & PG_swapcache
        ):  # of shared memory on its way out
            continue
        if flags[pfn] & PG_isolated:  # bare: it is freed when it would be put back
            flags[pfn] = PG_isolated
            continue
        page_cache_release(mem, pfn)
        out[free] = pfn
        free += 1
    drop_first(batch, nr)
    return free
