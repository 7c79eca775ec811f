"""Tests of loops over lists that are corrupt: they end, and say so."""

import pytest

from kernelsim.mm.core.mem import L_COUNT, L_HEAD, L_TAIL, LRU_INACTIVE_ANON, lru_list, pcp_list
from kernelsim.mm.page.pcp import alloc_pages_bulk
from kernelsim.mm.page.pcp_free import drain_pages
from kernelsim.mm.reclaim.vmscan_list import isolate_lru_folios
from tests.reclaim_box import KSWAPD, ReclaimBox


def test_an_lru_list_longer_than_its_count_ends():
    """Reclaim takes no more pages off it than it is counted to have."""
    box = ReclaimBox()
    box.fault(0, 3)
    box.mem.lists[lru_list(box.mem, 0, LRU_INACTIVE_ANON), L_COUNT] = 2
    with pytest.raises(AssertionError, match="taken off a list that is empty"):
        isolate_lru_folios(box.mem, 0, LRU_INACTIVE_ANON, 32, 0, KSWAPD, box.batch)
    assert box.mem.lists[lru_list(box.mem, 0, LRU_INACTIVE_ANON), L_COUNT] == 0


@pytest.mark.parametrize("migratetype", [0, 1])
def test_a_per_cpu_list_shorter_than_its_count_ends(migratetype):
    """Neither an allocation nor a drain hands out page frame 0."""
    box = ReclaimBox()
    box.take(1, migratetype)
    number = pcp_list(box.mem, 0, 0, migratetype)
    box.mem.lists[number, [L_HEAD, L_TAIL]] = 0
    box.mem.lists[number, L_COUNT] = 2
    box.mem.pcp_count[0, 0] = 2
    with pytest.raises(AssertionError, match="fewer pages than its count"):
        drain_pages(box.mem, 0, 0)
    with pytest.raises(AssertionError, match="fewer pages than its count"):
        alloc_pages_bulk(box.mem, 0, 0, 0, 0, migratetype, -1, 1, box.batch.folios, 0)
