"""Read traces of block I/O as streams of requests for pages.

Two forms of csv, plain or `.gz`. The MSR Cambridge traces, one line a request, without a header:

    timestamp,host,disk,Read|Write,offset,size,latency     in 100 ns, bytes, 100 ns
    128166372003061629,hm,0,Read,9056014336,2048,2833

and any other csv whose columns a `CsvForm` tells, as libCacheSim reads them. Reads and writes are
requests alike. A trace whose times go back a little, as they do where requests were written down
when they ended, is taken to stand still there.

Interface: `read_msr`, `read_csv`; one `RecordingError` names the line of a mistake.
"""

import gzip
import re
import zlib
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import BinaryIO, Final, cast

from kernelsim.errors import RecordingError, shown
from kernelsim.units import GIB, PAGE_SHIFT
from kernelsim.user.cache.csv_form import CsvForm
from kernelsim.user.cache.requests import Request

LINE_BYTES_MAX: Final = 4096
REQUEST_BYTES_MAX: Final = GIB
OFFSET_BITS: Final = 63
DIGITS_MAX: Final = 20
FILETIME_NS: Final = 100  # Windows counts its time so
DISK_SHIFT: Final = OFFSET_BITS - PAGE_SHIFT  # pages of different disks differ above this bit
MSR_FIELDS: Final = 7
MSR_RULE: Final = (
    "must be timestamp,host,disk,Read|Write,offset,size,latency as in the MSR Cambridge traces; "
    "tell the columns of another csv with --trace-type-params"
)
DECIMAL: Final = re.compile(rb"([0-9]{1,20})(?:\.([0-9]{1,20}))?")


def read_msr(path: Path) -> Iterator[Request]:
    """Yield the requests of an MSR Cambridge trace; several disks may be in one file.

    Raises:
        RecordingError: The file is missing, empty, damaged, or has a line of another form.
    """
    disks: dict[tuple[bytes, bytes], int] = {}
    first_ns: int | None = None
    now_ns = 0
    for line, fields in _rows(path, b","):
        if len(fields) != MSR_FIELDS or fields[3] not in {b"Read", b"Write"}:
            raise RecordingError(path, line, MSR_RULE)
        t_ns = _number(fields[0], path, line, "timestamp") * FILETIME_NS
        offset = _number(fields[4], path, line, "offset")
        page, nr_pages = _pages(offset, _number(fields[5], path, line, "size"), path, line)
        first_ns = t_ns if first_ns is None else first_ns
        now_ns = max(now_ns, t_ns - first_ns)
        disk = disks.setdefault((fields[1], fields[2]), len(disks))
        yield Request(now_ns, page | disk << DISK_SHIFT, nr_pages)


def read_csv(path: Path, form: CsvForm) -> Iterator[Request]:
    """Yield the requests of a csv trace whose columns are told.

    Without `form.block_bytes` an object is a page, whatever its size; memory grows with the number
    of different objects then.

    Raises:
        RecordingError: The file is missing, empty, damaged, or a line lacks a column or has
            something there that is no number, time or size.
    """
    names: dict[bytes, int] = {}
    nr_fields = max(form.id_col, form.time_col or 0, form.size_col or 0)
    first_ns: int | None = None
    now_ns = 0
    for line, fields in _rows(path, form.delimiter):
        if len(fields) < nr_fields:
            rule = f"must have {nr_fields} columns or more, not {len(fields)}"
            raise RecordingError(path, line, rule)
        if line == 1 and _is_header(fields, form):
            continue
        if form.time_col is not None:
            t_ns = _time(fields[form.time_col - 1], form.unit_ns, path, line)
            first_ns = t_ns if first_ns is None else first_ns
            now_ns = max(now_ns, t_ns - first_ns)
        name = fields[form.id_col - 1]
        if form.block_bytes is None or form.size_col is None:
            yield Request(now_ns, names.setdefault(name, len(names)), 1)
            continue
        offset = _number(name, path, line, "object id") * form.block_bytes
        size = _number(fields[form.size_col - 1], path, line, "size")
        yield Request(now_ns, *_pages(offset, size, path, line))


def _rows(path: Path, delimiter: bytes) -> Iterator[tuple[int, list[bytes]]]:
    """Yield number and fields of each line that is not blank."""
    line = 0
    nr_rows = 0
    try:
        with _open(path) as file:
            for data in iter(partial(file.readline, LINE_BYTES_MAX), b""):
                line += 1
                if b"\0" in data:
                    raise RecordingError(path, line, "must be text; this is binary")
                if len(data) == LINE_BYTES_MAX:
                    rule = f"a line has less than {LINE_BYTES_MAX} bytes; this is no trace"
                    raise RecordingError(path, line, rule)
                text = data.strip()
                if text:
                    nr_rows += 1
                    yield line, [field.strip() for field in text.split(delimiter)]
    except (EOFError, zlib.error, gzip.BadGzipFile):
        rule = "must be a whole gzip file; this one is cut short or damaged"
        raise RecordingError(path, line + 1, rule) from None
    except OSError as error:
        raise RecordingError(path, None, f"must be readable ({error.strerror})") from None
    if not nr_rows:
        raise RecordingError(path, None, "must hold at least one request")


def _open(path: Path) -> BinaryIO:
    if path.suffix == ".gz":
        return cast("BinaryIO", gzip.open(path, "rb"))
    return path.open("rb")


def _is_header(fields: list[bytes], form: CsvForm) -> bool:
    if form.has_header is not None:
        return form.has_header
    columns = [form.time_col, form.size_col, form.id_col if form.block_bytes else None]
    return any(column and not DECIMAL.fullmatch(fields[column - 1]) for column in columns)


def _number(field: bytes, path: Path, line: int, what: str) -> int:
    if not field.isdigit() or len(field) > DIGITS_MAX:
        rule = f"the {what} must be a whole number of at most {DIGITS_MAX} digits"
        raise RecordingError(path, line, f"{rule}, not {shown(field.decode(errors='replace'))}")
    return int(field)


def _time(field: bytes, unit_ns: int, path: Path, line: int) -> int:
    match = DECIMAL.fullmatch(field)
    if match is None:
        rule = "the time must be a number of at most 20 digits"
        raise RecordingError(path, line, f"{rule}, not {shown(field.decode(errors='replace'))}")
    decimals = match[2] or b""
    return int(int(match[1] + decimals) * unit_ns // 10 ** len(decimals))


def _pages(offset: int, size: int, path: Path, line: int) -> tuple[int, int]:
    """Return first page and number of pages of a range of bytes."""
    if size > REQUEST_BYTES_MAX:
        raise RecordingError(path, line, f"a request has at most 1 GiB, not {size} bytes")
    if offset + size > 1 << OFFSET_BITS:
        raise RecordingError(path, line, f"a disk ends at 2**{OFFSET_BITS} bytes, before {offset}")
    page = offset >> PAGE_SHIFT
    return page, ((offset + size - 1) >> PAGE_SHIFT) - page + 1 if size else 0
