"""Per-cpu lists: refill, order, drain, and where a bulk stops; figures by hand."""

import numpy as np
import pytest

from kernelsim.check.pages import check_pages
from kernelsim.mm.boot.mm_init import new_mem
from kernelsim.mm.core.mem import (
    MIGRATE_ISOLATE,
    MIGRATE_MOVABLE,
    MIGRATE_RECLAIMABLE,
    MIGRATE_UNMOVABLE,
    Z_FREE,
    Z_PCP_BATCH,
    Z_PCP_HIGH,
    Z_RECLAIM_ACTIVE,
    Z_WMARK_HIGH,
    Z_WMARK_LOW,
    Z_WMARK_PROMO,
    Mem,
    PG_pcp,
    pcp_list,
)
from kernelsim.mm.core.vmstat import NUMA_HIT, NUMA_LOCAL, PGALLOC_DMA, PGFREE
from kernelsim.mm.page.page_alloc import watermark_floor
from kernelsim.mm.page.pcp import alloc_pages_bulk, rmqueue_bulk
from kernelsim.mm.page.pcp_free import drain_pages
from tests.free_pages import free_unref_pages
from tests.free_zone import add_zone, pages_of

MOVABLE = MIGRATE_MOVABLE


def small_zone(batch: int = 10, high: int = 50, start: int = 1024, end: int = 4096) -> Mem:
    """Build one zone of free memory with two CPUs."""
    mem = new_mem(nr_pfns=end, nr_nodes=1, nr_zone_types=1, nr_cpus=2)
    add_zone(mem, 0, 0, start, end)
    mem.zone[0, [Z_PCP_BATCH, Z_PCP_HIGH]] = batch, high
    return mem


def alloc(mem: Mem, want: int, *, floor: int = -1, cpu: int = 0) -> tuple[list[int], int]:
    """Allocate movable pages: their pfns and the number of refills."""
    out = np.zeros(want, np.int64)
    got, nr_refills = alloc_pages_bulk(mem, 0, cpu, 0, 0, MOVABLE, floor, want, out, 0)
    assert not out[got:].any()
    return out[:got].tolist(), nr_refills


def free(mem: Mem, pfns: list[int], cpu: int = 0) -> int:
    """Free pages, as 32-bit numbers for a change."""
    return free_unref_pages(mem, cpu, np.array(pfns, np.int32), len(pfns))


def on_list(mem: Mem, migratetype: int = MOVABLE, cpu: int = 0) -> list[int]:
    """List a per-cpu list from its head."""
    return pages_of(mem, pcp_list(mem, 0, cpu, migratetype))


@pytest.mark.mission("P13")
def test_an_empty_list_is_refilled_by_a_batch() -> None:
    """One page wanted: ten leave the buddy system, nine stay on the list in rising order."""
    mem = small_zone()
    assert alloc(mem, 1) == ([1024], 1)
    assert on_list(mem) == list(range(1025, 1034))
    assert mem.zone[0, Z_FREE] == 3072 - 10
    assert mem.pcp_count.tolist() == [[9, 0]]
    assert check_pages(mem, in_flight=1) == []


def test_refills_are_counted() -> None:
    """Of 25 pages wanted with nine on the list, sixteen come with two refills."""
    mem = small_zone()
    alloc(mem, 1)
    assert alloc(mem, 25) == (list(range(1025, 1050)), 2)
    assert mem.pcp_count.tolist() == [[4, 0]]
    assert mem.vm_event[PGALLOC_DMA] == 26
    assert mem.numa_stat[0, [NUMA_HIT, NUMA_LOCAL]].tolist() == [26, 26]


@pytest.mark.parametrize(("batch", "refill"), [(1, 1), (2, 2), (63, 63)])
def test_a_refill_is_a_batch(batch: int, refill: int) -> None:
    """A zone too small for batches moves single pages."""
    mem = small_zone(batch=batch)
    alloc(mem, 1)
    assert mem.zone[0, Z_FREE] == 3072 - refill


def test_the_page_freed_last_is_taken_first() -> None:
    """Freed pages go to the head, in front of those a refill left."""
    mem = small_zone()
    pages, _ = alloc(mem, 5)
    assert free(mem, [pages[3], pages[1]]) == 0
    assert on_list(mem) == [1025, 1027, *range(1029, 1034)]
    assert alloc(mem, 3) == ([1025, 1027, 1029], 0)
    assert mem.vm_event[PGFREE] == 2


@pytest.mark.mission("P13")
def test_a_full_list_gives_its_oldest_pages_back() -> None:
    """At 50 pages, a batch leaves from the tail, then two batches as nothing was taken since."""
    mem = small_zone()
    pages, _ = alloc(mem, 100)
    assert on_list(mem) == []
    assert free(mem, pages[:49]) == 0
    assert free(mem, pages[49:50]) == 1
    assert on_list(mem) == pages[49:9:-1]
    assert mem.zone[0, Z_FREE] == 3072 - 100 + 10
    assert free(mem, pages[50:60]) == 1
    assert on_list(mem) == pages[59:29:-1]
    assert mem.pcp_free_factor.tolist() == [[2, 0]]
    alloc(mem, 1)
    assert mem.pcp_free_factor.tolist() == [[1, 0]]


def test_never_more_than_all_but_a_batch_is_given_back() -> None:
    """The growing amount ends at high - batch, 40 pages."""
    mem = small_zone()
    pages, _ = alloc(mem, 400)
    before = int(mem.zone[0, Z_FREE])
    amounts = []
    for pfn in pages:
        if free(mem, [pfn]):
            amounts.append(int(mem.zone[0, Z_FREE]) - before)
            before = int(mem.zone[0, Z_FREE])
    assert amounts[:5] == [10, 20, 40, 40, 40]
    assert mem.pcp_free_factor[0, 0] == 2


def test_lists_are_short_while_kswapd_works() -> None:
    """The mark is four batches then: the 40th page gives ten back."""
    mem = small_zone()
    pages, _ = alloc(mem, 100)
    mem.zone[0, Z_RECLAIM_ACTIVE] = 1
    assert free(mem, pages[:39]) == 0
    assert free(mem, pages[39:40]) == 1
    assert mem.pcp_count[0, 0] == 30


def test_a_list_with_a_high_mark_of_zero_keeps_nothing() -> None:
    """Each page goes straight through, one lock each."""
    mem = small_zone(high=0)
    pages, _ = alloc(mem, 10)
    assert free(mem, pages) == 10
    assert mem.pcp_count[0, 0] == 0
    assert mem.zone[0, Z_FREE] == 3072


def test_the_list_of_the_freed_page_is_emptied_first() -> None:
    """The drain starts at the type that overflowed and goes on to the next types in turn."""
    mem = small_zone(high=30)
    pages, _ = alloc(mem, 30)
    mem.block_mt[2] = MIGRATE_UNMOVABLE
    free(mem, pages[:5])
    mem.block_mt[2] = MOVABLE
    free(mem, pages[5:17])
    mem.block_mt[2] = MIGRATE_RECLAIMABLE
    assert free(mem, pages[17:29]) == 0
    assert free(mem, pages[29:30]) == 1
    lists = [on_list(mem, migratetype) for migratetype in range(3)]
    assert [len(pfns) for pfns in lists] == [5, 12, 3]
    more, _ = alloc(mem, 10, cpu=1)
    assert free(mem, more) == 1  # 20 now: reclaimable 3 + 10, unmovable 5, movable 2
    assert [len(on_list(mem, migratetype)) for migratetype in range(3)] == [0, 10, 0]


@pytest.mark.mission("P16")
@pytest.mark.parametrize("low", [2000, 2001, 2005, 2009])
def test_a_bulk_stops_exactly_at_the_watermark(low: int) -> None:
    """Free pages 3072, batch 10: the one that refills below the mark is the last served."""
    mem = small_zone()
    mem.zone[0, [Z_WMARK_LOW, Z_WMARK_HIGH, Z_WMARK_PROMO]] = low
    floor = watermark_floor(mem, 0, Z_WMARK_LOW, 0, 0)
    pages, nr_refills = alloc(mem, 3000, floor=floor)
    # Free pages go 3072, 3062, ... in steps of a batch; below or at the mark only the page that
    # caused the refill is handed out.
    steps = -((low - 3072) // 10)
    assert mem.zone[0, Z_FREE] == 3072 - 10 * steps
    assert mem.zone[0, Z_FREE] <= low < mem.zone[0, Z_FREE] + 10
    assert (len(pages), nr_refills) == (10 * (steps - 1) + 1, steps)
    assert len(on_list(mem)) == 9
    assert on_list(mem) == list(range(pages[-1] + 1, pages[-1] + 10))
    assert alloc(mem, 5, floor=floor) == ([], 0)
    assert alloc(mem, 5)[0] == list(range(pages[-1] + 1, pages[-1] + 6))
    assert check_pages(mem, in_flight=len(pages) + 5) == []


def test_a_bulk_ends_when_the_zone_is_empty() -> None:
    """Without a floor every page is handed out, and the answer says how many that were."""
    mem = small_zone(start=1024, end=1024 + 105)
    pages, nr_refills = alloc(mem, 200)
    assert (len(pages), nr_refills) == (105, 12)  # ten full batches, one of 5, one of nothing
    assert mem.zone[0, Z_FREE] == 0


def test_lists_of_two_cpus_are_apart() -> None:
    """Of 16 + 4 free pages CPU 0 takes the smaller block and six more; CPU 1 gets the other ten."""
    mem = small_zone(start=1024, end=1024 + 20)
    assert alloc(mem, 1, cpu=0)[0] == [1040]
    assert on_list(mem) == [1041, 1042, 1043, *range(1024, 1030)]
    assert alloc(mem, 20, cpu=1)[0] == list(range(1030, 1040))
    assert mem.pcp_count.tolist() == [[9, 0]]


def test_draining_merges_everything_back() -> None:
    """After all is freed and drained the zone is as it was at boot."""
    mem = small_zone()
    pages, _ = alloc(mem, 777)
    free(mem, pages[::2], cpu=1)
    free(mem, pages[1::2])
    assert drain_pages(mem, 0, 0) + drain_pages(mem, 0, 1) > 0
    assert mem.pcp_count.tolist() == [[0, 0]]
    assert mem.zone[0, Z_FREE] == 3072
    assert check_pages(mem, in_flight=0) == []


def test_a_page_of_an_isolated_pageblock_goes_past_the_list() -> None:
    """Freed under zone->lock, each by itself, on the isolate list, not counted as free."""
    mem = small_zone()
    pages, _ = alloc(mem, 3)
    mem.block_mt[2] = MIGRATE_ISOLATE
    free_before = int(mem.zone[0, Z_FREE])
    assert free(mem, pages) == 3
    assert on_list(mem) == list(range(1027, 1034))
    assert mem.zone[0, Z_FREE] == free_before


def test_pages_of_several_zones_go_to_their_own_lists() -> None:
    """One call frees pages of two zones that meet inside a pageblock."""
    mem = new_mem(nr_pfns=3072, nr_nodes=1, nr_zone_types=2, nr_cpus=1)
    for zone, (start, end) in enumerate([(1024, 1500), (1500, 3072)]):
        add_zone(mem, zone, 0, start, end)
        mem.zone[zone, [Z_PCP_BATCH, Z_PCP_HIGH]] = 1, 1000
    out = np.zeros(4, np.int64)
    for zone in (0, 1):
        alloc_pages_bulk(mem, zone, 0, 0, 0, MOVABLE, -1, 2, out, 2 * zone)
    free_unref_pages(mem, 0, out[[0, 2, 1, 3]], 4)
    assert mem.pcp_count.tolist() == [[2], [2]]
    assert check_pages(mem, in_flight=0) == []


def test_rmqueue_bulk_adds_at_the_tail() -> None:
    """A second bulk comes behind the first; the pages carry PG_pcp."""
    mem = small_zone()
    assert rmqueue_bulk(mem, 0, 1, MOVABLE, 5) == 5
    assert rmqueue_bulk(mem, 0, 1, MOVABLE, 3) == 3
    assert on_list(mem, cpu=1) == list(range(1024, 1032))
    assert (mem.pages.flags[1024:1032] == PG_pcp).all()


def test_the_same_requests_give_the_same_pages() -> None:
    """Two machines that serve the same requests end with the same columns and lists."""
    machines = [small_zone(), small_zone()]
    for mem in machines:
        pages, _ = alloc(mem, 700)
        free(mem, pages[::3])
        alloc(mem, 150, cpu=1)
        free(mem, pages[1::3], cpu=1)
    first, second = ([np.asarray(c).tobytes() for c in (*m.pages, m.lists)] for m in machines)
    assert first == second
