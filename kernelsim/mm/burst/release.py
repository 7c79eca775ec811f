"""Taking pages off their lists, one hold of lru_lock after the other.

Linux: mm/swap.c:release_pages (6.1), which drops lru_lock every SWAP_CLUSTER_MAX pages.
Interface: `release_run`. Units: pages, ns.
"""

from kernelsim.hw.leaf import leaf
from kernelsim.mm.burst.columns import Burst
from kernelsim.mm.burst.servers import drawn_ns
from kernelsim.mm.core.mem import I64, SWAP_CLUSTER_MAX, Mem
from kernelsim.mm.swap.free_swap import release_pages


@leaf
def release_run(
    mem: Mem,
    burst: Burst,
    cpu: int,
    pfns: I64,
    now_ns: int,
    horizon_ns: int,
    nr_holds: int,
    page_ns: int,
    out: I64,
) -> tuple[int, int, int, int, int, int]:
    """Take pages that nobody uses any more off their lists, while the lock is this CPU's alone.

    Args:
        mem: Memory.
        burst: What CPUs draw.
        cpu: Whose task does it.
        pfns: The pages, all of one node.
        now_ns: The first hold begins.
        horizon_ns: A hold that ends here, or later, is the last.
        nr_holds: Most holds.
        page_ns: Mean time of a page.
        out: Gets the pages to be freed; as long as `pfns`.

    Returns:
        Pages looked at, pages to be freed, holds, their time in all, when the last began, its time.
    """
    at = free = nr = held_ns = hold_ns = 0
    begin_ns = now_ns
    while at < len(pfns):
        size = min(SWAP_CLUSTER_MAX, len(pfns) - at)
        free += release_pages(mem, pfns[at : at + size], size, out[free:])
        at += size
        hold_ns = drawn_ns(burst, cpu, page_ns * size)
        held_ns += hold_ns
        nr += 1
        if at == len(pfns) or nr == nr_holds or begin_ns + hold_ns >= horizon_ns:
            break
        begin_ns += hold_ns
    return at, free, nr, held_ns, begin_ns, hold_ns
