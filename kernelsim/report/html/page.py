"""Puts the parts of a report together: one file that opens without a network.

Everything that a run gave a name to is escaped here, once, before it meets HTML. The pictures and
their data are JSON of bokeh's; its library stands in the file.

Interface: `write_report`.
"""

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Final

from bokeh.document import Document
from bokeh.embed import components
from bokeh.resources import Resources
from bokeh.settings import settings

from kernelsim.report.html.activity import activity_panels
from kernelsim.report.html.drawing import Drawing, Panel
from kernelsim.report.html.marks import add_marks
from kernelsim.report.html.memory import memory_panels
from kernelsim.report.html.memory_map import map_panels
from kernelsim.report.html.processes import process_panels
from kernelsim.report.html.record import RunRecord, read_record
from kernelsim.report.html.states import state_panels
from kernelsim.report.html.story import story
from kernelsim.report.rundir import REPORT
from kernelsim.report.whole import write_whole

UUID: Final = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def write_report(directory: Path, *, to: Path | None = None) -> Path:
    """Write the report of a run.

    Args:
        directory: What `kernelsim run --out` wrote.
        to: Where to; None for report.html in the directory.

    Returns:
        The file.

    Raises:
        ConfigError: There is no run of a machine that has ended, or its log is damaged.
        OutputError: The file cannot be written.
    """
    target = directory / REPORT if to is None else to
    text = report_text(read_record(directory))
    write_whole(target, lambda path: path.write_text(text, encoding="utf-8"))
    return target


@contextmanager
def named_at_random() -> Iterator[None]:
    """Let bokeh name at random all that it makes meanwhile, so that `numbered` can number it.

    Else it counts on from what this process drew before.
    """
    settings.simple_ids.set_value(value=False)
    try:
        yield
    finally:
        settings.simple_ids.unset_value()


@named_at_random()
def report_text(record: RunRecord) -> str:
    """Return the HTML of a report."""
    draw = Drawing(record)
    lives = record.lives()
    panels = [
        *memory_panels(draw),
        *map_panels(draw),
        *activity_panels(draw),
        *state_panels(draw, lives),
        *process_panels(draw, lives),
    ]
    add_marks(panels, lives, record.hotplug(), record.end_ns)
    document = Document()
    with document.models.freeze():  # else bokeh looks for models in all figures at each of them
        for panel in panels:
            document.add_root(panel.figure)
    script, divs = components([panel.figure for panel in panels])
    script, *divs = numbered([script, *divs])
    title = f"{record.run.get('workload', 'run')} on {record.run.get('machine', 'a machine')}"
    return Template(part("page.html")).substitute(
        title=escape(title),
        style=part("page.css"),
        story="\n".join(f"<li>{escape(sentence)}</li>" for sentence in story(record, lives)),
        notes=notes_html(record),
        command=escape(str(record.run.get("replay", ""))),
        sections="\n".join(sections(panels, divs)),
        library=Resources(mode="inline", components=["bokeh"]).render_js(),
        pictures=script,
        program=part("page.js"),
    )


def numbered(parts: Iterable[str]) -> Iterator[str]:
    """Number what bokeh names at random: the same run has the same report, byte for byte."""
    known: dict[str, str] = {}

    def number(match: re.Match[str]) -> str:
        return known.setdefault(match[0], f"{len(known):08x}-0000-4000-8000-000000000000")

    for each in parts:
        yield UUID.sub(number, each)


@cache
def part(name: str) -> str:
    """Return a file that lies beside this one."""
    return files("kernelsim.report.html").joinpath(name).read_text(encoding="utf-8")


def notes_html(record: RunRecord) -> str:
    """Return what the workload noted, as a list; empty without notes."""
    notes = "\n".join(
        f"<li><code>{escape(note)}</code></li>" for note in record.run.get("notes", [])
    )
    return f"<h2>Notes of the workload</h2>\n<ul>\n{notes}\n</ul>" if notes else ""


def sections(panels: Iterable[Panel], divs: Iterable[str]) -> Iterator[str]:
    """Return each panel with its words, and a heading where a group begins."""
    group = ""
    for panel, div in zip(panels, divs, strict=True):
        if panel.group != group:
            group = panel.group
            yield f"<h2>{escape(group)}</h2>"
        notice = f"<p>{escape(panel.notice)}</p>" if panel.notice else ""
        yield (
            f'<section class="panel"><h3>{escape(panel.title)} '
            f"<small>{escape(panel.unit)}</small></h3>{notice}{div}</section>"
        )
