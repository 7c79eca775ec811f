"""Panels of what page frames held: the map of memory.

Interface: `map_panels`. Units: bytes of physical address; shares of the pages looked at.
"""

from collections.abc import Iterator
from typing import Final

import numpy as np
from bokeh.models import AdaptiveTicker, CustomJSTickFormatter

from kernelsim.mm.core.page_kinds import KINDS, PROBES_MAX
from kernelsim.report.html.drawing import BLUE, GREEN, GREY, ORANGE, PINK, Drawing, Panel
from kernelsim.report.html.mosaic import Kind, Mosaic, Shares
from kernelsim.report.samples import Column, Samples
from kernelsim.units import NS_PER_S, PAGE_SIZE, format_size

MAP: Final = "Map of memory"
LINES: Final = 4  # of a cell
COLUMNS_MAX: Final = 240
HEIGHT: Final = 330  # pixels, of which 64 cells of four lines are 256
LOW: Final = 170
SMALL: Final = 16  # a zone with less than this part of the largest gets a lower picture
ALL_KINDS: Final = {
    "kernel": Kind("kernel", GREY, at_least_one=True),
    "locked": Kind("locked", PINK, at_least_one=True),
    "anon": Kind("anonymous and shared", BLUE),
    "file": Kind("page cache", ORANGE),
    "free": Kind("free", f"{GREEN}48"),
}
BYTE_TICKS: Final = """
const units = [[2 ** 40, " TiB"], [2 ** 30, " GiB"], [2 ** 20, " MiB"], [2 ** 10, " KiB"]]
for (const [size, name] of units)
  if (tick >= size) return Number((tick / size).toPrecision(6)) + name
return tick + " B"
"""
NOTICE: Final = (
    "Each row has as much of a colour as it has of a kind, but at least a line of grey or pink. "
    "Grey cannot be moved: one such page keeps its block from going offline, and free memory "
    "between specks of it gives no large blocks. Empty is offline, or no memory. "
)
POWERS: Final = tuple(2**n for n in range(10))


def map_panels(draw: Drawing) -> Iterator[Panel]:
    """Draw what each part of each zone held over time, and of where DIMMs came."""
    sampled = draw.record.memory_map
    if sampled is None or not len(sampled.t_ns):
        return
    owners = np.column_stack((sampled.of("nid"), sampled.of("zid")))
    spans = [tuple(pair) for pair in np.unique(owners, axis=0).tolist()]
    sizes, notice = {}, NOTICE
    for span in spans:
        rows = (owners == span).all(axis=1) & (sampled.t_ns == sampled.t_ns[0])
        sizes[span] = int(sampled.of("nr_pages")[rows].sum())
    for span in sorted(spans, key=lambda span: (span[0] < 0, span)):
        chosen = (owners == span).all(axis=1)
        is_there = sum(int(sampled.of(kind)[chosen].sum()) for kind in ALL_KINDS)
        if is_there:
            height = LOW if sizes[span] * SMALL < max(sizes.values()) else HEIGHT
            yield map_panel(draw, sampled, chosen, height, notice)
            notice = ""


def map_panel(draw: Drawing, sampled: Samples, chosen: Column, height: int, notice: str) -> Panel:
    """Draw one zone.

    Args:
        draw: The report's.
        sampled: What was sampled of all zones.
        chosen: [row] which rows are this zone's.
        height: Pixels.
        notice: What to look at.
    """
    first, nr_pages = sampled.of("first_pfn")[chosen], sampled.of("nr_pages")[chosen]
    nr_parts = len(np.unique(first))
    t_ns = sampled.t_ns[chosen][::nr_parts]
    counts = np.stack([sampled.of(kind)[chosen] for kind in KINDS], axis=1)
    held: Shares = counts / counts.sum(axis=1, keepdims=True)
    shares = held[:, : len(ALL_KINDS)].reshape(len(t_ns), nr_parts, -1).transpose(1, 0, 2)
    columns, end_s = columns_of(t_ns, draw.record.end_ns)
    end_pfn = int(first[nr_parts - 1] + nr_pages[nr_parts - 1])
    bottom, top = int(first[0]) * PAGE_SIZE, end_pfn * PAGE_SIZE
    on = draw.blank(height=height)
    Mosaic(
        kinds=list(ALL_KINDS.values()), shares=shares[:, columns], nr_lines=LINES,
        bottom=bottom, top=top, end_s=end_s,
    ).draw(on, [("at", "$x{0.000000} s"), ("address", "$y{0.0 ib}")])  # fmt: skip
    on.yaxis.formatter = CustomJSTickFormatter(code=BYTE_TICKS)
    on.yaxis.ticker = AdaptiveTicker(
        base=2**10, mantissas=POWERS, desired_num_ticks=4, num_minor_ticks=0
    )
    title = f"What lies where in {name_of(draw, sampled, chosen)}"
    return Panel(title, "physical address", notice + grain(int(nr_pages.max())), on, MAP)


def columns_of(t_ns: Column, end_ns: int) -> tuple[Column, float]:
    """Return which sample each column of a picture shows, and where the last column ends, s.

    Columns are as wide as the distance of samples, the last as well, and show what was seen at
    their beginning, the last one what was seen at the end.
    """
    width_ns = max(int(np.diff(t_ns).max(initial=0)), end_ns // COLUMNS_MAX, 1)
    nr_columns = end_ns // width_ns + 1
    begins = np.arange(nr_columns) * width_ns
    columns = np.maximum(np.searchsorted(t_ns, begins, side="right") - 1, 0)
    columns[-1] = len(t_ns) - 1
    return columns, nr_columns * width_ns / NS_PER_S


def grain(nr_pages: int) -> str:
    """Say how finely the map is drawn.

    Args:
        nr_pages: Size of a part.
    """
    seen = f", judged by {PROBES_MAX} of its pages" if nr_pages > PROBES_MAX else ""
    return f"A row is {format_size(nr_pages * PAGE_SIZE)}{seen}."


def name_of(draw: Drawing, sampled: Samples, chosen: Column) -> str:
    """Return the name of the zone that some rows are about."""
    nid, zid = (int(sampled.of(name)[chosen][0]) for name in ("nid", "zid"))
    names = [
        zone.partition("_")[2]
        for zone in draw.record.zones
        if zone.startswith(f"node{nid}_") and draw.record.zid(zone) == zid
    ]
    if nid < 0:
        return "memory that was added"
    return f"node {nid} {names[0] if names else f'zone {zid}'}"
