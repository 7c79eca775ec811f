"""Panels on what the kernel does: reclaim, pressure, page faults, locks.

Interface: `activity_panels`. Units: pages a second, percent of time, ns.
"""

from collections.abc import Iterator
from typing import Any, Final

import numpy as np
from bokeh.models import ColumnDataSource, CustomJSTickFormatter

from kernelsim.report.html.drawing import (
    BLUE,
    COLOURS,
    DASHES,
    GREEN,
    GREY,
    ORANGE,
    PINK,
    RED,
    SKY,
    Drawing,
    Line,
    Panel,
)
from kernelsim.report.html.record import Column
from kernelsim.units import NS_PER_S

ACTIVITY: Final = "What the kernel does"
BINS: Final = 240  # of time, for what only events tell
LOCKS_MAX: Final = 6
KINDS_MAX: Final = 5
NS_TICKS: Final = """
const units = [[1e9, "s"], [1e6, "ms"], [1e3, "µs"], [1, "ns"]]
for (const [size, name] of units)
  if (tick >= size) return Number((tick / size).toPrecision(3)) + " " + name
return tick + " ns"
"""


def activity_panels(draw: Drawing) -> Iterator[Panel]:
    """Draw what the kernel does over time; what a run has nothing of is left out."""
    record = draw.record
    if record.has("pgscan_kswapd") or record.has("pgscan_direct"):
        yield taken_panel(draw)
        yield scanned_panel(draw)
    if record.has("psi_memory_some_ns") or record.has("psi_io_some_ns"):
        yield pressure_panel(draw)
    bin_ns = max(record.end_ns // BINS, 1)
    faults = record.faults(bin_ns)
    if len(faults["bin"]):
        yield fault_panel(draw, faults, bin_ns)
    waits = record.lock_waits(bin_ns)
    if len(waits["bin"]):
        yield lock_panel(draw, waits, bin_ns)


def taken_panel(draw: Drawing) -> Panel:
    """Draw how many pages kswapd and tasks take back."""
    lines = [
        Line(draw.rate("pgsteal_kswapd"), "kswapd", BLUE),
        Line(draw.rate("pgsteal_direct"), "tasks themselves: direct reclaim", RED, "dashed"),
    ]
    notice = (
        "While blue keeps up, programs notice nothing. Red is work that programs have to do "
        "themselves before they get memory."
    )
    return draw.panel("Pages taken back", "pages/s", notice, lines, ACTIVITY)


def scanned_panel(draw: Drawing) -> Panel:
    """Draw how many pages kswapd and tasks look at for that."""
    lines = [
        Line(draw.rate("pgscan_kswapd"), "kswapd", SKY),
        Line(draw.rate("pgscan_direct"), "tasks themselves", ORANGE, "dashed"),
    ]
    notice = (
        "Far more pages looked at than taken: they were used a moment ago, or are being written. "
        "Such peaks cost CPU time and give nothing."
    )
    return draw.panel("Pages looked at for that", "pages/s", notice, lines, ACTIVITY)


def pressure_panel(draw: Drawing) -> Panel:
    """Draw /proc/pressure as shares of time between two samples."""
    kinds = {
        "psi_memory_some_ns": ("memory: some task stalls", ORANGE, "solid"),
        "psi_memory_full_ns": ("memory: all stall", RED, "dashed"),
        "psi_io_some_ns": ("I/O: some task waits", BLUE, "solid"),
        "psi_io_full_ns": ("I/O: all wait", SKY, "dashed"),
        "psi_cpu_some_ns": ("a task waits for a CPU", GREEN, "dotted"),
    }
    lines = []
    for name, (label, colour, dash) in kinds.items():
        stalled = draw.record.samples.of(name) / NS_PER_S * 100
        lines.append(Line(draw.rate(name, stalled), label, colour, dash))
    notice = "The share of time in which work stood still for want of memory, a disk or a CPU."
    return draw.panel("Pressure (PSI)", "% of time", notice, lines, ACTIVITY)


def fault_panel(draw: Drawing, faults: dict[str, Column], bin_ns: int) -> Panel:
    """Draw the latency of page faults: half of them, 99 % of them, the slowest, by kind."""
    kinds = common_kinds(faults)
    columns: dict[str, Any] = {}
    lines = []
    nr_bins = int(draw.record.end_ns // bin_ns) + 1
    for number, (kind, major) in enumerate(kinds):
        chosen = (faults["kind"] == kind) & (faults["major"] == major)
        name = f"{kind}, from disk" if major else str(kind)
        of_kind = {key: values[chosen] for key, values in faults.items()}
        for part, values, dash in zip(
            ("median", "99 %", "slowest"),
            quantiles(of_kind, nr_bins, (0.5, 0.99)),
            ("solid", "dashed", "dotted"),
            strict=True,
        ):
            columns[f"{name} {part}"] = values.astype(np.float32)
            colour = COLOURS[number % len(COLOURS)]
            lines.append(Line(f"{name} {part}", f"{name}: {part}", colour, dash, name))
    columns["t"] = (np.arange(nr_bins) + 0.5) * bin_ns / NS_PER_S
    notice = (
        "Solid: half of the faults took less; dashed: 99 %; dotted: the slowest. A fault that "
        "finds a free page takes about a microsecond, one that reclaims first or "
        "reads from a disk a thousand times as long: the lines lie decades apart. Faults served "
        "in one go count at their mean."
    )
    source = ColumnDataSource(columns)
    panel = draw.panel(
        "Latency of page faults", "ns, log", notice, lines, ACTIVITY,
        source=source, height=240, y_axis_type="log",
    )  # fmt: skip
    panel.figure.yaxis.formatter = CustomJSTickFormatter(code=NS_TICKS)
    return panel


def common_kinds(faults: dict[str, Column]) -> list[tuple[str, bool]]:
    """Return the kinds of faults there were most of, with whether they read from a disk."""
    pairs = list(zip(faults["kind"].tolist(), faults["major"].tolist(), strict=True))
    counts: dict[tuple[str, bool], int] = {}
    for pair, nr in zip(pairs, faults["nr"].tolist(), strict=True):
        counts[pair] = counts.get(pair, 0) + nr
    return sorted(counts, key=lambda pair: (-counts[pair], pair))[:KINDS_MAX]


def quantiles(
    faults: dict[str, Column], nr_bins: int, shares: tuple[float, ...]
) -> tuple[Column, ...]:
    """Return quantiles of a kind's latency in each bin, and its maximum; NaN where there is none.

    Args:
        faults: Columns of `RunRecord.faults`, of one kind, by bin and level.
        nr_bins: Bins of time.
        shares: Of the faults that took at most so long.
    """
    found = [np.full(nr_bins, np.nan) for _ in range(len(shares) + 1)]
    for number in np.unique(faults["bin"]).tolist():
        rows = faults["bin"] == number
        passed = np.cumsum(faults["nr"][rows])
        levels, slowest = faults["level"][rows], float(faults["max_ns"][rows].max())
        for place, share in zip(found, shares, strict=False):
            level = levels[np.searchsorted(passed, share * passed[-1])]
            place[number] = min(2.0 ** ((level + 0.5) / 8), slowest)
        found[-1][number] = slowest
    return tuple(found)


def lock_panel(draw: Drawing, waits: dict[str, Column], bin_ns: int) -> Panel:
    """Draw how long CPUs spin for each lock."""
    totals = draw.record.lock_totals()
    names = totals["lock"].tolist()[:LOCKS_MAX]
    nr_bins = int(draw.record.end_ns // bin_ns) + 1
    columns: dict[str, Any] = {"t": (np.arange(nr_bins) + 0.5) * bin_ns / NS_PER_S}
    lines = []
    for number, name in enumerate(names):
        chosen = waits["lock"] == name
        spun = np.bincount(
            np.minimum(waits["bin"][chosen], nr_bins - 1), waits["ns"][chosen], nr_bins
        )
        columns[name] = (100 * spun / bin_ns).astype(np.float32)
        lines.append(Line(name, name, (ORANGE, BLUE, GREEN, PINK, RED, GREY)[number], DASHES[0]))
    notice = (
        "100 % is one CPU that does nothing but spin. zone->lock guards the free lists, lru_lock "
        "the lists reclaim works on: they queue when many CPUs want pages at the same moment."
    )
    source = ColumnDataSource(columns)
    return draw.panel("Spinning for locks", "% of one CPU", notice, lines, ACTIVITY, source=source)
