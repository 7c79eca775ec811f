"""How runs end: the outcome, and what is left of an error once trio is done with it.

Interface: `Ended`, which `Engine.ended` holds after a run; the rest is the engine's: `Closing` ends
the tasks of a run, and breaks off clean-up that does not end. Units: ns.
"""

import re
from typing import Final

import attrs
import trio

from kernelsim.errors import SimulationError
from kernelsim.sim.clock import VirtualClock
from kernelsim.sim.wait import Seat

ADDRESS: Final = re.compile(r" at 0x[0-9a-f]+")  # in Python's own text for an object
# Events a run may still need to clean up after its end; after twice as many it is given up.
CLOSING_PASSES_MAX: Final = 100_000
PASSES_AN_ALARM: Final = CLOSING_PASSES_MAX // 2  # taken off when a signal has to wait long
PASSES_A_SEAT: Final = 10  # and so many more for each living task


@attrs.frozen
class Ended:
    """How a run ended.

    Attributes:
        state: "done": main returned. "until": virtual time reached its limit. "stopped":
            `Engine.stop`, or the state it was told. "interrupted": Ctrl-C. "failed": main raised,
            or an actor raised a user error or an outcome that was not caught. "crashed": an actor
            raised anything else. "deadlock", "livelock", "max_events".
        now_ns: Virtual time of the end.
        detail: What happened, for a person; empty for "done".
        error: What `Engine.run` raises, if anything.
    """

    state: str
    now_ns: int
    detail: str = ""
    error: BaseException | None = None


class GivenUpError(Exception):
    """A task goes on and on though it is cancelled: it catches what is to end it."""


class Closing:
    """The end of a run, from the moment it is decided until no task is left.

    Args:
        clock: Of the run.
    """

    def __init__(self, clock: VirtualClock) -> None:
        self._clock = clock
        self._nr_passes = 0
        self._nr_passes_seen = -1
        self._is_writing = False  # `clock.on_end` writes what the run leaves behind
        self.runaway: Seat | None = None  # the task for which the run was given up

    def is_stuck(self) -> bool:
        """Return whether no task waited since this was asked last, and may be broken off.

        Where tasks do wait and go on all the same, the time they have becomes shorter.
        """
        seen, now = self._nr_passes_seen, self._nr_passes
        if 0 <= seen < now:
            self._nr_passes += PASSES_AN_ALARM
        self._nr_passes_seen = self._nr_passes
        return seen == now and not self._is_writing

    def begin(self) -> bool:
        """Wake the task that cancels all others, once; return whether a task became runnable."""
        waiter = self._clock.root.waiter
        if waiter.is_decided or not waiter.is_parked:
            return False
        waiter.is_decided = True
        self._is_writing = True
        self._clock.on_end()
        self._is_writing = False
        return waiter.fire()

    def go_on(self, reason: str) -> bool:
        """Do not let shielded tasks wait for what never comes, or forever.

        Args:
            reason: Why the clock asks, as in `VirtualClock.on_halt`.
        """
        self._nr_passes += 1
        if self.begin():
            return True
        seats = list(self._clock.seats)
        nr_passes_max = CLOSING_PASSES_MAX + PASSES_A_SEAT * len(seats)
        if self._nr_passes >= 2 * nr_passes_max:
            self.runaway = self._clock.running
            raise GivenUpError
        has_time = self._nr_passes < nr_passes_max
        if has_time and reason != "empty":
            return False
        woken = False
        for seat in seats:
            error = SimulationError(f"{seat.name} waits though the run has ended")
            if seat.waiter.is_parked and not seat.waiter.is_decided:
                woken |= self._clock.wake(seat.waiter, self._clock.now_ns, error=error)
            elif seat.waiter.is_parked and not has_time:
                seat.waiter.error = error
        return woken


def without_cancelled(error: BaseException) -> BaseException | None:
    """Return what is left of an error without trio's cancellations; None if nothing is."""
    if isinstance(error, trio.Cancelled):
        return None
    if not isinstance(error, BaseExceptionGroup):
        return error
    return error.split(trio.Cancelled)[1]


def described(error: BaseException) -> str:
    """Write an exception for a log, without addresses, which differ from run to run."""
    return ADDRESS.sub("", repr(error))
