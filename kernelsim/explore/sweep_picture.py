"""A sweep as pictures: each metric over one axis, a line for each value of the others.

Interface: `write_picture`. Units: in the titles.
"""

from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any, Final

from bokeh.embed import components
from bokeh.models import ColumnDataSource, HoverTool, Range1d, Whisker
from bokeh.plotting import figure
from bokeh.resources import Resources

from kernelsim.explore.sweep_table import Setting
from kernelsim.report.html.drawing import COLOURS, DASHES
from kernelsim.report.html.page import named_at_random, numbered
from kernelsim.report.whole import write_whole
from kernelsim.units import NS_PER_MS, NS_PER_S, NS_PER_US

PICTURE: Final = "sweep.html"
LINES_MAX: Final = 12  # a picture; more cannot be told apart
PAGE: Final = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<style>body {{ font: 16px/1.5 system-ui, sans-serif; margin: 2em auto; max-width: 1100px;
padding: 0 1em; color: #1a1a1a; background: #fff }} .panels {{ display: flex; flex-wrap: wrap;
gap: 1.5em }} h1 {{ font-size: 1.4em }}</style>
{library}</head><body><h1>{title}</h1><p>{notice}</p>
<div class="panels">{divs}</div>{script}</body></html>
"""
NOTICE: Final = "A dot is the median over the seeds; its whisker, from the least to the most."


@named_at_random()
def write_picture(
    out: Path, settings: Sequence[Setting], metrics: Sequence[str], title: str
) -> Path:
    """Write sweep.html: it opens without a network.

    Raises:
        OutputError: The system refused.
    """
    axis = main_axis(settings)
    figures = [picture(settings, name, axis) for name in metrics]
    script, divs = components(figures) if figures else ("", ())
    script, *divs = numbered([script, *divs])
    text = PAGE.format(
        title=escape(title),
        library=Resources(mode="inline", components=["bokeh"]).render_js(),
        notice=NOTICE,
        divs="".join(f"<div>{each}</div>" for each in divs),
        script=script,
    )
    target = out / PICTURE
    write_whole(target, lambda path: path.write_text(text, encoding="utf-8"))
    return target


def main_axis(settings: Sequence[Setting]) -> str:
    """Return the axis with the most values, numbers before names; "" if nothing varies."""
    points = [each.point for each in settings]
    values = {name: list(dict.fromkeys(p[name] for p in points)) for name in points[0]}
    varying = {name: found for name, found in values.items() if len(found) > 1}
    return max(varying, key=lambda n: (are_numbers(varying[n]), len(varying[n])), default="")


def most_of(settings: Sequence[Setting], metric: str) -> float:
    """Return the largest value of a metric in any run."""
    return max((s.figures[metric].max for s in settings if metric in s.figures), default=0)


def unit_of(metric: str, most: float) -> tuple[int, str]:
    """Return what to divide the values of a metric by, and the name of that unit of time."""
    if not metric.endswith("_ns"):
        return 1, ""
    units = ((NS_PER_S, "s"), (NS_PER_MS, "ms"), (NS_PER_US, "µs"), (1, "ns"))
    return next((unit for unit in units if most >= unit[0]), (1, "ns"))


def are_numbers(values: Sequence[str]) -> bool:
    """Return whether all values are whole numbers."""
    return all(value.lstrip("-").isdecimal() for value in values)


def picture(settings: Sequence[Setting], metric: str, axis: str) -> Any:  # noqa: ANN401 - bokeh has no types
    """Draw one metric over an axis."""
    places = list(dict.fromkeys(each.point.get(axis, "") for each in settings))
    is_number = bool(axis) and are_numbers(places)
    scale, unit = unit_of(metric, most_of(settings, metric))
    plot: Any = figure(
        width=500,
        height=320,
        title=f"{metric.removesuffix('_ns')}, {unit}" if unit else metric,
        x_axis_label=axis or "the only setting",
        toolbar_location=None,
        **({} if is_number else {"x_range": places}),
    )  # fmt: skip
    lines: dict[str, list[Setting]] = {}
    for each in settings:
        others = ", ".join(f"{n} {v}" for n, v in each.point.items() if n != axis)
        lines.setdefault(others, []).append(each)
    for number, (others, line) in enumerate(list(lines.items())[:LINES_MAX]):
        points = [each for each in line if metric in each.figures]
        values = [each.figures[metric] for each in points]
        at = [each.point.get(axis, "") for each in points]
        source = ColumnDataSource(
            {
                "x": [int(place) for place in at] if is_number else at,
                "y": [value.median / scale for value in values],
                "low": [value.min / scale for value in values],
                "high": [value.max / scale for value in values],
            }
        )
        colour = COLOURS[number % len(COLOURS)]
        dash = DASHES[number // len(COLOURS) % len(DASHES)]
        named = {"legend_label": others} if len(lines) > 1 else {}
        plot.line("x", "y", source=source, color=colour, line_dash=dash, **named)
        plot.scatter("x", "y", source=source, color=colour, size=7, **named)
        whisker = Whisker(base="x", lower="low", upper="high", source=source, line_color=colour)
        plot.add_layout(whisker)
    tips = [(axis or "setting", "@x"), ("median", "@y"), ("least", "@low"), ("most", "@high")]
    plot.add_tools(HoverTool(tooltips=tips))
    plot.y_range = Range1d(0, max(most_of(settings, metric) / scale * 1.08, 1e-9))
    if len(lines) > 1:
        plot.add_layout(plot.legend[0], "below")
    return plot
