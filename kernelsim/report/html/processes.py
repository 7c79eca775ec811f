"""Panels on processes: what each has, and what it did with its time.

Interface: `process_panels`, those that waited longest first. Units: pages, percent of time.
"""

from collections.abc import Iterator
from typing import Final

import numpy as np
from bokeh.models import ColumnDataSource, Range1d

from kernelsim.report.html.drawing import (
    BLUE,
    GREEN,
    ORANGE,
    PINK,
    RED,
    SKY,
    YELLOW,
    Drawing,
    Line,
    Panel,
    Values,
)
from kernelsim.report.html.record import Column, Life
from kernelsim.units import NS_PER_S

PROCESSES: Final = "Processes"
PROCESSES_MAX: Final = 12
WORTH_DRAWING: Final = 1000  # a wait of less than this part of the run is not drawn by itself
WAITS: Final = ("reclaim_ns", "io_ns", "lock_ns", "run_delay_ns")
PARTS: Final = {  # in the order they are stacked in
    "utime_ns": ("its program", GREEN),
    "kernel": ("kernel for it", YELLOW),
    "run_delay_ns": ("waits for a CPU", SKY),
    "lock_ns": ("gets pages: locks", PINK),
    "reclaim_ns": ("direct reclaim", RED),
    "io_ns": ("waits for I/O", BLUE),
}


def process_panels(draw: Drawing, lives: list[Life]) -> Iterator[Panel]:
    """Draw processes, two panels each: those that lost most time to memory, a dozen at most."""
    sampled = draw.record.processes
    chosen = sorted(
        (life for life in lives if is_worth_it(sampled.get(life.pid), draw.record.end_ns)),
        key=lambda life: (-lost_ns(sampled[life.pid]), life.pid),
    )[:PROCESSES_MAX]
    for life in chosen:
        yield from panels_of(draw, life)


def is_worth_it(columns: dict[str, Column] | None, end_ns: int) -> bool:
    """Tell whether a process has pictures: if it was sampled, and had memory or waited for it."""
    if columns is None or len(columns["t_ns"]) == 1:
        return False
    has_memory = bool(columns["rss"].any() or columns["swap"].any())
    return has_memory or lost_ns(columns) * WORTH_DRAWING >= end_ns


def lost_ns(columns: dict[str, Column]) -> int:
    """Return how long a process waited, by its last sample."""
    return sum(int(columns[name][-1]) for name in WAITS)


def panels_of(draw: Drawing, life: Life) -> Iterator[Panel]:
    """Draw one process: where its time went, and its memory."""
    columns = draw.record.processes[life.pid]
    seconds = columns["t_ns"] / NS_PER_S
    data: dict[str, Values] = {"t": seconds}
    for name, share in time_shares(columns).items():
        data[name] = share.astype(np.float32)
    for name in ("rss", "swap"):
        data[name] = columns[name].astype(np.float32)
    source = ColumnDataSource(data)
    name = f"{life.comm} ({life.pid})"
    on = draw.blank(height=170)
    on.y_range = Range1d(0, 100)
    draw.stack(on, [Line(part, *told) for part, told in PARTS.items()], source)
    notice = "Empty is sleep. Green is the program's own work; all above it is the price of memory."
    yield Panel(f"{name}: where its time goes", "% of time", notice, on, PROCESSES)
    lines = [Line("rss", "resident", BLUE), Line("swap", "on swap", ORANGE, "dashed")]
    title = f"{name}: its memory"
    yield draw.panel(title, "pages", "", lines, PROCESSES, source=source, height=130)


def time_shares(columns: dict[str, Column]) -> dict[str, Values]:
    """Return the parts of a process's time between two samples, in percent: [row] by part.

    The kernel counts waits inside of each other, such as a lock in direct reclaim; so each part
    gets what those before it left, and all together are 100 at most. It counts a wait when that
    is over; what is more than a whole interval was waited before it.
    """
    passed = np.maximum(np.diff(columns["t_ns"]), 1)
    left = passed.astype(float)
    spent = {name: np.diff(columns[name]) for name in ("utime_ns", *WAITS)}
    spent["kernel"] = np.diff(columns["stime_ns"])
    shares: dict[str, Values] = {}
    for name in ("reclaim_ns", "io_ns", "utime_ns", "lock_ns", "run_delay_ns", "kernel"):
        taken = backwards(spent[name], left)
        left -= taken
        shares[name] = np.concatenate(([0.0], 100 * taken / passed))
    return shares


def backwards(spent: Column, room: Values) -> Values:
    """Return times spent as they fit into intervals, the rest in those before: [interval]."""
    taken, rest = np.zeros(len(spent)), 0.0
    for number in reversed(range(len(spent))):
        rest += float(spent[number])
        taken[number] = min(rest, room[number])
        rest -= taken[number]
    return taken
