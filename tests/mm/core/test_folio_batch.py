"""Folio batches: new pages gather on a CPU, and join the lists fifteen at a time."""

import numpy as np
import pytest

from kernelsim.mm.boot.mm_init import new_mem
from kernelsim.mm.core.folio_batch import (
    folio_batch_add,
    folio_batch_move_lru,
    folio_batch_run,
)
from kernelsim.mm.core.mem import (
    LRU_INACTIVE_ANON,
    PAGEVEC_SIZE,
    PG_anon,
    PG_batched,
    PG_lru,
    PG_swapbacked,
    PG_uptodate,
)
from tests.free_zone import add_zone

FRESH = PG_anon | PG_swapbacked | PG_uptodate


@pytest.fixture
def box(reclaim_box):
    """A machine of one node with nothing on its lists."""
    return reclaim_box()


def fill(mem, pfns, cpu=0):
    """Put pages in a CPU's batch; return what each was told."""
    mem.pages.flags[pfns] = FRESH
    return [folio_batch_add(mem, cpu, int(pfn)) for pfn in pfns]


def test_the_fifteenth_page_fills_a_batch(box):
    """PAGEVEC_SIZE of Linux; each page is marked, and on no list yet."""
    pfns = box.take(PAGEVEC_SIZE)
    assert fill(box.mem, pfns) == [False] * (PAGEVEC_SIZE - 1) + [True]
    assert (box.mem.pages.flags[pfns] == FRESH | PG_batched).all()
    assert box.pages_of(LRU_INACTIVE_ANON) == []


def test_a_batch_joins_the_list_in_the_order_of_its_faults(box):
    """The last page is the youngest, at the front; the mark of the batch is gone."""
    pfns = box.take(PAGEVEC_SIZE)
    fill(box.mem, pfns)
    assert folio_batch_run(box.mem, 0) == (0, PAGEVEC_SIZE)
    out = np.zeros(PAGEVEC_SIZE, np.int64)
    assert folio_batch_move_lru(box.mem, 0, PAGEVEC_SIZE, out) == 0
    assert box.pages_of(LRU_INACTIVE_ANON) == pfns[::-1].tolist()
    assert (box.mem.pages.flags[pfns] == FRESH | PG_lru).all()
    assert folio_batch_run(box.mem, 0) == (0, 0)


def test_pages_without_a_user_are_handed_back(box):
    """One whose last user went meanwhile is bare but for the mark; it joins no list."""
    pfns = box.take(5)
    fill(box.mem, pfns)
    box.mem.pages.flags[pfns[[1, 4]]] = PG_batched
    out = np.zeros(5, np.int64)
    assert folio_batch_move_lru(box.mem, 0, 5, out) == 2
    assert out[:2].tolist() == pfns[[1, 4]].tolist()
    assert (box.mem.pages.flags[out[:2]] == 0).all()
    assert box.pages_of(LRU_INACTIVE_ANON) == pfns[[3, 2, 0]].tolist()


def test_a_run_ends_where_the_node_changes():
    """Each lru_lock is taken for the pages of its node only, in the order of the batch."""
    mem = new_mem(nr_pfns=4096, nr_nodes=2, nr_zone_types=1, nr_cpus=2)
    for nid in (0, 1):
        add_zone(mem, nid, nid, 1024 * (1 + nid), 1024 * (2 + nid))
    pfns = np.array([1024, 1030, 2048, 1040], np.int64)
    fill(mem, pfns, cpu=1)
    out = np.zeros(PAGEVEC_SIZE, np.int64)
    runs = []
    while (run := folio_batch_run(mem, 1))[1]:
        runs.append(run)
        assert folio_batch_move_lru(mem, 1, run[1], out) == 0
    assert runs == [(0, 2), (1, 1), (0, 1)]
    assert folio_batch_run(mem, 0) == (0, 0)
