"""What is said when a run cannot go on: who waits for what, since when, and who is to blame.

The author of the workload is to blame if all who wait in the middle of something do so in a line
of the author's: nothing of ours is under way then. Otherwise it is a bug of ours.

Interface: `deadlock_report`, `livelock_report`, `foreign_wait` of the clock's seats; `runaway`;
`Report.error`. Units: ns.
"""

from typing import Final

import attrs

from kernelsim.errors import DeadlockError, LivelockError, StuckError, WorkloadError
from kernelsim.sim.clock import VirtualClock
from kernelsim.sim.places import waiting_place, waits_in_trio
from kernelsim.sim.wait import Seat
from kernelsim.units import format_duration

MAIN: Final = "main"  # the task of the workload itself


@attrs.frozen
class Wait:
    """One waiting actor.

    Attributes:
        actor: Its name.
        why: What it waits for.
        since_ns: Virtual time at which it began to.
        blocker: The actor that would have to do something; None if no particular one.
        place: File and line of the author's code that waits; None if only ours does.
        is_for_work: It waits for its next message, or in a queue where one waits for work.
    """

    actor: str
    why: str
    since_ns: int
    blocker: str | None
    place: tuple[str, int] | None = None
    is_for_work: bool = False

    @property
    def is_idle(self) -> bool:
        """Whether it waits for something to do, in no line of an author's."""
        return self.is_for_work and self.place is None

    def told(self) -> str:
        """Return who waits for what, as a person reads it."""
        why = "what it is told to do next" if self.is_idle else self.why
        return f"{self.actor} waits for {why.removeprefix('wait queue ')}"


@attrs.frozen
class Report:
    """Why no task gets on.

    Attributes:
        kind: The error class that carries it.
        headline: One line with the virtual time and the culprit.
        waits: All waits, longest first.
        mistake: What the workload's author did wrong; None if it is a bug of ours.
    """

    kind: type[StuckError]
    headline: str
    waits: tuple[Wait, ...]
    mistake: WorkloadError | None = None

    def error(self) -> StuckError:
        """Return the error to raise; its text is the whole report."""
        lines = [f"  {w.actor} waits for {w.why} since {w.since_ns} ns" for w in self.waits]
        error = self.kind("\n".join([self.headline, *lines]))
        error.mistake = self.mistake
        return error


def deadlock_report(clock: VirtualClock) -> Report:
    """Report that no event is left though tasks still wait.

    The culprit is a circle of actors that wait for each other, if there is one; else a lost
    wake-up; else the end of the chain that begins at whoever waited longest for something other
    than work.
    """
    waits = waits_of(clock)
    circle = find_circle({wait.actor: wait.blocker for wait in waits})
    lost = [wait for wait in waits if "lost wake-up" in wait.why]
    busy = [wait for wait in waits if not wait.is_for_work]
    if circle:
        culprit = " -> ".join([*circle, circle[0]]) + " wait for each other"
    elif lost:
        culprit = f"{lost[0].actor} waits for {lost[0].why}"
    elif busy:
        culprit = "; ".join(f"{w.actor} waits for {w.why}" for w in chain(busy[0], waits))
    else:
        culprit = "everybody waits for messages"
    headline = f"deadlock at {clock.now_ns} ns: {culprit}"
    return Report(DeadlockError, headline, waits, authors_deadlock(clock, waits))


def authors_deadlock(clock: VirtualClock, waits: tuple[Wait, ...]) -> WorkloadError | None:
    """Return what the author made everybody wait for; None if something of ours is under way."""
    busy = [wait for wait in waits if not wait.is_idle]
    if not busy or any(wait.place is None for wait in busy):
        return None
    first = min(busy, key=lambda wait: wait.actor != MAIN)
    circle = find_circle({wait.actor: wait.blocker for wait in waits})
    told: list[str] = []
    for start in (first, *busy):
        links = [wait for wait in busy if wait.actor in circle] if circle else chain(start, waits)
        told += [link.told() for link in links if link.told() not in told]
    assert first.place is not None
    text = f"nothing can happen any more at {format_duration(clock.now_ns)}: {'; '.join(told)}"
    return WorkloadError(text, *first.place)


def foreign_wait(clock: VirtualClock) -> WorkloadError:
    """Say who lets trio's time pass instead of the run's, and in which line."""
    seat = next(seat for seat in clock.seats if not seat.waiter.is_parked)
    how = "`await machine.sleep(…)` or `await engine.sleep(…)` lets time pass"
    rule = f"{seat.name} waits in {waits_in_trio(seat.task)}, outside of the run: {how}"
    return WorkloadError(rule, *(waiting_place(seat.task) or ()))


def runaway(seat: Seat) -> WorkloadError:
    """Say which task cannot be ended, and in which line it goes on."""
    rule = f"{seat.name} goes on though the run has ended: catch Exception, not every BaseException"
    return WorkloadError(rule, *(waiting_place(seat.task) or ()))


def livelock_report(clock: VirtualClock, stuck: dict[str, int]) -> Report:
    """Report that events go on and nothing gets done.

    Args:
        clock: Of the run.
        stuck: Watched actors without progress, and since when; empty when too many events
            happened in one instant.
    """
    if stuck:
        culprit = ", ".join(f"{name} made no progress since {at} ns" for name, at in stuck.items())
        return Report(LivelockError, f"livelock at {clock.now_ns} ns: {culprit}", waits_of(clock))
    busiest = max(clock.seats, key=lambda seat: (seat.nr_wakes, -seat.number))
    culprit = f"time stands still; {busiest.name} is woken again and again"
    headline = f"livelock at {clock.now_ns} ns: {culprit}"
    place = waiting_place(busiest.task)
    mistake = None if place is None else WorkloadError(headline, *place)
    return Report(LivelockError, headline, waits_of(clock), mistake)


def waits_of(clock: VirtualClock) -> tuple[Wait, ...]:
    """List all waits, longest first and then by creation of the actor."""
    parked = list(clock.seats)  # or in a wait of trio's own
    parked.sort(key=lambda seat: (seat.waiter.since_ns, seat.number))
    return tuple(wait_of(seat) for seat in parked)


def wait_of(seat: Seat) -> Wait:
    """Describe what a task waits for."""
    why, since_ns = seat.waiter.why, seat.waiter.since_ns
    place = waiting_place(seat.task)
    if not seat.waiter.is_parked:
        return Wait(seat.name, waits_in_trio(seat.task), since_ns, None, place)
    blocker: str | None = getattr(getattr(why, "lock", None), "holder", None)
    blocker = getattr(getattr(why, "queue", None), "waker", blocker)
    if not isinstance(why, tuple):
        is_for_work = getattr(getattr(why, "queue", None), "is_for_work", False)
        return Wait(seat.name, str(why), since_ns, blocker, place, is_for_work)
    if why[0] in {"answer of", "end of"}:
        blocker = str(why[1])
    text = " ".join(map(str, why))
    return Wait(seat.name, text, since_ns, blocker, place, why[0] == "message on")


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
