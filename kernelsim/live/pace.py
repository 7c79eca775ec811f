"""How virtual time follows the time of a person: a speed, a pause, steps.

    pace = Pace(speed_ns=parse_duration("10ms"))        # 10 virtual ms a second
    wait_s = pace.wait_s(now_ns, wall_ns)               # before the run may go on

Interface: `Pace`. It knows no clock: it is told both times.
Units: ns, virtual (`now_ns`) and real (`wall_ns`); a speed is virtual ns a real second; real s to
wait.
"""

import math
from typing import Final

from kernelsim.units import NS_PER_S

FRAMES_PER_S: Final = 20  # a run at a speed is let go on in so many parts a second
LATE_NS_MAX: Final = NS_PER_S // 5  # real; a run that is later than this need not catch up
SPEEDS: Final = tuple(m * 10**e for e in range(3, 10) for m in (1, 2, 5))  # 1 us … 5 s a second
STEPS: Final = tuple(10**e for e in range(3, 10))  # 1 us … 1 s


class Pace:
    """When a run may go on.

    Args:
        speed_ns: Virtual time that passes in a second; None for as much as it can.
        step_ns: Virtual time of a step.
        is_paused: It begins with a pause.

    Attributes:
        stop_ns: The virtual time at which the step under way ends in a pause; None if none is.
    """

    def __init__(
        self, *, speed_ns: int | None = None, step_ns: int = 10**6, is_paused: bool = False
    ) -> None:
        self.speed_ns = speed_ns
        self.step_ns = step_ns
        self.is_paused = is_paused
        self.stop_ns: int | None = None
        self._since: tuple[int, int] | None = None  # virtual and real time the speed counts from

    def pause(self) -> None:
        """Stand still."""
        self.is_paused = True
        self.stop_ns = None

    def go_on(self) -> None:
        """Let time go on, at the speed set."""
        self.is_paused = False
        self.stop_ns = self._since = None

    def step(self, now_ns: int) -> None:
        """Let one step pass from now on, then pause."""
        self.go_on()
        self.stop_ns = now_ns + self.step_ns

    def faster(self) -> None:
        """Take the next higher speed; the last one is as fast as it can."""
        if self.speed_ns is not None:
            self.speed_ns = next((speed for speed in SPEEDS if speed > self.speed_ns), None)
        self._since = None

    def slower(self, reached_ns: int) -> None:
        """Take the next lower speed.

        Args:
            reached_ns: The speed of late, if as fast as it can.
        """
        speed_ns = reached_ns if self.speed_ns is None else self.speed_ns
        self.speed_ns = max((speed for speed in SPEEDS if speed < speed_ns), default=SPEEDS[0])
        self._since = None

    def change_step(self, direction: int) -> None:
        """Take the next longer step (1) or the next shorter one (-1), if there is one."""
        longer = [step for step in STEPS if step * direction > self.step_ns * direction]
        self.step_ns = min(longer, key=lambda step: step * direction, default=self.step_ns)

    def due_ns(self, now_ns: int) -> int | None:
        """Return the virtual time to which the run may go before it asks again; None for any."""
        times = [] if self.stop_ns is None else [self.stop_ns]
        if self.speed_ns is not None:
            times.append(now_ns + max(self.speed_ns // FRAMES_PER_S, 1))
        return min(times, default=None)

    def wait_s(self, now_ns: int, wall_ns: int) -> float:
        """Return how long to wait before the run may go on, infinite in a pause."""
        if self.stop_ns is not None and now_ns >= self.stop_ns:
            self.pause()
        if self.is_paused:
            return math.inf
        if self.speed_ns is None:
            return 0.0
        if self._since is None:
            self._since = (now_ns, wall_ns)
        began_ns, wall_began_ns = self._since
        ahead_ns = (now_ns - began_ns) * NS_PER_S // self.speed_ns - (wall_ns - wall_began_ns)
        if ahead_ns < -LATE_NS_MAX:
            self._since = (now_ns, wall_ns)
        return max(ahead_ns, 0) / NS_PER_S
