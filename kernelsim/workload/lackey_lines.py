"""Read the access lines of memory traces that valgrind's lackey has written.

A trace line is one access: two letters of kind (`I ` fetch, ` L` load, ` S` store, ` M` load and
store), a blank, the hex address, a comma, the size in bytes; blanks and a carriage return may
follow. Lines between two equal marks (`==pid==`) are valgrind's own talk and are skipped, and so
are those of superblocks (`SB 04001000`). Other lines that do not begin as an access does are what
the program printed beside it: they are left out and counted. Files that end in `.gz` are unpacked.

A file is read in blocks of whole lines, and a block is parsed in columns, not line by line.

Interface: `read_accesses`. Every fault of the file is one `RecordingError` with its line.
Units: pages are virtual page numbers (address >> 12); sizes and addresses of lines are bytes.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import attrs
import numpy as np
from numpy.typing import NDArray

from kernelsim.errors import RecordingError
from kernelsim.units import PAGE_SHIFT
from kernelsim.workload.recording_text import DAMAGED, WHOLE_GZIP, open_bytes

SHOWN_BYTES: Final = 40
LINE_BYTES_MAX: Final = 4096  # bytes; a longer line is no trace line

COMMENT: Final = re.compile(rb"(==|--|\*\*)\d+\1|SB [0-9a-f]+\s*$")
BLANKS: Final = np.frombuffer(b" \t\r", np.uint8)
SIZE_DIGITS_MAX: Final = 4
ADDRESS_DIGITS_MAX: Final = 16
NO_DIGIT: Final = 255
KINDS: Final = {b"I  ": "fetch", b" L ": "load", b" S ": "store", b" M ": "modify"}

Columns = NDArray[np.int64]


@attrs.frozen
class PageAccesses:
    """The page accesses of one block of lines, in order, as columns of equal length."""

    vpn: Columns
    """Virtual page number; an access that straddles two pages counts on both."""
    store: NDArray[np.bool_]
    fetch: NDArray[np.bool_]
    nr_lines: int
    """Access lines of the block."""


@attrs.define
class LeftOut:
    """Lines of a trace that are neither lackey's nor valgrind's.

    Attributes:
        nr: How many.
        line: The number of the first.
        text: Its first characters.
    """

    nr: int = 0
    line: int = 0
    text: str = ""

    def add(self, block: bytes, starts: Columns, ends: Columns, first_line: int) -> None:
        """Count lines of a block.

        Args:
            block: The block.
            starts: Where each of its lines begins; of those that are left out
            ends: the end, of others -1.
            first_line: The number of the block's first line.
        """
        others = np.flatnonzero(ends >= 0)
        if others.size and not self.nr:
            at = int(others[0])
            self.line = first_line + at
            self.text = block[starts[at] : ends[at]][:SHOWN_BYTES].decode(errors="replace")
        self.nr += int(others.size)


def read_accesses(
    path: Path, block_bytes: int, left_out: LeftOut | None = None
) -> Iterator[PageAccesses]:
    """Yield the accesses of each block of whole lines.

    Args:
        path: trace file, or `.gz` of one.
        block_bytes: bytes read at once.
        left_out: counts the lines that are left out.

    Raises:
        RecordingError: the file is missing, empty, binary, cut short, has a malformed access or
            none at all. Blocks before that have been yielded by then.
    """
    line = 1
    nr_lines = 0
    left_out = LeftOut() if left_out is None else left_out
    for block in _whole_lines(path, block_bytes):
        accesses = _parse_block(block, path, line, left_out)
        line += block.count(b"\n")
        nr_lines += accesses.nr_lines
        yield accesses
    if not nr_lines:
        rule = "must hold at least one access (record with --tool=lackey --trace-mem=yes)"
        raise RecordingError(path, line, rule)


def _whole_lines(path: Path, block_bytes: int) -> Iterator[bytes]:
    """Yield the file in blocks that end with a newline."""
    rest = b""
    line = 1
    try:
        with open_bytes(path) as file:
            while data := file.read(block_bytes):
                data = rest + data
                if b"\0" in data:
                    line += data[: data.index(b"\0")].count(b"\n")
                    raise RecordingError(path, line, "must be text; this is binary")
                end = data.rfind(b"\n") + 1
                rest = data[end:]
                if len(rest) > LINE_BYTES_MAX:
                    line += data.count(b"\n", 0, end)
                    rule = f"a line has at most {LINE_BYTES_MAX} bytes; this is no lackey trace"
                    raise RecordingError(path, line, rule)
                if end:
                    yield data[:end]
                    line += data.count(b"\n", 0, end)
    except DAMAGED:
        raise RecordingError(path, line, WHOLE_GZIP) from None
    except OSError as error:
        rule = f"must be readable ({error.strerror})"
        raise RecordingError(path, None, rule) from None
    if rest:
        rule = "the last line must end with a newline; the trace is cut short"
        raise RecordingError(path, line, rule)


def _parse_block(block: bytes, path: Path, first_line: int, left_out: LeftOut) -> PageAccesses:
    """Parse a block of whole lines."""
    text = np.frombuffer(block, np.uint8)
    ends = np.flatnonzero(text == ord("\n"))
    starts = np.concatenate((np.zeros(1, np.int64), ends[:-1] + 1))
    ends = _without_blanks(text, starts, ends)
    is_access = _begin_as_accesses(text, starts, ends)
    others = np.where(is_access | (ends == starts), -1, ends)
    for index in np.flatnonzero(others >= 0).tolist():
        if COMMENT.match(block, starts[index], ends[index]):
            others[index] = -1
    left_out.add(block, starts, others, first_line)
    access = np.flatnonzero(is_access)
    address, size, store, fetch, good = _parse_lines(text, starts[access], ends[access])
    vpn = (address >> np.uint64(PAGE_SHIFT)).astype(np.int64)
    last_byte = address + (size - 1).astype(np.uint64)
    nr_pages = (last_byte >> np.uint64(PAGE_SHIFT)).astype(np.int64) - vpn + 1
    good &= (size > 0) & (nr_pages > 0)
    if not good.all():
        index = int(access[np.flatnonzero(~good)[0]])
        raise _fault(block[starts[index] : ends[index]], path, first_line + index)
    if nr_pages.size and nr_pages.max() > 1:
        store, fetch = np.repeat(store, nr_pages), np.repeat(fetch, nr_pages)
        vpn = ascending_pages(vpn, nr_pages)
    return PageAccesses(vpn, store, fetch, int(access.size))


def _without_blanks(text: NDArray[np.uint8], starts: Columns, ends: Columns) -> Columns:
    """Return the ends of lines without the blanks, tabs and carriage returns before them."""
    ends = ends.copy()
    padded = np.flatnonzero(ends > starts)
    while padded.size:
        padded = padded[np.isin(text[ends[padded] - 1], BLANKS)]
        ends[padded] -= 1
        padded = padded[ends[padded] > starts[padded]]
    return ends


def _begin_as_accesses(
    text: NDArray[np.uint8], starts: Columns, ends: Columns
) -> NDArray[np.bool_]:
    """Say of each line whether it begins with the kind of an access in three columns."""
    head = [text[np.minimum(starts + i, text.size - 1)] for i in range(3)]
    found = np.zeros(starts.size, np.bool_)
    for kind in KINDS:
        found |= (head[0] == kind[0]) & (head[1] == kind[1]) & (head[2] == kind[2])
    return found & (ends - starts >= 3)  # noqa: PLR2004 - the three columns


def ascending_pages(firsts: Columns, counts: Columns) -> Columns:
    """Return `first, first + 1, …` of each pair, `count` numbers each, one after another."""
    starts = np.cumsum(counts) - counts
    return np.repeat(firsts - starts, counts) + np.arange(int(counts.sum()), dtype=np.int64)


def _parse_lines(
    text: NDArray[np.uint8], starts: Columns, ends: Columns
) -> tuple[NDArray[np.uint64], Columns, NDArray[np.bool_], NDArray[np.bool_], NDArray[np.bool_]]:
    """Parse access lines to columns: address, size, store, fetch, and whether a line is sound."""
    # Whatever is wrong with a line, the indices used on it stay inside the block.
    long_enough = ends - starts >= len("I  0,1")
    comma = np.zeros_like(ends)
    for digits in range(SIZE_DIGITS_MAX, 0, -1):
        at = np.maximum(ends - 1 - digits, 0)
        comma = np.where(text[at] == ord(","), at, comma)
    good = long_enough & (comma > starts + 3)
    head = [text[np.minimum(starts + i, text.size - 1)] for i in range(3)]
    fetch = (head[0] == ord("I")) & (head[1] == ord(" "))
    store = (head[0] == ord(" ")) & ((head[1] == ord("S")) | (head[1] == ord("M")))
    load = (head[0] == ord(" ")) & (head[1] == ord("L"))
    good &= (fetch | store | load) & (head[2] == ord(" "))
    address, hexadecimal = _digits(
        text, comma, comma - starts - 3, base=16, digits_max=ADDRESS_DIGITS_MAX
    )
    size, decimal = _digits(text, ends, ends - comma - 1, base=10, digits_max=SIZE_DIGITS_MAX)
    return address, size.astype(np.int64), store, fetch, good & hexadecimal & decimal


def _digits(
    text: NDArray[np.uint8],
    ends: Columns,
    counts: Columns,
    *,
    base: int,
    digits_max: int,
) -> tuple[NDArray[np.uint64], NDArray[np.bool_]]:
    """Parse the `count` digits before each end; also say which are all digits of the base."""
    values = np.zeros(ends.size, np.uint64)
    good = (counts > 0) & (counts <= digits_max)
    used = int(counts[good].max()) if good.any() else 0
    for place in range(used):
        digit = DIGIT_VALUES[text[np.maximum(ends - 1 - place, 0)]]
        inside = counts > place
        good &= ~inside | (digit < base)
        # uint64 wraps on the digits of lines that are refused anyway.
        scaled = digit.astype(np.uint64) * np.uint64(base**place)
        values += np.where(inside, scaled, np.uint64(0))
    return values, good


def _digit_values() -> NDArray[np.uint8]:
    """Return the value of each byte as a hex digit, `NO_DIGIT` for other bytes."""
    values = np.full(256, NO_DIGIT, np.uint8)
    for value, byte in enumerate(b"0123456789abcdef"):
        values[byte] = value
    return values


DIGIT_VALUES: Final = _digit_values()


def _fault(line: bytes, path: Path, number: int) -> RecordingError:
    """Say what is wrong with a line."""
    shown = line[:40].decode("ascii", "backslashreplace")
    field, _, size = line[3:].partition(b",")
    if not line.isascii():
        rule = "must be text as lackey prints it"
    elif not re.fullmatch(rb"[0-9a-f]{1,16}", field):
        rule = "the address must be 1 to 16 lower-case hex digits"
    elif not re.fullmatch(rb"[0-9]{1,4}", size) or not int(size):
        rule = "a comma and a size of 1 to 9999 bytes must follow the address"
    else:
        rule = "the access must end inside the 64-bit address space"
    return RecordingError(path, number, f"{rule}, not {shown!r}")
