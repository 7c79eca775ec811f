"""A panel with a row for each process and each kswapd: what it did, all below each other.

Interface: `state_panels`. Units: ns; shares are parts of one.
"""

from collections.abc import Iterator
from typing import Final

import numpy as np
from bokeh.models import FixedTicker, PlainText

from kernelsim.report.html.drawing import Drawing, Panel
from kernelsim.report.html.mosaic import Kind, Mosaic, Shares
from kernelsim.report.html.processes import PARTS, PROCESSES, lost_ns, time_shares
from kernelsim.report.html.record import Column, Life
from kernelsim.units import NS_PER_S

ROWS_MAX: Final = 40
BINS: Final = 240
LINES: Final = 8  # of a row
ROW_HEIGHT: Final = 18  # pixels
REST: Final = 70  # pixels: legend and axis
RECLAIM: Final = list(PARTS).index("reclaim_ns")
NAME_MAX: Final = 10  # letters of a name that fit beside its row
KINDS: Final = (
    *(
        Kind("reclaims pages" if number == RECLAIM else label, colour)
        for number, (label, colour) in enumerate(PARTS.values())
    ),
    Kind("sleeps", "#8A8A8A48"),
)


def state_panels(draw: Drawing, lives: list[Life]) -> Iterator[Panel]:
    """Draw what processes and kswapds did, if there are any."""
    record = draw.record
    edges = np.linspace(0, max(record.end_ns, 1), BINS + 1)
    seen = [life for life in lives if life.pid in record.processes]
    chosen = sorted(seen, key=lambda life: (-lost_ns(record.processes[life.pid]), life.pid))
    rows = {
        row_name(life): shares_of(life, record.processes[life.pid], edges)
        for life in chosen[:ROWS_MAX]
    }
    rows |= kswapd_rows(record.kswapd(), record.end_ns, edges)
    if not rows:
        return
    on = draw.blank(height=ROW_HEIGHT * len(rows) + REST)
    Mosaic(
        kinds=KINDS, shares=np.stack(list(rows.values())[::-1]), nr_lines=LINES, gap=1,
        bottom=0, top=len(rows), end_s=max(record.end_ns, 1) / NS_PER_S,
    ).draw(on, [("at", "$x{0.000000} s")])  # fmt: skip
    middles = {n + 0.5: name for n, name in enumerate(list(rows)[::-1])}
    on.yaxis.ticker = FixedTicker(ticks=list(middles), minor_ticks=[])
    on.yaxis.major_label_overrides = {
        at: PlainText(text=name)
        for at, name in middles.items()  # else "$$" would begin a formula
    }
    on.ygrid.visible = False
    left_out = f" {len(chosen) - ROWS_MAX} more are left out." if len(chosen) > ROWS_MAX else ""
    notice = (
        "Those that waited longest come first, kswapds last. Where rows turn red or blue together, "
        f"memory holds them all up; red in the last row alone is kswapd keeping up.{left_out}"
    )
    yield Panel("What each process does", "share of time", notice, on, PROCESSES)


def row_name(life: Life) -> str:
    """Return what stands beside the row of a process: as much of its name as fits, and its pid."""
    is_long = len(life.comm) > NAME_MAX
    return f"{life.comm[: NAME_MAX - 1]}… {life.pid}" if is_long else f"{life.comm} {life.pid}"


def shares_of(life: Life, columns: dict[str, Column], edges: Shares) -> Shares:
    """Return what a process did in each bin of time: [bin, kind of KINDS].

    It is known from its start to its last sample.
    """
    if life.start_ns < int(columns["t_ns"][0]):  # everything it counts began at 0
        columns = {name: np.concatenate(([0], values)) for name, values in columns.items()}
        columns["t_ns"][0] = life.start_ns
    t_ns = columns["t_ns"]
    parts = time_shares(columns)
    spent = [binned(t_ns, parts[name] / 100, edges) for name in PARTS]
    alive = binned(t_ns, np.ones(len(t_ns)), edges)
    asleep = np.maximum(alive - np.sum(spent, axis=0), 0)
    return np.stack([*spent, asleep], axis=1)


def binned(t_ns: Column, share: Shares, edges: Shares) -> Shares:
    """Return the part of each bin that something takes: [bin].

    Args:
        t_ns: [row] rising.
        share: [row] its part of the time since the row before; the first is not used.
        edges: [bin + 1] of the bins.
    """
    taken = np.concatenate(([0.0], np.cumsum(share[1:] * np.diff(t_ns))))
    binned_ns: Shares = np.diff(np.interp(edges, t_ns, taken))
    return binned_ns / np.diff(edges)


def kswapd_rows(rounds: dict[str, Column], end_ns: int, edges: Shares) -> dict[str, Shares]:
    """Return what each kswapd that woke did in each bin of time, by name: [bin, kind of KINDS]."""
    rows = {}
    for nid in np.unique(rounds["nid"]).tolist():
        own = rounds["nid"] == nid
        starts_ends = np.stack((rounds["start_ns"][own], rounds["end_ns"][own]), axis=1).ravel()
        t_ns = np.concatenate(([0], starts_ends, [end_ns]))
        is_at_work = np.arange(len(t_ns)) % 2 == 0  # up to the end of a round
        share = binned(t_ns, is_at_work.astype(float), edges)
        row = np.zeros((len(share), len(KINDS)))
        row[:, RECLAIM], row[:, -1] = share, np.maximum(1 - share, 0)
        rows[f"kswapd{nid}"] = row
    return rows
