"""Writers that help, and how many threads there are."""

import pytest

from kernelsim.config.machine_file import load_machine
from kernelsim.machine import Machine
from kernelsim.mm.core.vmstat import NR_DIRTY, NR_WRITEBACK
from kernelsim.mm.file.backing_dev import BdiWriteback
from kernelsim.mm.file.classic_writeback import (
    MAX_PDFLUSH_THREADS,
    Look,
    PdflushThreads,
    look,
    must_balance,
    over_background,
    ratelimit_pages,
)
from kernelsim.mm.file.dirty_limits import global_dirty_limits
from kernelsim.mm.file.page_writeback import Writeback


@pytest.fixture
def state() -> Writeback:
    """Return the limits of a small machine."""
    return Writeback(Machine(load_machine("tiny-64m")).kernel.phys)


def dirty(state: Writeback, wb: BdiWriteback, nr_dirty: int, nr_writeback: int = 0) -> None:
    """Let so many pages be dirty, all of one device."""
    state.phys.mem.node_stat[0, NR_DIRTY] = wb.nr_reclaimable = nr_dirty
    state.phys.mem.node_stat[0, NR_WRITEBACK] = wb.nr_writeback = nr_writeback


def test_a_writer_over_its_share_writes_then_waits(state):
    """Below the limit it goes on, above it writes, and while the rest is on its way it waits."""
    wb, limits = BdiWriteback("8:0"), global_dirty_limits(state.phys)
    wb.writeout_add(state.dom, 1000, 0)
    dirty(state, wb, limits.thresh - 10)
    assert look(state, wb, 1, has_written=False) is Look.GO_ON
    dirty(state, wb, limits.thresh + 10)
    assert look(state, wb, 1, has_written=False) is Look.WRITE
    assert wb.dirty_exceeded
    dirty(state, wb, 0, limits.thresh + 10)
    assert look(state, wb, 1, has_written=False) is Look.WAIT
    assert look(state, wb, 1, has_written=True) is Look.WAIT
    dirty(state, wb, 0, 10)
    assert look(state, wb, 1, has_written=True) is Look.GO_ON
    assert not wb.dirty_exceeded


def test_a_device_without_history_may_ramp_up(state):
    """It is over its share of nothing, but while little is dirty nobody waits for it."""
    wb, limits = BdiWriteback("8:0"), global_dirty_limits(state.phys)
    dirty(state, wb, limits.freerun - 1)
    assert look(state, wb, 1, has_written=False) is Look.GO_ON
    dirty(state, wb, limits.freerun + 1)
    assert look(state, wb, 1, has_written=False) is Look.WRITE


def test_pdflush_works_above_the_background_limit(state):
    """Pages on their way are not its concern."""
    wb, limits = BdiWriteback("8:0"), global_dirty_limits(state.phys)
    dirty(state, wb, limits.bg_thresh, 1000)
    assert not over_background(state)
    dirty(state, wb, limits.bg_thresh + 1)
    assert over_background(state)


def test_how_often_a_writer_looks(state):
    """Every 32nd of memory shared by the CPUs; every eighth page while limits are exceeded."""
    wb, limit = BdiWriteback("8:0"), ratelimit_pages(state)
    assert limit == state.phys.totalram_pages // (32 * state.phys.nr_cpus)
    state.bdp_ratelimits[0] = limit - 1
    assert not must_balance(state, wb, 0)
    wb.dirty_exceeded = True
    assert must_balance(state, wb, 0)
    assert state.bdp_ratelimits[0] == 0


def test_threads_are_born_when_none_was_idle_for_a_second_and_go_when_one_was():
    """Two at first; a busy second makes a third, a lazy second takes it away, never below two."""
    threads = PdflushThreads(nr=2)
    threads.sleeps(0)
    threads.sleeps(0)
    assert threads.takes(100)
    assert threads.takes(110)
    assert not threads.takes(120)
    assert not threads.wants_another(360)
    assert threads.wants_another(361)
    threads.nr = MAX_PDFLUSH_THREADS
    assert not threads.wants_another(10_000)
    threads.nr = 3
    threads.sleeps(400)
    assert not threads.may_go(650)
    assert threads.may_go(651)
    assert not threads.may_go(652)  # one a second
    threads.nr = 2
    assert not threads.may_go(10_000)
