"""Answers that are put off: what an actor keeps of an asker until it can answer.

Interface: `Actor.defer` makes a `Reply`. Units: ns.
"""

from typing import TYPE_CHECKING

from kernelsim.sim.wait import Waiter

if TYPE_CHECKING:
    from kernelsim.sim.actor import Actor


class Reply:
    """The way back to one asker whose answer was put off. Answer once; a second one is refused."""

    __slots__ = ("_actor", "_asker", "is_answered")

    def __init__(self, actor: "Actor", asker: Waiter) -> None:
        self._actor = actor
        self._asker = asker
        self.is_answered = False
        actor.promises[asker] = None

    def send(self, value: object, at_ns: int | None = None) -> None:
        """Answer with a value, now or at a later virtual time."""
        self._close(at_ns, value)

    def fail(self, error: BaseException, at_ns: int | None = None) -> None:
        """Answer with an exception, which is raised at the asker."""
        self._close(at_ns, None, error)

    def pass_on(self, actor: "Actor") -> None:
        """Let another actor owe the answer from now on; reports then name that one."""
        del self._actor.promises[self._asker]
        self._actor = actor
        actor.promises[self._asker] = None
        self._asker.why = actor.ref.why_ask

    def _close(self, at_ns: int | None, value: object, error: BaseException | None = None) -> None:
        is_owed = self._asker in self._actor.promises  # else the actor has ended
        assert is_owed and not self.is_answered, f"{self._actor.name} answers twice"  # noqa: PT018
        self.is_answered = True
        self._actor.settle(self._asker, at_ns, value, error)
