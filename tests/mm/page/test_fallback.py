"""Stealing between migratetypes: whose memory, how much of it, and what it costs; by hand."""

import pytest

from kernelsim.mm.boot.mm_init import new_mem
from kernelsim.mm.core.mem import (
    MIGRATE_MOVABLE,
    MIGRATE_RECLAIMABLE,
    MIGRATE_UNMOVABLE,
    Z_BOOSTED_WATERMARK,
    Z_FREE,
    Z_WATERMARK_BOOST,
    Z_WATERMARK_BOOST_FACTOR,
    Z_WMARK_HIGH,
    Mem,
    PG_lru,
    free_list,
)
from kernelsim.mm.page.free_area import free_area_counts
from kernelsim.mm.page.page_alloc import rmqueue
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


def listed(mem: Mem, order: int, migratetype: int) -> list[int]:
    """List the blocks of a free list from its head."""
    return pages_of(mem, free_list(0, order, migratetype))


@pytest.mark.mission("P13")
@pytest.mark.parametrize(
    ("wanted", "first", "second"),
    [
        (UNMOVABLE, RECLAIMABLE, MOVABLE),
        (MOVABLE, RECLAIMABLE, UNMOVABLE),
        (RECLAIMABLE, UNMOVABLE, MOVABLE),
    ],
)
def test_fallbacks_are_tried_nearest_first(wanted: int, first: int, second: int) -> None:
    """With one whole chunk of each other type, the nearer type loses its chunk first."""
    mem = one_zone(1024, 3072)
    blocks = [rmqueue(mem, 0, 10, MOVABLE), rmqueue(mem, 0, 10, MOVABLE)]
    for pfn, migratetype in zip(blocks, (first, second), strict=True):
        mem.block_mt[pfn >> 9 : (pfn >> 9) + 2] = migratetype
        free_block(mem, pfn, 10)
    assert [rmqueue(mem, 0, 10, wanted) for _ in range(3)] == [*blocks, 0]
    assert mem.block_mt[2:6].tolist() == [wanted] * 4
    assert mem.extfrag[0, 0] == 2
    assert mem.extfrag[1:3].tolist() == [
        [blocks[0], 10, 10, wanted, first, 1],
        [blocks[1], 10, 10, wanted, second, 1],
    ]


def marked_zone() -> Mem:
    """Build 4 MAX_ORDER blocks with watermarks, so that steals boost them."""
    mem = one_zone(1024, 1024 * 5)
    mem.zone[0, Z_WMARK_HIGH] = 600
    mem.zone[0, Z_WATERMARK_BOOST_FACTOR] = 15000
    return mem


def test_taking_whole_pageblocks_does_not_boost() -> None:
    """An unmovable request takes a whole movable chunk: no mixing, no boost."""
    mem = marked_zone()
    assert rmqueue(mem, 0, 0, UNMOVABLE) == 1024
    assert mem.block_mt[2:6].tolist() == [UNMOVABLE, UNMOVABLE, MOVABLE, MOVABLE]
    assert free_area_counts(mem, 0)[:10, UNMOVABLE].tolist() == [1] * 10
    assert mem.zone[0, Z_WATERMARK_BOOST] == 0
    assert mem.extfrag[1].tolist() == [1024, 0, 10, UNMOVABLE, MOVABLE, 1]


@pytest.mark.mission("P13")
def test_a_pageblock_half_free_changes_its_type() -> None:
    """256 free pages of 512 are enough: all free blocks move to the new type, and the pageblock."""
    mem = marked_zone()
    all_taken(mem, 4096)
    for pfn in range(1024, 1024 + 256):
        free_block(mem, pfn, 0)
    mem.pages.flags[1280:1536] = PG_lru  # movable pages that stay
    assert rmqueue(mem, 0, 0, UNMOVABLE) == 1024
    assert mem.block_mt[2:4].tolist() == [UNMOVABLE, MOVABLE]
    assert free_area_counts(mem, 0)[:, MOVABLE].sum() == 0
    assert mem.zone[0, Z_WATERMARK_BOOST] == 512
    assert mem.zone[0, Z_BOOSTED_WATERMARK] == 1


def test_a_pageblock_less_than_half_free_keeps_its_type() -> None:
    """With 255 free pages the free blocks move, the pageblock does not, and the record says so."""
    mem = marked_zone()
    all_taken(mem, 4096)
    for pfn in range(1024, 1024 + 255):
        free_block(mem, pfn, 0)
    mem.pages.flags[1279:1536] = PG_lru
    # Smallest first: the single page 1278 of the 255 = 128 + 64 + ... + 1.
    assert rmqueue(mem, 0, 0, UNMOVABLE) == 1278
    assert mem.block_mt[2:4].tolist() == [MOVABLE, MOVABLE]
    assert free_area_counts(mem, 0)[:, MOVABLE].sum() == 0
    assert mem.extfrag[1].tolist() == [1024, 0, 7, UNMOVABLE, MOVABLE, 0]


def test_used_pages_that_cannot_move_count_for_an_unmovable_request() -> None:
    """One free page is enough when the other 511 are not movable either."""
    mem = marked_zone()
    all_taken(mem, 4096)
    free_block(mem, 1100, 0)
    assert rmqueue(mem, 0, 0, RECLAIMABLE) == 1100
    assert mem.block_mt[2] == RECLAIMABLE


def test_a_movable_request_takes_the_smallest_block_it_cannot_claim() -> None:
    """Unmovable blocks of 8 and 2 pages: the 2 are split; the pageblock stays unmovable."""
    mem = marked_zone()
    all_taken(mem, 4096)
    mem.block_mt[2] = UNMOVABLE
    for pfn in (*range(1032, 1040), 1200, 1201):
        free_block(mem, pfn, 0)
    assert rmqueue(mem, 0, 0, MOVABLE) == 1200
    assert listed(mem, 3, UNMOVABLE) == [1032]
    assert listed(mem, 0, MOVABLE) == [1201]
    assert mem.block_mt[2] == UNMOVABLE
    assert mem.extfrag[1].tolist() == [1200, 0, 1, MOVABLE, UNMOVABLE, 0]


def test_a_movable_request_claims_from_sixteen_pages_on() -> None:
    """An unmovable block of 16 pages is half of the pageblock's order: its whole block is asked."""
    mem = marked_zone()
    all_taken(mem, 4096)
    mem.block_mt[2] = UNMOVABLE
    for pfn in (*range(1040, 1056), 1200):
        free_block(mem, pfn, 0)
    mem.pages.flags[1056:1296] = PG_lru  # 239 movable pages beside 17 free ones: just half
    mem.pages.flags[1200] = 1 << 15
    assert rmqueue(mem, 0, 0, MOVABLE) == 1200
    assert mem.block_mt[2] == MOVABLE
    assert listed(mem, 4, MOVABLE) == [1040]


def test_boosts_end_at_their_maximum() -> None:
    """Steals raise the boost by 512 pages up to 150 % of the high watermark, 900 here."""
    mem = marked_zone()
    all_taken(mem, 4096)
    boosts = []
    for block in (2, 3, 4):
        free_block(mem, block << 9, 0)
        rmqueue(mem, 0, 0, UNMOVABLE)
        boosts.append(int(mem.zone[0, Z_WATERMARK_BOOST]))
    assert boosts == [512, 900, 900]


def test_a_small_zone_or_a_factor_of_zero_is_never_boosted() -> None:
    """Below four pageblocks, or with vm.watermark_boost_factor 0, a steal changes no watermark."""
    small, off = one_zone(1024, 1024 + 2047), marked_zone()
    small.zone[0, [Z_WMARK_HIGH, Z_WATERMARK_BOOST_FACTOR]] = 600, 15000
    off.zone[0, Z_WATERMARK_BOOST_FACTOR] = 0
    for mem, size in ((small, 2047), (off, 4096)):
        for _ in range(size):
            rmqueue(mem, 0, 0, MOVABLE)
        free_block(mem, 1024, 0)
        assert rmqueue(mem, 0, 0, UNMOVABLE) == 1024
        assert mem.zone[0, Z_WATERMARK_BOOST] == 0
