"""Per-cpu lists of free single pages, and the two calls that allocate and free through them.

Linux: mm/page_alloc.c (6.1): rmqueue_pcplist, free_unref_page_list and what they call.
Differs: The per-CPU page lists hold order 0 only; larger blocks go straight to the buddy system.
Interface: `alloc_pages_bulk` and `free_unref_pages` do in one call what as many calls of one page
would do; `rmqueue_bulk` and `drain_pages` fill and empty a list.
Units: pages. A list is kept newest first: pages are taken and freed at its head, refilled and
drained at its tail. Pages on it have PG_pcp and are not in Z_FREE.
"""

from kernelsim.hw.leaf import inlined_leaf, leaf
from kernelsim.mm.core.list import list_add
from kernelsim.mm.core.mem import (
    I32,
    I64,
    L_COUNT,
    L_HEAD,
    L_TAIL,
    Z_FREE,
    Z_PCP_BATCH,
    Z_TYPE_INDEX,
    Mem,
    PG_pcp,
    pcp_list,
)
from kernelsim.mm.core.vmstat import PGALLOC_DMA
from kernelsim.mm.page.page_alloc import (
    prep_new_page,
    prep_new_pages,
    rmqueue_run,
    zone_statistics,
)


@leaf
def add_run_tail(mem: Mem, number: int, pfn: int, nr_pages: int) -> None:
    """Put consecutive pages at the end of a per-cpu list, in rising order."""
    before = mem.pages.prev
    after = mem.pages.next
    flags = mem.pages.flags
    for page in range(pfn, pfn + nr_pages):
        before[page] = page - 1
        after[page] = page + 1
        flags[page] = PG_pcp
    last = pfn + nr_pages - 1
    tail = mem.lists[number, L_TAIL]
    before[pfn] = tail
    after[last] = 0
    if tail:
        after[tail] = pfn
    else:
        mem.lists[number, L_HEAD] = pfn
    mem.lists[number, L_TAIL] = last
    mem.lists[number, L_COUNT] += nr_pages


@leaf
def rmqueue_bulk(mem: Mem, zone: int, cpu: int, migratetype: int, count: int) -> int:
    """Move up to `count` pages from the buddy system to the end of a CPU's list; return how many.

    Source: Linux 6.1 mm/page_alloc.c:rmqueue_bulk
    """
    number = pcp_list(mem, zone, cpu, migratetype)
    got = 0
    while got < count:
        pfn, nr_pages = rmqueue_run(mem, zone, migratetype, count - got)
        if nr_pages == 0:
            break
        add_run_tail(mem, number, pfn, nr_pages)
        got += nr_pages
    mem.pcp_count[zone, cpu] += got
    return got


@leaf
def refill_batch(mem: Mem, zone: int) -> int:
    """Return how many pages an empty list is filled with.

    Source: Linux 6.1 mm/page_alloc.c:__rmqueue_pcplist
    """
    batch = int(mem.zone[zone, Z_PCP_BATCH])
    return max(batch, 2) if batch > 1 else 1


@leaf
def take_pages(mem: Mem, number: int, count: int, out: I32 | I64, at: int) -> None:
    """Take `count` pages from the head of a list into `out[at:]`, wiped for their new owner."""
    after = mem.pages.next
    pfn = int(mem.lists[number, L_HEAD])
    taken = 0
    while taken < count:
        assert pfn, "a per-CPU list has fewer pages than its count"
        first = pfn
        out[at + taken] = pfn
        taken += 1
        pfn = int(after[pfn])
        # Pages of one refill follow each other: wipe them column by column.
        while taken < count and pfn == out[at + taken - 1] + 1:
            out[at + taken] = pfn
            taken += 1
            pfn = int(after[pfn])
        prep_new_pages(mem, first, int(out[at + taken - 1]) + 1 - first)
    mem.lists[number, L_HEAD] = pfn
    if pfn:
        mem.pages.prev[pfn] = 0
    else:
        mem.lists[number, L_TAIL] = 0
    mem.lists[number, L_COUNT] -= count


@inlined_leaf
def take_listed_page(
    mem: Mem, zone: int, cpu: int, cpu_nid: int, preferred_nid: int, migratetype: int
) -> int:
    """Take one page from the head of a list that is not empty, and count it.

    Source: Linux 6.1 mm/page_alloc.c:__rmqueue_pcplist
    """
    number = pcp_list(mem, zone, cpu, migratetype)
    pfn = int(mem.lists[number, L_HEAD])
    assert pfn, "a per-CPU list has fewer pages than its count"
    after = mem.pages.next[pfn]
    mem.lists[number, L_HEAD] = after
    if after:
        mem.pages.prev[after] = 0
    else:
        mem.lists[number, L_TAIL] = 0
    mem.lists[number, L_COUNT] -= 1
    mem.pcp_count[zone, cpu] -= 1
    prep_new_page(mem, pfn)
    mem.pcp_free_factor[zone, cpu] >>= 1
    mem.vm_event[PGALLOC_DMA + mem.zone[zone, Z_TYPE_INDEX]] += 1
    zone_statistics(mem, zone, cpu_nid, preferred_nid, 1)
    return pfn


@leaf
def refill_and_take(
    mem: Mem, zone: int, cpu: int, migratetype: int, floor: int, want: int, out: I32 | I64, at: int
) -> int:
    """Refill an empty list and take up to `want` pages into `out[at:]`; return how many.

    What is taken at once does not pass through the list. The request that caused the refill has
    passed the watermark, so it gets its page; those behind it only if free pages are above `floor`.
    """
    number = pcp_list(mem, zone, cpu, migratetype)
    left = refill_batch(mem, zone)
    got = 0
    while left and got < want:
        pfn, nr_pages = rmqueue_run(mem, zone, migratetype, left)
        if nr_pages == 0:
            break
        left -= nr_pages
        take = min(nr_pages, want - got)
        for i in range(take):
            out[at + got + i] = pfn + i
        prep_new_pages(mem, pfn, take)
        got += take
        if take < nr_pages:
            add_run_tail(mem, number, pfn + take, nr_pages - take)
            mem.pcp_count[zone, cpu] += nr_pages - take
    if left and got == want:
        rmqueue_bulk(mem, zone, cpu, migratetype, left)
    if mem.zone[zone, Z_FREE] > floor:
        return got
    while got > 1:
        got -= 1
        pfn = int(out[at + got])
        out[at + got] = 0
        list_add(mem, number, pfn)
        mem.pages.flags[pfn] = PG_pcp
        mem.pcp_count[zone, cpu] += 1
    return got


@leaf
def alloc_pages_bulk(
    mem: Mem,
    zone: int,
    cpu: int,
    cpu_nid: int,
    preferred_nid: int,
    migratetype: int,
    floor: int,
    want: int,
    out: I32 | I64,
    start: int,
) -> tuple[int, int]:
    """Allocate single pages from a CPU's list, refilling it as needed.

    Each page is a request of its own: it is refused when the zone's free pages are at or below
    `floor` at that moment. Counts PGALLOC_* and NUMA_*.

    Args:
        mem: The machine's memory.
        zone: Zone row.
        cpu: CPU whose list is used.
        cpu_nid: Its node.
        preferred_nid: Node the memory policy asked for.
        migratetype: MIGRATE_UNMOVABLE, _MOVABLE or _RECLAIMABLE.
        floor: Result of `watermark_floor`.
        want: Pages asked for.
        out: Where the pfns go.
        start: First entry of `out` to use; those behind the last page may be zeroed.

    Returns:
        (pages allocated, times the zone lock was taken to refill).

    Source: Linux 6.1 mm/page_alloc.c:rmqueue_pcplist
    """
    number = pcp_list(mem, zone, cpu, migratetype)
    got = 0
    nr_refills = 0
    while got < want and mem.zone[zone, Z_FREE] > floor:
        taken = min(int(mem.lists[number, L_COUNT]), want - got)
        if taken:
            take_pages(mem, number, taken, out, start + got)
            mem.pcp_count[zone, cpu] -= taken
        else:
            nr_refills += 1
            taken = refill_and_take(
                mem, zone, cpu, migratetype, floor, want - got, out, start + got
            )
            if taken == 0:
                break
        got += taken
    if got:
        mem.pcp_free_factor[zone, cpu] >>= min(got, 32)
        mem.vm_event[PGALLOC_DMA + mem.zone[zone, Z_TYPE_INDEX]] += got
        zone_statistics(mem, zone, cpu_nid, preferred_nid, got)
    return got, nr_refills
