"""Reads of cached pages that have been used before: page after page is activated on the way.

Linux: mm/filemap.c:filemap_read, mm/swap.c:folio_activate, 6.1.
Every fifteenth of them empties the CPU's batch under lru_lock; here that is done on the way, as
long as nobody else can notice (lock_run.py).

Interface: `read_activating` takes the place of `filemap_read_run`.
Units: as in mm/file/filemap_read.py.
"""

from kernelsim.hw.leaf import leaf
from kernelsim.mm.burst.columns import C_LRU_HOLD_PAGE, Burst
from kernelsim.mm.burst.lock_run import (
    LR_CPU,
    LR_NOW_NS,
    are_lru_locks_free,
    has_time,
    hold_lru_lock,
    longest_hold_ns,
    pass_time,
)
from kernelsim.mm.core.folio_batch import activate_batch_move, activate_batch_run
from kernelsim.mm.core.mem import I64, I64_2D, PAGEVEC_SIZE, U64, Mem
from kernelsim.mm.file.address_space import FileMappings
from kernelsim.mm.file.filemap_read import R_LIMIT_NS, R_NS, READ_ACTIVATE, filemap_read_run


@leaf
def read_activating(
    mem: Mem, files: FileMappings, lruvec: I64_2D, burst: Burst, number: int, io: I64, out: U64,
    run: I64,
) -> int:  # fmt: skip
    """Copy pages to the program, and activate those that were used before.

    Args:
        mem: Memory.
        files: All files.
        lruvec: What reclaim remembers of each node.
        burst: Locks and costs.
        number: The file.
        io: State of the read; what it says of time is of the last part, since `run` stopped.
        out: Has no room: nobody is to be told what the pages hold.
        run: State of the run, LR_*.

    Returns:
        READ_*.

    Source: Linux 6.1 mm/filemap.c:filemap_read
    """
    cpu = int(run[LR_CPU])
    while True:
        why = filemap_read_run(mem, files, lruvec, cpu, number, io, out)
        if why != READ_ACTIVATE or not can_activate(mem, burst, run, int(io[R_NS])):
            return why
        io[R_LIMIT_NS] += run[LR_NOW_NS]
        pass_time(run, int(io[R_NS]))
        for _ in range(PAGEVEC_SIZE):
            nid, nr_pages = activate_batch_run(mem, cpu)
            if nr_pages == 0:
                break
            nr_free = activate_batch_move(mem, cpu, nr_pages, burst.spare)
            assert nr_free == 0, "a page left its file, which nobody can have done"
            hold_lru_lock(burst, run, nid, nr_pages)
        io[R_LIMIT_NS] = max(0, int(io[R_LIMIT_NS] - run[LR_NOW_NS]))


@leaf
def can_activate(mem: Mem, burst: Burst, run: I64, copy_ns: int) -> bool:
    """Tell whether the batch can be emptied after some copying, and nobody else notices."""
    batch = mem.activate_batch[run[LR_CPU]]
    for i in range(1, batch[0] + 1):
        if mem.pages.mapping[batch[i]] == 0:
            return False  # its file dropped it, and the batch has to free it
    lru_ns = longest_hold_ns(burst, int(burst.cost[C_LRU_HOLD_PAGE]))
    is_in_time = has_time(burst, run, copy_ns + PAGEVEC_SIZE * lru_ns)
    return is_in_time and are_lru_locks_free(burst, run)
