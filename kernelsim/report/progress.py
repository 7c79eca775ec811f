"""Shows on stderr what a run does while it does it; silent where stderr is no terminal.

Interface: `Progress`, an `Onlooker` that redraws ten times a second of wall time at most;
`free_bar`.
Units: pages; faults a second of wall time.
"""

import time
from collections.abc import Sequence
from typing import Final

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from kernelsim.actors.core.kernel import Kernel
from kernelsim.mm.core.mem import (
    Z_FREE,
    Z_MANAGED,
    Z_PRESENT,
    Z_WMARK_HIGH,
    Z_WMARK_LOW,
    Z_WMARK_MIN,
)
from kernelsim.mm.core.vmstat import PGFAULT
from kernelsim.report.onlooker import LOOK_EVENTS
from kernelsim.units import format_duration

REDRAW_NS: Final = 100_000_000  # wall time
BAR_CELLS: Final = 40


class Progress:
    """The display of one run.

    Args:
        kernel: What to show.
        enabled: False shows nothing.
        console: Where to; None for stderr.
    """

    def __init__(
        self, kernel: Kernel, *, enabled: bool = True, console: Console | None = None
    ) -> None:
        console = console or Console(stderr=True)
        self.is_on = enabled and console.is_terminal
        self._kernel = kernel
        self._console = console
        self._live: Live | None = None
        self._due_ns = time.perf_counter_ns() + REDRAW_NS
        self._faults = (time.perf_counter_ns(), int(kernel.mem.vm_event[PGFAULT]))

    def due(self) -> tuple[int | None, int | None]:
        """Return when to look next: after so many events, if anything is shown."""
        return None, self._kernel.engine.clock.number + LOOK_EVENTS if self.is_on else None

    def look(self) -> None:
        """Redraw if it is time to."""
        if not self.is_on:
            return
        now_ns = time.perf_counter_ns()
        if now_ns < self._due_ns:
            return
        if self._live is None:
            self._live = Live(console=self._console, auto_refresh=False, transient=True)
            self._live.start()
        self._live.update(self._picture(now_ns), refresh=True)
        self._due_ns = time.perf_counter_ns() + REDRAW_NS

    def see_end(self) -> None:
        """Show nothing more: what is to be written of the end may take a while."""
        self.stop()

    def stop(self) -> None:
        """Take the display away."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    def _picture(self, now_ns: int) -> Table:
        kernel = self._kernel
        since_ns, before = self._faults
        faults = int(kernel.mem.vm_event[PGFAULT])
        rate = (faults - before) * 10**9 // max(now_ns - since_ns, 1)
        self._faults = (now_ns, faults)
        grid = Table(box=None, show_header=False)
        grid.add_row("virtual time", format_duration(kernel.engine.now_ns))
        grid.add_row("faults", f"{faults} ({rate}/s)")
        types = kernel.phys.zone_types
        for number, row in enumerate(kernel.mem.zone):
            if row[Z_PRESENT]:
                marks = [int(row[z]) for z in (Z_WMARK_MIN, Z_WMARK_LOW, Z_WMARK_HIGH)]
                name = f"node {number // len(types)} {types[number % len(types)].value}"
                grid.add_row(name, free_bar(int(row[Z_FREE]), int(row[Z_MANAGED]), marks))
        return grid


def free_bar(free: int, managed: int, marks: Sequence[int], width: int = BAR_CELLS) -> Text:
    """Draw free pages as a bar: red below min, yellow below low, green above; then the figures.

    Args:
        free: Pages.
        managed: Pages of the zone.
        marks: Its watermarks min, low and high.
        width: Characters of the bar.

    The bar's end is four times the high watermark, or all of a smaller zone, since what matters
    happens around the watermarks.
    """
    full = max(min(managed, 4 * marks[2]), 1)
    filled = min(free * width // full, width)
    style = "red" if free < marks[0] else "yellow" if free < marks[1] else "green"
    cells = ["█" if cell < filled else "·" for cell in range(width)]
    for mark in marks:
        cell = mark * width // full
        if filled <= cell < width:
            cells[cell] = "|"
    return Text.assemble(("".join(cells), style), f" {free}")
