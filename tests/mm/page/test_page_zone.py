"""The zone of each page frame, against one entry a frame."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from kernelsim.check.pages import check_pages
from kernelsim.config.machine import ZoneSpec
from kernelsim.config.zones import ZoneType
from kernelsim.mm.boot.mm_init import init_zone, new_mem
from kernelsim.mm.core.mem import (
    L_COUNT,
    LRU_INACTIVE_ANON,
    MIGRATE_MOVABLE,
    MIGRATE_RECLAIMABLE,
    PAGEBLOCK_NR_PAGES,
    Z_FREE,
    Z_PCP_HIGH,
    Z_SPANNED,
    Mem,
    PG_anon,
    PG_reserved,
    PG_swapbacked,
    lru_list,
    node_at,
    pageblock_part,
    zone_of,
    zones_of,
)
from kernelsim.mm.core.swap import lru_add
from kernelsim.mm.core.vmstat import NR_INACTIVE_ANON
from kernelsim.mm.page.fallback import move_freepages_block
from kernelsim.mm.page.page_alloc import rmqueue
from kernelsim.mm.page.page_zone import owned_span, pageblock_types, pageblock_zone
from kernelsim.mm.page.pcp_free import put_pages
from tests.free_zone import add_zone, free_block

NR_PFNS = 4096
NR_ZONES = 3


@st.composite
def memory_of_zones(draw: st.DrawFn) -> list[list[tuple[int, int]]]:
    """Draw the memory of each zone: ranges in turn, with holes, so that spans overlap."""
    near = st.integers(0, 7).map(lambda at: at * PAGEBLOCK_NR_PAGES)
    edge = st.builds(lambda at, by: min(max(at + by, 1), NR_PFNS), near, st.integers(-9, 600))
    edges = sorted(draw(st.sets(edge, min_size=2, max_size=9)))
    owners = draw(st.lists(st.integers(-1, NR_ZONES - 1), min_size=9, max_size=9))
    zones: list[list[tuple[int, int]]] = [[] for _ in range(NR_ZONES)]
    for owner, start, end in zip(owners, edges, edges[1:], strict=False):
        if owner >= 0:
            zones[owner].append((start, end))
    return zones


def entered(zones: list[list[tuple[int, int]]]) -> Mem:
    """Return memory with these zones, each of a node of its own."""
    mem = new_mem(nr_pfns=NR_PFNS, nr_nodes=NR_ZONES, nr_zone_types=1, nr_cpus=1)
    for zone, ranges in enumerate(zones):
        start, end = (ranges[0][0], ranges[-1][1]) if ranges else (0, 0)
        present = sum(high - low for low, high in ranges)
        spec = ZoneSpec(
            type=ZoneType.ZONE_NORMAL,
            start_pfn=start,
            spanned_pages=end - start,
            present_pages=present,
            managed_pages=present,
        )
        init_zone(mem, zone, spec, zone, ranges)
    return mem


@given(memory_of_zones())
@settings(max_examples=40, deadline=None)
def test_each_frame_of_memory_is_in_the_zone_whose_memory_it_is(
    zones: list[list[tuple[int, int]]],
) -> None:
    """Whatever lies in one pageblock; the rest is reserved, or in no zone at all."""
    mem = entered(zones)
    naive = np.full(NR_PFNS, -1)
    for zone, ranges in enumerate(zones):
        for start, end in ranges:
            naive[start:end] = zone
    frames = np.arange(NR_PFNS)
    found = zones_of(mem, frames)
    is_memory = naive >= 0
    assert found[is_memory].tolist() == naive[is_memory].tolist()
    assert not mem.pages.flags[:NR_PFNS][is_memory].any()
    is_reserved = mem.pages.flags[:NR_PFNS] == PG_reserved
    assert (found[~is_memory] >= 0).tolist() == is_reserved[~is_memory].tolist()
    for pfn in frames[is_memory][::97].tolist():
        assert node_at(mem.block_zone, mem.split_zone, mem.zone, pfn) == naive[pfn]
        low, high = pageblock_part(mem, pfn)
        assert low <= pfn < high <= (pfn | (PAGEBLOCK_NR_PAGES - 1)) + 1
        assert set(found[low:high].tolist()) == {naive[pfn]}
        for beyond in (low - 1, high):
            if beyond // PAGEBLOCK_NR_PAGES == pfn // PAGEBLOCK_NR_PAGES:
                assert found[beyond] != naive[pfn]
    for zone in range(NR_ZONES):
        mine = np.flatnonzero(found == zone).tolist()
        assert owned_span(mem, zone) == ((mine[0], mine[-1] + 1) if mine else (0, 0))


def shared_block() -> Mem:
    """Return two nodes that meet at 1030, the first of which spans the second, as after a DIMM."""
    mem = new_mem(nr_pfns=2048, nr_nodes=2, nr_zone_types=1, nr_cpus=1)
    add_zone(mem, 0, 0, 512, 1030)
    add_zone(mem, 1, 1, 1030, 2048)
    mem.zone[0, Z_SPANNED] = 2048 - 512
    return mem


def test_free_pages_that_change_type_stay_in_their_zone() -> None:
    """A pageblock that two zones share gives each its own free pages."""
    mem = shared_block()
    assert move_freepages_block(mem, 0, 1024, MIGRATE_RECLAIMABLE) == (6, 0)
    assert check_pages(mem, in_flight=0) == []
    assert rmqueue(mem, 0, 1, MIGRATE_RECLAIMABLE) == 1028
    assert rmqueue(mem, 1, 1, MIGRATE_MOVABLE) == 1030


def test_a_page_is_freed_to_its_zone_inside_the_span_of_another() -> None:
    """What is freed counts, and merges, where it came from."""
    mem = shared_block()
    free = mem.zone[:, Z_FREE].tolist()
    taken = [rmqueue(mem, zone, 1, MIGRATE_MOVABLE) for zone in (0, 1)]
    assert [zone_of(mem, pfn) for pfn in taken] == [0, 1]
    for pfn in taken:
        free_block(mem, pfn, 1)
    assert mem.zone[:, Z_FREE].tolist() == free
    assert check_pages(mem, in_flight=0) == []


def test_pages_of_two_zones_in_a_pageblock_go_to_two_lists() -> None:
    """A run of pages for one list, of a CPU or of a node, ends where the zone does."""
    mem = shared_block()
    pfns = np.arange(1028, 1032)
    for zone in (0, 1):
        rmqueue(mem, zone, 1, MIGRATE_MOVABLE)
    mem.zone[:, Z_PCP_HIGH] = 99
    assert put_pages(mem, 0, 0, pfns, 0, 4) == 2
    assert put_pages(mem, 1, 0, pfns, 2, 4) == 4
    assert mem.pcp_count[:, 0].tolist() == [2, 2]
    mem = shared_block()
    for zone in (0, 1):
        rmqueue(mem, zone, 1, MIGRATE_MOVABLE)
    mem.pages.flags[pfns] = PG_anon | PG_swapbacked
    lru_add(mem, pfns, 4)
    assert mem.node_stat[:, NR_INACTIVE_ANON].tolist() == [2, 2]
    assert [mem.lists[lru_list(mem, nid, LRU_INACTIVE_ANON), L_COUNT] for nid in (0, 1)] == [2, 2]


def test_a_pageblock_that_two_zones_share_is_counted_once() -> None:
    """It is the one's whose frames come first."""
    mem = shared_block()
    assert [pageblock_zone(mem, block) for block in range(4)] == [-1, 0, 0, 1]
    assert [len(pageblock_types(mem, zone)) for zone in (0, 1)] == [2, 1]
