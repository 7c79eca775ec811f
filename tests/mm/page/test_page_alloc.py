"""The buddy system: split, merge, watermarks; figures by hand."""

import numpy as np
import pytest

from kernelsim.check.pages import check_pages
from kernelsim.mm.boot.mm_init import new_mem
from kernelsim.mm.core.mem import (
    MAX_ORDER,
    MIGRATE_ISOLATE,
    MIGRATE_MOVABLE,
    MIGRATE_RECLAIMABLE,
    MIGRATE_UNMOVABLE,
    Z_FREE,
    Z_FRESH_START,
    Z_NR_RESERVED_HIGHATOMIC,
    Z_WATERMARK_BOOST,
    Z_WMARK_LOW,
    Z_WMARK_MIN,
    Mem,
    free_list,
    zone_of,
)
from kernelsim.mm.core.vmstat import (
    NUMA_FOREIGN,
    NUMA_HIT,
    NUMA_LOCAL,
    NUMA_MISS,
    NUMA_OTHER,
    PGALLOC_DMA,
    PGALLOC_DMA32,
)
from kernelsim.mm.page.free_area import free_area_counts
from kernelsim.mm.page.page_alloc import (
    ALLOC_HARDER,
    ALLOC_HIGH,
    ALLOC_NO_WATERMARKS,
    ALLOC_OOM,
    rmqueue,
    rmqueue_run,
    watermark_floor,
    zone_statistics,
    zone_watermark_ok,
)
from tests.free_zone import add_zone, free_block, pages_of

UNMOVABLE, MOVABLE, RECLAIMABLE = MIGRATE_UNMOVABLE, MIGRATE_MOVABLE, MIGRATE_RECLAIMABLE


def one_zone(start: int = 1024, end: int = 2048) -> Mem:
    """Build a machine whose only zone is free from start to end."""
    mem = new_mem(nr_pfns=end, nr_nodes=1, nr_zone_types=1, nr_cpus=1)
    add_zone(mem, 0, 0, start, end)
    return mem


def all_taken(mem: Mem, nr_pages: int) -> None:
    """Take every page of a one-zone machine as single movable pages."""
    taken = [rmqueue(mem, 0, 0, MOVABLE) for _ in range(nr_pages)]
    assert taken == sorted(taken)
    assert mem.zone[0, Z_FREE] == 0


def listed(mem: Mem, order: int, migratetype: int, zone: int = 0) -> list[int]:
    """List the blocks of a free list from its head."""
    return pages_of(mem, free_list(zone, order, migratetype))


@pytest.mark.mission("P13")
def test_a_block_is_split_down_to_the_order_asked_for() -> None:
    """Taking one page of 1024 leaves one free block of each order 0..9, each above the last."""
    mem = one_zone()
    assert rmqueue(mem, 0, 0, MOVABLE) == 1024
    assert free_area_counts(mem, 0)[:, MOVABLE].tolist() == [1] * 10 + [0]
    assert [listed(mem, order, MOVABLE)[0] for order in range(10)] == [
        1024 + (1 << order) for order in range(10)
    ]
    assert mem.zone[0, Z_FREE] == 1023
    assert mem.vm_event[PGALLOC_DMA] == 1


@pytest.mark.mission("P13")
def test_freed_pages_merge_back_to_one_block() -> None:
    """After 1024 pages are freed, the even ones first, one block is left."""
    mem = one_zone()
    all_taken(mem, 1024)
    for pfn in [*range(1024, 2048, 2), *range(2047, 1024, -2)]:
        free_block(mem, pfn, 0)
    assert listed(mem, 10, MOVABLE) == [1024]
    assert free_area_counts(mem, 0).sum() == 1
    assert check_pages(mem, in_flight=0) == []


def test_halves_and_freed_blocks_go_to_the_head() -> None:
    """The block freed last is first in its list."""
    mem = one_zone()
    all_taken(mem, 1024)
    for pfn in (1024 + 5, 1024 + 8, 1024 + 16):
        free_block(mem, pfn, 0)
    assert listed(mem, 0, MOVABLE) == [1040, 1032, 1029]


def test_a_block_about_to_merge_goes_to_the_tail() -> None:
    """Page 0 waits for page 1 when the pair 2, 3 is free: it is put where it is taken last."""
    mem = one_zone()
    all_taken(mem, 1024)
    for pfn in (1024 + 8, 1024 + 2, 1024 + 3, 1024 + 0):
        free_block(mem, pfn, 0)
    assert listed(mem, 1, MOVABLE) == [1026]
    assert listed(mem, 0, MOVABLE) == [1032, 1024]


def test_the_two_largest_orders_never_go_to_the_tail() -> None:
    """An order-9 block goes to the head even beside a free chunk, as chunks do not merge."""
    mem = one_zone(1024, 4096)
    blocks = [rmqueue(mem, 0, 9, MOVABLE) for _ in range(6)]
    assert blocks == [1024, 1536, 2048, 2560, 3072, 3584]
    for pfn in (2048, 2560, 1024, 3072):
        free_block(mem, pfn, 9)
    assert listed(mem, 10, MOVABLE) == [2048]
    assert listed(mem, 9, MOVABLE) == [3072, 1024]


def test_blocks_of_neighbour_zones_do_not_merge() -> None:
    """Two zones that meet inside a pageblock keep their blocks apart, whatever their alignment."""
    mem = new_mem(nr_pfns=2048, nr_nodes=1, nr_zone_types=2, nr_cpus=1)
    add_zone(mem, 0, 0, 512, 1024 + 6)
    add_zone(mem, 1, 0, 1024 + 6, 2048)
    assert [zone_of(mem, pfn) for pfn in (511, 512, 1029, 1030, 2047)] == [-1, 0, 0, 1, 1]
    assert [listed(mem, order, MOVABLE, 0) for order in (1, 2)] == [[1028], [1024]]
    assert [listed(mem, order, MOVABLE, 1) for order in (1, 3)] == [[1030], [1032]]
    assert rmqueue(mem, 1, 1, MOVABLE) == 1030
    free_block(mem, 1030, 1)
    assert listed(mem, 1, MOVABLE, 1) == [1030]
    assert check_pages(mem, in_flight=0) == []


def test_untouched_memory_is_the_tail_of_the_movable_list() -> None:
    """Blocks come in rising order; one that was freed is used again before the next new one."""
    mem = one_zone(1024, 1024 * 9)
    assert free_area_counts(mem, 0)[10].tolist() == [0, 8, 0, 0, 0]
    assert listed(mem, 10, MOVABLE) == []
    first, second = rmqueue(mem, 0, 10, MOVABLE), rmqueue(mem, 0, 10, MOVABLE)
    assert (first, second) == (1024, 2048)
    free_block(mem, first, 10)
    assert free_area_counts(mem, 0)[10].tolist() == [0, 7, 0, 0, 0]
    assert [rmqueue(mem, 0, 10, MOVABLE) for _ in range(3)] == [1024, 3072, 4096]
    assert mem.zone[0, Z_FRESH_START] == 5120


def test_an_isolated_pageblock_does_not_count_as_free() -> None:
    """A page freed into MIGRATE_ISOLATE is on that list and not in the free pages."""
    mem = one_zone()
    all_taken(mem, 1024)
    mem.block_mt[2] = MIGRATE_ISOLATE
    free_block(mem, 1030, 0)
    assert mem.zone[0, Z_FREE] == 0
    assert listed(mem, 0, MIGRATE_ISOLATE) == [1030]
    assert check_pages(mem, in_flight=1023) == []


@pytest.mark.parametrize("nr_pages", [1, 2, 63, 64, 100, 511, 513, 1023, 1024])
def test_a_run_is_what_single_requests_would_get(nr_pages: int) -> None:
    """Pages of a fresh block come at once, and single requests leave the same free lists."""
    mem, other = one_zone(), one_zone()
    assert rmqueue_run(mem, 0, MOVABLE, nr_pages) == (1024, nr_pages)
    singles = [rmqueue(other, 0, 0, MOVABLE) for _ in range(nr_pages)]
    assert singles == list(range(1024, 1024 + nr_pages))
    assert mem.lists.tolist() == other.lists.tolist()
    assert mem.zone.tolist() == other.zone.tolist()
    for order in range(MAX_ORDER):
        assert listed(mem, order, MOVABLE) == listed(other, order, MOVABLE)


def test_a_run_ends_with_the_smallest_block() -> None:
    """What an earlier run left of a block is used up first, the smallest part before the next."""
    mem = one_zone()
    assert rmqueue_run(mem, 0, MOVABLE, 40) == (1024, 40)
    runs = [(1064, 8), (1072, 16), (1088, 64), (1152, 12)]
    left = 100
    for run in runs:
        assert rmqueue_run(mem, 0, MOVABLE, left) == run
        left -= run[1]
    assert left == 0


def test_an_empty_zone_gives_nothing() -> None:
    """Without free memory of any type the answer is 0, and nothing changes."""
    mem = one_zone()
    assert rmqueue(mem, 0, 10, MOVABLE) == 1024
    assert rmqueue(mem, 0, 0, UNMOVABLE) == 0
    assert rmqueue_run(mem, 0, MOVABLE, 7) == (0, 0)
    assert mem.vm_event[PGALLOC_DMA] == 1024


@pytest.mark.mission("P16")
@pytest.mark.parametrize(
    ("flags", "floor"),
    [
        (0, 100 + 40 + 8 + 3),
        (ALLOC_HIGH, 70 + 8 + 3),
        (ALLOC_HARDER, 100 - 25 + 8),  # the boost and the reserve do not hold it back
        (ALLOC_HIGH | ALLOC_HARDER, 50 - 12 + 8),
        (ALLOC_OOM, 70 + 8),
        (ALLOC_NO_WATERMARKS, -1),
    ],
)
def test_the_floor_of_the_min_watermark(flags: int, floor: int) -> None:
    """Min 100, boost 40, lowmem_reserve 8, highatomic 3: what each request must leave."""
    mem = one_zone()
    mem.zone[0, [Z_WMARK_MIN, Z_WATERMARK_BOOST, Z_NR_RESERVED_HIGHATOMIC]] = 100, 40, 3
    mem.lowmem_reserve[0, 0] = 8
    assert watermark_floor(mem, 0, Z_WMARK_MIN, 0, flags) == floor


@pytest.mark.mission("P16")
@pytest.mark.parametrize(("free", "good"), [(149, False), (150, False), (151, True)])
def test_the_low_watermark_has_to_be_exceeded(free: int, good: bool) -> None:
    """An order-0 request passes when free pages are above low + lowmem_reserve, not at it."""
    mem = one_zone()
    mem.zone[0, Z_WMARK_LOW] = 120
    mem.lowmem_reserve[0, 0] = 30
    mem.zone[0, Z_FREE] = free
    assert zone_watermark_ok(mem, 0, 0, 120, 0, 0) == good
    assert (free > watermark_floor(mem, 0, Z_WMARK_LOW, 0, 0)) == good


@pytest.mark.mission("P16")
def test_a_larger_request_needs_a_block_of_its_size() -> None:
    """1000 free pages in blocks of 1 and 2 are no good for order 2; one block of 4 is."""
    mem = one_zone()
    all_taken(mem, 1024)
    for pfn in [p for p in range(1024, 2048) if p % 4 != 3]:
        free_block(mem, pfn, 0)
    assert zone_watermark_ok(mem, 0, 1, 100, 0, 0)
    assert not zone_watermark_ok(mem, 0, 2, 100, 0, 0)
    free_block(mem, 1027, 0)
    assert zone_watermark_ok(mem, 0, 2, 100, 0, 0)
    # order 2: 769 - 3 pages are left to compare, 766 > mark
    assert zone_watermark_ok(mem, 0, 2, 765, 0, 0)
    assert not zone_watermark_ok(mem, 0, 2, 766, 0, 0)
    assert zone_watermark_ok(mem, 0, 2, 10_000, 0, ALLOC_NO_WATERMARKS)


def test_untouched_memory_satisfies_a_large_request() -> None:
    """zone_watermark_ok sees blocks that were never split."""
    assert zone_watermark_ok(one_zone(), 0, 10, 0, 0, 0)


@pytest.mark.mission("P17")
def test_numa_counters_follow_the_preferred_node() -> None:
    """A page of node 1 for a CPU of node 0 that wanted node 0: other, miss, and foreign there."""
    mem = new_mem(nr_pfns=4096, nr_nodes=2, nr_zone_types=2, nr_cpus=1)
    add_zone(mem, 1, 0, 1024, 2048)
    add_zone(mem, 2, 1, 2048, 4096)
    zone_statistics(mem, 2, 0, 0, 5)
    zone_statistics(mem, 2, 1, 1, 7)
    zone_statistics(mem, 2, 0, 1, 9)
    wanted = np.zeros((4, 6), np.int64)
    wanted[2, [NUMA_HIT, NUMA_MISS, NUMA_LOCAL, NUMA_OTHER]] = 16, 5, 7, 14
    wanted[1, NUMA_FOREIGN] = 5
    assert mem.numa_stat.tolist() == wanted.tolist()


def test_allocations_are_counted_by_zone_type() -> None:
    """A block of zone type 1 counts as pgalloc_dma32."""
    mem = new_mem(nr_pfns=2048, nr_nodes=1, nr_zone_types=2, nr_cpus=1)
    add_zone(mem, 1, 0, 1024, 2048)
    rmqueue(mem, 1, 3, MOVABLE)
    assert mem.vm_event[PGALLOC_DMA32] == 8


def test_pages_handed_out_are_wiped() -> None:
    """Whatever the last owner left in the columns is gone."""
    mem = one_zone()
    pfn = rmqueue(mem, 0, 2, MOVABLE)
    for column in mem.pages:
        column[pfn : pfn + 4] = 1
    free_block(mem, pfn, 2)
    assert rmqueue(mem, 0, 2, MOVABLE) == pfn
    assert all(not column[pfn : pfn + 4].any() for column in mem.pages)
