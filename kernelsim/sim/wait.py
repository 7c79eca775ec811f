"""Who waits, for what: the seat of a task in the run, and the waiter it waits with.

Interface: of `kernelsim.sim.clock`, which opens, wakes and parks waiters. Units: ns.
"""

from collections.abc import AsyncGenerator, Callable, Generator, MutableSequence
from typing import TYPE_CHECKING, Any, TypeVar

import outcome
import trio

if TYPE_CHECKING:
    from kernelsim.sim.clock import VirtualClock

T = TypeVar("T")

reschedule = trio.lowlevel.reschedule  # looked up once: this is the engine's innermost loop


class Seat:
    """The place of one task in the run: who it is, and the waiter it uses next.

    Args:
        clock: Of the run.
        name: The actor's name.
        number: Creation number of the actor; the order of simultaneous cancellations.

    Attributes:
        task: trio's; set when it first runs.
        nr_wakes: How often it was made runnable, for the report of a livelock.
        waiter: Reused from wait to wait, replaced when a wait was cancelled.
        is_cancel_due: trio wanted to cancel it when it had just been given something.
    """

    __slots__ = ("clock", "is_cancel_due", "name", "nr_wakes", "number", "task", "waiter")

    def __init__(self, clock: "VirtualClock", name: str, number: int) -> None:
        self.clock = clock
        self.name = name
        self.number = number
        self.task: trio.lowlevel.Task
        self.nr_wakes = 0
        self.is_cancel_due = False
        self.waiter = Waiter(self)


class Waiter(outcome.Outcome[Any]):
    """One wait of one task: for what, since when, and what it will be given.

    It is what trio hands to the task that waited, which unwraps it. Unlike trio's own outcomes it
    is used again and again; making two of those for each wait took a tenth of all time.

    Attributes:
        why: What it waits for; its text goes into reports.
        since_ns: Virtual time at which it began to wait.
        is_decided: How this wait ends is decided.
        is_given: It ends with something handed over at the instant of the decision.
        is_parked: The task is not runnable.
        is_stale: Cancelled; its event in the heap means nothing any more.
    """

    __slots__ = (
        "error", "is_decided", "is_given", "is_parked", "is_stale", "raise_cancel", "seat",
        "since_ns", "value", "why",
    )  # fmt: skip

    def __init__(self, seat: Seat) -> None:
        self.seat = seat
        self.why: object = "nothing"
        self.since_ns = 0
        self.is_decided = False
        self.is_given = False
        self.is_parked = False
        self.is_stale = False
        self.value: Any = None
        self.error: BaseException | None = None
        self.raise_cancel: Callable[[], Any] | None = None

    # Two waiters are never equal, though two outcomes with the same result are.
    __eq__ = object.__eq__
    __hash__ = object.__hash__  # type: ignore[assignment]  # outcomes have none

    def unwrap(self) -> Any:  # noqa: ANN401 - whatever the waker gives
        """Return what the waker gave, or raise its error."""
        if self.error is not None:
            error, self.error = self.error, None
            raise error
        return self.value

    def send(self, gen: Generator[T, Any, object]) -> T:
        """Send it into a generator."""
        return gen.send(self.unwrap())

    async def asend(self, agen: AsyncGenerator[T, Any]) -> T:
        """Send it into an asynchronous generator."""
        return await agen.asend(self.unwrap())

    def fire(self) -> bool:
        """Make the task runnable."""
        seat = self.seat
        assert self.is_parked, f"{seat.name} is woken and does not wait"
        self.is_parked = False
        seat.nr_wakes += 1
        seat.clock.running = seat
        if seat.is_cancel_due:  # it is to see that at its next wait, not to sleep on in line
            seat.is_cancel_due = False
            seat.clock.leave_line()
        reschedule(seat.task, self)
        return True

    def abort(self, raise_cancel: Callable[[], Any]) -> trio.lowlevel.Abort:
        """Take note of a cancellation, for the clock to deliver; called by trio.

        Who has been given something takes that first, unless the run is over, and is cancelled
        at its next wait.
        """
        clock = self.seat.clock
        if self.is_decided and self.is_given and not clock.is_halted:
            self.seat.is_cancel_due = True
            clock.leave_line()
            return trio.lowlevel.Abort.FAILED
        if self.is_decided:
            self.is_stale = True
            clock.note_stale()
        self.is_decided = True
        self.raise_cancel = raise_cancel
        clock.note_cancelled(self)
        return trio.lowlevel.Abort.FAILED

    def abandon(self) -> None:
        """Give the seat a new waiter: no task waits with this one, whatever is on its way to it."""
        if self.is_decided:
            self.is_stale = True
            self.seat.clock.note_stale()
        self.is_decided = True
        self.seat.waiter = Waiter(self.seat)

    def cancel(self) -> None:
        """Make the task runnable with its cancellation, and give it a new waiter."""
        seat = self.seat
        assert self.raise_cancel is not None
        self.is_parked = False
        seat.waiter = Waiter(seat)
        seat.clock.running = seat
        trio.lowlevel.reschedule(seat.task, outcome.capture(self.raise_cancel))


def forget(queue: MutableSequence[T], item: T) -> bool:
    """Take an item out of a queue, of a wait that was cancelled; return whether it was there."""
    try:
        queue.remove(item)
    except ValueError:
        return False
    return True
