"""Upright lines through all pictures: OOM kills, memory that came or went, processes.

Interface: `add_marks`. Units: virtual seconds.
"""

from collections.abc import Iterable, Iterator
from errno import errorcode
from itertools import groupby
from typing import Final

import attrs
from bokeh.models import ColumnDataSource, Label, VSpan

from kernelsim.report.html.drawing import BLUE, GREY, INK, ORANGE, PINK, RED, Panel
from kernelsim.report.html.record import BlockChange, Life
from kernelsim.units import NS_PER_S

MARKS_MAX: Final = 40  # of a kind, in a figure
LEVELS: Final = 3  # heights that the words of marks take in turn
LEVEL_HEIGHT: Final = 14  # pixels
LATE_PERCENT: Final = 85  # of the run; words of later marks stand to their left
DOTTED: Final = "2 4"  # pixels drawn and left out
DASHED: Final = "9 6"
DASH_DOT: Final = "9 4 2 4"
NEAR: Final = 100  # blocks that change alike in less than this part of the run have one mark


@attrs.frozen(kw_only=True)
class Mark:
    """A line through all pictures.

    Attributes:
        t_ns: Where.
        text: What it says in the first picture; empty for nothing.
        colour: Of the line.
        dash: Of the line.
    """

    t_ns: int
    text: str = ""
    colour: str
    dash: str


def add_marks(
    panels: Iterable[Panel], lives: list[Life], changes: list[BlockChange], end_ns: int
) -> None:
    """Draw the marks of a run; the first panel says what they are.

    Args:
        panels: Where.
        lives: The processes.
        changes: What became of blocks of memory.
        end_ns: Length of the run.
    """
    killed = [
        Mark(t_ns=life.victim_ns, text=f"OOM {life.pid}", colour=RED, dash="solid")
        for life in lives
        if life.victim_ns is not None
    ]
    ends = [ns for life in lives for ns in (life.start_ns, life.exit_ns) if ns]
    told = [*killed[:MARKS_MAX], *list(hotplug_marks(changes, end_ns))[:MARKS_MAX]]
    told.sort(key=lambda mark: mark.t_ns)
    silent = [Mark(t_ns=ns, colour=GREY, dash=DOTTED) for ns in ends[:MARKS_MAX]]
    marks = [*silent, *told]  # those with words lie above
    if not marks:
        return
    source = ColumnDataSource(
        {
            "x": [mark.t_ns / NS_PER_S for mark in marks],
            "colour": [mark.colour for mark in marks],
            "dash": [mark.dash for mark in marks],
            "alpha": [1.0 if mark.text else 0.6 for mark in marks],
        }
    )
    look = VSpan(x="x", line_color="colour", line_dash="dash", line_alpha="alpha", line_width=1.4)
    for number, panel in enumerate(panels):
        panel.figure.add_glyph(source, look)
        for place, mark in enumerate(told if number == 0 else ()):
            panel.figure.add_layout(words_of(mark, place, end_ns))


def words_of(mark: Mark, place: int, end_ns: int) -> Label:
    """Return what a mark says, beside it, in one of the heights that marks take in turn."""
    is_late = mark.t_ns * 100 > end_ns * LATE_PERCENT
    label = Label(x=mark.t_ns / NS_PER_S, y=4 + place % LEVELS * LEVEL_HEIGHT, y_units="screen")
    label.update(text=mark.text, tags=[INK], text_font_size="11px", x_offset=3)
    if is_late:
        label.update(text_align="right", x_offset=-3)
    return label


def hotplug_marks(changes: list[BlockChange], end_ns: int) -> Iterator[Mark]:
    """Return the marks of blocks of memory: of those that change alike at one time, one."""
    for (state, errno, _), alike in groupby(changes, key=lambda c: near(c, end_ns)):
        blocks = list(alike)
        numbers = f"memory{blocks[0].block}"
        if len(blocks) > 1:
            numbers = f"{len(blocks)} blocks from {numbers} on"
        if errno:
            kind = (f"{numbers} stays: {errorcode.get(errno, str(errno))}", PINK, DASH_DOT)
        elif state == "online":
            kind = (f"{numbers} online", BLUE, DASHED)
        else:
            kind = (f"{numbers} {state}", ORANGE, DASHED)
        text, colour, dash = kind
        yield Mark(t_ns=blocks[0].t_ns, text=text, colour=colour, dash=dash)


def near(change: BlockChange, end_ns: int) -> tuple[str, int, int]:
    """Return what changes have in common that one mark stands for."""
    return change.state, change.errno, change.t_ns * NEAR // max(end_ns, 1)
