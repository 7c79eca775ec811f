"""Actors: a trio task with a mailbox, reached through a reference.

    class Counter(Actor):
        def receive(self, message):         # or `async def`, if serving takes waiting
            return message + 1

    ref = engine.spawn(Counter("counter"))
    ref.tell(3)                             # no answer
    four = await ref.ask(3)                 # the answer, or the exception

Who gets an exception: one raised while serving an *ask* goes to the asker, and the actor goes on
with its next message. One raised while serving a *tell*, or in `run`, `on_start` or `on_stop`,
crashes the actor. A crash ends the whole run with `ActorCrashedError`, unless the actor was
spawned with `may_crash=True`: then only that actor ends, and the others go on undisturbed.

Messages left when an actor ends, by `stop`, `kill` or a crash: asks get `ActorEndedError`, tells
are dropped and logged as `ks_message_dropped`. `ask` and `tell` to an actor that has ended raise
`ActorEndedError`; so does an ask whose answer the actor put off and never gave.

In line: when the receiver is idle, its `receive` is a plain `def` and nothing else is due at this
instant, then serving the message is what would happen next anyway. `ask` does it at once, without
a switch. The order of events is the same; `Engine(inline=False)` shows it. See also serving.py.

Interface: subclass `Actor`; `Engine.spawn` gives the `ActorRef`. Units: ns.
"""

import inspect
from typing import TYPE_CHECKING, Any, ClassVar, Final, NamedTuple

import trio

from kernelsim.errors import SimulationError
from kernelsim.sim.channel import Channel
from kernelsim.sim.reply import Reply
from kernelsim.sim.scope import VirtualScope
from kernelsim.sim.serving import MessageWaiter, serve_in_asker
from kernelsim.sim.wait import Seat, Waiter, forget

if TYPE_CHECKING:
    from kernelsim.sim.engine import Engine


class ActorEndedError(SimulationError):
    """The actor that was asked has ended, or ended before it answered."""


class Deferred:
    """What `receive` returns when the answer comes later: see `Actor.defer`."""


class Stop:
    """The message that ends an actor; `ActorRef.stop` sends it, `Actor.run` obeys it."""


DEFERRED: Final = Deferred()
STOP: Final = Stop()
REFUSALS: Final = (trio.BrokenResourceError, trio.WouldBlock)  # of a mailbox


class At(NamedTuple):
    """What `receive` returns when the answer arrives at a known later time.

    Attributes:
        ns: Virtual time of the arrival, not before now.
        value: The answer.
    """

    ns: int
    value: Any


class Actor:
    """Base of all actors. Subclasses write `receive`, or `run` if they act of their own accord.

    Args:
        name: Unique among the living actors of the run; the name in logs.

    Attributes:
        engine: Set at spawn.
        ref: The handle others get; set at spawn.
        mailbox: Messages that wait, each with the wait of its asker if it was asked.
        promises: The waits of all askers that are to get an answer, in the order they asked.
        is_serving: It has taken a message from its mailbox, and waits before it is done with it.
    """

    serves_inline: ClassVar[bool] = False  # receive is a plain def, and run and serve are ours
    receives_async: ClassVar[bool] = False
    serves_in_asker: ClassVar[bool] = False  # it works in the time of who asks, who never gives up

    def __init__(self, name: str) -> None:
        self.name = name
        self.engine: Engine
        self.ref: ActorRef
        self.mailbox: Channel[tuple[Any, Waiter | None]]
        self.seat: Seat
        self.scope: VirtualScope
        self.joiners: list[Waiter] = []
        self.promises: dict[Waiter, None] = {}
        self.is_serving = False
        self._asker: Waiter | None = None  # of the message being served
        self._put_off: Reply | None = None  # the way back to it, once `defer` was called

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        cls.receives_async = inspect.iscoroutinefunction(cls.receive)
        is_ours = cls.run is Actor.run and cls.serve is Actor.serve
        cls.serves_inline = is_ours and not cls.receives_async

    def receive(self, message: Any) -> Any:  # noqa: ANN401 - any message, any answer
        """Serve one message; the result is the answer to an ask. May be an `async def`."""
        raise TypeError(f"{self.name} does not understand {message!r}")

    async def on_start(self) -> None:
        """Run first in the actor's task."""

    async def on_stop(self) -> None:
        """Run last in the actor's task, unless it crashed or was cancelled."""

    async def run(self) -> None:
        """Serve messages until stopped. Actors with a life of their own write this instead."""
        if not self.serves_inline:
            await self._serve_all()
            return
        self.seat.waiter = MessageWaiter(self)
        try:
            await self._serve_all()
        finally:
            self.seat.waiter = Waiter(self.seat)

    async def _serve_all(self) -> None:
        clock, mailbox = self.engine.clock, self.mailbox
        receives_async = self.receives_async
        while True:
            if mailbox.arrived:
                message, asker = mailbox.receive_nowait()
            else:  # what `receive` does, without a coroutine that takes part in each switch
                message, asker = await clock.wait(mailbox.open_receive())
            if message is STOP:
                return
            if receives_async:
                await self.serve_async(message, asker)
            else:
                self.serve(message, asker)

    def is_to_stop(self, value: tuple[Any, Waiter | None]) -> bool:
        """Tell whether what came to the mailbox ends the actor."""
        return value[0] is STOP

    def serve(self, message: Any, asker: Waiter | None) -> None:  # noqa: ANN401
        """Serve one message from the mailbox and answer it, if it was asked."""
        self._asker = asker
        try:
            result = self.receive(message)
        except Exception as error:
            if not self._refuse(message, asker, error):
                raise
        else:
            if asker is not None and result is not DEFERRED:
                self._answer(asker, result)
        finally:
            self._asker = self._put_off = None

    async def serve_async(self, message: Any, asker: Waiter | None) -> None:  # noqa: ANN401
        """Serve one message as `serve` does, with a `receive` that waits."""
        self._asker = asker
        self.is_serving = True
        try:
            result = await self.receive(message)
        except Exception as error:
            if not self._refuse(message, asker, error):
                raise
        else:
            if asker is not None and result is not DEFERRED:
                self._answer(asker, result)
        finally:
            self._asker = self._put_off = None
            self.is_serving = False

    def settle(
        self, asker: Waiter, at_ns: int | None, value: object, error: BaseException | None = None
    ) -> None:
        """Keep a promise: give the asker the answer or an exception, now or at a later time."""
        self.promises.pop(asker, None)
        clock = asker.seat.clock
        clock.wake(asker, clock.now_ns if at_ns is None else at_ns, value, error)

    def _answer(self, asker: Waiter, result: Any) -> None:  # noqa: ANN401
        at_ns = None
        if result.__class__ is At:
            at_ns, result = result
        if self._put_off is None:
            self.settle(asker, at_ns, result)
        else:
            self._put_off.send(result, at_ns)

    def _refuse(self, message: Any, asker: Waiter | None, error: Exception) -> bool:  # noqa: ANN401
        put_off = self._put_off
        if asker is None or (put_off is not None and put_off.is_answered):
            return False
        error.add_note(self.told(message))
        if put_off is None:
            self.settle(asker, None, None, error)
        else:
            put_off.fail(error)
        return True

    @property
    def is_told(self) -> bool:
        """Whether nobody waits for an answer to the message being served."""
        return self._asker is None

    def defer(self) -> Reply:
        """Put off the answer to the message being served; `receive` returns DEFERRED then.

        Keep the `Reply` and `send` to it later.
        """
        if self._put_off is None:
            assert self._asker is not None, f"{self.name} was told, not asked: nobody waits"
            self._put_off = Reply(self, self._asker)
        return self._put_off

    def serve_inline(self, message: Any, asker: Waiter) -> Any:  # noqa: ANN401
        """Serve an ask in the asker's task; called by `ActorRef.ask` only.

        It takes the numbers of two events: the message that arrives, and the answer.

        Returns:
            The answer, or DEFERRED: the asker has to wait for it, as something else comes first.
        """
        clock = asker.seat.clock
        clock.number += 1
        mailbox = self.mailbox
        mailbox.nr_sent += 1
        mailbox.nr_received += 1
        self._asker = asker
        clock.running = self.seat
        try:
            result = self.receive(message)
        except Exception as error:
            error.add_note(self.told(message))
            if self._put_off is not None:
                if self._put_off.is_answered:
                    raise
                self._put_off.fail(error)
            else:
                clock.wake(asker, clock.now_ns, error=error)
            result = DEFERRED
        finally:
            self._asker = None
            put_off, self._put_off = self._put_off, None
            clock.running = asker.seat
        if result.__class__ is At:
            at_ns, result = result
        elif result is DEFERRED:
            if put_off is None and not asker.is_decided:
                self.promises[asker] = None
            return DEFERRED
        else:
            at_ns = clock.now_ns
        assert put_off is None, f"{self.name} put its answer off and gave it"
        if clock.now_ns <= at_ns < clock.horizon_ns:
            clock.now_ns = at_ns
            clock.number += 1
            return result
        clock.wake(asker, at_ns, result)
        return DEFERRED

    def told(self, message: object) -> str:
        """Say where an exception comes from."""
        return f"raised while {self.name} served {message!r} at {self.engine.now_ns} ns"

    def log(self, event: str, **fields: object) -> None:
        """Log an event of this actor at the present virtual time."""
        sink = self.engine.sink
        if sink is not None and sink.wants(self.name, event):
            sink.emit(self.engine.clock.now_ns, self.name, event, fields)

    def progress(self) -> None:
        """Tell a livelock watch that something useful was done."""
        self.engine.note_progress(self.name)


class ActorRef:
    """The handle others hold: tell, ask, stop, kill, join."""

    __slots__ = ("_actor", "_clock", "_why_join", "name", "why_ask")

    def __init__(self, actor: Actor) -> None:
        self._actor: Actor | None = actor
        self._clock = actor.engine.clock
        self.why_ask = ("answer of", actor.name)
        self._why_join = ("end of", actor.name)
        self.name = actor.name

    @property
    def has_ended(self) -> bool:
        """Whether the actor has ended, for whatever reason."""
        return self._actor is None or self._actor.mailbox.is_receiver_closed

    def let_go(self) -> None:
        """Forget the actor, which has ended, so that a handle does not keep all it knew."""
        self._actor = None

    def tell(self, message: object) -> None:
        """Send a message that wants no answer.

        Raises:
            ActorEndedError: The actor has ended.
            SimulationError: Its mailbox is full, which is a bug of the senders.
        """
        if self._actor is None:
            raise self._refusal(None, "told")
        try:
            self._actor.mailbox.send_nowait((message, None))
        except REFUSALS as error:
            raise self._refusal(error, "told") from None

    async def ask(self, message: object, *, at_once: bool = False) -> Any:  # noqa: ANN401
        """Send a message and wait for the answer.

        `at_once` is for what compiled code has sent and counted as an event: an actor that waits
        hears it in the event that is being done.

        Raises:
            ActorEndedError: The actor has ended, or ends before it answers.
            SimulationError: Its mailbox is full, which is a bug of the senders.
            Exception: Whatever serving the message raised.
        """
        actor, clock = self._actor, self._clock
        if actor is None:
            raise self._refusal(None, "asked")
        waiter = clock.open_wait(self.why_ask)
        if (
            actor.serves_inline
            and clock.now_ns < clock.horizon_ns
            and clock.number + 1 < clock.look_number
            and actor.mailbox.receivers
        ):
            result = actor.serve_inline(message, waiter)
            if result is not DEFERRED:
                return result
        elif (
            actor.serves_in_asker
            and actor.mailbox.receivers
            and (at_once or clock.now_ns < clock.horizon_ns)
            and clock.number + 1 < clock.look_number
        ):
            return await serve_in_asker(actor, message, waiter, at_once=at_once)
        else:
            self.ask_later(message, waiter, at_once=at_once)
        return await clock.wait(waiter)

    def ask_later(self, message: object, asker: Waiter, *, at_once: bool = False) -> None:
        """Send a message whose answer is given to a waiter, for which a task will wait later.

        Raises:
            ActorEndedError: The actor has ended.
            SimulationError: Its mailbox is full, which is a bug of the senders.
        """
        actor = self._actor
        if actor is None:
            raise self._refusal(None, "asked")
        mailbox = actor.mailbox
        # Served in the event of another message it takes a number nevertheless, as any other does.
        self._clock.number += actor.serves_inline and not mailbox.receivers
        send = mailbox.hand_over if at_once and mailbox.receivers else mailbox.send_nowait
        try:
            send((message, asker))
        except REFUSALS as error:
            raise self._refusal(error, "asked") from None
        actor.promises[asker] = None

    def stop(self) -> None:
        """End the actor after the messages it already has; nothing happens if it has ended."""
        if not self.has_ended:
            self.tell(STOP)

    def kill(self) -> None:
        """End the actor at once: what it waits for is cancelled. Its `finally` blocks run."""
        if self._actor is not None and not self.has_ended:
            self._actor.scope.cancel()

    async def join(self) -> None:
        """Wait until the actor has ended, for whatever reason."""
        actor, clock = self._actor, self._clock
        if actor is not None and not self.has_ended:
            waiter = clock.open_wait(self._why_join)
            actor.joiners.append(waiter)
            try:
                await clock.wait(waiter)
            except BaseException:
                forget(actor.joiners, waiter)
                raise

    def _refusal(self, error: Exception | None, verb: str) -> SimulationError:
        sender = self._clock.running.name
        if isinstance(error, trio.WouldBlock):
            return SimulationError(f"{sender} {verb} {self.name}, whose mailbox is full")
        return ActorEndedError(f"{sender} {verb} {self.name}, which has ended")
