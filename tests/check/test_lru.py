"""The checker of the LRU lists finds every kind of damage."""

import numpy as np
import pytest

from kernelsim.check.lru import check_lru
from kernelsim.config.machine import ZoneSpec
from kernelsim.config.zones import ZoneType
from kernelsim.mm.boot.mm_init import init_zone, new_mem
from kernelsim.mm.core.list import list_add, list_del
from kernelsim.mm.core.lru_gen import (
    LG_MAX_SEQ,
    LG_MIN_SEQ,
    LG_NR_BATCHED,
    LRU_GEN_CORE,
    pages_column,
)
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
from kernelsim.mm.reclaim.lru_gen_aging import lru_gen_change_state

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


@pytest.fixture
def aged(mem):
    """The same four pages in the second oldest generation."""
    lru_gen_change_state(mem, LRU_GEN_CORE)
    return mem


def test_sound_generations_pass(aged):
    """Nothing is reported of generations the kernel code made."""
    assert check_lru(aged) == []


@pytest.mark.parametrize(
    ("column", "bits", "said"),
    [
        ("gen", 0x07, "generation bits"),
        ("gen", 0x60, "generation bits"),
        ("flags", PG_active, "with flags"),
        ("flags", PG_swapbacked, "with flags"),
        ("flags", PG_isolated, "with flags"),
    ],
)
def test_a_page_of_a_generation_with_wrong_bits_is_found(aged, column, bits, said):
    """Its generation, its list, its type, or that it is active."""
    bits_of = getattr(aged.pages, column)
    bits_of[FIRST] ^= bits_of.dtype.type(bits)
    assert any(f"pfn {FIRST} " in line and said in line for line in check_lru(aged))


def test_a_page_that_says_it_is_in_a_generation_and_is_on_no_list_is_found(aged):
    """It is lost."""
    aged.pages.gen[FIRST + 9] = 1
    assert any(f"pfn {FIRST + 9} is in a generation" in line for line in check_lru(aged))


def test_wrong_counts_of_generations_are_found(aged):
    """nr_pages, and what counts as inactive; not while a walk has pages in hand."""
    aged.lru_gen[0, pages_column(1, 0, 0)] += 1
    aged.lru_gen[0, pages_column(3, 0, 0)] -= 1
    aged.node_stat[0, NR_INACTIVE_ANON] -= 1
    aged.node_stat[0, NR_INACTIVE_ANON + 1] += 1
    found = check_lru(aged)
    assert sum("nr_pages is" in line for line in found) == 2
    assert any("nr_inactive_anon is 3" in line for line in found)
    aged.zone_stat[0, NR_ZONE_INACTIVE_ANON : NR_ZONE_INACTIVE_ANON + 2] += (-1, 1)
    aged.lru_gen[0, LG_NR_BATCHED] = 1
    assert check_lru(aged) == []


def test_too_many_generations_are_found(aged):
    """Five of a type, or one."""
    aged.lru_gen[0, LG_MAX_SEQ] = 4
    assert any("generations 0 to 4" in line for line in check_lru(aged))
    aged.lru_gen[0, LG_MIN_SEQ] = 4
    assert any("generations 4 to 4" in line for line in check_lru(aged))
