"""A batch of reclaim step by step: how far it goes in one go, and what it stops at."""

import numpy as np
import pytest

from kernelsim.check.lru import check_lru
from kernelsim.check.swap import check_swap
from kernelsim.mm.burst.columns import (
    B_STOLEN,
    C_LRU_HOLD_PAGE,
    C_NR_NODES,
    C_NR_ZONES,
    C_ZONE_HOLD_PAGE,
    H_HOLD,
    NEVER_NS,
    R_ZONES,
    ZONES_MAX,
    new_burst,
)
from kernelsim.mm.burst.free_pages import new_free_run
from kernelsim.mm.burst.lock_run import LR_NOW_NS, LR_NUMBER, LR_NUMBER_END, LR_UNTIL_NS
from kernelsim.mm.core.mem import LRU_INACTIVE_ANON
from kernelsim.mm.core.slab_cache import NR_KMEM_CACHES
from kernelsim.mm.reclaim.reclaim_batch import STAT_NR_RECLAIMED, STAT_NR_REF_KEEP, STAT_NR_TO_WRITE
from kernelsim.mm.reclaim.reclaim_run import (
    DONE,
    FLUSH,
    ISOLATE,
    JUDGE,
    WORK_COMPUTED_NS,
    WORK_ISOLATED_NS,
    WORK_JUDGED,
    WORK_PLUGGED,
    WORK_STEP,
    WRITE,
    begin_batch,
    new_work,
    reclaim_run,
)
from kernelsim.mm.swap.swap_plug import begin, flush, new_swap_plug
from tests.reclaim_box import KSWAPD

BASE = 512
NR = 20  # three chunks
SCAN_NS, SLOT_NS, LRU_NS = 100, 7, 10
# No slab gets pages inside a run; none of these tests opens one.
NO_SLAB_REQUESTS = np.zeros((NR_KMEM_CACHES, R_ZONES + ZONES_MAX), np.int64)


class Bench:
    """A box whose batches are done by compiled code."""

    def __init__(self, box):
        self.box = box
        self.burst = new_burst(nr_cpus=1, nr_nodes=1, nr_zones=1)
        self.burst.cost[[C_NR_NODES, C_NR_ZONES]] = 1
        self.burst.cost[[C_LRU_HOLD_PAGE, C_ZONE_HOLD_PAGE]] = LRU_NS
        self.plug = new_swap_plug()
        self.work = new_work(SCAN_NS, SLOT_NS, max_segments=64)
        self.flushes = np.zeros(len(box.mms.pgd_row), np.int64)

    def begin(self):
        """Begin a batch."""
        begin_batch(self.work, 0, LRU_INACTIVE_ANON, nr_to_scan=NR, highest_zoneidx=0, how=KSWAPD)

    def go_on(self, *, ns=NEVER_NS >> 1, is_lazy=True):
        """Go on for a time; return the step that is next, and the time that has passed."""
        box, run = self.box, new_free_run()
        run[[LR_UNTIL_NS, LR_NUMBER_END]] = ns, 1 << 40
        reclaim_run(
            box.mem, box.pool.pt, box.mms, box.swap, box.spaces.mappings, box.lruvec, self.burst,
            box.batch, self.plug, self.work, self.flushes, is_lazy,
            NO_SLAB_REQUESTS, run,
        )  # fmt: skip
        self.run = run
        return int(self.work[WORK_STEP]), int(run[LR_NOW_NS])


@pytest.fixture
def bench(reclaim_box):
    """Pages that were just written to."""
    box = reclaim_box()
    box.fault(BASE, NR)
    return Bench(box)


def test_a_batch_that_stays_is_done_in_one_go(bench):
    """Two holds of lru_lock and three chunks pass; each hold is two events, each chunk one."""
    bench.begin()
    step, passed_ns = bench.go_on()
    assert step == DONE
    assert bench.box.batch.stat[STAT_NR_REF_KEEP] == NR
    assert passed_ns == NR * (2 * LRU_NS + SCAN_NS)
    assert bench.run[LR_NUMBER] == 2 + 3 + 2
    assert bench.work[WORK_ISOLATED_NS] == NR * LRU_NS
    assert bench.work[WORK_COMPUTED_NS] == NR * SCAN_NS
    assert bench.burst.holds[0, 0] == 2
    assert bench.burst.holds[1:3, H_HOLD].tolist() == [NR * LRU_NS] * 2
    assert check_lru(bench.box.mem) == []


@pytest.mark.parametrize(
    ("ns", "step", "judged"),
    [(NR * LRU_NS, ISOLATE, 0), (NR * LRU_NS + 1, JUDGE, 0), (NR * LRU_NS + 900, JUDGE, 8)],
)
def test_it_stops_at_the_step_that_others_might_notice(bench, ns, step, judged):
    """No step is begun that does not end before the next event of others."""
    bench.begin()
    assert bench.go_on(ns=ns)[0] == step
    assert bench.work[WORK_JUDGED] == judged


def test_it_makes_up_for_what_interrupts_took(bench):
    """The first chunk takes so much longer, which is not the reclaimer's own time."""
    bench.burst.run[0, B_STOLEN] = 50
    bench.begin()
    assert bench.go_on() == (DONE, NR * (2 * LRU_NS + SCAN_NS) + 50)
    assert bench.work[WORK_COMPUTED_NS] == NR * SCAN_NS
    assert bench.burst.run[0, B_STOLEN] == 0


def test_pages_that_wait_in_a_batch_of_the_cpu_are_listed_before(bench):
    """That takes messages."""
    bench.box.mem.lru_batch[0, 0] = 1
    bench.begin()
    assert bench.go_on() == (ISOLATE, 0)


def test_what_is_unmapped_must_be_flushed_where_a_program_runs(bench):
    """It stops behind the chunk; on CPUs that run none the flush is only counted."""
    bench.box.forget_use(NR)
    bench.begin()
    assert bench.go_on(is_lazy=False)[0] == FLUSH
    assert bench.work[WORK_JUDGED] == 8
    assert bench.go_on()[0] == WRITE
    assert bench.flushes.tolist() == [0, 1, 0, 0]


def test_a_page_that_needs_a_request_of_its_own_stops_it(bench):
    """Those behind it join, and are paid for when all have; the batch goes on by itself then."""
    box = bench.box
    box.forget_use(NR)
    bench.begin()
    step, at_ns = bench.go_on()
    assert (step, at_ns) == (WRITE, NR * LRU_NS + 8 * SCAN_NS)
    assert bench.work[WORK_PLUGGED] == 0
    pfn = int(box.batch.to_write[0])
    begin(bench.plug, int(box.mem.pages.private[pfn]), pfn)
    bench.work[WORK_PLUGGED] = 1
    step, passed_ns = bench.go_on()
    assert step == DONE
    assert box.batch.stat[STAT_NR_TO_WRITE] == NR
    assert passed_ns == NR * SLOT_NS + (NR - 8) * SCAN_NS + NR * LRU_NS
    (request,) = flush(bench.plug)
    assert request.pfns.tolist() == box.batch.to_write[:NR].tolist()
    assert bench.flushes.tolist() == [0, 3, 0, 0]


def test_what_is_reclaimed_is_free_at_the_end(bench):
    """Written pages go to the CPU's list, in the same run."""
    box = bench.box
    box.forget_use(NR)
    box.scan(NR)
    box.end_writes()
    bench.burst.placed[0] = NR
    free = int(box.mem.pcp_count[0, 0] + box.mem.zone[0, 0])
    bench.begin()
    assert bench.go_on()[0] == DONE
    assert box.batch.stat[STAT_NR_RECLAIMED] == NR
    assert bench.burst.placed[0] == 0
    assert box.mem.pcp_count[0, 0] + box.mem.zone[0, 0] == free + NR
    assert check_swap(box.mem, box.swap) == []
