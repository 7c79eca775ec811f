"""The refault distance decides who may start on the active list."""

import pytest

from kernelsim.mm.core.lruvec import LV_ANON_COST, LV_NONRESIDENT_AGE
from kernelsim.mm.core.mem import PG_active, PG_swapbacked, PG_workingset
from kernelsim.mm.core.vmstat import (
    NR_ACTIVE_ANON,
    NR_ACTIVE_FILE,
    NR_INACTIVE_ANON,
    NR_INACTIVE_FILE,
    WORKINGSET_ACTIVATE_ANON,
    WORKINGSET_ACTIVATE_FILE,
    WORKINGSET_REFAULT_ANON,
    WORKINGSET_RESTORE_ANON,
)
from kernelsim.mm.core.workingset import (
    workingset_age_nonresident,
    workingset_eviction,
    workingset_refault,
)


@pytest.fixture
def box(reclaim_box):
    """A node with 10 active and 100 inactive file, 20 active and 200 inactive anonymous pages."""
    made = reclaim_box()
    stat = made.mem.node_stat[0]
    stat[NR_ACTIVE_FILE], stat[NR_INACTIVE_FILE] = 10, 100
    stat[NR_ACTIVE_ANON], stat[NR_INACTIVE_ANON] = 20, 200
    return made


def refault(box, flags, *, distance, swap_free=1, was_workingset=False):
    """Evict a page, age the node, and read it again; tell whether it was activated."""
    (pfn,) = box.take(1)
    box.mem.pages.flags[pfn] = flags | (PG_workingset if was_workingset else 0)
    shadow = workingset_eviction(box.mem, box.lruvec, int(pfn))
    assert shadow != 0
    workingset_age_nonresident(box.lruvec, 0, distance - 1)
    box.mem.pages.flags[pfn] = flags
    result = workingset_refault(box.mem, box.lruvec, int(pfn), shadow, swap_free, False)
    assert bool(box.mem.pages.flags[pfn] & PG_active) == result
    return result


@pytest.mark.parametrize(("distance", "active"), [(130, True), (131, False)])
def test_anonymous_page_competes_with_file_pages_and_active_anonymous(box, distance, active):
    """It is activated when the distance is at most 10 + 100 + 20."""
    assert refault(box, PG_swapbacked, distance=distance) == active


@pytest.mark.parametrize(("distance", "active"), [(230, True), (231, False)])
def test_file_page_competes_with_active_file_and_all_anonymous(box, distance, active):
    """It is activated when the distance is at most 10 + 20 + 200."""
    assert refault(box, 0, distance=distance) == active


@pytest.mark.parametrize(("distance", "active"), [(10, True), (11, False)])
def test_without_swap_only_active_file_pages_make_room(box, distance, active):
    """Anonymous pages cannot make room for a file page when swap is full."""
    assert refault(box, 0, distance=distance, swap_free=0) == active


def test_counters(box):
    """Every refault is counted, activations and restorations apart, by type."""
    refault(box, PG_swapbacked, distance=1000)
    refault(box, PG_swapbacked, distance=5)
    refault(box, PG_swapbacked, distance=5, was_workingset=True)
    refault(box, 0, distance=5)
    stat = box.mem.node_stat[0]
    assert stat[WORKINGSET_REFAULT_ANON] == 3
    assert stat[WORKINGSET_ACTIVATE_ANON] == 2
    assert stat[WORKINGSET_RESTORE_ANON] == 1
    assert stat[WORKINGSET_ACTIVATE_FILE] == 1
    assert box.lruvec[0, LV_ANON_COST] == 1


def test_the_clock_counts_evictions(box):
    """Each eviction moves the inactive list by one."""
    (pfn,) = box.take(1)
    workingset_eviction(box.mem, box.lruvec, int(pfn))
    assert box.lruvec[0, LV_NONRESIDENT_AGE] == 1
