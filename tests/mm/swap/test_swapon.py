"""Tests of switching areas on and off: priorities, order, counts."""

import numpy as np

from kernelsim.check.swap import check_free_clusters, check_usage
from kernelsim.mm.swap.swap_area import SA_PRIO, SA_START, SS_FREE, SS_ORDER, SS_TOTAL, swapon
from kernelsim.mm.swap.swapfile import get_swap_slots, put_swap_slot
from kernelsim.mm.swap.swapon import (
    begin_swapoff,
    cancel_swapoff,
    enable_area,
    end_swapoff,
    si_swapinfo,
)


def take(swap, nr):
    """Take slots; return the area each lies in."""
    out = np.zeros(nr, np.int64)
    got = get_swap_slots(swap, 0, nr, out)
    starts = swap.area[:, SA_START]
    return out[:got], [int((starts <= slot).sum()) - 1 for slot in out[:got]]


def problems(swap):
    """Return what the checker finds."""
    return check_usage(swap) + check_free_clusters(swap)


def test_an_area_being_emptied_gives_no_slot_and_its_slots_still_count():
    """Free slots go below zero for as long; what it still holds shows as used."""
    swap = swapon([512, 512], [-2, -3], 1)
    slots, areas = take(swap, 300)
    assert set(areas) == {0}
    begin_swapoff(swap, 0)
    assert swap.area[:, SA_PRIO].tolist() == [-2, -2]
    assert (swap.state[SS_TOTAL], swap.state[SS_FREE]) == (511, 511 - 300)
    assert si_swapinfo(swap) == (811, 511)
    assert set(take(swap, 10)[1]) == {1}
    assert problems(swap) == []
    for slot in slots:
        put_swap_slot(swap, slot)
    end_swapoff(swap, 0)
    assert si_swapinfo(swap) == (511, 501)
    assert set(take(swap, 1000)[1]) == {1}
    assert problems(swap) == []


def test_an_area_that_cannot_be_emptied_is_put_back():
    """At its priority, in its place, with what it holds."""
    swap = swapon([512, 512], [7, 3], 1)
    take(swap, 100)
    begin_swapoff(swap, 0)
    cancel_swapoff(swap, 0)
    assert si_swapinfo(swap) == (1022, 922)
    assert set(take(swap, 10)[1]) == {0}
    assert problems(swap) == []


def test_areas_without_a_priority_get_the_next_below():
    """In the order they are switched on; one that goes lets those behind it move up."""
    swap = swapon([512] * 3, [-2, -3, 0], 1, on=[True, True, False])
    assert si_swapinfo(swap) == (1022, 1022)
    assert enable_area(swap, 2, None) == -4
    assert swap.state[SS_ORDER:].tolist() == [0, 1, 2]
    begin_swapoff(swap, 0)
    end_swapoff(swap, 0)
    assert swap.area[1:, SA_PRIO].tolist() == [-2, -3]
    assert enable_area(swap, 0, None) == -4
    assert take(swap, 1)[1] == [1]
    assert problems(swap) == []
