"""The LRU lists: where pages go and what is counted."""

import numpy as np
import pytest

from kernelsim.check.lru import check_lru
from kernelsim.mm.boot.mm_init import new_mem
from kernelsim.mm.core.mem import (
    LRU_ACTIVE_ANON,
    LRU_ACTIVE_FILE,
    LRU_INACTIVE_ANON,
    LRU_INACTIVE_FILE,
    LRU_UNEVICTABLE,
    PG_active,
    PG_dirty,
    PG_mlocked,
    PG_swapbacked,
    PG_unevictable,
    PG_uptodate,
    zone_of,
)
from kernelsim.mm.core.swap import (
    folio_add_lru,
    folio_rotate_reclaimable,
    lru_add,
)
from kernelsim.mm.core.vmstat import (
    NR_INACTIVE_ANON,
    NR_MLOCK,
    NR_ZONE_INACTIVE_ANON,
    PGROTATED,
    UNEVICTABLE_PGS_CULLED,
)
from tests.free_zone import add_zone


@pytest.fixture
def box(reclaim_box):
    """A machine with nothing on its lists."""
    return reclaim_box()


def put(box, nr, flags):
    """Put pages with these flags on their list."""
    pfns = box.take(nr)
    box.mem.pages.flags[pfns] = flags | PG_uptodate
    lru_add(box.mem, pfns, nr)
    return pfns


def test_new_anon_pages_start_inactive_youngest_in_front(box):
    """A swap-backed page without PG_active goes in front of the inactive anonymous list."""
    pfns = put(box, 3, PG_swapbacked)
    assert box.pages_of(LRU_INACTIVE_ANON) == pfns[::-1].tolist()
    assert box.mem.node_stat[0, NR_INACTIVE_ANON] == 3
    assert check_lru(box.mem) == []


@pytest.mark.parametrize(
    ("flags", "lru"),
    [
        (0, LRU_INACTIVE_FILE),
        (PG_active, LRU_ACTIVE_FILE),
        (PG_swapbacked | PG_active, LRU_ACTIVE_ANON),
    ],
)
def test_flags_choose_the_list(box, flags, lru):
    """The list follows from PG_swapbacked and PG_active."""
    pfns = put(box, 2, flags)
    assert box.pages_of(lru) == pfns[::-1].tolist()
    assert check_lru(box.mem) == []


def test_pages_of_all_kinds_go_where_they_would_one_by_one(reclaim_box):
    """Whatever follows what in a batch, lists, flags and counters are those of single calls."""
    kinds = (
        PG_swapbacked,
        PG_swapbacked | PG_active,
        0,
        PG_swapbacked | PG_mlocked,
        PG_unevictable,
    )
    batch, single = reclaim_box(), reclaim_box()
    for box in (batch, single):
        pfns = box.take(700)[::-1].copy()  # of two pageblocks, falling
        pfns[::97] = pfns[::97][::-1].copy()  # and some from the other end
        box.mem.pages.flags[pfns] = [kinds[(i // 9 + i // 31) % len(kinds)] for i in range(700)]
        locked = [pfn for pfn in pfns if box.mem.pages.flags[pfn] & PG_mlocked]
        for pfn in locked:
            box.mem.zone_stat[zone_of(box.mem, int(pfn)), NR_MLOCK] += 1
        if box is batch:
            lru_add(box.mem, pfns, 700)
        else:
            for pfn in pfns:
                folio_add_lru(box.mem, int(pfn))
    for old, new in zip(single.mem, batch.mem, strict=True):
        assert np.array_equal(old, new) if isinstance(old, np.ndarray) else True
    for old, new in zip(single.mem.pages, batch.mem.pages, strict=True):
        assert np.array_equal(old, new)
    assert check_lru(batch.mem) == []


def test_zones_that_share_a_pageblock_count_their_own_pages():
    """A batch that crosses from one zone into the next inside a pageblock is counted in both."""
    mem = new_mem(nr_pfns=2048, nr_nodes=1, nr_zone_types=2, nr_cpus=1)
    for zone, (start, end) in enumerate(((1024, 1200), (1200, 2048))):
        add_zone(mem, zone, 0, start, end, free=False)
    pfns = np.arange(1190, 1220)
    mem.pages.flags[pfns] = PG_swapbacked
    lru_add(mem, pfns, 30)
    assert mem.zone_stat[:, NR_ZONE_INACTIVE_ANON].tolist() == [10, 20]
    assert mem.node_stat[0, NR_INACTIVE_ANON] == 30


def test_mlocked_page_becomes_unevictable(box):
    """A locked page is culled to the unevictable list and loses PG_active."""
    pfns = put(box, 1, PG_swapbacked | PG_active | PG_mlocked)
    assert box.pages_of(LRU_UNEVICTABLE) == pfns.tolist()
    assert box.mem.pages.flags[pfns[0]] & PG_unevictable
    assert not box.mem.pages.flags[pfns[0]] & PG_active
    assert box.mem.vm_event[UNEVICTABLE_PGS_CULLED] == 1


def test_rotation_goes_to_the_inactive_tail(box):
    """A rotated page is the next to be reclaimed; a dirty one stays where it is."""
    pfns = put(box, 3, PG_swapbacked)
    active = put(box, 1, PG_swapbacked | PG_active)
    box.mem.pages.flags[pfns[1]] |= PG_dirty
    wanted = (pfns[2], pfns[1], active[0])
    assert [True, False, True] == [folio_rotate_reclaimable(box.mem, pfn) for pfn in wanted]
    assert box.pages_of(LRU_INACTIVE_ANON) == [pfns[1], pfns[0], pfns[2], active[0]]
    assert box.mem.vm_event[PGROTATED] == 2
    assert check_lru(box.mem) == []
