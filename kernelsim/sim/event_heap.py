"""The heap of events, and the door by which compiled code takes its part in their order.

What compiled code does are events as well: it asks up to which event of others it may go on, takes
their numbers from the clock's own, and has its next one put back in the heap.

Interface: the base of `VirtualClock`; nothing else is made of it.
Units: ns.
"""

from collections.abc import Collection
from heapq import heapify, heappop, heappush
from typing import Final

from kernelsim.sim.event import FOREVER_NS, NO_EVENT, Event, Planned, mixed
from kernelsim.sim.wait import Waiter

NOT_IN_LINE: Final = -1  # a horizon that nothing lies before
STALE_MIN: Final = 64  # so few cancelled events are not worth clearing out


class EventHeap:
    """What a clock knows of its events. The attributes are told in `VirtualClock`."""

    __slots__ = (
        "_gate_ns", "_gate_number", "_heap", "_inline", "_nr_stale", "_schedule_seed",
        "horizon_ns", "look_number", "now_ns", "nr_scheduled", "number",
    )  # fmt: skip

    def __init__(self, *, schedule_seed: int | None, inline: bool) -> None:
        self.now_ns = 0
        self.number = self.nr_scheduled = 0
        self.horizon_ns = NOT_IN_LINE
        self.look_number = 0
        self._inline = inline
        self._schedule_seed = schedule_seed
        self._heap: list[tuple[int, int, int, Event]] = []
        self._nr_stale = 0
        self._gate_ns = FOREVER_NS - 1
        self._gate_number = FOREVER_NS

    @property
    def schedule_seed(self) -> int | None:
        """Where ties come from; None for the order of scheduling."""
        return self._schedule_seed

    def push(self, at_ns: int, event: Event) -> None:
        """Let an event fire at a time, which is not before now."""
        if at_ns < self.now_ns:
            msg = f"at_ns(={at_ns}) must not be before now (={self.now_ns})"
            raise ValueError(msg)
        self.nr_scheduled += 1
        self.number = number = self.number + 1
        tie = 0 if self._schedule_seed is None else mixed(self._schedule_seed, number)
        heappush(self._heap, (at_ns, tie, number, event))
        if at_ns < self.horizon_ns:  # noqa: PLR1730 - min() takes three times as long
            self.horizon_ns = at_ns

    def put_back(self, at_ns: int, number: int, event: Event) -> None:
        """Let an event fire at a time as if it had been scheduled with a number, not the next one.

        For what compiled code scheduled; it has taken its number from `number` and counted it.
        """
        tie = 0 if self._schedule_seed is None else mixed(self._schedule_seed, number)
        heappush(self._heap, (at_ns, tie, number, event))
        self.horizon_ns = min(self.horizon_ns, at_ns)

    def take_out(self, event: Event) -> bool:
        """Take an event out of the heap if it is the next; return whether it was."""
        self._drop_stale()
        if not self._heap or self._heap[0][3] is not event:
            return False
        heappop(self._heap)
        return True

    def next_event(self) -> tuple[int, int, int]:
        """Return up to where compiled code may go on: time, tie and number of the next event.

        The tie is without its last two bits.
        """
        self._drop_stale()
        heap = self._heap
        at_ns, tie, number, _ = heap[0] if heap else NO_EVENT
        if self.horizon_ns != NOT_IN_LINE:
            self.horizon_ns = min(at_ns, self._gate_ns + 1)
        return (at_ns, tie >> 2, number) if at_ns <= self._gate_ns else (self._gate_ns + 1, 0, 0)

    def next_of_others(self, own: Collection[Event]) -> int:
        """Return when the next event is due that is none of one's own, or has to be looked at."""
        others = (
            at_ns for at_ns, _, _, event in self._heap if not event.is_stale and event not in own
        )
        return min(min(others, default=FOREVER_NS), self._gate_ns + 1)

    def call_off(self, event: Planned) -> None:
        """Let what was planned not happen: it has been done otherwise."""
        event.is_stale = True
        self.note_stale()

    def _drop_stale(self) -> None:
        while self._heap and self._heap[0][3].is_stale:
            heappop(self._heap)
            self._nr_stale -= 1

    def is_in_line(self) -> bool:
        """Tell whether compiled code may go on in the running task, as far as others allow it."""
        at_ns = self._heap[0][0] if self._heap else FOREVER_NS
        is_tied = self._inline and at_ns == self.now_ns
        return (is_tied or self.now_ns < self.horizon_ns) and self.number + 1 < self.look_number

    def numbers_left(self, nr_max: int) -> int:
        """Return how many events may be done before something has to be looked at, 1 or more."""
        return max(1, min(nr_max, self._gate_number + 1 - self.number))

    def resume(self, waiter: Waiter, value: object = None) -> bool:
        """End a wait in the event that is being done; False if its end is decided already."""
        if waiter.is_decided:
            return False
        waiter.is_decided = waiter.is_given = True
        waiter.value = value
        waiter.error = None
        return waiter.fire()

    def note_stale(self) -> None:
        """Take note that an event in the heap has become stale; called once for each."""
        self._nr_stale += 1
        heap = self._heap
        if self._nr_stale > STALE_MIN and 2 * self._nr_stale > len(heap):
            heap[:] = [entry for entry in heap if not entry[3].is_stale]
            heapify(heap)
            self._nr_stale = 0
