"""What all pictures of a report share: one axis of time, colours, how a line is drawn and read out.

Colours are those of Okabe and Ito, which colour-blind people can tell apart; the four bands have
the note's green, blue, orange and red. What must stand out from the page, lines and letters, is
tagged INK and gets its colour from the page (page.js), so that light and dark are one file.

Interface: `Drawing` makes figures with the shared axis, `Panel` is one with its words.
Units: time on the axis is virtual seconds.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import attrs
import numpy as np
from bokeh.models import (
    BoxZoomTool,
    ColumnDataSource,
    CrosshairTool,
    CustomJSTickFormatter,
    GlyphRenderer,
    HoverTool,
    Legend,
    LegendItem,
    PanTool,
    Range1d,
    ResetTool,
    Scatter,
    Span,
    VArea,
    WheelZoomTool,
)
from bokeh.models import Line as LineGlyph
from bokeh.plotting import figure
from bokeh.transform import stack
from numpy.typing import NDArray

from kernelsim.report.html.record import RunRecord
from kernelsim.report.samples import growth
from kernelsim.units import NS_PER_S

GREEN: Final = "#009E73"
BLUE: Final = "#0072B2"
SKY: Final = "#56B4E9"
ORANGE: Final = "#E69F00"
RED: Final = "#D55E00"
PINK: Final = "#CC79A7"
YELLOW: Final = "#F0E442"
GREY: Final = "#8A8A8A"
COLOURS: Final = (BLUE, ORANGE, GREEN, PINK, SKY, RED, YELLOW)
DASHES: Final = ("solid", "dashed", "dotted", "dotdash")
INK: Final = "ink"  # tag of what is drawn in the colour of the text
HEIGHT: Final = 190
TIME: Final = "time"  # name of the shared range, as page.js looks for it
SHADE: Final = 0.55

COUNT_TICKS: Final = """
const units = [[1e9, " G"], [1e6, " M"], [1e3, " k"]]
for (const [size, name] of units)
  if (Math.abs(tick) >= size) return Number((tick / size).toPrecision(6)) + name
return Number(tick.toPrecision(6)) + ""
"""
SECOND_TICKS: Final = 'return Number(tick.toPrecision(10)) + " s"'

Values = NDArray[Any]


@attrs.frozen
class Panel:
    """A picture with its words.

    Attributes:
        title: What it shows.
        unit: Of its axis.
        notice: One line on what to look at.
        figure: It.
        group: Name of the part of the page it stands in.
    """

    title: str
    unit: str
    notice: str
    figure: figure
    group: str


@attrs.frozen
class Line:
    """One column of a picture."""

    column: str
    label: str
    colour: str | None = None
    """None for the colour of the text."""
    dash: str = "solid"
    group: str = ""
    """What the legend calls it, together with others; empty for its label."""


@attrs.define
class Drawing:
    """Makes the figures of one report.

    Attributes:
        record: The run.
        time: The shared axis.
        seconds: Time of each sample.
        source: Columns of the samples that some figure shows.
    """

    record: RunRecord
    time: Range1d = attrs.field(init=False)
    seconds: Values = attrs.field(init=False)
    source: ColumnDataSource = attrs.field(factory=ColumnDataSource)
    _moment: Span = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.seconds = self.record.samples.t_ns / NS_PER_S
        end_s = max(self.record.end_ns, 1) / NS_PER_S
        self.time = Range1d(0, end_s, bounds=(0, end_s), name=TIME)
        self._moment = Span(dimension="height", line_dash="dotted", line_color=GREY)
        self.source.data["t"] = self.seconds

    def blank(self, *, height: int = HEIGHT, y_axis_type: str = "linear") -> figure:
        """Make an empty figure over the shared axis of time."""
        zoom = BoxZoomTool(dimensions="width")
        made = figure(
            height=height,
            sizing_mode="stretch_width",
            x_range=self.time,
            toolbar_location=None,
            tools=[zoom, PanTool(dimensions="width"), ResetTool()],
            active_drag=zoom,
            background_fill_alpha=0,
            border_fill_alpha=0,
            outline_line_color=None,
            min_border_left=105,
            y_axis_type=y_axis_type,
        )
        made.add_tools(WheelZoomTool(dimensions="width", modifiers="ctrl"))
        made.add_tools(WheelZoomTool(dimensions="height", modifiers="shift"))
        made.add_tools(CrosshairTool(overlay=self._moment))
        made.xaxis.formatter = CustomJSTickFormatter(code=SECOND_TICKS)
        made.xgrid.visible = False
        if y_axis_type == "linear":
            made.yaxis.formatter = CustomJSTickFormatter(code=COUNT_TICKS)
        return made

    def add(self, name: str, values: Values) -> str:
        """Put a column beside the samples; return its name."""
        self.source.data[name] = np.asarray(values, np.float32)
        return name

    def sampled(self, name: str) -> str:
        """Put a sampled counter of the machine there as it is."""
        return self.add(name, self.record.samples.of(name))

    def total(self, ending: str) -> str:
        """Put the sum of a counter over the nodes there."""
        return self.add(ending, self.record.samples.total(ending))

    def rate(self, name: str, values: Values | None = None) -> str:
        """Put the growth of a counter there, a second, over the interval before each sample."""
        values = self.record.samples.of(name) if values is None else values
        return self.add(f"{name}/s", growth(values, self.seconds))

    def panel(
        self,
        title: str,
        unit: str,
        notice: str,
        lines: Sequence[Line],
        group: str,
        *,
        source: ColumnDataSource | None = None,
        height: int = HEIGHT,
        y_axis_type: str = "linear",
    ) -> Panel:
        """Draw columns as lines in a figure of their own; words and group as in `Panel`."""
        on = self.blank(height=height, y_axis_type=y_axis_type)
        self.lines(on, lines, source)
        return Panel(title, unit, notice, on, group)

    def lines(
        self,
        on: figure,
        lines: Sequence[Line],
        source: ColumnDataSource | None = None,
    ) -> None:
        """Draw columns as lines, with a legend; the numbers are shown under the pointer.

        A value without neighbours is a dot.
        """
        source = source or self.source
        drawn = []
        for line in lines:
            glyph = LineGlyph(
                x="t",
                y=line.column,
                line_width=1.8,
                line_dash=line.dash,
                line_color=line.colour or GREY,
                tags=[INK] if line.colour is None else [],
            )
            drawn.append(on.add_glyph(source, glyph))
        named: dict[str, list[GlyphRenderer]] = {}
        for line, each in zip(lines, drawn, strict=True):
            group = named.setdefault(line.group or line.label, [])
            group.append(each)
            alone = alone_in(source.data[line.column])
            if alone.any():
                source.data[f"{line.column} alone"] = np.where(
                    alone, source.data[line.column], np.nan
                ).astype(np.float32)
                colour = line.colour or GREY
                dot = Scatter(
                    x="t", y=f"{line.column} alone", size=5, fill_color=colour, line_color=colour
                )
                group.append(on.add_glyph(source, dot))
        legend(on, named)
        self.read_out(on, drawn[0], {line.label: line.column for line in lines})

    def stack(
        self,
        on: figure,
        lines: Sequence[Line],
        source: ColumnDataSource | None = None,
    ) -> None:
        """Draw columns as areas on top of each other, the first at the bottom."""
        source = source or self.source
        columns = [line.column for line in lines]
        areas = [
            VArea(
                x="t",
                y1=stack(*columns[:below]),
                y2=stack(*columns[: below + 1]),
                fill_color=line.colour or GREY,
                fill_alpha=SHADE,
            )
            for below, line in enumerate(lines)
        ]
        drawn = [on.add_glyph(source, area) for area in areas]
        legend(on, {line.label: [each] for line, each in zip(lines, drawn, strict=True)})
        carrier = on.line("t", lines[0].column, source=source, line_alpha=0)
        self.read_out(on, carrier, {line.label: line.column for line in lines})

    def read_out(self, on: figure, renderer: GlyphRenderer, columns: Mapping[str, str]) -> None:
        """Show the values at the pointer's time."""
        tips = [(label, f"@{{{column}}}{{0,0.[00]}}") for label, column in columns.items()]
        on.add_tools(
            HoverTool(
                renderers=[renderer],
                mode="vline",
                point_policy="snap_to_data",
                tooltips=[("at", "@t{0.000000} s"), *tips],
            )
        )


def alone_in(values: Values) -> Values:
    """Return which values have none beside them, so that no line leads there: [row]."""
    gap = np.concatenate(([True], np.isnan(values), [True]))
    alone: Values = ~gap[1:-1] & gap[:-2] & gap[2:]
    return alone


def legend(
    on: figure, items: Mapping[str, Sequence[GlyphRenderer]], *, is_switch: bool = True
) -> None:
    """Put a legend above a figure; a click on an entry hides what it names, if it is a switch."""
    entries = [LegendItem(label=label, renderers=list(each)) for label, each in items.items()]
    on.add_layout(
        Legend(
            items=entries,
            orientation="horizontal",
            location="top_left",
            click_policy="hide" if is_switch else "none",
            background_fill_alpha=0,
            border_line_alpha=0,
            padding=0,
            margin=0,
            spacing=14,
            label_text_font_size="12px",
            glyph_height=14,
        ),
        "above",
    )
