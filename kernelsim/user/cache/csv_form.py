"""Which column of a csv trace is what, said as for libCacheSim's `cachesim … csv -t TEXT`.

    time-col=2, obj-id-col=5, obj-size-col=4, delimiter=;, has-header=true

Interface: `CsvForm`, `parse_csv_form`.
"""

import re
from collections.abc import Mapping
from typing import Final

import attrs

from kernelsim.errors import ConfigError
from kernelsim.units import NS_PER_S

PART: Final = re.compile(r"\s*([a-z-]+)\s*=\s*(,|[^,]*)(?:,|$)")
COLUMNS: Final[Mapping[str, str]] = {
    "time-col": "time_col",
    "obj-id-col": "id_col",
    "obj-size-col": "size_col",
}
TRUTHS: Final = {"true": True, "1": True, "false": False, "0": False}
DELIMITERS: Final = {r"\t": "\t"}
COLUMN_MAX: Final = 1000
RULE: Final = (
    "must be as in time-col=1, obj-id-col=2, obj-size-col=3, delimiter=;, has-header=false, of "
    "which obj-id-col alone must be there; columns count from 1"
)


@attrs.frozen
class CsvForm:
    """What the columns of a csv trace mean, each counted from 1."""

    id_col: int
    """Of the object; a text, or with `block_bytes` the number of a block."""
    time_col: int | None = None
    size_col: int | None = None
    """Bytes of the request; means nothing without `block_bytes`."""
    delimiter: bytes = b","
    has_header: bool | None = None
    """Whether the first line names the columns; None to look for a time or number there."""
    unit_ns: int = NS_PER_S
    """Of the times."""
    block_bytes: int | None = None
    """What an object is: a block of so many bytes on a disk; None for a thing of one page."""


def parse_csv_form(
    text: str, key: str, unit_ns: int = NS_PER_S, block_bytes: int | None = None
) -> CsvForm:
    """Read what the user says of the columns.

    Args:
        text: As in the example above.
        key: Name of the option, for the error.
        unit_ns: See `CsvForm`.
        block_bytes: See `CsvForm`.

    Raises:
        ConfigError: The text is not of that form, or columns are missing.
    """
    said: dict[str, str] = {}
    place = 0
    while place < len(text):
        part = PART.match(text, place)
        if part is None or part[1] in said:
            raise ConfigError(key, text, RULE)
        said[part[1]] = part[2].strip()
        place = part.end()
    columns: dict[str, int] = {}
    for name, attribute in COLUMNS.items():
        number = said.pop(name, None)
        if number is not None:
            columns[attribute] = _column(number, key, text)
    header = said.pop("has-header", None)
    delimiter = said.pop("delimiter", ",")
    delimiter = DELIMITERS.get(delimiter, delimiter)
    is_header_good = header is None or header in TRUTHS
    if said or not is_header_good or len(delimiter.encode()) != 1 or "id_col" not in columns:
        raise ConfigError(key, text, RULE)
    if block_bytes is not None and "size_col" not in columns:
        raise ConfigError(key, text, "needs obj-size-col=N for objects that are blocks of a disk")
    return CsvForm(
        **columns,
        delimiter=delimiter.encode(),
        has_header=None if header is None else TRUTHS[header],
        unit_ns=unit_ns,
        block_bytes=block_bytes,
    )


def _column(number: str, key: str, text: str) -> int:
    if not (number.isascii() and number.isdigit() and 1 <= int(number[:5]) <= COLUMN_MAX):
        raise ConfigError(key, text, RULE)
    return int(number)
