"""New pages on their way to the LRU lists: each CPU collects fifteen, then takes lru_lock once.

Linux: mm/swap.c: folio_add_lru, folio_batch_add_and_move, lru_add_drain_cpu, 6.1.
Differs: Only pages to be added to an LRU list are batched; what is activated, deactivated or
rotated moves at once.

A page in a batch has PG_batched, which stands for the reference the batch holds: when its last user
goes meanwhile, it stays, bare of all other flags, and is freed when the batch is emptied.
Interface: `folio_batch_add` needs no lock; `folio_batch_run` says which node's lru_lock is needed
for how many pages, `folio_batch_move_lru` moves them under it.
"""

from kernelsim.hw.leaf import inlined_leaf, leaf
from kernelsim.mm.core.mem import I64, PAGEVEC_SIZE, Mem, PG_batched, nid_of
from kernelsim.mm.core.swap import ALL_FLAGS, lru_add


@inlined_leaf
def folio_batch_add(mem: Mem, cpu: int, pfn: int) -> bool:
    """Put a page that is on no list in a CPU's batch; True when that is full and must be emptied.

    Source: Linux 6.1 mm/swap.c:folio_batch_add_and_move
    """
    batch = mem.lru_batch[cpu]
    nr = int(batch[0])
    batch[1 + nr] = pfn
    batch[0] = nr + 1
    mem.pages.flags[pfn] |= PG_batched
    return nr + 1 == PAGEVEC_SIZE


@leaf
def folio_batch_run(mem: Mem, cpu: int) -> tuple[int, int]:
    """Return the node of the first page in a batch, and how many from there on lie on it."""
    batch = mem.lru_batch[cpu]
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
    left = int(batch[0]) - nr
    for i in range(left):
        batch[1 + i] = batch[1 + nr + i]
    batch[0] = left
    return free
