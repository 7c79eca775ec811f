"""Cancellation in virtual time: a part of a task that can be called off, now or at a time.

    with engine.move_on_after(NS_PER_MS) as scope:
        answer = await ref.ask(question)
    if scope.cancelled_caught:
        ...                             # no answer within a millisecond

What trio's cancel scopes are, except that the clock knows of it: a timeout is an event like any
other, and simultaneous ones fire in the order they were set.

Interface: `VirtualScope`, made by `Engine.move_on_after`. Units: ns.
"""

from types import TracebackType
from typing import Self

import trio

from kernelsim.sim.clock import VirtualClock


class VirtualScope:
    """A scope that can be cancelled, once, for the block of one `with`.

    Args:
        clock: Of the run.
        ns: Cancel it after so long, >= 0; None for never.

    Attributes:
        cancel_called: It was cancelled, or its time was up.
        is_stale: The block is done; its timeout means nothing any more.
    """

    __slots__ = ("_clock", "_ns", "_scope", "cancel_called", "is_stale")

    def __init__(self, clock: VirtualClock, ns: int | None = None) -> None:
        self._clock = clock
        self._ns = ns
        self._scope = trio.CancelScope()
        self.cancel_called = False
        self.is_stale = False

    @property
    def cancelled_caught(self) -> bool:
        """Whether the block ended because it was cancelled."""
        return self._scope.cancelled_caught

    def cancel(self) -> None:
        """Cancel what the block waits for, or will wait for."""
        self.cancel_called = True
        self._clock.leave_line()
        self._scope.cancel()

    def fire(self) -> bool:
        """Cancel it because its time is up; called by the clock."""
        self.is_stale = True
        self.cancel()
        return False

    def __enter__(self) -> Self:
        clock = self._clock
        horizon_ns = clock.horizon_ns
        self._scope.__enter__()
        if not self.cancel_called:  # trio looked at the time, and set no timeout of its own
            clock.horizon_ns = horizon_ns
        if self._ns is not None:
            clock.push(clock.now_ns + self._ns, self)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:
        if self._ns is not None and not self.is_stale:
            self.is_stale = True
            self._clock.note_stale()
        return self._scope.__exit__(kind, error, traceback)
