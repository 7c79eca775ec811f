"""Read traces of allocations, which real programs and models run alike.

An operation a line; its number is its name (shared/oracle/malloc/FORMAT.md).
Interface: `read_trace`. Units: bytes; ms of sleep.
"""

from pathlib import Path
from typing import Final, NamedTuple

from kernelsim.errors import RecordingError
from kernelsim.oracle.vmaprog_program import read_text

NR_NUMBERS: Final = {"m": 2, "c": 3, "r": 2, "f": 1, "t": 1, "T": 1, "w": 1, "s": 1, "x": 0}


class Operation(NamedTuple):
    """One line.

    Attributes:
        kind: m malloc, c calloc, r realloc, f free, t touch each page, T each byte, w whether
            blocks are written when they are made, x malloc_trim, s sleep, k checkpoint.
        block: Number of the block; of w 0 or 1, of s how long.
        nr: Of things for calloc, else 1.
        nr_bytes: Of each.
        label: Of a checkpoint.
    """

    kind: str
    block: int = 0
    nr: int = 1
    nr_bytes: int = 0
    label: str = ""


def read_trace(path: Path) -> list[Operation]:
    """Read a trace, compressed or not.

    Raises:
        RecordingError: It cannot be read, or a line is no operation.
    """
    lines = read_text(path).splitlines()
    return [_operation(path, number, line.split()) for number, line in enumerate(lines, start=1)]


def _operation(path: Path, number: int, words: list[str]) -> Operation:
    kind = words[0] if words else ""
    if kind == "k" and len(words) == 2:  # noqa: PLR2004 - and its label
        return Operation(kind, label=words[1])
    numbers = [int(word) for word in words[1:] if word.isdecimal()]
    if NR_NUMBERS.get(kind) != len(words) - 1 or len(numbers) != len(words) - 1:
        raise RecordingError(str(path), number, "must be an operation on blocks, such as m 1 64")
    block, nr, nr_bytes = (*numbers, 0, 0, 0)[:3]
    return Operation(kind, block, nr, nr_bytes) if kind == "c" else Operation(kind, block, 1, nr)
