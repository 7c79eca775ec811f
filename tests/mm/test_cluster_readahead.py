"""Readahead on a rotating swap disk: an aligned block of slots, whoever they belong to."""

import numpy as np
import pytest

from kernelsim.mm.swap.swap_area import swapon
from kernelsim.mm.swap.swap_readahead import ClusterReadahead, cluster_slots, still_missing_slots
from kernelsim.mm.swap.swapfile import get_swap_slots, swap_duplicate


def test_first_fault_reads_an_aligned_block():
    """Some hits are credited at first: a whole block of eight slots around the slot."""
    assert ClusterReadahead().window(77, page_cluster=3) == (72, 80)


def test_without_hits_the_window_shrinks_by_half_to_one_slot():
    """Scattered faults that nothing came of stop it."""
    readahead = ClusterReadahead()
    sizes = []
    for slot in (70, 500, 90, 300, 10):
        start, end = readahead.window(slot, page_cluster=3)
        assert start <= slot < end
        sizes.append(end - start)
    assert sizes == [8, 4, 2, 1, 1]


def test_hits_keep_it_going():
    """Hits of any process make the next window as large as it may be."""
    readahead = ClusterReadahead()
    readahead.window(70, page_cluster=3)
    readahead.hits += 7
    assert readahead.window(500, page_cluster=3) == (496, 504)


def test_no_cluster_means_the_slot_alone():
    """vm.page-cluster 0 turns readahead off."""
    assert ClusterReadahead().window(77, page_cluster=0) == (77, 78)


def test_only_slots_with_users_and_without_a_page_are_read():
    """The header, free slots, slots taken ahead and what is cached already are left out."""
    swap = swapon([1024], [-2], 1, [True])
    taken = np.zeros(6, np.int64)
    get_swap_slots(swap, 0, 6, taken)
    for slot in taken[:4].tolist():
        assert swap_duplicate(swap, slot, 1)
    swap.cache_pfn[taken[1]] = 99
    out = np.zeros(16, np.int64)
    nr = cluster_slots(swap, 0, 16, out)
    assert out[:nr].tolist() == [taken[0], taken[2], taken[3]]


@pytest.mark.parametrize(
    ("target", "kept"),
    [(3, [3, 5]), (1, [1, 3, 5]), (9, [3, 5]), (4, [3, 5])],
    ids=["in the window", "left out", "unused", "cached"],
)
def test_a_window_keeps_what_is_still_missing_and_its_target(target, kept):
    """Slots that others read or freed meanwhile leave it; the target of the fault is in it."""
    swap = swapon([1024], [-2], 1, [True])
    get_swap_slots(swap, 0, 6, np.zeros(6, np.int64))
    for slot in range(1, 7):
        assert swap_duplicate(swap, slot, 1)
    swap.cache_pfn[4] = 99
    slots = np.array([3, 4, 5, 8], np.int64)
    nr = still_missing_slots(swap, slots, 4, target)
    assert slots[:nr].tolist() == kept
    full = np.array([3, 5], np.int64)
    assert still_missing_slots(swap, full, 2, 1) == 2
    assert full.tolist() == [1, 3]
