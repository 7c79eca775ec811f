"""Single pictures: of one run in a notebook, of several laid over each other.

Interface: `memory_picture`, `counters_picture`; `Picture` shows itself in a notebook.
Units: virtual seconds; those of the counters.
"""

from collections.abc import Mapping, Sequence
from html import escape
from itertools import cycle
from pathlib import Path
from typing import Any

import attrs
from bokeh.embed import file_html
from bokeh.layouts import column
from bokeh.models import HoverTool
from bokeh.plotting import figure
from bokeh.resources import INLINE
from numpy.typing import NDArray

from kernelsim.report.html.drawing import COLOURS, DASHES, HEIGHT, Drawing
from kernelsim.report.html.memory import memory_panels
from kernelsim.report.html.record import RunRecord
from kernelsim.report.whole import write_whole
from kernelsim.units import NS_PER_S

Table = Mapping[str, NDArray[Any]]


@attrs.frozen
class Picture:
    """A picture.

    Attributes:
        model: What bokeh shows: `bokeh.io.show(picture.model)`.
        title: Of the page.
        height: Pixels.
    """

    model: Any
    title: str
    height: int

    def html(self) -> str:
        """Return a page with the picture, which opens without a network."""
        return str(file_html(self.model, INLINE, self.title))

    def save(self, path: str | Path) -> None:
        """Write that page.

        Raises:
            OutputError: The system refused.
        """
        text = self.html()
        write_whole(Path(path), lambda place: place.write_text(text, encoding="utf-8"))

    def _repr_html_(self) -> str:
        page = escape(self.html(), quote=True)
        height = self.height + 30
        return f'<iframe srcdoc="{page}" width="100%" height="{height}" frameborder="0"></iframe>'


def memory_picture(record: RunRecord) -> Picture:
    """Draw what memory holds, and free pages of each zone against its watermarks."""
    panels = list(memory_panels(Drawing(record)))
    for panel in panels:
        panel.figure.title = f"{panel.title}, {panel.unit}"
    title = f"{record.run.get('workload', 'run')}"
    figures = [panel.figure for panel in panels]
    made = column(*figures, sizing_mode="stretch_width")
    return Picture(made, title, sum(each.height for each in figures))


def counters_picture(runs: Mapping[str, Table], counters: Sequence[str]) -> Picture:
    """Draw counters over virtual time, a figure each: a line a run.

    Args:
        runs: Their samples by name, with t_ns; the part of the name before a "/" is its colour's.
        counters: Columns that at least one run has.
    """
    groups = list(dict.fromkeys(name.partition("/")[0] for name in runs))
    colours = dict(zip(groups, cycle(COLOURS), strict=False))
    figures = []
    for counter in counters:
        on: Any = figure(
            height=HEIGHT,
            sizing_mode="stretch_width",
            title=counter,
            tools="xpan,xwheel_zoom,xbox_zoom,reset",
            x_axis_label="virtual seconds",
        )
        dashes = dict.fromkeys(groups, 0)
        for name, table in runs.items():
            if counter not in table:
                continue
            group = name.partition("/")[0]
            dash = DASHES[dashes[group] % len(DASHES)]
            dashes[group] += 1
            named = {"legend_label": group} if group else {}
            seconds = table["t_ns"] / NS_PER_S
            on.line(
                seconds, table[counter], color=colours[group], line_dash=dash, name=name, **named
            )
        on.add_tools(HoverTool(tooltips=[("run", "$name"), ("at", "@x s"), (counter, "@y")]))
        figures.append(on)
    made = column(*figures, sizing_mode="stretch_width")
    return Picture(made, ", ".join(counters), HEIGHT * len(figures))
