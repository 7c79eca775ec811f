"""Whether a writer goes on or pauses."""

import pytest

from kernelsim.config.machine_file import load_machine
from kernelsim.machine import Machine
from kernelsim.mm.core.vmstat import NR_DIRTY, NR_WRITEBACK
from kernelsim.mm.file.backing_dev import BdiWriteback
from kernelsim.mm.file.dirty_limits import global_dirty_limits
from kernelsim.mm.file.page_writeback import DirtyState, Writeback, dirty_poll_interval


@pytest.fixture
def state() -> Writeback:
    """Return the limits of a small machine."""
    return Writeback(Machine(load_machine("tiny-64m")).kernel.phys)


def dirty(state: Writeback, wb: BdiWriteback, nr_dirty: int, nr_writeback: int = 0) -> None:
    """Let so many pages be dirty, all of one device."""
    state.phys.mem.node_stat[0, NR_DIRTY] = wb.nr_reclaimable = nr_dirty
    state.phys.mem.node_stat[0, NR_WRITEBACK] = wb.nr_writeback = nr_writeback


def test_the_next_look_is_after_the_root_of_what_is_left():
    """1024 pages below the limit: 32 pages; at the limit every page."""
    assert [dirty_poll_interval(d, 2048) for d in (1024, 1025, 2047, 2048, 4096)] == [
        32, 16, 1, 1, 1,
    ]  # fmt: skip


def test_below_freerun_nobody_waits(state):
    """Up to freerun a writer goes on; above the background limit it starts the flusher."""
    wb, task, limits = (
        BdiWriteback("8:0"),
        DirtyState(nr_dirtied=40),
        global_dirty_limits(state.phys),
    )
    dirty(state, wb, limits.bg_thresh)
    balance = state.balance_dirty_pages(wb, task, 40, 7, is_flushing=False)
    assert balance.throttle is None
    assert not balance.wakes_flusher
    assert (task.nr_dirtied, task.dirty_paused_when) == (0, 7)

    dirty(state, wb, limits.bg_thresh + 1)
    assert state.balance_dirty_pages(wb, task, 40, 7, is_flushing=False).wakes_flusher
    assert not state.balance_dirty_pages(wb, task, 40, 7, is_flushing=True).wakes_flusher


def test_pages_being_written_count_for_writers_only(state):
    """Pages on their way to the disk make writers wait, but give the flusher nothing to do."""
    wb, task, limits = BdiWriteback("8:0"), DirtyState(), global_dirty_limits(state.phys)
    dirty(state, wb, 0, limits.freerun + 1)
    wb.writeout_add(state.dom, 1000, 0)
    assert state.balance_dirty_pages(wb, task, 40, 7, is_flushing=True).throttle is not None
    assert not state.over_bg_thresh(wb, 0)


def test_at_the_limit_a_writer_sleeps_as_long_as_allowed_and_looks_again(state):
    """At the hard limit nothing may be dirtied: the longest pause, and again after it."""
    wb, task, limits = BdiWriteback("8:0"), DirtyState(), global_dirty_limits(state.phys)
    dirty(state, wb, 0, limits.thresh + 5000)
    throttle = state.balance_dirty_pages(wb, task, 8, 100, is_flushing=True).throttle
    assert throttle is not None
    assert throttle.task_ratelimit == 0
    assert throttle.pause > 0
    assert not state.end_pause(task, throttle, 100)
    assert task.dirty_paused_when == 100 + throttle.pause


def test_a_pause_is_what_the_pages_are_worth_less_the_time_since(state):
    """1000 pages at 25600 a second are 9 ticks; what the task needed itself is taken off."""
    wb, limits = BdiWriteback("8:0", bw_time_stamp=100), global_dirty_limits(state.phys)
    state.dom.dirty_limit = limits.thresh
    setpoint = (limits.freerun + limits.thresh) // 2
    dirty(state, wb, setpoint)
    wb.writeout_add(state.dom, 10_000, 100)
    task = DirtyState(dirty_paused_when=96)
    throttle = state.balance_dirty_pages(wb, task, 1000, 100, is_flushing=True).throttle
    assert throttle is not None
    assert throttle.period == 250 * 1000 // throttle.task_ratelimit
    assert throttle.pause == min(throttle.period - 4, throttle.pause)
    assert throttle.pause > 0


def test_a_slow_thinker_is_not_made_to_wait(state):
    """A task that took longer than its pages are worth goes on, and keeps a second of credit."""
    wb, limits = BdiWriteback("8:0", bw_time_stamp=1000), global_dirty_limits(state.phys)
    state.dom.dirty_limit = limits.thresh
    dirty(state, wb, (limits.freerun + limits.thresh) // 2)
    task = DirtyState(nr_dirtied=100, dirty_paused_when=900)
    throttle = state.balance_dirty_pages(wb, task, 300, 1000, is_flushing=True).throttle
    assert throttle is not None
    assert throttle.pause < 0
    assert task.dirty_paused_when == 900 + throttle.period
    task = DirtyState(nr_dirtied=100, dirty_paused_when=1)
    state.balance_dirty_pages(wb, task, 300, 1000, is_flushing=True)
    assert task.dirty_paused_when == 1000


def test_a_device_without_history_is_over_its_share_at_once(state):
    """One dirty page of a device that wrote nothing yet is for the flusher; not so with history."""
    wb = BdiWriteback("8:0")
    dirty(state, wb, 1)
    assert state.over_bg_thresh(wb, 0)
    wb.writeout_add(state.dom, 100, 0)
    assert not state.over_bg_thresh(wb, 1)
    assert state.over_bg_thresh(wb, 250 * 60)  # forgotten after a minute


def test_pages_of_ended_tasks_are_charged_to_others(state):
    """What a task left without having waited for it makes the next task look earlier."""
    wb, task = BdiWriteback("8:0"), DirtyState(nr_dirtied=10)
    assert not state.must_balance(wb, task, 0)
    state.dirty_throttle_leaks[0] = 30
    assert state.must_balance(wb, task, 0)
    assert (task.nr_dirtied, state.dirty_throttle_leaks[0]) == (32, 8)


def test_a_cpu_may_not_collect_many_tasks(state):
    """Tasks that each dirtied little look at the limits when their CPU dirtied a share of it."""
    wb, task = BdiWriteback("8:0"), DirtyState(nr_dirtied=1)
    state.bdp_ratelimits[0] = state.ratelimit_pages
    assert state.must_balance(wb, task, 0)
    assert state.bdp_ratelimits[0] == 0
