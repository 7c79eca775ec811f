"""Pictures of many rows over time, each cell filled with what it is made of, in proportion.

A cell is a few lines high; as many of them have a kind's colour as its share is. So the picture as
a whole is true to area, and the eye sees both what there is and how it is mixed.

Interface: `Kind`, `Mosaic.draw`; `lines_of_cells` is what it does with shares.
Units: virtual seconds; shares are parts of one.
"""

from collections.abc import Sequence
from typing import Any, Final

import attrs
import numpy as np
from bokeh.models import ColumnDataSource, HoverTool, LinearColorMapper, Range1d, VArea
from bokeh.plotting import figure
from numpy.typing import NDArray

from kernelsim.report.html.drawing import legend

EPSILON: Final = 1e-9  # so that a half is one, whatever its last bits
NOTHING: Final = "#00000000"  # where a cell is empty

Shares = NDArray[np.float64]


@attrs.frozen
class Kind:
    """One of the things that cells are made of.

    Attributes:
        label: In the legend and under the pointer.
        colour: Its colour, the opacity last: #RRGGBBAA.
        at_least_one: Whether it has a line wherever there is any of it.
    """

    label: str
    colour: str
    at_least_one: bool = False


@attrs.frozen(kw_only=True)
class Mosaic:
    """Cells of a picture.

    Attributes:
        kinds: What they are made of, from the bottom up.
        shares: [row, column, kind], rows from the bottom up; a sum below one leaves room.
        nr_lines: Lines of a cell.
        gap: Empty lines above each.
        bottom: Lower end of the rows on the upright axis.
        top: Upper end.
        end_s: Where the last column ends.
    """

    kinds: Sequence[Kind]
    shares: Shares
    nr_lines: int
    gap: int = 0
    bottom: float
    top: float
    end_s: float

    def draw(self, on: figure, tips: Sequence[tuple[str, str]]) -> None:
        """Draw them, with a legend of the kinds there are, and read them out.

        Args:
            on: Where.
            tips: What to show above the shares: a label, and a field of bokeh's.
        """
        palette = [NOTHING, *(kind.colour for kind in self.kinds)]
        at_least = [kind.at_least_one for kind in self.kinds]
        lines = lines_of_cells(self.shares, self.nr_lines, np.array(at_least), gap=self.gap)
        place = {
            "x": 0, "y": self.bottom, "dw": self.end_s, "dh": self.top - self.bottom,
        }  # fmt: skip
        mapper = LinearColorMapper(palette=palette, low=-0.5, high=len(self.kinds) + 0.5)
        on.image("lines", source=ColumnDataSource({"lines": [lines]}), color_mapper=mapper, **place)
        shown = [n for n in range(len(self.kinds)) if self.shares[..., n].any()]
        on.y_range = Range1d(self.bottom, self.top)
        self._name(on, shown)
        self._read_out(on, shown, tips, place)

    def _name(self, on: figure, shown: Sequence[int]) -> None:
        nowhere = ColumnDataSource({"x": [0]})
        swatches = {}
        for kind in (self.kinds[n] for n in shown):
            swatch = VArea(x="x", y1="x", y2="x", fill_color=kind.colour)
            swatches[kind.label] = [on.add_glyph(nowhere, swatch)]
        legend(on, swatches, is_switch=False)

    def _read_out(
        self,
        on: figure,
        shown: Sequence[int],
        tips: Sequence[tuple[str, str]],
        place: dict[str, Any],
    ) -> None:
        percents = {f"k{n}": [whole_percents(self.shares[..., n])] for n in shown}
        if not percents:
            return
        source = ColumnDataSource(percents)
        unseen = on.image(f"k{shown[0]}", source=source, palette=[NOTHING, NOTHING], **place)
        told = [(self.kinds[n].label, f"@k{n} %") for n in shown]
        on.add_tools(HoverTool(renderers=[unseen], tooltips=[*tips, *told]))


def whole_percents(shares: Shares) -> NDArray[np.uint8]:
    """Return shares in percent; what is there has one at least."""
    return np.where(shares > 0, np.maximum(np.rint(100 * shares), 1), 0).astype(np.uint8)


def lines_of_cells(
    shares: Shares, nr_lines: int, at_least_one: NDArray[np.bool_], *, gap: int = 0
) -> NDArray[np.uint8]:
    """Return which kind each line of each cell shows: [row * lines + line, column], 0 for none.

    Args:
        shares: [row, column, kind].
        nr_lines: Of a cell.
        at_least_one: [kind] whether it has a line where there is any of it, at the cost of others.
        gap: Empty lines above each cell.

    Kind n is n + 1 in the result. Shares are rounded where kinds meet, so a cell is off by less
    than a line.
    """
    nr_rows, nr_columns, nr_kinds = shares.shape
    # Halves go up, all of them: to the even number some would go down, and a kind be off by a line.
    tops = np.floor(np.cumsum(shares, axis=2) * nr_lines + 0.5 + EPSILON).astype(np.int64)
    heights = np.diff(tops, axis=2, prepend=0)
    wanting = (shares > 0) & at_least_one & (heights == 0)
    heights[wanting] = 1
    tops = np.minimum(np.cumsum(heights, axis=2), nr_lines)
    lines = np.zeros((nr_rows, nr_lines + gap, nr_columns), np.uint8)
    at = np.arange(nr_lines + gap)[None, :, None]
    for kind in reversed(range(nr_kinds)):
        lines[at < tops[:, None, :, kind]] = kind + 1
    return lines.reshape(-1, nr_columns)
