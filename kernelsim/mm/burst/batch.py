"""The folio_batch inside a burst: when it is full its pages go to their lists under lru_lock.

Linux: mm/swap.c:lru_add_drain, 6.1.

Interface: `add` asks for the lock, `move` is done under it, `added` when it is given back;
`move_in_turn` takes the place of `move` for a CPU that queued behind actors.
Units: ns, pages.
"""

from kernelsim.hw.leaf import (
    leaf,
)
from kernelsim.mm.burst.columns import (
    ADD,
    ADDED,
    B_BEGAN,
    B_HOLD,
    B_PHASE,
    B_SERVER,
    B_STIME,
    B_TIME,
    C_LRU_HOLD_PAGE,
    C_PTE_SET,
    CALL_NOTHING,
    LRU,
    RETURN,
    STOP_FREE,
    Burst,
)
from kernelsim.mm.burst.events import (
    push,
    spend,
    stop,
)
from kernelsim.mm.burst.servers import (
    ask_lock,
    drawn_ns,
    is_queued,
    let_next_wait,
    lru_lock,
    note_hold,
    queue,
)
from kernelsim.mm.core.folio_batch import (
    folio_batch_move_lru,
    folio_batch_run,
)
from kernelsim.mm.core.mem import (
    Mem,
)


@leaf
def add(mem: Mem, burst: Burst, cpu: int) -> int:
    """Queue for the lru_lock of the first pages in the CPU's folio_batch; return CALL_*."""
    nid, nr_pages = folio_batch_run(mem, cpu)
    server = lru_lock(burst, nid)
    burst.run[cpu, B_BEGAN] = burst.run[cpu, B_TIME]
    if is_queued(burst, server):
        return queue(burst, cpu, server)
    if ask_lock(burst, cpu, server, LRU, int(burst.cost[C_LRU_HOLD_PAGE]) * nr_pages, 10):
        move(mem, burst, cpu)
    return CALL_NOTHING


@leaf
def move(mem: Mem, burst: Burst, cpu: int) -> None:
    """Move pages of the folio_batch to their lists now that lru_lock is granted."""
    run = burst.run[cpu]
    has_waited = run[B_PHASE] == LRU
    note_hold(burst, cpu)
    move_batch(mem, burst, cpu)
    push(burst, cpu, ADDED, int(run[B_TIME] + run[B_HOLD]))
    if has_waited:
        let_next_wait(burst, int(run[B_SERVER]))


@leaf
def move_in_turn(mem: Mem, burst: Burst, cpu: int) -> int:
    """Do as `move` for a CPU that queued behind actors; return how long the lock is held."""
    nr_pages = move_batch(mem, burst, cpu)
    return drawn_ns(burst, cpu, int(burst.cost[C_LRU_HOLD_PAGE]) * nr_pages)


@leaf
def move_batch(mem: Mem, burst: Burst, cpu: int) -> int:
    """Move the pages of one node; return how many that were."""
    _, nr_pages = folio_batch_run(mem, cpu)
    freed = burst.freed[cpu]
    freed[0] = folio_batch_move_lru(mem, cpu, nr_pages, freed[1:])
    burst.placed[0] -= freed[0]
    return nr_pages


@leaf
def added(mem: Mem, burst: Burst, cpu: int) -> None:
    """Go on when pages are on their lists: with those of another node, or out of the kernel."""
    run = burst.run[cpu]
    run[B_STIME] += run[B_TIME] - run[B_BEGAN]
    run[B_BEGAN] = run[B_TIME]
    if burst.freed[cpu, 0]:
        stop(burst, cpu, STOP_FREE)
    elif mem.lru_batch[cpu, 0]:
        push(burst, cpu, ADD, int(run[B_TIME]))
    else:
        spend(burst, cpu, RETURN, int(burst.cost[C_PTE_SET]))
