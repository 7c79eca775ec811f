"""A log in parts: events.jsonl goes on in events.2.jsonl, events.3.jsonl and so on.

No file is ever renamed, so that who follows a log loses nothing; the first part, which has the
header, always stays. Parts between it and the newest ones may have been given up.

Interface: `LogParts` says how large a part gets and how many stay; `part_path`, `parts_of`,
`next_part` for readers, `log_bytes`, `whole_parts`, `end_of_last_line`.
Units: bytes.
"""

import io
from pathlib import Path

import attrs

from kernelsim.report.metrics import named_for_sql
from kernelsim.units import KIB


@attrs.frozen
class LogParts:
    """How a log is divided."""

    part_bytes: int
    """A part ends with the first write that makes it as large, >= 1."""
    keep: int | None = None
    """How many parts stay, the first and the newest, >= 2; None for all."""


def part_path(log: Path, number: int) -> Path:
    """Return where a part of a log is: the first under the log's own name."""
    return log if number == 1 else log.with_name(f"{log.stem}.{number}{log.suffix}")


def part_number(log: Path, path: Path) -> int | None:
    """Return which part of a log a file is, >= 1; None if it is none."""
    if path.name == log.name:
        return 1
    middle = path.name.removeprefix(f"{log.stem}.").removesuffix(log.suffix)
    is_number = middle.isascii() and middle.isdigit() and not middle.startswith("0")
    is_part = is_number and int(middle) > 1 and path.name == part_path(log, int(middle)).name
    return int(middle) if is_part else None


def parts_of(log: Path) -> list[Path]:
    """Return the parts of a log that there are, in order; none where there is no log."""
    if not log.parent.is_dir():
        return []
    numbers = (part_number(log, path) for path in log.parent.iterdir())
    return [part_path(log, number) for number in sorted(n for n in numbers if n is not None)]


def next_part(log: Path, path: Path) -> Path | None:
    """Return the part that follows one; None behind the last."""
    behind = part_number(log, path) or 0
    later = (part for part in parts_of(log) if (part_number(log, part) or 0) > behind)
    return next(later, None)


def log_bytes(log: Path) -> int:
    """Return the size of all parts of a log.

    Raises:
        OSError: It cannot be read.
    """
    return log.stat().st_size + sum(part.stat().st_size for part in parts_of(log)[1:])


def whole_parts(log: Path, scratch: Path) -> list[Path]:
    """Return the parts of a log for SQL: a copy of the last without its last line if that is torn.

    Args:
        log: The first part.
        scratch: Folder for copies.

    Raises:
        OSError: It cannot be read.
    """
    *complete, last = parts_of(log) or [log]
    return [*(named_for_sql(part, scratch) for part in complete), whole_lines(last, scratch)]


def whole_lines(part: Path, scratch: Path) -> Path:
    """Return a file, or a copy without its last line if that is torn."""
    size_bytes = part.stat().st_size
    with part.open("rb") as reader:
        end = end_of_last_line(reader, size_bytes)
        if end == size_bytes:
            return named_for_sql(part, scratch)
        reader.seek(0)
        copy = scratch / part.name
        copy.write_bytes(reader.read(end))
    return copy


def end_of_last_line(reader: io.BufferedIOBase, size_bytes: int) -> int:
    """Return the offset behind the last newline of a file, 0 if it has none."""
    end = size_bytes
    while end > 0:
        start = max(0, end - 64 * KIB)
        reader.seek(start)
        found = reader.read(end - start).rfind(b"\n")
        if found >= 0:
            return start + found + 1
        end = start
    return 0
