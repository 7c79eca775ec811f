"""Tests of what ranges of page frames hold."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernelsim.mm.boot.mm_init import new_mem
from kernelsim.mm.core.mem import (
    Mem,
    PG_anon,
    PG_buddy,
    PG_isolated,
    PG_kernel,
    PG_locked,
    PG_lru,
    PG_mlocked,
    PG_pcp,
    PG_reserved,
    PG_swapbacked,
    PG_swapcache,
    PG_table,
    PG_unevictable,
    PG_uptodate,
)
from kernelsim.mm.core.page_kinds import ANY_NODE, KINDS, PROBES_MAX, count_kinds
from tests.free_zone import add_zone

pytestmark = [pytest.mark.mission("B6")]

OF_KIND = {
    "kernel": (PG_kernel, PG_reserved, PG_table, PG_kernel | PG_locked),
    "locked": (PG_lru | PG_mlocked | PG_unevictable | PG_anon | PG_swapbacked, PG_unevictable),
    "anon": (PG_lru | PG_anon | PG_swapbacked, PG_isolated | PG_anon, PG_swapbacked | PG_swapcache),
    "file": (PG_lru | PG_uptodate, PG_isolated, PG_locked),
    "free": (0, PG_buddy, PG_pcp),
}
START, END = 1024, 4096
HOLE = slice(2048, 2560)  # a pageblock of it


def two_nodes() -> Mem:
    """Return two nodes, the first with a block that is offline."""
    mem = new_mem(nr_pfns=5120, nr_nodes=2, nr_zone_types=1, nr_cpus=1)
    add_zone(mem, 0, 0, START, END)
    add_zone(mem, 1, 1, END, 5120)
    mem.block_zone[HOLE.start >> 9] = 0
    return mem


def counted(mem: Mem, *ranges: tuple[int, int, int]) -> list[list[int]]:
    """Return the counts of ranges: first pfn, one behind the last, node."""
    out = np.ones((len(ranges), len(KINDS)), np.int64)
    count_kinds(mem, np.array(ranges, np.int64), out)
    return out.tolist()


@given(st.data())
@settings(max_examples=20, deadline=None)
def test_every_page_of_a_small_range_is_counted_once(data):
    """Each counts as what its flags say; a hole and another node's pages are absent."""
    mem = two_nodes()
    told = np.full(5120, KINDS.index("free"))
    for kind in data.draw(st.lists(st.sampled_from(list(OF_KIND)), max_size=12)):
        at = data.draw(st.integers(START, END - 100))
        mem.pages.flags[at : at + 100] = data.draw(st.sampled_from(OF_KIND[kind]))
        told[at : at + 100] = KINDS.index(kind)
    told[HOLE] = KINDS.index("absent")
    told[END:] = KINDS.index("absent")
    first = data.draw(st.integers(START, END))
    end = first + data.draw(st.integers(1, PROBES_MAX))
    wanted = np.bincount(told[first:end], minlength=len(KINDS)).tolist()
    assert counted(mem, (first, end, 0)) == [wanted]


def test_large_ranges_are_judged_by_pages_spread_over_them():
    """As many as were said, from all over it, and not all at one place of their pageblocks."""
    mem = two_nodes()
    mem.pages.flags[START:END:2] = PG_lru
    mem.pages.flags[3072:END] = PG_kernel
    (counts,) = counted(mem, (START, END, 0))
    shares = dict(zip(KINDS, (np.array(counts) / PROBES_MAX).tolist(), strict=True))
    assert sum(counts) == PROBES_MAX
    assert shares["kernel"] == pytest.approx(1 / 3, abs=0.01)
    assert shares["absent"] == pytest.approx(1 / 6, abs=0.01)
    assert shares["file"] == pytest.approx(1 / 4, abs=0.05)
    assert shares["free"] == pytest.approx(1 / 4, abs=0.05)


def test_a_range_of_any_node_has_the_pages_of_all():
    """Where DIMMs come nobody knows beforehand whose they are."""
    mem = two_nodes()
    free = KINDS.index("free")
    (both,), (first,) = (counted(mem, (END - 10, END + 10, nid)) for nid in (ANY_NODE, 0))
    assert (both[free], first[free]) == (20, 10)
