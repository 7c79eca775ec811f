"""The checker of the LRU lists finds every kind of damage."""

import numpy as np
import pytest

from kernelsim.check.lru import check_lru
from kernelsim.config.machine import ZoneSpec
from kernelsim.config.zones import ZoneType
from kernelsim.mm.boot.mm_init import init_zone, new_mem
from kernelsim.mm.core.list import list_add, list_del
from kernelsim.mm.core.mem import (
    L_COUNT,
    LRU_ACTIVE_ANON,
    LRU_INACTIVE_ANON,
    LRU_INACTIVE_FILE,
    PG_active,
    PG_isolated,
    PG_lru,
    PG_swapbacked,
    lru_list,
)
from kernelsim.mm.core.swap import lru_add
from kernelsim.mm.core.vmstat import NR_INACTIVE_ANON, NR_ISOLATED_ANON, NR_ZONE_INACTIVE_ANON

FIRST = 1024


@pytest.fixture
def mem():
    """One zone with four inactive anonymous pages."""
    made = new_mem(nr_pfns=2048, nr_nodes=1, nr_zone_types=1, nr_cpus=1)
    spec = ZoneSpec(
        type=ZoneType.ZONE_NORMAL,
        start_pfn=FIRST,
        spanned_pages=1024,
        present_pages=1024,
        managed_pages=1024,
    )
    init_zone(made, 0, spec, 0, [(FIRST, 2048)])
    pfns = np.arange(FIRST, FIRST + 4)
    made.pages.flags[pfns] = PG_swapbacked
    lru_add(made, pfns, 4)
    return made


def test_sound_lists_pass(mem):
    """Nothing is reported of lists the kernel code made."""
    assert check_lru(mem) == []


def test_wrong_list_is_found(mem):
    """A page whose flags name another list is reported."""
    mem.pages.flags[FIRST] |= PG_active
    assert any("flags say active_anon" in line for line in check_lru(mem))


def test_missing_flag_is_found(mem):
    """A page on a list without PG_lru, and one with it on no list, are reported."""
    mem.pages.flags[FIRST] &= ~np.uint32(PG_lru)
    mem.pages.flags[FIRST + 9] |= PG_lru
    assert check_lru(mem) == [
        f"pfn {FIRST} is on node 0 inactive_anon without PG_lru",
        f"pfn {FIRST + 9} has PG_lru but is on no list",
    ]


def test_broken_link_is_found(mem):
    """A wrong prev link is reported."""
    mem.pages.prev[FIRST] = 0
    assert any(f"prev of pfn {FIRST}" in line for line in check_lru(mem))


def test_circle_is_found(mem):
    """A list that never ends is reported and does not hang the checker."""
    mem.pages.next[FIRST] = FIRST + 3
    assert any("circle" in line for line in check_lru(mem))


def test_wrong_length_is_found(mem):
    """A wrong count of the list itself is reported."""
    mem.lists[lru_list(mem, 0, LRU_INACTIVE_ANON), L_COUNT] = 3
    assert check_lru(mem) == ["node 0 inactive_anon: length 3, counted 4"]


def test_wrong_counters_are_found(mem):
    """Counters of node and zone that differ from the list are reported."""
    mem.node_stat[0, NR_INACTIVE_ANON] = 5
    mem.zone_stat[0, NR_ZONE_INACTIVE_ANON] = 3
    assert check_lru(mem) == [
        "node 0 nr_inactive_anon is 5, its list has 4",
        "zone 0 nr_zone_inactive_anon is 3, found 4",
    ]


def test_page_on_two_lists_is_found(mem):
    """A page linked into a second list is reported."""
    list_del(mem, lru_list(mem, 0, LRU_INACTIVE_ANON), FIRST)
    list_add(mem, lru_list(mem, 0, LRU_ACTIVE_ANON), FIRST)
    list_add(mem, lru_list(mem, 0, LRU_INACTIVE_FILE), FIRST)
    assert any("on two lists" in line for line in check_lru(mem))


def test_isolated_pages_must_be_counted(mem):
    """PG_isolated and nr_isolated_* must agree, and no isolated page may be on a list."""
    mem.pages.flags[FIRST + 8] = PG_isolated
    assert check_lru(mem) == ["node 0 nr_isolated is 0, found 1"]
    mem.node_stat[0, NR_ISOLATED_ANON] = 1
    assert check_lru(mem) == []
    mem.pages.flags[FIRST] |= PG_isolated
    assert any("and PG_isolated" in line for line in check_lru(mem))
