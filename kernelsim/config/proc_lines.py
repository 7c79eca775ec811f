"""Cut recorded text into lines that remember where they stand, and read their numbers.

Interface: `Lines.of(path)` reads a file; every helper raises RecordingError with file:line.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final, NoReturn, TypeAlias

import attrs

from kernelsim.errors import RecordingError, shown

__all__ = ["NUMBER", "Lines", "Source", "integer", "key_values"]

NUMBER: Final = "[0-9]{1,18}"  # in patterns of lines: fits 64 bits
_DIGITS_MAX: Final = 20  # of a number of 64 bits; Python refuses to convert very many


@attrs.frozen
class Lines:
    """The lines of one recorded file, and the place for an error."""

    file: str
    """Name for errors."""
    lines: tuple[str, ...]
    """Lines without their ends."""

    @classmethod
    def of(cls, source: Source, *, file: str = "text") -> Lines:
        """Return the lines of a path, or of text called `file` in errors; lines as they are.

        Raises RecordingError when the file cannot be read or is no UTF-8 text.
        """
        if isinstance(source, Lines):
            return source
        if isinstance(source, Path):
            file = str(source)
            try:
                source = source.read_bytes().decode("utf-8")
            except OSError as error:
                raise RecordingError(file, None, error.strerror or "cannot be read") from None
            except UnicodeDecodeError as error:
                rule = f"must be UTF-8 text; byte {error.start} is not"
                raise RecordingError(file, None, rule) from None
        return cls(file, tuple(source.split("\n")))

    def fail(self, index: int, rule: str) -> NoReturn:
        """Raise RecordingError for the line with this index (from 0)."""
        raise RecordingError(self.file, index + 1, rule)


Source: TypeAlias = Path | str | Lines  # what a parser reads


def integer(lines: Lines, index: int, text: str) -> int:
    """Return a decimal number of 64 bits with a sign, or raise RecordingError for its line."""
    digits = text.removeprefix("-")
    if not (digits.isascii() and digits.isdigit() and len(digits) <= _DIGITS_MAX):
        lines.fail(index, f"{shown(text)} must be a whole number")
    if int(digits) >> 63:
        lines.fail(index, f"{text} must be a whole number below 2^63")
    return int(text)


def key_values(lines: Lines) -> dict[str, int]:
    """Return lines of `key number` as a dict in their order.

    Raises RecordingError for a line of another form or a key that comes twice.
    """
    values: dict[str, int] = {}
    for index, line in enumerate(lines.lines):
        if not line.strip():
            continue
        words = line.split()
        if len(words) != 2:  # noqa: PLR2004 (key and value)
            lines.fail(index, f"{shown(line.strip())} must be a name and a number")
        if words[0] in values:
            lines.fail(index, f"{words[0]} comes twice")
        values[words[0]] = integer(lines, index, words[1])
    return values
