"""Per-cpu lists of free single pages, and the two calls that allocate and free through them.

Linux: mm/page_alloc.c (6.1): rmqueue_pcplist, free_unref_page_list and what they call.
Differs: The per-CPU page lists hold order 0 only; larger blocks go straight to the buddy system.
Interface: `alloc_pages_bulk` and `free_unref_pages` do in one call what as many calls of one page
would do; `rmqueue_bulk` and `drain_pages` fill and empty a list.
Units: pages. A list is kept newest first: pages are taken and freed at its head, refilled and
drained at its tail. Pages on it have PG_pcp and are not in Z_FREE.
"""

from kernelsim.hw.leaf import leaf
from kernelsim.mm.core.list import list_add
from kernelsim.mm.core.mem import (
    I32,
    I64,
    L_COUNT,
    L_HEAD,
    L_TAIL,
    MIGRATE_ISOLATE,
    MIGRATE_MOVABLE,
    MIGRATE_PCPTYPES,
    PAGEBLOCK_ORDER,
    Z_FREE,
    Z_PCP_BATCH,
    Z_PCP_HIGH,
    Z_RECLAIM_ACTIVE,
    Z_SPANNED,
    Z_START_PFN,
    Z_TYPE_INDEX,
    Mem,
    PG_pcp,
    pcp_list,
    zone_of,
)
from kernelsim.mm.core.vmstat import PGALLOC_DMA, PGFREE
from kernelsim.mm.page.page_alloc import (
    free_one_page,
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


@leaf
def free_run(
    mem: Mem, zone: int, first: int, nr_pages: int, migratetype: int, rising: bool
) -> None:
    """Free consecutive pages one after the other, from the lowest or from the highest.

    Aligned groups are freed as blocks: single pages of a group can only merge with each other
    until the last of them is free, so the free lists end up the same.
    """
    low = first
    high = first + nr_pages
    mem.pages.flags[low:high] = 0
    while low < high:
        edge = low if rising else high
        order = 0
        while order < PAGEBLOCK_ORDER and not edge & (1 << order) and high - low >= 2 << order:
            order += 1
        pfn = low if rising else high - (1 << order)
        if rising:
            low += 1 << order
        else:
            high = pfn
        isolated = mem.block_mt[pfn >> PAGEBLOCK_ORDER] == MIGRATE_ISOLATE
        free_one_page(mem, zone, pfn, order, MIGRATE_ISOLATE if isolated else migratetype, False)


@leaf
def cut_run_tail(mem: Mem, number: int, count: int) -> tuple[int, int, bool]:
    """Cut consecutive pages, at most `count`, off the end of a list that is not empty.

    Returns (lowest pfn, pages, whether the pfns rise towards the head).
    """
    before = mem.pages.prev
    tail = int(mem.lists[number, L_TAIL])
    last = tail
    pfn = int(before[last])
    step = 1 if pfn == tail + 1 else -1
    nr_pages = 1
    while nr_pages < count and pfn == last + step and pfn:
        last = pfn
        nr_pages += 1
        pfn = int(before[last])
    mem.lists[number, L_TAIL] = pfn
    if pfn:
        mem.pages.next[pfn] = 0
    else:
        mem.lists[number, L_HEAD] = 0
    mem.lists[number, L_COUNT] -= nr_pages
    return min(tail, last), nr_pages, step > 0


@leaf
def free_pcppages_bulk(mem: Mem, zone: int, cpu: int, count: int, migratetype: int) -> int:
    """Give pages of a CPU's lists back, oldest first; return how many.

    The list of `migratetype` is emptied first, then the next ones in turn.

    Source: Linux 6.1 mm/page_alloc.c:free_pcppages_bulk
    """
    count = min(count, int(mem.pcp_count[zone, cpu]))
    freed = 0
    for turn in range(MIGRATE_PCPTYPES):
        pcp_type = (migratetype + turn) % MIGRATE_PCPTYPES
        number = pcp_list(mem, zone, cpu, pcp_type)
        while freed < count and mem.lists[number, L_COUNT]:
            first, nr_pages, rising = cut_run_tail(mem, number, count - freed)
            free_run(mem, zone, first, nr_pages, pcp_type, rising)
            freed += nr_pages
    mem.pcp_count[zone, cpu] -= freed
    return freed


@leaf
def nr_pcp_high(mem: Mem, zone: int) -> int:
    """Return the pages at which a CPU's lists are cut; less while kswapd works on the zone.

    Source: Linux 6.1 mm/page_alloc.c:nr_pcp_high
    """
    high = int(mem.zone[zone, Z_PCP_HIGH])
    if high and mem.zone[zone, Z_RECLAIM_ACTIVE]:
        return min(int(mem.zone[zone, Z_PCP_BATCH]) << 2, high)
    return high


@leaf
def nr_pcp_free(mem: Mem, zone: int, cpu: int, high: int) -> int:
    """Return how many pages to give back; doubles each time while the CPU only frees.

    Source: Linux 6.1 mm/page_alloc.c:nr_pcp_free
    """
    batch = int(mem.zone[zone, Z_PCP_BATCH])
    if high < batch:
        return 1
    most = high - batch
    scaled = batch << int(mem.pcp_free_factor[zone, cpu])
    if scaled < most:
        mem.pcp_free_factor[zone, cpu] += 1
    return min(max(scaled, batch), most)


@leaf
def put_pages(mem: Mem, zone: int, cpu: int, pfns: I32 | I64, at: int, end: int) -> int:
    """Put pages of one zone and pageblock in front of a CPU's list until it is full.

    Returns the index behind the last page put: at the end, at another pageblock or zone, or where
    the list has reached its high mark.
    """
    high = nr_pcp_high(mem, zone)
    block = int(pfns[at]) >> PAGEBLOCK_ORDER
    migratetype = int(mem.block_mt[block])
    number = pcp_list(mem, zone, cpu, pcp_type_of(migratetype))
    zone_start = int(mem.zone[zone, Z_START_PFN])
    zone_end = zone_start + int(mem.zone[zone, Z_SPANNED])
    before = mem.pages.prev
    after = mem.pages.next
    flags = mem.pages.flags
    head = int(mem.lists[number, L_HEAD])
    room = max(high - int(mem.pcp_count[zone, cpu]), 1)
    first = at
    end = min(end, at + room)
    while at < end:
        pfn = int(pfns[at])
        if pfn >> PAGEBLOCK_ORDER != block or pfn < zone_start or pfn >= zone_end:
            break
        flags[pfn] = PG_pcp
        after[pfn] = head
        if head:
            before[head] = pfn
        else:
            mem.lists[number, L_TAIL] = pfn
        head = pfn
        at += 1
    before[head] = 0
    mem.lists[number, L_HEAD] = head
    mem.lists[number, L_COUNT] += at - first
    mem.pcp_count[zone, cpu] += at - first
    return at


@leaf
def pcp_type_of(migratetype: int) -> int:
    """Return the per-cpu list for pages of a pageblock of this type."""
    return migratetype if migratetype < MIGRATE_PCPTYPES else MIGRATE_MOVABLE


@leaf
def free_unref_pages(mem: Mem, cpu: int, pfns: I32 | I64, n: int) -> int:
    """Free single pages, `pfns[:n]`, to a CPU's lists of the zones they lie in.

    A list that reaches its high mark gives a part back to the buddy system. Pages of an isolated
    pageblock go there at once. Counts PGFREE.

    Returns:
        Times a zone lock was taken.

    Source: Linux 6.1 mm/page_alloc.c:free_unref_page_commit
    """
    nr_lock_holds = 0
    at = 0
    while at < n:
        pfn = int(pfns[at])
        zone = zone_of(mem, pfn)
        migratetype = int(mem.block_mt[pfn >> PAGEBLOCK_ORDER])
        if migratetype == MIGRATE_ISOLATE:
            free_one_page(mem, zone, pfn, 0, migratetype, False)
            nr_lock_holds += 1
            at += 1
            continue
        at = put_pages(mem, zone, cpu, pfns, at, n)
        high = nr_pcp_high(mem, zone)
        if mem.pcp_count[zone, cpu] >= high:
            count = nr_pcp_free(mem, zone, cpu, high)
            free_pcppages_bulk(mem, zone, cpu, count, pcp_type_of(migratetype))
            nr_lock_holds += 1
    mem.vm_event[PGFREE] += n
    return nr_lock_holds


@leaf
def drain_pages(mem: Mem, zone: int, cpu: int) -> int:
    """Give all pages of a CPU's lists of a zone back; return how many.

    Source: Linux 6.1 mm/page_alloc.c:drain_pages_zone
    """
    return free_pcppages_bulk(mem, zone, cpu, int(mem.pcp_count[zone, cpu]), 0)
