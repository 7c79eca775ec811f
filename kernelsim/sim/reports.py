"""What is said when a run cannot go on: who waits for what, since when, and who is to blame.

Interface: `deadlock_report`, `livelock_report` of the clock's seats; `Report.error`. Units: ns.
"""

import attrs

from kernelsim.errors import DeadlockError, LivelockError, SimulationError
from kernelsim.sim.clock import VirtualClock
from kernelsim.sim.wait import Seat


@attrs.frozen
class Wait:
    """One waiting actor.

    Attributes:
        actor: Its name.
        why: What it waits for.
        since_ns: Virtual time at which it began to.
        blocker: The actor that would have to do something; None if no particular one.
    """

    actor: str
    why: str
    since_ns: int
    blocker: str | None


@attrs.frozen
class Report:
    """Why nobody gets on.

    Attributes:
        kind: The error class that carries it.
        headline: One line with the virtual time and the culprit.
        waits: Everybody who waits, longest first.
    """

    kind: type[SimulationError]
    headline: str
    waits: tuple[Wait, ...]

    def error(self) -> SimulationError:
        """Return the error to raise; its text is the whole report."""
        lines = [f"  {w.actor} waits for {w.why} since {w.since_ns} ns" for w in self.waits]
        return self.kind("\n".join([self.headline, *lines]))


def deadlock_report(clock: VirtualClock) -> Report:
    """Report that no event is left though tasks still wait.

    The culprit is a circle of actors that wait for each other, if there is one; else a lost
    wake-up; else the end of the chain that begins at whoever waited longest for something other
    than its next message.
    """
    waits = waits_of(clock)
    circle = find_circle({wait.actor: wait.blocker for wait in waits})
    lost = [wait for wait in waits if "lost wake-up" in wait.why]
    busy = [wait for wait in waits if not wait.why.startswith("message on")]
    if circle:
        culprit = " -> ".join([*circle, circle[0]]) + " wait for each other"
    elif lost:
        culprit = f"{lost[0].actor} waits for {lost[0].why}"
    elif busy:
        culprit = "; ".join(f"{w.actor} waits for {w.why}" for w in chain(busy[0], waits))
    else:
        culprit = "everybody waits for messages"
    return Report(DeadlockError, f"deadlock at {clock.now_ns} ns: {culprit}", waits)


def livelock_report(clock: VirtualClock, stuck: dict[str, int]) -> Report:
    """Report that events go on and nothing gets done.

    Args:
        clock: Of the run.
        stuck: Watched actors without progress, and since when; empty when too many events
            happened in one instant.
    """
    if stuck:
        culprit = ", ".join(f"{name} made no progress since {at} ns" for name, at in stuck.items())
    else:
        busiest = max(clock.seats, key=lambda seat: (seat.nr_wakes, -seat.number))
        culprit = f"time stands still; {busiest.name} is woken again and again"
    return Report(LivelockError, f"livelock at {clock.now_ns} ns: {culprit}", waits_of(clock))


def waits_of(clock: VirtualClock) -> tuple[Wait, ...]:
    """List all waits, longest first and then by creation of the actor."""
    parked = [seat for seat in clock.seats if seat.waiter.is_parked]
    parked.sort(key=lambda seat: (seat.waiter.since_ns, seat.number))
    return tuple(wait_of(seat) for seat in parked)


def wait_of(seat: Seat) -> Wait:
    """Describe what a task waits for."""
    why = seat.waiter.why
    blocker: str | None = getattr(getattr(why, "lock", None), "holder", None)
    if not isinstance(why, tuple):
        return Wait(seat.name, str(why), seat.waiter.since_ns, blocker)
    if why[0] in {"answer of", "end of"}:
        blocker = str(why[1])
    return Wait(seat.name, " ".join(map(str, why)), seat.waiter.since_ns, blocker)


def find_circle(blockers: dict[str, str | None]) -> list[str]:
    """Return the names of the first circle of actors that wait for each other, or nothing.

    It begins with the one of them that comes first in `blockers`.
    """
    order = {name: number for number, name in enumerate(blockers)}
    for start in blockers:
        path: list[str] = []
        name: str | None = start
        while name is not None and name not in path:
            path.append(name)
            name = blockers.get(name)
        if name is not None:
            circle = path[path.index(name) :]
            first = min(range(len(circle)), key=lambda i: order[circle[i]])
            return circle[first:] + circle[:first]
    return []


def chain(first: Wait, waits: tuple[Wait, ...]) -> list[Wait]:
    """Follow who waits for whom, from one wait to the end; there is no circle."""
    by_actor = {wait.actor: wait for wait in waits}
    links = [first]
    while links[-1].blocker in by_actor:
        links.append(by_actor[str(links[-1].blocker)])
    return links
