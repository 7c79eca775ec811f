"""Locks and pipes that actors and bursts queue at alike.

When one is free stands in the burst's arrays, so that both see every hold.

A lock guards what it guards: work under a `NodeLock` is done when the lock is granted, not when it
is asked for. What need not wait is done at once; what must wait is done at its turn, and until then
others see the lists as they were. How long the lock is held follows from the work, and may be
known only when that is done.
Interface: `SharedServer` is a `FifoServer`; `NodeLock.serve` gives what `receive` returns.
Units: ns.
"""

from collections import deque
from collections.abc import Callable
from typing import Any

from kernelsim.actors.parts.observer import Observer
from kernelsim.actors.tracing import Named, trace
from kernelsim.mm.burst.columns import Burst
from kernelsim.sim.actor import DEFERRED, At
from kernelsim.sim.clock import VirtualClock
from kernelsim.sim.locks import FifoServer, WaitAccount
from kernelsim.sim.reply import Reply
from kernelsim.trace.ks import ks_lock_wait

Work = Callable[[], tuple[Any, int]]
"""Does what is to be done under a lock; returns the answer and how long the lock is held, ns."""


class SharedServer(FifoServer):
    """A first come, first served server of a machine's burst.

    Args:
        clock: Of the run.
        name: For reports.
        account: Where waits are recorded.
        burst: Whose array holds when it is free.
        index: Its number there.
    """

    def __init__(
        self, clock: VirtualClock, name: str, account: WaitAccount, burst: Burst, index: int
    ) -> None:
        self._free_ns = burst.free_ns
        self.index = index
        in_use_until_ns = self.free_ns  # a link is made when a burst has used it already
        super().__init__(clock, name, account)
        self.free_ns = in_use_until_ns

    @property
    def free_ns(self) -> int:
        """When it is free for the next request."""
        return int(self._free_ns[self.index])

    @free_ns.setter
    def free_ns(self, at_ns: int) -> None:
        self._free_ns[self.index] = at_ns


class NodeLock:
    """A spinlock of a node; its waiters spin in the order they came.

    Args:
        owner: In whose name waits are logged.
        clock: Of the run.
        server: When it is free, and its account.
        burst: Told how many actors wait, which a burst must not overtake.

    Attributes:
        enter_holds: Enters in the account what compiled code has held before now.
    """

    def __init__(
        self, owner: Named, clock: VirtualClock, server: SharedServer, burst: Burst
    ) -> None:
        self.server = server
        self.observer = Observer()
        self.enter_holds: Callable[[], None] = lambda: None
        self._owner = owner
        self._clock = clock
        self._queued = burst.queued
        self._waiting: deque[tuple[Work, str, int, bool, Reply | None]] = deque()

    @property
    def name(self) -> str:
        """As in logs and reports."""
        return self.server.name

    @property
    def account(self) -> WaitAccount:
        """How long it was held and waited for, by each user."""
        self.enter_holds()
        return self.server.account

    @property
    def free_ns(self) -> int:
        """When it is free for the next request."""
        return self.server.free_ns

    def serve(
        self, work: Work, user: str, defer: Callable[[], Reply | None], *, frees: bool = False
    ) -> Any:  # noqa: ANN401
        """Do some work when the lock is granted; what `receive` returns for it.

        Args:
            work: What to do.
            user: Name of the task that asks, for the account.
            defer: Puts the answer off, and gives the way back; None when no answer is wanted.
            frees: It gives pages back.
        """
        now_ns = self._clock.now_ns
        if not self._waiting and self.server.free_ns <= now_ns:
            result, hold_ns = self._do(work)
            self.hold(now_ns, hold_ns, user)
            return At(now_ns + hold_ns, result)
        self._waiting.append((work, user, now_ns, frees, defer()))
        self._queued[self.server.index] = len(self._waiting)
        if len(self._waiting) == 1:
            self._clock.schedule(self.server.free_ns, self._grant, None)
        return DEFERRED

    def hold(self, asked_ns: int, hold_ns: int, user: str) -> None:
        """Hold the lock from now on."""
        now_ns = self._clock.now_ns
        self.enter_holds()
        self.server.free_ns = now_ns + hold_ns
        self.note(asked_ns, now_ns, hold_ns, user)

    def note(self, asked_ns: int, begin_ns: int, hold_ns: int, user: str) -> None:
        """Enter a hold in the account, and its wait in the log."""
        holder = self.server.last_user
        self.server.record(asked_ns, begin_ns, hold_ns, user)
        if begin_ns > asked_ns:
            point = ks_lock_wait(self.name, user, begin_ns - asked_ns, hold_ns, holder)
            trace(self._owner, point, at_ns=begin_ns)

    def _do(self, work: Work) -> tuple[Any, int]:
        self.observer.locks(self.server.index)
        done = work()
        self.observer.unlocks(self.server.index)
        return done

    def _grant(self, _argument: None) -> None:
        work, user, asked_ns, frees, reply = self._waiting.popleft()
        if frees:
            self.account.give_back_ns += self._clock.now_ns - asked_ns
        self._queued[self.server.index] = len(self._waiting)
        result, hold_ns = self._do(work)
        self.hold(asked_ns, hold_ns, user)
        if reply is not None:
            reply.send(result, self.server.free_ns)
        if self._waiting:
            self._clock.schedule(self.server.free_ns, self._grant, None)
