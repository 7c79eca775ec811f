"""Serving a message without a switch of tasks: in no task at all, or in the task that asks.

A switch goes through trio, and takes longer than most messages take to serve. The order of events,
their times and numbers are those of a switch.

Interface: for `Actor` and `ActorRef`. An actor whose `receive` is a plain `def` waits for messages
with a `MessageWaiter`. One that says `serves_in_asker` is asked by `serve_in_asker` when it is
idle. Units: ns.
"""

from typing import TYPE_CHECKING, Any

from kernelsim.sim.wait import Seat, Waiter

if TYPE_CHECKING:
    from kernelsim.sim.actor import Actor


class MessageWaiter(Waiter):
    """An actor's wait for its next message, which is served where the event fires.

    The actor's task sleeps on. It is woken for all else: a message told when it is to be cancelled,
    its end, and an exception, which is its own.
    """

    __slots__ = ("_actor",)

    def __init__(self, actor: "Actor") -> None:
        super().__init__(actor.seat)
        self._actor = actor

    def fire(self) -> bool:
        """Serve the message, and those that came meanwhile; return whether a task goes on."""
        actor, seat, clock = self._actor, self.seat, self.seat.clock
        if self.error is not None or seat.is_cancel_due or actor.is_to_stop(self.value):
            return super().fire()
        seat.nr_wakes += 1
        clock.running = seat
        nr_seats = len(clock.seats)
        try:
            actor.serve(*self.value)
            while actor.mailbox.arrived:
                self.value = actor.mailbox.receive_nowait()
                if actor.is_to_stop(self.value):
                    return super().fire()
                actor.serve(*self.value)
        except Exception as error:  # noqa: BLE001 - the actor's task raises it
            self.error = error
            return super().fire()
        self.is_parked = False
        actor.mailbox.open_receive()
        self.is_parked = True
        # The task of an actor that was spawned has to begin; those of a run that ended, to end.
        return clock.is_halted or len(clock.seats) != nr_seats


async def serve_in_asker(actor: "Actor", message: object, asker: Waiter, *, at_once: bool) -> Any:  # noqa: ANN401 - any answer
    """Serve an ask of an idle actor in the task of who asks, which would do nothing but wait.

    Meanwhile the actor is busy to all others, and waits under its own name. It does not put its
    answer off. It takes the numbers of two events: the message that arrives, if that is an event of
    its own, and the answer.
    """
    clock, mailbox, own = asker.seat.clock, actor.mailbox, actor.seat.waiter
    clock.number += not at_once
    mailbox.nr_sent += 1
    mailbox.nr_received += 1
    receiver = mailbox.receivers.popleft()
    lent = Seat(clock, actor.name, asker.seat.number)
    lent.task = asker.seat.task
    actor.seat.waiter = lent.waiter
    asker.is_parked = asker.is_decided = True  # it waits, for nobody but itself
    clock.running = lent
    actor.is_serving = True
    result, error = None, None
    try:
        result = await actor.receive(message)
    except Exception as raised:  # noqa: BLE001 - the asker's
        raised.add_note(actor.told(message))
        error = raised
    finally:
        actor.is_serving = False
        actor.seat.nr_wakes += lent.nr_wakes
        clock.running = asker.seat
        asker.is_parked = asker.is_decided = False
        if not receiver.is_decided:  # the actor was not killed meanwhile
            actor.seat.waiter = own
            actor.mailbox.wait_again(receiver)
    if clock.now_ns < clock.horizon_ns and clock.number + 1 < clock.look_number:
        clock.number += 1
        if error is not None:
            raise error
        return result
    clock.wake(asker, clock.now_ns, result, error)
    return await clock.wait(asker)
