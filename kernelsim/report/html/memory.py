"""Panels on what memory holds: zones and their watermarks, lists, page cache, swap, nodes.

Interface: `memory_panels`. Units: pages, pages a second.
"""

from collections.abc import Iterator
from typing import Final

import numpy as np
from bokeh.models import ColumnDataSource, GlyphRenderer, Range1d, VArea
from bokeh.plotting import figure

from kernelsim.report.html.drawing import (
    BLUE,
    COLOURS,
    DASHES,
    GREEN,
    GREY,
    INK,
    ORANGE,
    PINK,
    RED,
    SKY,
    Drawing,
    Line,
    Panel,
    legend,
)
from kernelsim.report.samples import Column, Samples
from kernelsim.units import NS_PER_S

MEMORY: Final = "Memory"
BAND_ALPHA: Final = 0.4
VIEW_HIGHS: Final = 2.2  # a zone is shown up to so many times its high watermark, but at least
LOW_PERCENT: Final = 5  # so that free pages are in the picture for this part of the time,
LOW_HEIGHT: Final = 1.3  # with so much room above them
LRU_LINES: Final = (
    Line("nr_active_anon", "active anonymous", BLUE),
    Line("nr_inactive_anon", "inactive anonymous", SKY, "dashed"),
    Line("nr_active_file", "active file", RED),
    Line("nr_inactive_file", "inactive file", ORANGE, "dashed"),
    Line("nr_unevictable", "unevictable", GREY, "dotted"),
)


def memory_panels(draw: Drawing) -> Iterator[Panel]:
    """Draw what memory holds over time; what a run has nothing of is left out."""
    yield use_panel(draw)
    for zone in draw.record.zones:
        if draw.record.samples.of(f"{zone}_free").any():
            yield zone_panel(draw, zone)
    yield lru_panel(draw)
    if page_cache(draw.record.samples).any():
        yield cache_panel(draw)
    if draw.record.has("swap_free"):
        yield from swap_panels(draw)
    if draw.record.nr_nodes > 1:
        yield node_panel(draw)
        yield link_panel(draw)


def use_panel(draw: Drawing) -> Panel:
    """Draw what all memory is used for."""
    samples = draw.record.samples
    free = samples.total("free")
    shmem = samples.total("nr_shmem")
    draw.add("used_anon", samples.total("nr_anon_pages") + shmem)
    draw.add("used_file", np.maximum(page_cache(samples) - shmem, 0))
    draw.add("used_swapcached", samples.total("nr_swapcached"))
    draw.add("used_free", free)
    on = draw.blank(height=210)
    lines = [
        Line("used_anon", "anonymous and shared", BLUE),
        Line("used_file", "page cache", ORANGE),
        Line("used_swapcached", "swap cache", PINK),
        Line("used_free", "free", GREEN),
    ]
    draw.stack(on, lines)
    notice = (
        "Where the green grows thin, the machine has to take pages back: from the page cache, or "
        "by writing anonymous pages to swap. What the kernel needs itself is not drawn."
    )
    return Panel("What memory is used for", "pages", notice, on, MEMORY)


def zone_panel(draw: Drawing, zone: str) -> Panel:
    """Draw a zone's free pages before its bands: the note's green, blue, orange and red."""
    samples = draw.record.samples
    boost = samples.of(f"{zone}_boost")
    marks = {name: samples.of(f"{zone}_{name}") + boost for name in ("min", "low", "high")}
    free = samples.of(f"{zone}_free")
    is_there = (free > 0) | (marks["high"] > 0)  # else its memory has not come yet, or has gone
    top = np.where(is_there, max(float(free.max()), float(marks["high"].max())) * 2, 0.0)
    edges = [np.zeros(len(free)), marks["min"], marks["low"], marks["high"], top]
    names = [draw.add(f"{zone} edge {n}", edge) for n, edge in enumerate(edges)]
    on = draw.blank(height=230)
    on.y_range = Range1d(0, view_height(free[is_there], marks["high"][is_there]))
    bands = {
        "below min: tasks reclaim themselves": RED,
        "min to low: kswapd works": ORANGE,
        "low to high: kswapd goes on once woken": BLUE,
        "above high": GREEN,
    }
    drawn: dict[str, list[GlyphRenderer]] = {}
    for number, (label, colour) in enumerate(bands.items()):
        band = VArea(
            x="t", y1=names[number], y2=names[number + 1], fill_color=colour, fill_alpha=BAND_ALPHA
        )
        drawn[label] = [on.add_glyph(draw.source, band)]
    drawn = {"free pages": [extremes(draw, on, zone)]} | drawn
    column = draw.add(f"{zone} free", free)
    line = on.line("t", column, source=draw.source, line_width=2)
    line.glyph.tags = [INK]
    drawn["free pages"].append(line)
    legend(on, drawn)
    columns = {"free": column, "min": names[1], "low": names[2], "high": names[3]}
    draw.read_out(on, line, columns)
    notice = (
        "The line falls from green; at the bottom of blue kswapd is woken, and fills up again to "
        "the top of blue; in red, tasks have to reclaim before they get a page. The shade around "
        f"the line is how far it went between two samples; it began at {int(free[0]):,} pages."
    )
    return Panel(f"Free pages of {spoken(zone)}", "pages", notice, on, MEMORY)


def view_height(free: Column, high: Column) -> float:
    """Return up to where to show a zone: its bands if it is often near them, else all of it."""
    near = float(np.median(high)) * VIEW_HIGHS
    often = float(np.percentile(free, LOW_PERCENT)) * LOW_HEIGHT
    if often <= near:
        return max(near, 1.0)
    return float(free.max()) * LOW_HEIGHT if free.min() > near else often


def extremes(draw: Drawing, on: figure, zone: str) -> GlyphRenderer:
    """Draw between which values free pages were from one sample to the next."""
    nid = int(zone.partition("_")[0].removeprefix("node"))
    crossed = draw.record.crossings(nid, draw.record.zid(zone))
    t_ns, free = draw.record.samples.t_ns, draw.record.samples.of(f"{zone}_free")
    low, high = np.minimum(free[:-1], free[1:]), np.maximum(free[:-1], free[1:])
    at = np.clip(np.searchsorted(t_ns, crossed["t_ns"], side="left") - 1, 0, max(len(low) - 1, 0))
    if len(low):
        np.minimum.at(low, at, crossed["free_pages"].astype(low.dtype))
        np.maximum.at(high, at, crossed["free_pages"].astype(high.dtype))
    source = ColumnDataSource(
        {
            "t": np.repeat(t_ns / NS_PER_S, 2)[1:-1],
            "low": np.repeat(low, 2).astype(np.float32),
            "high": np.repeat(high, 2).astype(np.float32),
        }
    )
    renderer = on.varea("t", "low", "high", source=source, fill_alpha=0.35)
    renderer.glyph.tags = [INK]
    return renderer


def lru_panel(draw: Drawing) -> Panel:
    """Draw the LRU lists of all nodes together."""
    for line in LRU_LINES:
        draw.total(line.column)
    notice = (
        "Reclaim takes from the inactive lists; a page used twice moves to the active one. "
        "A list that shrinks while another grows shows whose pages the kernel gives up."
    )
    return draw.panel("LRU lists", "pages", notice, LRU_LINES, MEMORY)


def cache_panel(draw: Drawing) -> Panel:
    """Draw the page cache, what of it is dirty, and the limits."""
    samples = draw.record.samples
    draw.add("cached", page_cache(samples))
    for name in ("nr_dirty", "nr_writeback"):
        draw.total(name)
    lines = [
        Line("cached", "page cache", GREEN),
        Line("nr_dirty", "dirty", ORANGE),
        Line("nr_writeback", "being written", BLUE, "dashed"),
        Line(draw.sampled("nr_dirty_background_threshold"), "background limit", GREY, "dotted"),
        Line(draw.sampled("nr_dirty_threshold"), "dirty limit", RED, "dotted"),
    ]
    notice = (
        "Above the background limit the flusher writes; halfway to the dirty limit writers are "
        "made to pause, and none gets above it."
    )
    return draw.panel("Page cache and dirty pages", "pages", notice, lines, MEMORY)


def swap_panels(draw: Drawing) -> Iterator[Panel]:
    """Draw swap in use, and its traffic."""
    samples = draw.record.samples
    draw.add("swap used", samples.of("swap_total") - samples.of("swap_free"))
    notice = f"Swap has room for {int(samples.of('swap_total').max()):,} pages."
    used = [Line("swap used", "in use")]
    yield draw.panel("Swap in use", "pages", notice, used, MEMORY, height=150)
    lines = [
        Line(draw.rate("pswpout"), "out", ORANGE),
        Line(draw.rate("pswpin"), "in", BLUE, "dashed"),
    ]
    notice = "Pages that go out and come in at the same time: a working set that does not fit."
    yield draw.panel("Swap traffic", "pages/s", notice, lines, MEMORY)


def node_panel(draw: Drawing) -> Panel:
    """Draw where the pages of programs and files lie."""
    record = draw.record
    lines = []
    for nid in range(record.nr_nodes):
        parts = ("nr_anon_pages", "nr_file_pages")
        held = sum(record.samples.of(f"node{nid}_{name}") for name in parts)
        column = draw.add(f"node{nid} held", np.asarray(held))
        colour, dash = COLOURS[nid % len(COLOURS)], DASHES[nid // len(COLOURS) % len(DASHES)]
        lines.append(Line(column, f"node {nid}", colour, dash))
    notice = (
        "Memory of programs and files on each node. A node that fills up while others have room "
        "is a policy that binds, or a program whose memory is all touched from one place."
    )
    return draw.panel("Placement on nodes", "pages", notice, lines, MEMORY)


def link_panel(draw: Drawing) -> Panel:
    """Draw how busy the links between nodes are."""
    lines = []
    for nid in range(draw.record.nr_nodes):
        name = f"node{nid}_link_ns"
        busy = draw.record.samples.of(name) / NS_PER_S * 100
        line = Line(draw.rate(name, busy), f"to node {nid}", COLOURS[nid % len(COLOURS)])
        lines.append(line)
    notice = "Time in which links to a node carried traffic: at 100 % a link, remote memory queues."
    return draw.panel("Load of the links between nodes", "% of a link", notice, lines, MEMORY)


def spoken(zone: str) -> str:
    """Return a zone's name for people: node 0 DMA32."""
    node, _, name = zone.partition("_")
    return f"node {node.removeprefix('node')} {name}"


def page_cache(samples: Samples) -> Column:
    """Return the pages of files in memory, shared memory among them."""
    return samples.total("nr_file_pages") - samples.total("nr_swapcached")
