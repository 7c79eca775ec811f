"""Virtual time: one heap of events, one runnable task at a time, integer nanoseconds.

trio asks its clock how long to sleep exactly when no task can run. `VirtualClock` answers by
popping its next event, moving the time there, making that event's task runnable and saying "do
not sleep at all". So one task runs between two events, and the order of a run is the order of
the heap: `(time, tie, number)`. trio's own random order of a batch never has two tasks to choose
from.

In line: a task that sleeps until a time before which nothing else is due need not be switched
out. `sleep` moves the time and returns. Such a sleep takes a number as if it had been an event,
so the order of all others, and where a limit strikes, is the same; most switches are gone.

Ties: events of one instant run in the order in which they were scheduled. With a schedule seed
the tie comes from that seed and the event's number instead: another legal order for each seed.

Interface: `schedule` a callback; `open_wait`, then `wait` until something calls `wake` on that
waiter; `sleep`. Everything that waits in virtual time waits here, or the deadlock
report would not know.
Units: ns.
"""

import math
from collections.abc import Awaitable, Callable
from heapq import heappop, heappush
from typing import Any, Final

import trio

from kernelsim.errors import WorkloadError
from kernelsim.sim.event import (
    FOREVER_NS,
    NO_EVENT,
    Call,
    Callback,
    Planned,
    deadline_ns,
    mixed,
)
from kernelsim.sim.event_heap import NOT_IN_LINE, EventHeap
from kernelsim.sim.wait import Seat, Waiter

INLINE_STRETCH: Final = 50_000  # events in line before trio and Ctrl-C get a turn, about 10 ms
# Then a run is called a livelock. No instant of will_it_scale_page_fault1, uma_bus_saturation or of
# swap_storm page by page has 2000.
EVENTS_PER_INSTANT_MAX: Final = 200_000

FOREIGN_TASK: Final = "a nursery's task cannot wait in virtual time: spawn a process or an actor"

current_task = trio.lowlevel.current_task  # looked up once: this is the engine's innermost loop
wait_task_rescheduled = trio.lowlevel.wait_task_rescheduled


class VirtualClock(EventHeap, trio.abc.Clock):
    """The clock of one run. Written by the engine and the waiting primitives of this folder.

    Args:
        schedule_seed: Where ties come from; None for the order of scheduling.
        inline: Whether sleeps and asks may do without a switch.

    Attributes:
        now_ns: The virtual time.
        number: Events scheduled or done in line so far.
        nr_scheduled: The part of `number` that went through the heap.
        horizon_ns: The first time that may not be reached in line.
        look_number: No event in line may get a number above this.
        root: The seat of the engine's own task.
        running: The seat of the task that runs, or of the actor it serves in line.
        seats: Of all living tasks, in the order of creation.
    """

    __slots__ = (
        "_cancelled", "_counted_ns", "_deadline", "_deadline_ns",
        "_instant_ns", "_instant_number", "_is_trio_reading",
        "_meanwhile", "instant_max", "is_halted", "limit_ns", "meanwhile_ns",
        "number_max", "on_crash", "on_end", "on_halt",
        "on_tick", "root", "running", "seats", "tick_ns", "tick_number", "watch_ns",
    )  # fmt: skip

    def __init__(self, *, schedule_seed: int | None = None, inline: bool = True) -> None:
        super().__init__(schedule_seed=schedule_seed, inline=inline)
        self.root = self.running = Seat(self, "engine", 0)
        self.seats: dict[Seat, None] = {}
        self.limit_ns = FOREVER_NS  # nothing later than this happens
        self.watch_ns = FOREVER_NS  # when to ask on_halt whether every task makes progress
        self.number_max = FOREVER_NS
        self.instant_max = EVENTS_PER_INSTANT_MAX >> 1  # counted twice, see _stands_still
        self.tick_ns = FOREVER_NS  # on_tick is called before time passes this,
        self.tick_number = FOREVER_NS  # or after so many events; it sets both anew
        self.meanwhile_ns = FOREVER_NS  # _meanwhile is called then if anything is to come
        self._meanwhile: Callback = lambda _: False
        self.on_tick: Callable[[bool], None] = lambda _is_time: None
        self.on_end: Callable[[], None] = lambda: None  # the run has ended; all still stand
        self.on_halt: Callable[[str], bool] = _nobody_listens
        self.on_crash: Callable[[str, Exception], None] = _nobody_cares
        self.is_halted = False
        self._cancelled: list[tuple[int, Waiter]] = []
        self._deadline = math.inf  # of trio's own timeouts
        self._deadline_ns = FOREVER_NS
        self._is_trio_reading = False
        self._instant_ns = -1
        self._instant_number = 0
        self._counted_ns = -1

    def start_clock(self) -> None:
        """Do nothing: time starts at 0. Called by trio."""

    def current_time(self) -> float:
        """Return the virtual time in seconds. Called by trio.

        trio reads it once in each pass. A second reader is a task that sets a timeout of trio's,
        of which the clock hears in the next pass: until then nothing may be reached in line.
        """
        if self._is_trio_reading:
            self._is_trio_reading = False
        else:
            self.horizon_ns = NOT_IN_LINE
        return self.now_ns / 1e9

    def deadline_to_sleep_time(self, deadline: float) -> float:
        """Run the next event; called by trio whenever no task can run.

        Args:
            deadline: trio's own next timeout in virtual seconds, infinite if there is none. Such
                timeouts fire in virtual time, but two equal ones in an order trio does not
                promise, so our code uses `Engine.move_on_after`.

        Returns:
            0.0, or 1.0 when there is nothing left to do and trio should look at its own tasks.
        """
        self._is_trio_reading = True
        if deadline != self._deadline:
            self._set_deadline(deadline)
        if self.is_halted and self.on_halt("halted"):
            return 0.0
        heap = self._heap
        while True:
            if self._cancelled:
                self._deliver_cancel()
                return 0.0
            at_ns, _, _, event = heap[0] if heap else NO_EVENT
            if event.is_stale:
                heappop(heap)
                self._nr_stale -= 1
                continue
            if at_ns > self._gate_ns or self.number > self._gate_number:
                verdict = self._look(at_ns)
                if verdict is not None:
                    return verdict
                continue
            if at_ns != self._instant_ns:
                self._instant_ns = at_ns
                self._instant_number = self.number + self.instant_max
            elif self.number > self._instant_number and self._stands_still():
                return 0.0
            heappop(heap)
            self.now_ns = at_ns
            if self._inline:
                self._set_horizon()
            if event.fire():
                return 0.0

    @property
    def nr_inline(self) -> int:
        """How many events were done in line, without a switch."""
        return self.number - self.nr_scheduled

    def set_limits(self, *, limit_ns: int, number_max: int, instant_max: int) -> None:
        """Set the last time that is reached, the most events, and the most at one instant."""
        self.limit_ns = limit_ns
        self.number_max = number_max
        self.instant_max = max(instant_max >> 1, 1)
        self._set_gates()

    def set_watch(self, watch_ns: int) -> None:
        """Set when to look for progress next, not before now."""
        self.watch_ns = watch_ns
        self._set_gates()

    def set_tick(self, tick_ns: int | None, tick_number: int | None = None) -> None:
        """Call `on_tick` when all is done that is due until a time, or after so many events.

        It is told whether the time is the reason; may look at everything, must change nothing, and
        calls this again, for a later time and number.
        """
        self.tick_ns = FOREVER_NS if tick_ns is None else tick_ns
        self.tick_number = FOREVER_NS if tick_number is None else tick_number
        self._set_gates()

    def call_meanwhile(self, at_ns: int, callback: Callback) -> None:
        """Call `callback(None)` at a time, not before now, if anything is due after it.

        It hides from nobody that all wait for ever. There is one: a later call replaces it.
        """
        self.meanwhile_ns, self._meanwhile = at_ns, callback
        self._set_gates()

    def halt(self) -> None:
        """Let `on_halt` end the run as soon as the running task waits.

        No limit holds any longer. May be called by a signal handler or another thread: if it
        hits the middle of something, tasks go on in line for INLINE_STRETCH events at most.
        """
        self.is_halted = True
        self.limit_ns = self.watch_ns = self.number_max = self.instant_max = FOREVER_NS
        self.tick_ns = self.tick_number = self.meanwhile_ns = FOREVER_NS
        self._inline = False
        self._set_gates()

    def leave_line(self) -> None:
        """Make the running task's next sleep or ask a real one: others have to run before."""
        self.horizon_ns = NOT_IN_LINE

    def schedule(self, at_ns: int, callback: Callback, argument: object) -> None:
        """Call `callback(argument)` at a time, which is not before now."""
        self.push(at_ns, Call(self, callback, argument))

    def plan(self, at_ns: int, callback: Callback, argument: object) -> Planned:
        """Do as `schedule`, and return what `call_off` takes."""
        planned = Planned(self, callback, argument, at_ns, self.number + 1)
        self.push(at_ns, planned)
        return planned

    def has_more(self) -> bool:
        """Tell whether anything is to come: an event, or a timeout of trio's.

        Asked in a callback: a task that has just become runnable is not counted.
        """
        self._drop_stale()
        return bool(self._heap) or self._deadline_ns < FOREVER_NS

    async def sleep(self, ns: int) -> None:
        """Let virtual time pass for this task.

        Args:
            ns: How long, >= 0. A sleep of 0 lets everything due at this instant run first.
        """
        now_ns = self.now_ns
        at_ns = now_ns + ns
        if now_ns < at_ns < self.horizon_ns and self.number < self.look_number:
            if at_ns.__class__ is not int:
                raise TypeError(f"ns(={ns!r}) must be an int")
            self.now_ns = at_ns
            self.number += 1
            return
        if at_ns.__class__ is not int or ns < 0:
            raise ValueError(f"ns(={ns!r}) must be an int >= 0")
        waiter = self.open_wait(("time", at_ns))
        self.wake(waiter, at_ns)
        waiter.is_given = False  # nothing was handed over: it may be cancelled
        await self.wait(waiter)

    def open_wait(self, why: object) -> Waiter:
        """Begin a wait of the running task: hand the waiter to what shall wake it.

        Args:
            why: What it waits for, for reports: something to print, or a tuple of such.
        """
        waiter = self.running.waiter
        if waiter.is_parked:
            raise WorkloadError(FOREIGN_TASK)
        waiter.is_decided = False
        waiter.why = why
        waiter.since_ns = self.now_ns
        return waiter

    def wait(self, waiter: Waiter) -> Awaitable[Any]:
        """Park this task until its waiter is woken; return what the waker gave."""
        if current_task() is not waiter.seat.task:
            waiter.abandon()
            raise WorkloadError(FOREIGN_TASK)
        waiter.is_parked = True
        return wait_task_rescheduled(waiter.abort)

    def wake(
        self, waiter: Waiter, at_ns: int, value: object = None, error: BaseException | None = None
    ) -> bool:
        """End a wait at a time, with a value or an error; False if its end is decided already.

        What is given at this very instant is taken: the task cannot be cancelled before it has
        it, so nothing handed over gets lost. What is to come later can be cancelled.
        """
        if waiter.is_decided:
            return False
        now_ns = self.now_ns
        if at_ns != now_ns:
            self.push(at_ns, waiter)
            waiter.is_given = False
        else:  # what `push` does, without a call: most waits end so
            self.nr_scheduled += 1
            self.number = number = self.number + 1
            tie = 0 if self._schedule_seed is None else mixed(self._schedule_seed, number)
            heappush(self._heap, (now_ns, tie, number, waiter))
            self.horizon_ns = NOT_IN_LINE
            waiter.is_given = True
        waiter.is_decided = True
        waiter.value = value
        waiter.error = error
        return True

    def note_cancelled(self, waiter: Waiter) -> None:
        """Take note that a parked task is to be cancelled; the next pass does it.

        trio cancels the tasks of a scope in the order of a set. Here they are handed out one by
        one in the order of their creation.
        """
        heappush(self._cancelled, (waiter.seat.number, waiter))
        self.leave_line()

    def _deliver_cancel(self) -> None:
        _, waiter = heappop(self._cancelled)
        self._set_horizon()
        if self._cancelled:
            self.leave_line()
        waiter.cancel()

    def _look(self, at_ns: int) -> float | None:
        """Act on what comes before an event at a time, or before its number.

        Returns:
            How long trio shall sleep; None to look for the next event again.
        """
        at_ns = min(at_ns, self._deadline_ns)
        if at_ns == FOREVER_NS:
            return 0.0 if self.on_halt("empty") else 1.0
        if at_ns > self.meanwhile_ns <= self.limit_ns:
            meanwhile_ns, self.meanwhile_ns = self.meanwhile_ns, FOREVER_NS
            self.schedule(meanwhile_ns, self._meanwhile, None)
            self._set_gates()
            return None
        is_time = at_ns > self.tick_ns <= self.limit_ns
        if is_time or self.number > self.tick_number:
            self._tick(is_time=is_time)
            return 0.0 if self.is_halted else None
        if at_ns > self.limit_ns:
            self.now_ns = max(self.now_ns, self.limit_ns)
            return 0.0 if self.on_halt("limit") else None
        if at_ns > self.watch_ns:
            self.now_ns = max(self.now_ns, self.watch_ns)
            return 0.0 if self.on_halt("watch") else None
        if self.number > self.number_max:
            return 0.0 if self.on_halt("events") else None
        if not self.is_halted and not all(seat.waiter.is_parked for seat in self.seats):
            return 0.0 if self.on_halt("foreign") else None  # the clock would not know who goes on
        self.now_ns = at_ns  # trio's own timeout, of a wait here
        self._set_horizon()
        return 0.0

    def _tick(self, *, is_time: bool) -> None:
        if is_time:
            self.now_ns = max(self.now_ns, self.tick_ns)
        self.running = self.root
        try:
            self.on_tick(is_time)
        except Exception as error:  # noqa: BLE001 - trio could not say whose it was
            self.on_crash("a look at the run", error)

    def _stands_still(self) -> bool:
        """Tell whether the run ends because of too many events at one instant.

        After the first half of them it begins to count which tasks are woken again and again.
        """
        if self._counted_ns != self._instant_ns:
            self._counted_ns = self._instant_ns
            self._instant_number = self.number + self.instant_max
            for seat in self.seats:
                seat.nr_wakes = 0
            return False
        return self.on_halt("instant")

    def _set_deadline(self, deadline: float) -> None:
        self._deadline = deadline
        never = deadline == math.inf
        self._deadline_ns = FOREVER_NS if never else max(self.now_ns, deadline_ns(deadline))
        self._set_gates()

    def _set_gates(self) -> None:
        """Compute up to which time and number events simply happen."""
        tick_ns = self.tick_ns if self.tick_ns <= self.limit_ns else FOREVER_NS
        last_ns = min(self.limit_ns, self.watch_ns, tick_ns, self._deadline_ns)
        last_ns = min(last_ns, self.meanwhile_ns)
        self._gate_ns = min(last_ns, FOREVER_NS - 1)
        self._gate_number = min(self.number_max, self.tick_number)
        self.leave_line()

    def _set_horizon(self) -> None:
        if self._inline:
            heap = self._heap
            horizon_ns = heap[0][0] if heap else FOREVER_NS
            gate_ns = self._gate_ns
            self.horizon_ns = horizon_ns if horizon_ns <= gate_ns else gate_ns + 1
            look, gate = self.number + INLINE_STRETCH, self._gate_number
            self.look_number = look if look < gate else gate  # noqa: FURB136 - min() is slow


def _nobody_listens(_reason: str) -> bool:
    return False


def _nobody_cares(_name: str, error: Exception) -> None:
    raise error
