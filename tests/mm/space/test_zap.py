"""Taking pages out of page tables: what goes, what is told of it, what stays."""

import numpy as np
import pytest

from kernelsim.mm.core.vmstat import NR_ANON_PAGES
from kernelsim.mm.space.memory import map_zero
from kernelsim.mm.space.pgtable import MM_ANONPAGES, MM_SWAPENTS, mk_swap_pte, pte_at
from kernelsim.mm.space.zap import unmap_range
from tests.table_box import NO_MARKS, TableBox, none_cleared


@pytest.fixture
def box() -> TableBox:
    """Two nodes and one pool of tables."""
    return TableBox()


def test_unmap_gives_back_pages_and_slots_in_batches(box: TableBox) -> None:
    """Small out arrays only cut the work; nothing is lost or given twice."""
    mm = box.new_mm()
    pfns = box.map(mm, 508, 8)
    box.registry.mms.rss[mm, MM_SWAPENTS] += 2
    box.install(mm, 4096, 2)
    for vpn, slot in ((4096, 5), (4097, 6)):
        box.set_pte(mm, vpn, mk_swap_pte(slot))
    map_zero(*box.state, mm, 500, 2, 1, 1)
    out_pfns, out_slots = np.zeros(3, np.int64), np.zeros(1, np.int64)
    got_pfns, got_slots, vpn, cleared = [], [], 0, none_cleared()
    while vpn < 1 << 20:
        left = (1 << 20) - vpn
        n, m, _, vpn = unmap_range(
            *box.state, mm, vpn, left, *NO_MARKS, out_pfns, out_slots, cleared
        )
        got_pfns += out_pfns[:n].tolist()
        got_slots += out_slots[:m].tolist()
    assert (got_pfns, got_slots) == (pfns.tolist(), [5, 6])
    assert cleared.tolist() == [500, 516, 0, 0]  # entries of swapped pages are in no TLB
    assert not box.registry.mms.rss[mm].any()
    assert box.registry.mms.hiwater_rss[mm] == 8
    assert box.mem.node_stat[0, NR_ANON_PAGES] == 0
    assert not box.mem.pages.mapcount.any()
    assert not box.mem.pages.mapping.any()


def test_unmap_leaves_neighbours_alone(box: TableBox) -> None:
    """Only the range asked for goes."""
    mm = box.new_mm()
    box.map(mm, 0, 10)
    out, cleared = np.zeros(16, np.int64), none_cleared()
    assert unmap_range(*box.state, mm, 3, 4, *NO_MARKS, out, out.copy(), cleared) == (4, 0, 0, 7)
    assert cleared.tolist() == [3, 7, 0, 0]
    present = [vpn for vpn in range(10) if pte_at(*box.state, mm, vpn)]
    assert present == [0, 1, 2, 7, 8, 9]
    assert box.registry.mms.rss[mm, MM_ANONPAGES] == 6
