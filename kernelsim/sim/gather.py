"""Asking several actors at once: every message is sent before any answer is awaited.

    answers = Gather(engine.clock)
    for ref in refs:
        answers.ask(ref, message)
    await answers.wait()                    # as long as the slowest takes

Interface: `Gather`. The task may do other things before it waits. Units: ns.
"""

from typing import Any

from kernelsim.sim.actor import ActorRef
from kernelsim.sim.clock import VirtualClock
from kernelsim.sim.wait import Waiter


class Gather:
    """The asks of one task whose answers it awaits together.

    Args:
        clock: Of the run.
    """

    def __init__(self, clock: VirtualClock) -> None:
        self._clock = clock
        self._answers: list[_Answer] = []
        self._nr_open = 0
        self._waiter: Waiter | None = None

    def ask(self, ref: ActorRef, message: object) -> None:
        """Send a message whose answer `wait` gives.

        Raises:
            ActorEndedError: The actor has ended.
            SimulationError: Its mailbox is full, which is a bug of the senders.
        """
        answer = _Answer(self, self._clock)
        ref.ask_later(message, answer)
        self._answers.append(answer)
        self._nr_open += 1

    async def wait(self) -> list[Any]:
        """Wait for the last answer; return all, in the order they were asked for.

        Raises:
            ActorEndedError: An actor ended before it answered.
            Exception: Whatever serving a message raised; the first in the order of the asks.
        """
        if self._nr_open:
            self._waiter = self._clock.open_wait(("answers of", len(self._answers), "actors"))
            await self._clock.wait(self._waiter)
        return [answer.unwrap() for answer in self._answers]

    def note_answer(self) -> None:
        """Take note that one more answer is there; the last one wakes the task."""
        self._nr_open -= 1
        if self._waiter is not None and not self._nr_open:
            self._clock.wake(self._waiter, self._clock.now_ns)


class _Answer(Waiter):
    """One of several answers; it wakes no task, but tells the others' keeper."""

    __slots__ = ("_gather",)

    def __init__(self, gather: Gather, clock: VirtualClock) -> None:
        super().__init__(clock.running)
        self._gather = gather

    def fire(self) -> bool:
        """Take note that it is there."""
        clock = self.seat.clock
        clock.running = clock.root
        self._gather.note_answer()
        return False
