"""Read memory traces of `valgrind --tool=lackey --trace-mem=yes`, bundled to page runs.

A trace line is one access: two letters of kind (`I ` fetch, ` L` load, ` S` store, ` M` load and
store), a blank, the hex address, a comma, the size in bytes. Lines between two equal marks
(`==pid==`) are valgrind's own talk and are skipped. Files that end in `.gz` are unpacked.

How accesses become runs. Fetches and data accesses are two streams that alternate line by line,
so each is bundled by itself. In a stream, the accesses from one change of page to the next are a
*visit*; a visit that begins with loads splits at its first store, because that store may fault a
second time. Visits are put in the order of their first access, and neighbours of one kind on
ascending pages become one run. So the order in which pages are first touched is exactly that of
the trace; only repeated accesses to a page already visited move forward in time.

      I 1000  L 5000  I 1004  S 5008  I 2000      ->  x 1 (2), r 5 (1), w 5 (1), x 2 (1)

Interface: `read_lackey` streams runs, `lackey_footprint` sums a trace up, `regions_of` says what
to map before a replay. Every fault of the file is one `RecordingError` with its line.
Units: pages are virtual page numbers (address >> 12); sizes and addresses of lines are bytes.
"""

import gzip
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final, cast

import attrs
import numpy as np
from numpy.typing import NDArray

from kernelsim.errors import RecordingError
from kernelsim.units import PAGE_SHIFT

SUFFIXES: Final = (".lackey", ".lackey.gz")
BLOCK_BYTES: Final = 1 << 20  # bytes read at once; a visit ends where a block ends
LINE_BYTES_MAX: Final = 4096  # bytes; a longer line is no trace line
REGION_GAP_PAGES: Final = 16  # pages; nearer ranges become one region

COMMENT: Final = re.compile(rb"(==|--|\*\*)\d+\1")
SIZE_DIGITS_MAX: Final = 4
ADDRESS_DIGITS_MAX: Final = 16
NO_DIGIT: Final = 255
KINDS: Final = {b"I  ": "fetch", b" L ": "load", b" S ": "store", b" M ": "modify"}

Columns = NDArray[np.int64]


@attrs.frozen
class AccessRun:
    """Consecutive pages touched one after another in one way."""

    vpn: int
    """First virtual page number."""
    nr_pages: int
    """Pages of the run, touched in ascending order; at least 1."""
    write: bool
    """Whether the pages are written."""
    exec: bool
    """Whether these are instruction fetches."""
    nr_accesses: int
    """Page accesses bundled in the run; one that straddles two pages counts on both."""


@attrs.frozen
class LackeyFootprint:
    """What a whole trace touches."""

    nr_accesses: int
    """Access lines of the trace."""
    nr_runs: int
    """Runs that `read_lackey` yields."""
    nr_pages: int
    """Different pages touched."""
    nr_pages_written: int
    """Different pages written."""


@attrs.frozen
class AddressRegion:
    """A range of pages to map before a trace is replayed."""

    vpn: int
    """First virtual page number."""
    nr_pages: int
    """Pages from the first to the last touched one, small holes included."""
    write: bool
    """Whether any page of it is written."""
    exec: bool
    """Whether any page of it is executed."""


@attrs.frozen
class _Runs:
    """The runs of one block as columns of equal length."""

    vpn: Columns
    nr_pages: Columns
    kind: Columns
    """Bit 0: write, bit 1: exec."""
    nr_accesses: Columns
    nr_lines: int
    """Access lines of the block."""


def is_recording(path: Path) -> bool:
    """Return whether a file is a recorded trace, by its name: `x.lackey` or `x.lackey.gz`."""
    return path.name.endswith(SUFFIXES)


def read_lackey(path: Path, *, block_bytes: int = BLOCK_BYTES) -> Iterator[AccessRun]:
    """Yield the trace's runs in order, holding one block in memory.

    Args:
        path: trace file, or `.gz` of one.
        block_bytes: bytes read at once. A visit is cut where a block ends.

    Raises:
        RecordingError: the file is missing, empty, binary, cut short or has a malformed line.
            Runs of the blocks before it have been yielded by then.
    """
    for runs in _read_blocks(path, block_bytes):
        columns = (runs.vpn, runs.nr_pages, runs.kind, runs.nr_accesses)
        for vpn, nr_pages, kind, nr_accesses in zip(*(c.tolist() for c in columns), strict=True):
            yield AccessRun(vpn, nr_pages, bool(kind & 1), bool(kind & 2), nr_accesses)


def lackey_footprint(path: Path) -> LackeyFootprint:
    """Sum up what a trace touches; memory grows with the pages touched, not with the trace.

    Raises:
        RecordingError: as `read_lackey`.
    """
    nr_lines = nr_runs = 0
    pages = written = np.empty(0, np.int64)
    for runs in _read_blocks(path, BLOCK_BYTES):
        nr_lines += runs.nr_lines
        nr_runs += runs.vpn.size
        pages = np.union1d(pages, _pages_of(runs, runs.kind >= 0))
        written = np.union1d(written, _pages_of(runs, runs.kind & 1 != 0))
    return LackeyFootprint(nr_lines, nr_runs, int(pages.size), int(written.size))


def regions_of(path: Path, *, gap_pages: int = REGION_GAP_PAGES) -> tuple[AddressRegion, ...]:
    """Return the address ranges to map before a replay, ascending.

    A trace has no mmap calls: a first pass over it finds the pages it touches, pages with no more
    than `gap_pages` untouched ones between them share a region, and the second pass replays.

    Raises:
        RecordingError: as `read_lackey`.
    """
    pages = written = executed = np.empty(0, np.int64)
    for runs in _read_blocks(path, BLOCK_BYTES):
        pages = np.union1d(pages, _pages_of(runs, runs.kind >= 0))
        written = np.union1d(written, _pages_of(runs, runs.kind & 1 != 0))
        executed = np.union1d(executed, _pages_of(runs, runs.kind & 2 != 0))
    cuts = np.flatnonzero(np.diff(pages) > gap_pages + 1)
    firsts = pages[np.concatenate(([0], cuts + 1))]
    lasts = pages[np.concatenate((cuts, [pages.size - 1]))]
    return tuple(
        AddressRegion(
            vpn=first,
            nr_pages=last - first + 1,
            write=_any_within(written, first, last),
            exec=_any_within(executed, first, last),
        )
        for first, last in zip(firsts.tolist(), lasts.tolist(), strict=True)
    )


def _any_within(pages: Columns, first: int, last: int) -> bool:
    """Whether an ascending column holds a page of `first` … `last`."""
    return bool(np.searchsorted(pages, first) < np.searchsorted(pages, last, side="right"))


def _pages_of(runs: _Runs, wanted: NDArray[np.bool_]) -> Columns:
    """Return every page of the wanted runs, unsorted and with repeats."""
    return _ascend(runs.vpn[wanted], runs.nr_pages[wanted])


def _ascend(firsts: Columns, counts: Columns) -> Columns:
    """Return `first, first + 1, …` of each pair, `count` numbers each, one after another."""
    starts = np.cumsum(counts) - counts
    return np.repeat(firsts - starts, counts) + np.arange(int(counts.sum()), dtype=np.int64)


def _read_blocks(path: Path, block_bytes: int) -> Iterator[_Runs]:
    """Yield the runs of each block of whole lines; refuse a trace without any access."""
    line = 1
    nr_lines = 0
    for block in _whole_lines(path, block_bytes):
        runs = _bundle(block, path, line)
        line += block.count(b"\n")
        nr_lines += runs.nr_lines
        yield runs
    if not nr_lines:
        rule = "must hold at least one access (record with --tool=lackey --trace-mem=yes)"
        raise RecordingError(path, line, rule)


def _whole_lines(path: Path, block_bytes: int) -> Iterator[bytes]:
    """Yield the file in blocks that end with a newline."""
    rest = b""
    line = 1
    try:
        with _open(path) as file:
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
    except (EOFError, zlib.error, gzip.BadGzipFile):
        rule = "must be a whole gzip file; this one is cut short or damaged"
        raise RecordingError(path, line, rule) from None
    except OSError as error:
        rule = f"must be readable ({error.strerror})"
        raise RecordingError(path, None, rule) from None
    if rest:
        rule = "the last line must end with a newline; the trace is cut short"
        raise RecordingError(path, line, rule)


def _open(path: Path) -> BinaryIO:
    """Open a trace for reading bytes, unpacking `.gz`."""
    if path.suffix == ".gz":
        return cast("BinaryIO", gzip.open(path, "rb"))
    return path.open("rb")


def _bundle(block: bytes, path: Path, first_line: int) -> _Runs:
    """Parse a block of whole lines and bundle it to runs."""
    text = np.frombuffer(block, np.uint8)
    ends = np.flatnonzero(text == ord("\n"))
    starts = np.concatenate((np.zeros(1, np.int64), ends[:-1] + 1))
    marks = text[starts]
    comment = (marks == ord("=")) | (marks == ord("-")) | (marks == ord("*"))
    for index in np.flatnonzero(comment).tolist():
        if not COMMENT.match(block, starts[index], ends[index]):
            raise _fault(block[starts[index] : ends[index]], path, first_line + index)
    access = np.flatnonzero(~comment)
    address, size, store, fetch, good = _parse(text, starts[access], ends[access])
    vpn = (address >> np.uint64(PAGE_SHIFT)).astype(np.int64)
    last_byte = address + (size - 1).astype(np.uint64)
    nr_pages = (last_byte >> np.uint64(PAGE_SHIFT)).astype(np.int64) - vpn + 1
    good &= (size > 0) & (nr_pages > 0)
    if not good.all():
        index = int(access[np.flatnonzero(~good)[0]])
        raise _fault(block[starts[index] : ends[index]], path, first_line + index)
    if nr_pages.size and nr_pages.max() > 1:
        store, fetch = np.repeat(store, nr_pages), np.repeat(fetch, nr_pages)
        vpn = _ascend(vpn, nr_pages)
    return _join(_visits(vpn, store, fetch), int(access.size))


def _parse(
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


def _visits(
    vpn: Columns, store: NDArray[np.bool_], fetch: NDArray[np.bool_]
) -> tuple[Columns, Columns, Columns]:
    """Return the visits of both streams in order of their first access: vpn, kind, accesses."""
    firsts, counts, kinds = [], [], []
    for stream_kind, stream in (
        (2, np.flatnonzero(fetch)),
        (0, np.flatnonzero(~fetch)),
    ):
        if not stream.size:
            continue
        page, writes = vpn[stream], store[stream].astype(np.int64)
        moved = np.concatenate((np.ones(1, np.bool_), page[1:] != page[:-1]))
        stores_before = np.cumsum(writes) - writes
        at_arrival = np.repeat(
            stores_before[moved], np.diff(np.flatnonzero(moved), append=page.size)
        )
        # True from the first store to a page until the stream moves to another page.
        writing = stores_before + writes > at_arrival
        begins = moved.copy()
        begins[1:] |= writing[1:] != writing[:-1]
        begin = np.flatnonzero(begins)
        firsts.append(stream[begin])
        counts.append(np.diff(begin, append=page.size))
        kinds.append(writing[begin].astype(np.int64) | stream_kind)
    if not firsts:
        return (np.empty(0, np.int64),) * 3
    order = np.argsort(np.concatenate(firsts), kind="stable")
    first = np.concatenate(firsts)[order]
    return vpn[first], np.concatenate(kinds)[order], np.concatenate(counts)[order]


def _join(visits: tuple[Columns, Columns, Columns], nr_lines: int) -> _Runs:
    """Join neighbouring visits of one kind on ascending pages."""
    vpn, kind, nr_accesses = visits
    if not vpn.size:
        return _Runs(vpn, vpn, kind, nr_accesses, nr_lines)
    follows = (vpn[1:] == vpn[:-1] + 1) & (kind[1:] == kind[:-1])
    begin = np.concatenate((np.zeros(1, np.int64), np.flatnonzero(~follows) + 1))
    return _Runs(
        vpn=vpn[begin],
        nr_pages=np.diff(begin, append=vpn.size),
        kind=kind[begin],
        nr_accesses=np.add.reduceat(nr_accesses, begin),
        nr_lines=nr_lines,
    )


def _fault(line: bytes, path: Path, number: int) -> RecordingError:
    """Say what is wrong with a line."""
    shown = line[:40].decode("ascii", "backslashreplace")
    field, _, size = line[3:].partition(b",")
    if not line.isascii():
        rule = "must be text as lackey prints it"
    elif line[:3] not in KINDS:
        rule = "a line starts with its kind in three columns (I, L, S or M)"
    elif not re.fullmatch(rb"[0-9a-f]{1,16}", field):
        rule = "the address must be 1 to 16 lower-case hex digits"
    elif not re.fullmatch(rb"[0-9]{1,4}", size) or not int(size):
        rule = "a comma and a size of 1 to 9999 bytes must follow the address"
    else:
        rule = "the access must end inside the 64-bit address space"
    return RecordingError(path, number, f"{rule}, not {shown!r}")
