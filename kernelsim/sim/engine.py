"""The engine: starts actors, owns the clock and the seeds, ends the run and says why.

    engine = Engine(seed=1)
    result = engine.run(main)               # main: async function of the engine

A run ends when `main` returns, at `until_ns`, after `max_events`, when `stop` is called, on Ctrl-C,
when an actor crashes, when no task can move (deadlock) or none gets anywhere (livelock). In every
case all tasks are cancelled in the order of their creation, the sink is flushed, and `engine.ended`
says what happened; the last five raise an error whose text is the report.

A run is closed: tasks are started with `spawn`, and none may wait for anything outside (files,
threads, sockets); such a wait looks like a deadlock, because virtual time has nothing to wait for.
trio's own timeouts work in virtual time if they are set before the block begins.

Interface: `Engine`. Units: ns.
"""

from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar

import attrs
import trio

from kernelsim.errors import (
    ActorCrashedError,
    CheckFailedError,
    EventLimitError,
    InvariantViolation,
    OutcomeError,
    UserError,
    WorkloadError,
)
from kernelsim.sim.actor import Actor, ActorEndedError, ActorRef
from kernelsim.sim.channel import Channel, VirtualReceiveChannel, VirtualSendChannel, open_channel
from kernelsim.sim.clock import EVENTS_PER_INSTANT_MAX, VirtualClock
from kernelsim.sim.ending import Closing, Ended, described, without_cancelled
from kernelsim.sim.event import FOREVER_NS
from kernelsim.sim.forgotten import forgotten_awaits
from kernelsim.sim.locks import FifoServer, SpinLock, WaitAccount, WaitQueue
from kernelsim.sim.reports import (
    MAIN,
    Report,
    deadlock_report,
    foreign_wait,
    livelock_report,
    runaway,
)
from kernelsim.sim.rng import Rng
from kernelsim.sim.scope import VirtualScope
from kernelsim.sim.signals import Interrupted, interruptible, keep_for_ever
from kernelsim.sim.sink import Sink
from kernelsim.sim.wait import Seat
from kernelsim.sim.watch import Watches

T = TypeVar("T")

MAILBOX_CAPACITY: Final = 1 << 16  # messages; more waiting than that is a bug of the sender


class Engine:
    """One run.

    Args:
        seed: What `rng` gives comes from it.
        schedule_seed: Permutes simultaneous events; None keeps them in the order of scheduling.
        until_ns: The run ends when virtual time would pass this; None for no end.
        max_events: The run ends with `EventLimitError` after so many events; None for no limit.
        sink: Where events are logged; None for nowhere.
        inline: Whether sleeps and asks may do without a switch. Changes speed, never order.
        max_events_per_instant: More events at one time are called a livelock.

    Attributes:
        clock: Of this run; its `schedule` calls a function at a time.
        sleep: `await engine.sleep(ns)` lets virtual time pass.
        ended: How the run ended; None before.
        actors: The living ones by name.
        enter_accounts: Enters what is kept elsewhere and not in an account yet.
        nr_dropped: Told messages that reached no actor.
    """

    def __init__(
        self,
        *,
        seed: int = 1,
        schedule_seed: int | None = None,
        until_ns: int | None = None,
        max_events: int | None = None,
        sink: Sink | None = None,
        inline: bool = True,
        max_events_per_instant: int = EVENTS_PER_INSTANT_MAX,
    ) -> None:
        self.seed = seed
        self.schedule_seed = schedule_seed
        self.sink = sink
        self.clock = VirtualClock(schedule_seed=schedule_seed, inline=inline)
        self.clock.on_halt = self._on_halt
        self.clock.on_crash = self._end_crashed
        self.clock.set_limits(
            limit_ns=FOREVER_NS if until_ns is None else until_ns,
            number_max=FOREVER_NS if max_events is None else max_events,
            instant_max=max_events_per_instant,
        )
        self.sleep = self.clock.sleep
        self.ended: Ended | None = None
        self.actors: dict[str, Actor] = {}
        self.enter_accounts: Callable[[], None] = lambda: None
        self._accounts: dict[str, WaitAccount] = {}
        self.nr_dropped = 0
        self._rngs: dict[str, Rng] = {}
        self._watches = Watches()
        self._nr_seats = 0
        self._nursery: trio.Nursery | None = None
        self._closing = Closing(self.clock)
        self.is_stuck = self._closing.is_stuck

    @property
    def now_ns(self) -> int:
        """The virtual time."""
        return self.clock.now_ns

    @property
    def running_name(self) -> str:
        """Name of the actor that runs, "main" or, in a scheduled callback, "engine"."""
        return self.clock.running.name

    def run(self, main: Callable[["Engine"], Awaitable[T]]) -> T | None:
        """Run until `main` returns, or something else ends the run.

        Returns:
            What `main` returned; None if the run ended before, see `ended`.

        Raises:
            SimulationError: Deadlock, livelock, crash of an actor, too many events.
            KeyboardInterrupt: Ctrl-C, SIGTERM or SIGHUP, see signals.py.
            Exception: Whatever `main` raised.
        """
        assert self._nursery is None, "an engine runs once"
        results: list[T] = []
        try:
            with interruptible(self), forgotten_awaits(self._end_mistaken):
                trio.run(self._run_root, main, results, clock=self.clock)
        except* Interrupted:
            self.interrupt()
        except* trio.TrioInternalError:  # broken off in the middle of trio's own work
            if self._closing.runaway is not None:
                self._give_up(self._closing.runaway)
            elif self.ended is None or self.ended.state != "interrupted":
                raise
        finally:
            if self.sink is not None:
                self.sink.flush()
        assert self.ended is not None
        if self.ended.error is not None:
            raise self.ended.error
        return results[0] if results else None

    def spawn(self, actor: Actor, *, may_crash: bool = False) -> ActorRef:
        """Start an actor; it begins to run at this instant, after what is due before it.

        Args:
            actor: Not yet spawned; no living actor has its name.
            may_crash: A crash ends this actor only, and is logged, instead of the run.
        """
        if actor.name in self.actors:
            raise ValueError(f"there is an actor named {actor.name} already")
        actor.engine = self
        actor.ref = ActorRef(actor)
        actor.mailbox = Channel(self.clock, MAILBOX_CAPACITY, 0, actor.name)
        actor.scope = VirtualScope(self.clock)
        actor.seat = self._start(actor.name, self._live, actor, may_crash)
        self.actors[actor.name] = actor
        return actor.ref

    def stop(self, detail: str = "stopped", *, state: str = "stopped") -> None:
        """End the run as soon as the running task waits; also from another thread or a signal."""
        self._end(state, detail)

    def interrupt(self) -> None:
        """End the run as Ctrl-C does: `run` raises KeyboardInterrupt."""
        self._end("interrupted", "interrupted from the keyboard", Interrupted())

    def rng(self, name: str) -> Rng:
        """Return the stream of that name; the same object each time."""
        if name not in self._rngs:
            self._rngs[name] = Rng(self.seed, name)
        return self._rngs[name]

    def spinlock(self, name: str) -> SpinLock:
        """Return a new spinlock; those of one name share an account."""
        return SpinLock(self.clock, name, self.account(name))

    def server(self, name: str) -> FifoServer:
        """Return a new first come, first served server; those of one name share an account."""
        return FifoServer(self.clock, name, self.account(name))

    def wait_queue(
        self, name: str, *, waker: str | None = None, is_for_work: bool = False
    ) -> WaitQueue:
        """Return a new wait queue; `waker` names the actor that wakes the waiters."""
        return WaitQueue(self.clock, name, waker, is_for_work=is_for_work)

    def channel(
        self, capacity: int, *, latency_ns: int = 0, name: str = "channel"
    ) -> tuple[VirtualSendChannel[Any], VirtualReceiveChannel[Any]]:
        """Return both ends of a new channel."""
        return open_channel(self.clock, capacity, latency_ns=latency_ns, name=name)

    def move_on_after(self, ns: int | None) -> VirtualScope:
        """Return a scope whose block is cancelled if it is not done in time; None for no limit."""
        return VirtualScope(self.clock, ns)

    def watch(self, name: str, limit_ns: int) -> None:
        """Report a livelock if that actor makes no progress for so long.

        Args:
            name: Of an actor; it must call `Actor.progress` when it has done something.
            limit_ns: Virtual time without progress that is too long.
        """
        self._watches.add(name, limit_ns, self.now_ns)
        self._set_watch()

    def unwatch(self, name: str) -> None:
        """Stop watching an actor."""
        if self._watches.remove(name):
            self._set_watch()

    def note_progress(self, name: str) -> None:
        """Record that an actor got something done."""
        self._watches.note(name, self.now_ns)

    def log(self, actor: str, event: str, **fields: object) -> None:
        """Log an event at the present virtual time."""
        if self.sink is not None and self.sink.wants(actor, event):
            self.sink.emit(self.clock.now_ns, actor, event, fields)

    @property
    def accounts(self) -> dict[str, WaitAccount]:
        """Waiting times by name of lock or server, up to now."""
        self.enter_accounts()
        return self._accounts

    def account(self, name: str) -> WaitAccount:
        """Return where the waiting times of the locks and servers of a name are entered."""
        return self._accounts.setdefault(name, WaitAccount())

    async def _run_root(self, main: Callable[["Engine"], Awaitable[T]], results: list[T]) -> None:
        clock = self.clock
        clock.root.task = trio.lowlevel.current_task()
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            self._start(MAIN, self._live_main, main, results)
            clock.running = clock.root
            await clock.wait(clock.open_wait("the end of the run"))
            nursery.cancel_scope.cancel()

    def _start(self, name: str, live: Callable[..., Awaitable[None]], *arguments: object) -> Seat:
        # The task first waits for an event that is scheduled here and now, so that the order of
        # new tasks is that of their creation, not the one trio happens to run them in. It does so
        # itself: a coroutine around it would take part in each of its switches.
        clock = self.clock
        assert self._nursery is not None, f"{name} starts before the run does"
        self._nr_seats += 1
        seat = Seat(clock, name, self._nr_seats)
        waiter = seat.waiter
        waiter.why = "its start"
        waiter.since_ns = clock.now_ns
        waiter.is_decided = True
        clock.push(clock.now_ns, waiter)
        clock.seats[seat] = None
        self._nursery.start_soon(live, seat, *arguments, name=name)
        return seat

    def _take(self, seat: Seat) -> Awaitable[None]:
        seat.task = trio.lowlevel.current_task()
        return self.clock.wait(seat.waiter)

    async def _live_main(
        self, seat: Seat, main: Callable[["Engine"], Awaitable[T]], results: list[T]
    ) -> None:
        try:
            await self._take(seat)
            results.append(await main(self))
        except BaseException as caught:
            error = without_cancelled(caught)
            if error is None:
                raise
            self._end("failed", f"main raised {described(error)}", error)
        else:
            self._end("done")
        finally:
            del self.clock.seats[seat]

    async def _live(self, seat: Seat, actor: Actor, may_crash: bool) -> None:
        try:
            await self._take(seat)
            self.log(actor.name, "ks_actor_start")
            try:
                with actor.scope:
                    await actor.on_start()
                    await actor.run()
                    await actor.on_stop()
                is_killed = actor.scope.cancelled_caught
                self.log(actor.name, "ks_actor_kill" if is_killed else "ks_actor_stop")
            except BaseException as caught:
                error = without_cancelled(caught)
                if error is None:
                    raise
                if not isinstance(error, Interrupted):
                    self._crash(actor, error, may_crash=may_crash)
            finally:
                self._bury(actor)
        finally:
            del self.clock.seats[seat]

    def _crash(self, actor: Actor, error: BaseException, *, may_crash: bool) -> None:
        self.log(actor.name, "ks_actor_crash", error=described(error))
        if not may_crash:
            self._end_crashed(actor.name, error)

    def _end_crashed(self, name: str, error: BaseException) -> None:
        detail = f"{name} crashed at {self.now_ns} ns: {described(error)}"
        if isinstance(error, UserError | OutcomeError | CheckFailedError | InvariantViolation):
            self._end("failed", detail, error)
            return
        crash = ActorCrashedError(detail)
        crash.__cause__ = error
        self._end("crashed", detail, crash)

    def _bury(self, actor: Actor) -> None:
        for message, asker in actor.mailbox.close_receiver():
            if asker is None:
                self.nr_dropped += 1
                self.log(actor.name, "ks_message_dropped", message=type(message).__name__)
        for asker in list(actor.promises):
            error = ActorEndedError(f"{actor.name} ended before it answered")
            actor.settle(asker, None, None, error)
        for joiner in actor.joiners:
            self.clock.wake(joiner, self.now_ns)
        del self.actors[actor.name]
        self.unwatch(actor.name)
        actor.ref.let_go()

    def _end(self, state: str, detail: str = "", error: BaseException | None = None) -> None:
        if self.ended is None:
            self.ended = Ended(state, self.now_ns, detail, error)
            self.clock.halt()

    def _give_up(self, seat: Seat) -> None:
        """Leave the tasks as they stand; to end one that catches its end would never end."""
        keep_for_ever(self)
        assert self.ended is not None
        if self.ended.state != "interrupted":
            mistake = runaway(seat)
            self.ended = attrs.evolve(
                self.ended, state="failed", detail=str(mistake), error=mistake
            )

    def _end_mistaken(self, mistake: WorkloadError) -> None:
        self._end("failed", str(mistake), mistake)

    def _on_halt(self, reason: str) -> bool:
        """Act on what the clock saw; return whether a task became runnable."""
        clock = self.clock
        if self.ended is not None:
            return self._closing.go_on(reason)
        if reason == "limit":
            self._end("until", f"virtual time reached {self.now_ns} ns")
        elif reason == "events":
            detail = f"more than {clock.number_max} events by {self.now_ns} ns"
            self._end("max_events", detail, EventLimitError(detail))
        elif reason == "empty":
            self._end_with("deadlock", deadlock_report(clock))
        elif reason == "instant":
            self._end_with("livelock", livelock_report(clock, {}))
        elif reason == "foreign":
            self._end_mistaken(foreign_wait(clock))
        elif not self._is_stuck():
            return False
        return self._closing.begin()

    def _is_stuck(self) -> bool:
        stuck = self._watches.stuck(self.now_ns)
        if stuck:
            self._end_with("livelock", livelock_report(self.clock, stuck))
        else:
            self._set_watch()
        return bool(stuck)

    def _set_watch(self) -> None:
        if not self.clock.is_halted:
            self.clock.set_watch(self._watches.due_ns())

    def _end_with(self, state: str, report: Report) -> None:
        for wait in report.waits:
            self.log(wait.actor, f"ks_{state}", waits_for=wait.why, since_ns=wait.since_ns)
        self._end(state, report.headline, report.error())
