"""Tables for people: with lines and colours on a terminal, plain aligned columns elsewhere.

Interface: `print_table`; `plain_table`, `filled`; `spread_text` of a cell.
"""

import sys
from collections.abc import Sequence

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from kernelsim.units import format_duration


def print_table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table on stdout.

    Args:
        headers: One a column.
        rows: Texts, as many a row as there are headers; line ends inside one are kept.
    """
    if not sys.stdout.isatty():
        sys.stdout.write(plain_table(headers, rows))
        return
    table = Table(*headers)
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    Console().print(table)


def plain_table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Align the columns with two spaces between them; no spaces at the end of a line."""
    lines = [list(headers), *(list(row) for row in rows)]
    widths = [max(cell_len(cell) for cell in column) for column in zip(*lines, strict=True)]
    return "".join(
        "  ".join(filled(cell, width) for cell, width in zip(line, widths, strict=True)).rstrip()
        + "\n"
        for line in lines
    )


def spread_text(name: str, middle: float, least: float, most: float) -> str:
    """Return a figure as text: its middle, then the least and the most if they differ.

    Args:
        name: Of what it is; a name that ends in _ns is a time.
        middle: Such as the median.
        least: Smallest value.
        most: Largest value.
    """
    show = _time_text if name.endswith("_ns") else _number_text
    if least == most:
        return show(middle)
    return f"{show(middle)} ({show(least)} … {show(most)})"


def _time_text(value: float) -> str:
    return format_duration(round(value))


def _number_text(value: float) -> str:
    return f"{value:.6g}" if value % 1 else str(round(value))


def filled(text: str, columns: int) -> str:
    """Fill a text up with blanks; a Chinese character is two columns wide."""
    return text + " " * (columns - cell_len(text))
