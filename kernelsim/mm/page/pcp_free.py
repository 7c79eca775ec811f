"""Giving single pages back: to a CPU's list, and from a full one to the buddy system.

Linux: mm/page_alloc.c (6.1): free_unref_page_list, free_pcppages_bulk and what they call.
Interface: `free_unref_run` frees pages until one needs the lock of its zone, under which
`drain_full` gives a part of the full list back, or `free_isolated` frees the page past the lists;
`drain_pages` empties a list.
Units: pages.
"""

from kernelsim.hw.leaf import leaf
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
    Z_PCP_BATCH,
    Z_PCP_FREES_BATCH,
    Z_PCP_HIGH,
    Z_RECLAIM_ACTIVE,
    Mem,
    PG_pcp,
    pageblock_part,
    pcp_list,
    zone_of,
)
from kernelsim.mm.core.vmstat import PGFREE
from kernelsim.mm.page.page_alloc import free_one_page


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
    assert tail, "a per-CPU list has fewer pages than its count"
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
    if mem.zone[zone, Z_PCP_FREES_BATCH]:
        return batch
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
    part_start, part_end = pageblock_part(mem, int(pfns[at]))
    migratetype = int(mem.block_mt[int(pfns[at]) >> PAGEBLOCK_ORDER])
    number = pcp_list(mem, zone, cpu, pcp_type_of(migratetype))
    before = mem.pages.prev
    after = mem.pages.next
    flags = mem.pages.flags
    head = int(mem.lists[number, L_HEAD])
    room = max(high - int(mem.pcp_count[zone, cpu]), 1)
    first = at
    end = min(end, at + room)
    while at < end:
        pfn = int(pfns[at])
        if pfn < part_start or pfn >= part_end:
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
def free_unref_run(mem: Mem, cpu: int, pfns: I32 | I64, at: int, n: int) -> tuple[int, int, bool]:
    """Free single pages, `pfns[at:n]`, to a CPU's lists until zone->lock is needed.

    Counts PGFREE.

    Returns:
        The index behind the last page freed; the zone whose lock is needed now, -1 for none: all
        are freed; and what for: False for a full list to be drained, True for the next page, which
        goes past the lists to the buddy system since its pageblock is isolated.

    Source: Linux 6.1 mm/page_alloc.c:free_unref_page_list, :free_unref_page_commit
    """
    while at < n:
        pfn = int(pfns[at])
        zone = zone_of(mem, pfn)
        migratetype = int(mem.block_mt[pfn >> PAGEBLOCK_ORDER])
        if migratetype == MIGRATE_ISOLATE:
            return at, zone, True
        end = put_pages(mem, zone, cpu, pfns, at, n)
        mem.vm_event[PGFREE] += end - at
        at = end
        if mem.pcp_count[zone, cpu] >= nr_pcp_high(mem, zone):
            return at, zone, False
    return at, -1, False


@leaf
def free_isolated(mem: Mem, zone: int, pfn: int) -> None:
    """Free a page of an isolated pageblock, under zone->lock.

    Source: Linux 6.1 mm/page_alloc.c:free_unref_page_list, :free_one_page
    """
    free_one_page(mem, zone, pfn, 0, int(mem.block_mt[pfn >> PAGEBLOCK_ORDER]), False)
    mem.vm_event[PGFREE] += 1


@leaf
def drain_full(mem: Mem, zone: int, cpu: int, pfns: I32 | I64, at: int) -> int:
    """Give a part of a CPU's lists back, that of page `pfns[at - 1]` first; return how many.

    Source: Linux 6.1 mm/page_alloc.c:free_unref_page_commit, :free_pcppages_bulk
    """
    migratetype = pcp_type_of(int(mem.block_mt[int(pfns[at - 1]) >> PAGEBLOCK_ORDER]))
    count = nr_pcp_free(mem, zone, cpu, nr_pcp_high(mem, zone))
    return free_pcppages_bulk(mem, zone, cpu, count, migratetype)


@leaf
def drain_pages(mem: Mem, zone: int, cpu: int) -> int:
    """Give all pages of a CPU's lists of a zone back; return how many.

    Source: Linux 6.1 mm/page_alloc.c:drain_pages_zone
    """
    return free_pcppages_bulk(mem, zone, cpu, int(mem.pcp_count[zone, cpu]), 0)
