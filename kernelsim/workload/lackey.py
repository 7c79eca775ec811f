"""Bundle memory traces of `valgrind --tool=lackey --trace-mem=yes` to runs of pages.

How accesses become runs. Fetches and data accesses are two streams that alternate line by line,
so each is bundled by itself. In a stream, the accesses from one change of page to the next are a
*visit*; a visit that begins with loads splits at its first store, because that store may fault a
second time. Visits are put in the order of their first access, and neighbours of one kind on
ascending pages become one run. So the order in which pages are first touched is exactly that of
the trace; only repeated accesses to a page already visited move forward in time.

      I 1000  L 5000  I 1004  S 5008  I 2000      ->  x 1 (2), r 5 (1), w 5 (1), x 2 (1)

Interface: `read_lackey` streams runs, `lackey_footprint` sums a trace up, `regions_of` says what
to map before a replay. Every fault of the file is one `RecordingError` with its line. The
lines are read by lackey_lines.py.
Units: pages are virtual page numbers (address >> 12).
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import attrs
import numpy as np
from numpy.typing import NDArray

from kernelsim.workload.lackey_lines import Columns, LeftOut, ascending_pages, read_accesses

SUFFIXES: Final = (".lackey", ".lackey.gz")
BLOCK_BYTES: Final = 1 << 20  # bytes read at once; a visit ends where a block ends
REGION_GAP_PAGES: Final = 16  # pages; nearer ranges become one region


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
    for runs in _read_runs(path, block_bytes):
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
    for runs in _read_runs(path, BLOCK_BYTES):
        nr_lines += runs.nr_lines
        nr_runs += runs.vpn.size
        pages = np.union1d(pages, _pages_of(runs, runs.kind >= 0))
        written = np.union1d(written, _pages_of(runs, runs.kind & 1 != 0))
    return LackeyFootprint(nr_lines, nr_runs, int(pages.size), int(written.size))


def regions_of(
    path: Path, *, gap_pages: int = REGION_GAP_PAGES, left_out: LeftOut | None = None
) -> tuple[AddressRegion, ...]:
    """Return the address ranges to map before a replay, ascending.

    A trace has no mmap calls: a first pass over it finds the pages it touches, pages with no more
    than `gap_pages` untouched ones between them share a region, and the second pass replays. Lines
    that are none of lackey's are counted in `left_out`.

    Raises:
        RecordingError: as `read_lackey`.
    """
    pages = written = executed = np.empty(0, np.int64)
    for runs in _read_runs(path, BLOCK_BYTES, left_out):
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
    return ascending_pages(runs.vpn[wanted], runs.nr_pages[wanted])


def _read_runs(path: Path, block_bytes: int, left_out: LeftOut | None = None) -> Iterator[_Runs]:
    """Yield the runs of each block of the trace."""
    for accesses in read_accesses(path, block_bytes, left_out):
        visits = _visits(accesses.vpn, accesses.store, accesses.fetch)
        yield _join(visits, accesses.nr_lines)


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
