"""Makes the slices of a track fit into each other, as the Perfetto UI draws them.

Interface: `lanes` where things go on side by side, `nested` where one is part of another.
Units: ns.
"""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from kernelsim.report.timeline.slices import Slice


class Edge(NamedTuple):
    """The begin or the end of a slice."""

    t_ns: int
    begins: bool
    slice: Slice


def nested(slices: Iterable[Slice]) -> Iterator[Edge]:
    """Return begins and ends in an order in which each slice lies within those that are open.

    What would go on behind the end of one that began before it is cut there: bursts of faults are
    told with the sum of their times, which may overlap by what was computed in between.
    """
    open_slices: list[tuple[int, Slice]] = []  # end, slice: the innermost last
    for each in sorted(slices, key=lambda one: (one.start_ns, -one.end_ns)):
        while open_slices and open_slices[-1][0] <= each.start_ns:
            end_ns, done = open_slices.pop()
            yield Edge(end_ns, begins=False, slice=done)
        end_ns = min(each.end_ns, open_slices[-1][0]) if open_slices else each.end_ns
        yield Edge(each.start_ns, begins=True, slice=each)
        open_slices.append((end_ns, each))
    for end_ns, done in reversed(open_slices):
        yield Edge(end_ns, begins=False, slice=done)


def lanes(slices: Iterable[Slice]) -> list[list[Slice]]:
    """Share slices out to as few lanes as they need so that none overlaps another one."""
    found: list[list[Slice]] = []
    for each in sorted(slices, key=lambda one: (one.start_ns, one.end_ns)):
        free = next((lane for lane in found if lane[-1].end_ns <= each.start_ns), None)
        if free is None:
            found.append([each])
        else:
            free.append(each)
    return found
