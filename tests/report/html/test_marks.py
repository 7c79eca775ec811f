"""Tests of the lines that go through all pictures of a report."""

import errno

import pytest
from bokeh.models import Label, VSpan
from bokeh.plotting import figure

from kernelsim.report.html.drawing import Panel
from kernelsim.report.html.marks import MARKS_MAX, add_marks, hotplug_marks
from kernelsim.report.html.record import BlockChange, Life

pytestmark = [pytest.mark.mission("B6")]

CHANGES = [
    BlockChange(1000, 32, "online", 0, ""),
    BlockChange(1001, 33, "online", 0, ""),
    BlockChange(5000, 32, "online", errno.EBUSY, "failure to isolate range"),
    BlockChange(9900, 33, "offline", 0, ""),
]


def moments(panel):
    """Return where a picture has marks, ns."""
    (drawn,) = panel.figure.renderers
    assert isinstance(drawn.glyph, VSpan)
    return sorted(seconds * 1e9 for seconds in drawn.data_source.data["x"])


def test_marks_go_through_all_pictures_and_are_named_in_the_first():
    """OOM kills and memory that comes, goes or stays, each at its time; processes have no name."""
    panels = [Panel("title", "unit", "", figure(), "group") for _ in range(3)]
    lives = [Life(100, "a", 0, 7000, 9, 6000), Life(101, "b", 2000, None, None, None)]
    add_marks(panels, lives, CHANGES, 10_000)
    for panel in panels:
        assert moments(panel) == pytest.approx([1000, 2000, 5000, 6000, 7000, 9900])
    labels = [[label.text for label in panel.figure.select(Label)] for panel in panels]
    assert labels[1:] == [[], []]
    assert sorted(labels[0]) == [
        "2 blocks from memory32 on online",
        "OOM 100",
        "memory32 stays: EBUSY",
        "memory33 offline",
    ]


def test_what_became_of_memory_is_told_by_more_than_colour():
    """Colour and dash differ between what could not be and what was done."""
    looks = {(mark.colour, mark.dash) for mark in hotplug_marks(CHANGES, 10_000)}
    assert len(looks) == 3
    assert len({dash for _, dash in looks}) == 2


def test_marks_are_no_more_than_can_be_told_apart():
    """A machine that is taken apart block by block does not fill the pictures."""
    changes = [BlockChange(n * 1000, n, "offline", 0, "") for n in range(1000)]
    panel = Panel("title", "unit", "", figure(), "group")
    add_marks([panel], [], changes, 1_000_000)
    assert 10 < len(moments(panel)) <= MARKS_MAX
