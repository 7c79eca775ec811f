"""How virtual time follows a person's time."""

from math import inf, isinf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernelsim.live.pace import SPEEDS, STEPS, Pace
from kernelsim.units import NS_PER_MS, NS_PER_S

pytestmark = [pytest.mark.mission("B6")]


def test_full_speed_never_waits():
    """It asks for no look at any virtual time, and lets the run go on whenever asked."""
    pace = Pace()
    assert pace.due_ns(5) is None
    assert [0.0, 0.0] == [pace.wait_s(now, 0) for now in (0, 10**12)]


@given(
    speed_ns=st.integers(1, 10**10),
    spent=st.lists(st.integers(0, NS_PER_S // 5), min_size=1, max_size=30),
)
def test_a_speed_is_kept_whatever_the_run_takes(speed_ns, spent):
    """Virtual time is never ahead of speed × real time by more than one look's part.

    Nor does it fall behind: where the run was quick enough, it is exactly there.
    """
    pace, now_ns, wall_ns = Pace(speed_ns=speed_ns), 0, 0
    wait_s = pace.wait_s(now_ns, wall_ns)
    assert wait_s == 0
    for spent_ns in spent:
        due_ns = pace.due_ns(now_ns)
        assert now_ns < due_ns <= now_ns + max(speed_ns // 20, 1)
        now_ns, wall_ns = due_ns, wall_ns + spent_ns
        wait_s = pace.wait_s(now_ns, wall_ns)
        assert wait_s >= 0
        assert wait_s * NS_PER_S <= NS_PER_S // 20 + NS_PER_S // speed_ns + 1
        wall_ns += int(wait_s * NS_PER_S)
        assert now_ns * NS_PER_S // speed_ns <= wall_ns + 30  # of rounding, 1 ns a look


def test_a_run_that_is_late_does_not_catch_up():
    """After a second without progress it goes on at its speed, not in one leap."""
    pace = Pace(speed_ns=NS_PER_S)
    pace.wait_s(0, 0)
    assert 0 == pace.wait_s(NS_PER_MS, 2 * NS_PER_S)
    assert 0.05 == pace.wait_s(51 * NS_PER_MS, 2 * NS_PER_S)


def test_a_step_ends_in_a_pause():
    """It is due at its end, waits for ever there, and not before."""
    pace = Pace(step_ns=10, is_paused=True)
    assert isinf(pace.wait_s(3, 0))
    pace.step(3)
    assert [13, 13] == [pace.due_ns(3), pace.due_ns(12)]
    assert [0.0, inf, inf] == [pace.wait_s(now, 0) for now in (12, 13, 13)]
    pace.go_on()
    assert 0.0 == pace.wait_s(13, 0)


def test_speeds_and_steps_go_up_and_down():
    """Faster than the last speed is full speed; slower from there begins at what was reached."""
    pace = Pace(speed_ns=30_000)
    pace.faster()
    assert 50_000 == pace.speed_ns
    pace.slower(0)
    assert 20_000 == pace.speed_ns
    for _ in SPEEDS:
        pace.faster()
    assert pace.speed_ns is None
    pace.faster()
    pace.slower(7 * NS_PER_MS)
    assert 5 * NS_PER_MS == pace.speed_ns
    for _ in SPEEDS:
        pace.slower(0)
    assert SPEEDS[0] == pace.speed_ns

    pace = Pace(step_ns=NS_PER_MS)
    pace.change_step(1)
    assert 10 * NS_PER_MS == pace.step_ns
    for _ in STEPS:
        pace.change_step(-1)
    assert STEPS[0] == pace.step_ns
    pace.change_step(-1)
    assert STEPS[0] == pace.step_ns
