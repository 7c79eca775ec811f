"""What lies in the clock's heap: waiters, timeouts, calls; and what makes the order of ties.

Interface: of `kernelsim.sim.clock`. Units: ns.
"""

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, Protocol

if TYPE_CHECKING:
    from kernelsim.sim.clock import VirtualClock

FOREVER_NS: Final = 1 << 62  # later than any event: 146 years

Callback = Callable[[Any], object]


class Event(Protocol):
    """What lies in the heap."""

    @property
    def is_stale(self) -> bool:
        """It is not wanted any more: it is left out, and its time is not gone to."""
        ...

    def fire(self) -> bool:
        """Do what is due; return whether a task became runnable."""
        ...


class Call:
    """A callback that is due at some time."""

    __slots__ = ("_argument", "_callback", "_clock")
    is_stale: bool = False

    def __init__(self, clock: "VirtualClock", callback: Callback, argument: object) -> None:
        self._clock = clock
        self._callback = callback
        self._argument = argument

    def fire(self) -> bool:
        """Call it, in no task; a task it wakes is made runnable by an event of its own."""
        clock = self._clock
        clock.running = clock.root
        try:
            self._callback(self._argument)
        except Exception as error:  # noqa: BLE001 - trio could not say whose it was
            owner = getattr(self._callback, "__self__", None)
            clock.on_crash(getattr(owner, "name", "a callback"), error)
        return False


class Planned(Call):
    """A callback that may be called off as long as it is to come.

    Attributes:
        at_ns: When it is due.
        number: Of the event.
        is_stale: It was called off.
    """

    __slots__ = ("at_ns", "is_stale", "number")

    def __init__(
        self,
        clock: "VirtualClock",
        callback: Callback,
        argument: object,
        at_ns: int,
        number: int,
    ) -> None:
        super().__init__(clock, callback, argument)
        self.at_ns = at_ns
        self.number = number
        self.is_stale = False


class _Never:
    is_stale = False

    def fire(self) -> bool:
        return False


NO_EVENT: Final = (FOREVER_NS, 0, 0, _Never())  # stands for an empty heap


def mixed(seed: int, number: int) -> int:
    """Mix a seed and a number into 64 bits that look random.

    Source: Steele, Lea, Flood: Fast splittable pseudorandom number generators, 2014 (SplitMix64).
    """
    mask = (1 << 64) - 1
    bits = (seed * 0xD1342543DE82EF95 + number * 0x9E3779B97F4A7C15) & mask
    bits = ((bits ^ bits >> 30) * 0xBF58476D1CE4E5B9) & mask
    bits = ((bits ^ bits >> 27) * 0x94D049BB133111EB) & mask
    return bits ^ bits >> 31


def deadline_ns(deadline: float) -> int:
    """Return the first nanosecond at which trio sees that a deadline has passed."""
    at_ns = math.ceil(deadline * 1e9)
    while at_ns / 1e9 < deadline:
        at_ns += 1
    return min(at_ns, FOREVER_NS - 1)
