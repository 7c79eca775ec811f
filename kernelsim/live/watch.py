"""Watches a run from a terminal: draws it, takes keys, holds it up in a pause.

Everything happens in the run's own thread, between two of its events, so nothing needs a lock and
signals end the run as ever.

Interface: `Watch`, an `Onlooker`; `Watch.hold` after the run. What it draws on and whom it asks for
keys are protocols.
Units: ns, virtual (`t_ns`, `now_ns`) and real (`wall_ns`).
"""

from collections.abc import Callable
from math import isinf
from time import perf_counter_ns  # noqa: TID251 - the time of the person who watches
from typing import Final, Protocol

from rich.text import Text

from kernelsim.actors.core.kernel import Kernel
from kernelsim.live.pace import Pace
from kernelsim.live.picture import Scene, picture
from kernelsim.live.terminal import QUIT
from kernelsim.live.view import View, take_view
from kernelsim.report.onlooker import LOOK_EVENTS
from kernelsim.units import NS_PER_S, format_duration

REDRAW_NS: Final = NS_PER_S // 10  # real
REST: Final = 4  # times what drawing took is left to the run
SCROLL: Final = {"up": -1, "down": 1, "page up": -10, "page down": 10}


class Keys(Protocol):
    """Where keys come from."""

    def read(self, wait_s: float) -> list[str]:
        """Return the keys pressed since the last call; wait a while if there are none."""
        ...


class Canvas(Protocol):
    """What is drawn on."""

    @property
    def size(self) -> tuple[int, int]:
        """Columns and lines."""
        ...

    def show(self, text: Text) -> None:
        """Show a whole screen."""
        ...


class Watch:
    """Somebody at a terminal who watches one run.

    Args:
        kernel: The machine.
        keys: What is pressed.
        canvas: What to draw on.
        pace: How time goes on.
        title: What runs where.
        is_guest: It came to a run that others started: it leaves without ending it.
        wall_ns: The clock of the person.

    Attributes:
        view: The last one taken; None before the machine has booted.
    """

    def __init__(
        self,
        kernel: Kernel,
        *,
        keys: Keys,
        canvas: Canvas,
        pace: Pace,
        title: str,
        is_guest: bool = False,
        wall_ns: Callable[[], int] = perf_counter_ns,
    ) -> None:
        self.view: View | None = None
        self._kernel = kernel
        self._engine = kernel.engine
        self._keys = keys
        self._canvas = canvas
        self._pace = pace
        self._title = title
        self._is_guest = is_guest
        self._wall_ns = wall_ns
        self._before: View | None = None
        self._redraw_ns = 0
        self._mark = (0, wall_ns())  # virtual and real time of the last view
        self._reached_ns = 0
        self._first = 0
        self._end = ""
        self._is_stepping = False  # the last view before the step stays to compare with
        self._has_quit = False

    def due(self) -> tuple[int | None, int | None]:
        """Return when to look next: at the pace's next stop, and after some events for the keys."""
        clock = self._engine.clock
        return self._pace.due_ns(clock.now_ns), clock.number + LOOK_EVENTS

    def look(self) -> None:
        """Draw if it is time to, do what keys say, and come back when the run may go on."""
        while True:
            wall_ns, now_ns = self._wall_ns(), self._engine.now_ns
            wait_s = self._pace.wait_s(now_ns, wall_ns)
            if wall_ns >= self._redraw_ns or (isinf(wait_s) and self._is_stale()):
                self._draw(wall_ns)
            for key in self._keys.read(min(wait_s, REDRAW_NS / NS_PER_S)):
                self._press(key)
                self._redraw_ns = 0
            if self._has_quit:
                self._engine.interrupt()
            if self._engine.clock.is_halted:  # a signal may come in a pause, too
                return
            if not self._pace.wait_s(now_ns, self._wall_ns()):
                return

    def see_end(self) -> None:
        """Draw the machine at its end."""
        ended = self._engine.ended
        assert ended is not None
        self._end = f"ended ({ended.state}) at {format_duration(ended.now_ns)}"
        self._draw(self._wall_ns())

    def stop(self) -> None:
        """Do nothing: what was shown stays until the person leaves."""

    def hold(self) -> None:
        """Go on showing the end of the run until the person leaves; scrolling works."""
        while not self._has_quit:
            self._show()
            for key in self._keys.read(1.0):
                self._press(key)

    def _is_stale(self) -> bool:
        return self.view is None or self.view.t_ns < self._engine.now_ns

    def _press(self, key: str) -> None:
        pace = self._pace
        if key in {QUIT, "\x03"}:
            self._has_quit = not self._is_guest
        elif key in SCROLL:
            nr_tasks = len(self.view.tasks) if self.view else 0
            self._first = max(min(self._first + SCROLL[key], nr_tasks - 1), 0)
        elif key in {"[", "]"}:
            pace.change_step(1 if key == "]" else -1)
        elif key == "s" and not self._end:
            self._is_stepping = True
            self._before = self.view
            pace.step(self._engine.now_ns)
        elif key in {" ", "p"} and not pace.is_paused:
            pace.pause()
        elif key in {" ", "p", "c"}:
            self._is_stepping = False
            pace.go_on()
            if key == "c":
                pace.speed_ns = None
        elif key in {"+", "="}:
            pace.faster()
        elif key == "-":
            pace.slower(self._reached_ns)

    def _draw(self, wall_ns: int) -> None:
        """Take a view if time has passed since the last one, and show it."""
        now_ns = self._engine.now_ns
        if self._is_stale() or self._end:
            since_ns, wall_since_ns = self._mark
            passed_ns = max(wall_ns - wall_since_ns, 1)
            self._reached_ns = (now_ns - since_ns) * NS_PER_S // passed_ns
            self._mark = (now_ns, wall_ns)
            if not self._is_stepping:
                self._before = self.view
            self.view = take_view(self._kernel)
        self._show()
        drawn_ns = self._wall_ns()
        self._redraw_ns = drawn_ns + max(REDRAW_NS, REST * (drawn_ns - wall_ns))

    def _show(self) -> None:
        if self.view is None:
            return
        scene = Scene(
            title=self._title,
            view=self.view,
            before=self._before or self.view,
            pace=self._pace,
            reached_ns=self._reached_ns,
            end=self._end,
            first=self._first,
            is_guest=self._is_guest,
        )
        self._canvas.show(picture(scene, *self._canvas.size))
