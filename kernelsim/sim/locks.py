"""Where actors meet: a spinlock, a FIFO server, a wait queue.

`SpinLock` is held across waits by the task that took it; the others spin, first come first served.
`FifoServer` is the same queue for holds whose length is known when they are asked for: a
reservation, without a switch. Both remember who waited how long on whom. `WaitQueue` is where
tasks sleep until told, and it remembers a wake-up that found no task.

Linux: spinlock_t (queued spinlocks are first come first served), wait_queue_head_t.
Interface: made by `Engine.spinlock`, `server`, `wait_queue`. Units: ns.
"""

from collections import deque
from types import TracebackType

import attrs

from kernelsim.sim.clock import VirtualClock
from kernelsim.sim.wait import Waiter, forget


@attrs.define
class WaitAccount:
    """How long users of the locks, or servers, of one name waited.

    Attributes:
        nr_holds: Times it was taken.
        nr_waits: Times a task had to wait, also in vain.
        hold_ns: Time it was held in all.
        wait_ns: Time spent waiting in all; the sum of `by_pair`.
        wait_ns_max: Longest single wait.
        give_back_ns: Part of `wait_ns` of those that wanted to give something back.
        by_pair: Waiting time by (who waited, who held it meanwhile).
    """

    nr_holds: int = 0
    nr_waits: int = 0
    hold_ns: int = 0
    wait_ns: int = 0
    wait_ns_max: int = 0
    give_back_ns: int = 0
    by_pair: dict[tuple[str, str], int] = attrs.field(factory=dict)

    def add_wait(self, wait_ns: int) -> None:
        """Record that a task waited for so long in all."""
        self.nr_waits += 1
        self.wait_ns += wait_ns
        self.wait_ns_max = max(self.wait_ns_max, wait_ns)

    def blame(self, waiter: str, holder: str, wait_ns: int) -> None:
        """Record that `waiter` waited while `holder` held it."""
        if wait_ns:
            pair = (waiter, holder)
            self.by_pair[pair] = self.by_pair.get(pair, 0) + wait_ns


class FifoServer:
    """Serves one request after another, in the order they come.

    Args:
        clock: Of the run.
        name: For reports.
        account: Where waits are recorded.

    Attributes:
        free_ns: When it is free for the next request.
    """

    def __init__(self, clock: VirtualClock, name: str, account: WaitAccount | None = None) -> None:
        self.name = name
        self.account = WaitAccount() if account is None else account
        self.free_ns = 0
        self._clock = clock
        self._holds: deque[tuple[int, int, str]] = deque()  # (begin, end, user), the latest ones

    def reserve(self, hold_ns: int, user: str) -> tuple[int, int]:
        """Queue behind all earlier requests; return (begin, end) of the service in virtual time.

        The caller is served from `begin` to `end` and must not go on before `end`.
        """
        now_ns = self._clock.now_ns
        free_ns = self.free_ns
        begin_ns = max(now_ns, free_ns)
        self.free_ns = begin_ns + hold_ns
        self.record(now_ns, begin_ns, hold_ns, user)
        return begin_ns, begin_ns + hold_ns

    def record(self, asked_ns: int, begin_ns: int, hold_ns: int, user: str) -> None:
        """Enter a service in the account: asked for, begun, how long. In the order they begin."""
        if hold_ns < 0:
            raise ValueError(f"hold_ns(={hold_ns}) of {self.name} must be >= 0")
        account, holds = self.account, self._holds
        account.nr_holds += 1
        account.hold_ns += hold_ns
        if begin_ns == asked_ns:
            holds.clear()
        else:
            account.add_wait(begin_ns - asked_ns)
            while holds and holds[0][1] <= asked_ns:
                holds.popleft()
            for other_begin_ns, other_end_ns, holder in holds:
                account.blame(user, holder, other_end_ns - max(other_begin_ns, asked_ns))
        if hold_ns:
            holds.append((begin_ns, begin_ns + hold_ns, user))

    @property
    def last_user(self) -> str:
        """Who was served last of those entered so far; empty before the first."""
        return self._holds[-1][2] if self._holds else ""

    def record_free(self, nr_holds: int, hold_ns: int) -> None:
        """Enter services in the account that nobody waited for; another one of these follows."""
        self.account.nr_holds += nr_holds
        self.account.hold_ns += hold_ns

    async def serve(self, hold_ns: int) -> int:
        """Be served: wait for the turn and for its end; return how long the wait was, in ns."""
        clock = self._clock
        now_ns = clock.now_ns
        begin_ns, end_ns = self.reserve(hold_ns, clock.running.name)
        await clock.sleep(end_ns - now_ns)
        return begin_ns - now_ns


class SpinLock:
    """A lock whose waiters spin, first come first served.

    Args:
        clock: Of the run.
        name: As /proc/lock_stat would print it, for example "zone->lock".
        account: Where waits are recorded.

    Attributes:
        holder: Name of the actor that holds it.
    """

    def __init__(self, clock: VirtualClock, name: str, account: WaitAccount | None = None) -> None:
        self.name = name
        self.account = WaitAccount() if account is None else account
        self.holder: str | None = None
        self._clock = clock
        self._why = _HeldLock(self)
        self._since_ns = 0  # the holder holds it
        self._spinners: deque[tuple[Waiter, str, int]] = deque()  # and since when

    async def acquire(self) -> int:
        """Take the lock; return how long this task spun, in ns.

        Raises:
            RuntimeError: The task holds it already.
        """
        clock = self._clock
        name = clock.running.name
        if self.holder is None:
            self._grant(name)
            return 0
        if self.holder == name:
            raise RuntimeError(f"{name} takes {self.name} twice")
        began_ns = clock.now_ns
        waiter = clock.open_wait(self._why)
        self._spinners.append((waiter, name, began_ns))
        try:
            await clock.wait(waiter)
        except BaseException:
            self._give_up(waiter, name, began_ns)
            raise
        return clock.now_ns - began_ns

    def release(self) -> None:
        """Give the lock to the next spinner, if any. Only its holder may."""
        name = self._clock.running.name
        if self.holder != name:
            raise RuntimeError(f"{name} releases {self.name}, which {self.holder} holds")
        now_ns = self._clock.now_ns
        self.account.hold_ns += now_ns - self._since_ns
        if self._spinners:
            for _, spinner, began_ns in self._spinners:
                self.account.blame(spinner, name, now_ns - max(began_ns, self._since_ns))
        self.holder = None
        while self._spinners:
            waiter, spinner, began_ns = self._spinners.popleft()
            if self._clock.wake(waiter, now_ns):
                self.account.add_wait(now_ns - began_ns)
                self._grant(spinner)
                return

    def held(self) -> "HeldSection":
        """Hold the lock inside an `async with`; gives how long the task spun, in ns."""
        return HeldSection(self)

    def _grant(self, name: str) -> None:
        self.account.nr_holds += 1
        self.holder = name
        self._since_ns = self._clock.now_ns

    def _give_up(self, waiter: Waiter, name: str, began_ns: int) -> None:
        """Leave the queue of spinners; at the end of the run it may be the lock itself."""
        if self.holder == name:
            self.release()
            return
        now_ns = self._clock.now_ns
        if forget(self._spinners, (waiter, name, began_ns)):  # else a release did, and blamed
            holder = str(self.holder)
            self.account.blame(name, holder, now_ns - max(began_ns, self._since_ns))
        self.account.add_wait(now_ns - began_ns)


class HeldSection:
    """The `async with` of one hold of a spinlock."""

    __slots__ = ("_lock",)

    def __init__(self, lock: SpinLock) -> None:
        self._lock = lock

    async def __aenter__(self) -> int:
        return await self._lock.acquire()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._lock.release()


@attrs.frozen
class _HeldLock:
    lock: SpinLock

    def __str__(self) -> str:
        return f"spinlock {self.lock.name} held by {self.lock.holder}"


class WaitQueue:
    """Tasks that sleep until told. A wake-up that finds no task is lost, and remembered.

    Args:
        clock: Of the run.
        name: For reports, for example "kswapd_wait".
        waker: The actor that has to wake the tasks that sleep here; None for no particular one.
        is_for_work: Who sleeps here has nothing to do, as one that waits for its next message. It
            looks for work before it sleeps, so that a wake-up that finds nobody is not lost.

    Attributes:
        unheard_ns: Time of a wake-up that found no task, if none was heard since.
    """

    def __init__(
        self,
        clock: VirtualClock,
        name: str,
        waker: str | None = None,
        *,
        is_for_work: bool = False,
    ) -> None:
        self.name = name
        self.waker = waker
        self.is_for_work = is_for_work
        self.unheard_ns: int | None = None
        self._clock = clock
        self._why = _SleepOn(self)
        self._sleepers: deque[Waiter] = deque()

    @property
    def nr_waiting(self) -> int:
        """How many tasks sleep here."""
        return sum(not waiter.is_decided for waiter in self._sleepers)

    async def wait(self) -> None:
        """Sleep until woken. Check the condition first, and again afterwards."""
        waiter = self._clock.open_wait(self._why)
        self._sleepers.append(waiter)
        try:
            await self._clock.wait(waiter)
        except BaseException:
            forget(self._sleepers, waiter)
            raise

    def wake(self, nr_tasks: int = 1) -> int:
        """Wake the first sleepers; return how many there were."""
        woken = 0
        while self._sleepers and woken < nr_tasks:
            woken += self._clock.wake(self._sleepers.popleft(), self._clock.now_ns)
        self.unheard_ns = None if woken or self.is_for_work else self._clock.now_ns
        return woken

    def wake_all(self) -> int:
        """Wake every sleeper; return how many there were."""
        return self.wake(max(1, len(self._sleepers)))


@attrs.frozen
class _SleepOn:
    queue: WaitQueue

    def __str__(self) -> str:
        text = f"wait queue {self.queue.name}"
        if self.queue.unheard_ns is not None:
            text += f" (lost wake-up: woken at {self.queue.unheard_ns} ns, when nobody waited)"
        return text
