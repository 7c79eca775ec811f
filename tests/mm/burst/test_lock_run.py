"""When a step under locks may be begun in compiled code: only if nobody can notice it."""

import numpy as np
import pytest

from kernelsim.mm.burst.columns import NEVER_NS, new_burst
from kernelsim.mm.burst.lock_run import (
    HOLDS_MAX,
    LR_NOW_NS,
    LR_NUMBER,
    LR_NUMBER_END,
    LR_UNTIL_NS,
    NR_LR_FIELDS,
    has_time,
    hold,
    is_lock_free,
)

LOCK = 1


@pytest.fixture
def burst():
    """Nobody does anything."""
    return new_burst(nr_cpus=2, nr_nodes=1, nr_zones=1)


@pytest.fixture
def state():
    """A task at 1000 ns, with nobody else in sight."""
    state = np.zeros(NR_LR_FIELDS, np.int64)
    state[LR_NOW_NS], state[LR_UNTIL_NS], state[LR_NUMBER_END] = 1000, NEVER_NS, 1 << 40
    return state


def test_a_lock_is_free_when_its_last_hold_is_over(burst, state):
    """At the very nanosecond it is given back it can be taken, not before."""
    burst.free_ns[LOCK] = 1001
    assert not is_lock_free(burst, state, LOCK)
    burst.free_ns[LOCK] = 1000
    assert is_lock_free(burst, state, LOCK)


@pytest.mark.parametrize("who", ["queued", "nr_waiting"])
def test_a_lock_that_others_wait_for_is_theirs(burst, state, who):
    """Actors in its queue, and CPUs in a burst, come first."""
    getattr(burst, who)[LOCK] = 1
    assert not is_lock_free(burst, state, LOCK)


def test_a_step_ends_before_the_next_event_of_others(burst, state):
    """One that may end in the same nanosecond is not begun."""
    state[LR_UNTIL_NS] = 1100
    assert has_time(burst, state, 99)
    assert not has_time(burst, state, 100)


def test_a_step_needs_numbers_and_room_for_its_holds(burst, state):
    """It is not begun when something has to be looked at before, or the notes are full."""
    state[LR_NUMBER] = state[LR_NUMBER_END] - 2 * HOLDS_MAX
    assert not has_time(burst, state, 0)
    state[LR_NUMBER] = 0
    assert has_time(burst, state, 0)
    burst.holds[0, 0] = len(burst.holds) - HOLDS_MAX
    assert not has_time(burst, state, 0)


def test_a_hold_takes_the_lock_and_the_time(burst, state):
    """The task goes on when it gives the lock back; the account gets to know it."""
    hold(burst, state, LOCK, 40)
    assert (state[LR_NOW_NS], burst.free_ns[LOCK]) == (1040, 1040)
    assert burst.holds[1].tolist() == [LOCK, 1000, 1000, 40, 0]
