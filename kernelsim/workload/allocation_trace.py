"""Read what a program allocated: traces of allocations, and what ltrace prints of one.

    m 1 64                                an operation a line (shared/oracle/malloc/FORMAT.md)
    17 malloc(24) = 0x12ecff0             a call of the C library a line, as of `ltrace -f`

Interface: `read_allocations` either; `read_trace` the first, `library_call` a line of the second;
`is_trace` tells whether lines are of the first. Units: bytes; ms of sleep.
"""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from kernelsim.errors import RecordingError
from kernelsim.workload.recording_text import read_text

NR_NUMBERS: Final = {"m": 2, "c": 3, "r": 2, "f": 1, "t": 1, "T": 1, "w": 1, "s": 1, "x": 0}
CALL: Final = re.compile(
    r"(?:\[pid +(?P<pid>\d+)\] +|(?P<tid>\d+) +)?(?:[\d:.]+ +)?(?:[\w.+-]+->)?"
    r"(?P<name>malloc|calloc|realloc|free)\((?P<words>[^()]*)\) *= *"
    r"(?P<result>0x[0-9a-f]+|0|nil|NULL|<void>)(?: <[\d.]+>)?\s*"
)
UNFINISHED: Final = re.compile(r"(?P<begun>.*\b(?P<name>\w+)\([^()]*?),? *<unfinished \.\.\.>\s*")
RESUMED: Final = re.compile(
    r"(?P<who>(?:\[pid +\d+\] +|\d+ +)?)(?:[\d:.]+ +)?<\.\.\. (?P<name>\w+) resumed> *(?P<rest>.*)"
)
NR_WORDS: Final = {"malloc": 1, "calloc": 2, "realloc": 2, "free": 1}


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


def is_trace(lines: Sequence[str]) -> bool:
    """Tell whether all of some lines are operations of a trace, one of them an allocation."""
    operations = [operation_of(line.split()) for line in lines]
    return None not in operations and any(
        each is not None and each.kind in "mcr" for each in operations
    )


def read_allocations(path: Path) -> list[Operation]:
    """Read a file of either kind, compressed or not.

    Raises:
        RecordingError: It cannot be read, a line of a trace is no operation, or ltrace saw no
            allocation.
    """
    lines = read_text(path).splitlines()
    if any(library_call(line) for line in whole_calls(lines)):
        return list(library_operations(lines))
    return _trace_of(path, lines)


def read_trace(path: Path) -> list[Operation]:
    """Read a trace, compressed or not.

    Raises:
        RecordingError: It cannot be read, or a line is no operation.
    """
    return _trace_of(path, read_text(path).splitlines())


def _trace_of(path: Path, lines: Sequence[str]) -> list[Operation]:
    operations = []
    for number, line in enumerate(lines, start=1):
        operation = operation_of(line.split())
        if operation is None:
            raise RecordingError(
                str(path), number, "must be an operation on blocks, such as m 1 64"
            )
        operations.append(operation)
    return operations


def operation_of(words: Sequence[str]) -> Operation | None:
    """Read the words of a line; None if they are no operation."""
    kind = words[0] if words else ""
    if kind == "k" and len(words) == 2:  # noqa: PLR2004 - and its label
        return Operation(kind, label=words[1])
    numbers = [int(word) for word in words[1:] if word.isdecimal()]
    if NR_NUMBERS.get(kind) != len(words) - 1 or len(numbers) != len(words) - 1:
        return None
    block, nr, nr_bytes = (*numbers, 0, 0, 0)[:3]
    return Operation(kind, block, nr, nr_bytes) if kind == "c" else Operation(kind, block, 1, nr)


# ---- ltrace ----


class LibraryCall(NamedTuple):
    """A call of malloc, calloc, realloc or free: its numbers, and the address it returned."""

    name: str
    numbers: tuple[int, ...]
    result: int


def library_call(line: str) -> LibraryCall | None:
    """Read a line of ltrace; None if it is no whole call of those."""
    found = CALL.fullmatch(line)
    if found is None:
        return None
    words = [word.strip() for word in found["words"].split(",")]
    numbers = [0 if word in {"nil", "NULL"} else _number(word) for word in words]
    if len(words) < NR_WORDS[found["name"]] or None in numbers:
        return None
    known = tuple(number for number in numbers if number is not None)
    return LibraryCall(found["name"], known, _number(found["result"]) or 0)


def _number(word: str) -> int | None:
    try:
        return int(word, 0)
    except ValueError:
        return None


def whole_calls(lines: Sequence[str]) -> Iterator[str]:
    """Yield the lines; a call that others interrupted becomes one line, where it ended."""
    begun: dict[tuple[str, str], str] = {}
    for line in lines:
        unfinished, resumed = UNFINISHED.fullmatch(line), RESUMED.fullmatch(line)
        if unfinished:
            who = re.match(r"(?:\[pid +\d+\] +|\d+ +)?", line)
            begun[who[0] if who else "", unfinished["name"]] = unfinished["begun"]
        elif resumed:
            yield begun.pop((resumed["who"], resumed["name"]), "") + resumed["rest"]
        else:
            yield line


def library_operations(lines: Sequence[str]) -> Iterator[Operation]:
    """Yield the operations of what ltrace printed: every block is written when it is made.

    A block has the number of its allocation. What was allocated before the recording began is not
    freed; a call that failed is left out.
    """
    # Differs from Linux: What ltrace recorded of several processes is replayed in one.
    yield Operation("w", 1)
    blocks: dict[int, int] = {}
    for number, line in enumerate(whole_calls(lines)):
        call = library_call(line)
        if call is None:
            continue
        first, last = call.numbers[0], call.numbers[-1]
        if call.name == "free":
            if first in blocks:
                yield Operation("f", blocks.pop(first))
        elif call.name == "realloc":
            block = blocks.pop(first, number)
            if call.result:
                blocks[call.result] = block
                yield Operation("r", block, 1, last)
            elif last == 0:
                yield Operation("f", block)
            else:
                blocks[first] = block
        elif call.result:
            blocks[call.result] = number
            kind = "m" if call.name == "malloc" else "c"
            yield Operation(kind, number, first if kind == "c" else 1, last)
