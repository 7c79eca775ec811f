"""Zones of free memory for tests of the page allocator, and a look at lists of pages."""

from kernelsim.config.machine import ZoneSpec
from kernelsim.config.zones import ZoneType
from kernelsim.mm.boot.mm_init import free_range, init_zone
from kernelsim.mm.core.mem import L_HEAD, PAGEBLOCK_ORDER, Mem, zone_of
from kernelsim.mm.page.page_alloc import free_one_page


def add_zone(mem: Mem, zone: int, nid: int, start: int, end: int, *, free: bool = True) -> None:
    """Fill a zone row with memory from start to end, all of it free unless said otherwise."""
    size = end - start
    spec = ZoneSpec(
        type=ZoneType.ZONE_NORMAL,
        start_pfn=start,
        spanned_pages=size,
        present_pages=size,
        managed_pages=size,
    )
    init_zone(mem, zone, spec, nid, [(start, end)])
    if free:
        free_range(mem, zone, start, end)


def pages_of(mem: Mem, number: int) -> list[int]:
    """List the pages of a list from its head."""
    pfns = []
    pfn = int(mem.lists[number, L_HEAD])
    while pfn:
        pfns.append(pfn)
        pfn = int(mem.pages.next[pfn])
    return pfns


def free_block(mem: Mem, pfn: int, order: int) -> None:
    """Free a block to the buddy system, in the list of its pageblock's type."""
    migratetype = int(mem.block_mt[pfn >> PAGEBLOCK_ORDER])
    mem.pages.flags[pfn : pfn + (1 << order)] = 0
    free_one_page(mem, zone_of(mem, pfn), pfn, order, migratetype, False)
