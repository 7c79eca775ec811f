"""`kernelsim cache`: run a trace of accesses through replacement policies and compare their hits.

Exit status: 0 done, 2 wrong use or a trace with a mistake.
"""

import csv as csv_module
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

from cyclopts import Parameter

from kernelsim.cli.options import Whole
from kernelsim.errors import ConfigError

if TYPE_CHECKING:
    from kernelsim.user.cache.hit_rates import Window
    from kernelsim.user.cache.requests import Request

BLOCK_BYTES_MAX: Final = 1 << 20
CACHE_PAGES_MAX: Final = 1 << 32  # 16 TiB
READ_AHEAD_MAX: Final = 1 << 16  # pages
MADE_PAGES: Final = 10_000
MADE_PAGES_MAX: Final = 10**7
MADE_REQUESTS: Final = 200_000
MADE_REQUESTS_MAX: Final = 10**12
SEED: Final = 1
CSV_HEADERS: Final = ("begin_ns", "policy", "size_bytes", "accesses", "hits")


def cache(
    trace: str,
    /,
    *,
    size: Annotated[list[str], Parameter(negative="")],
    policy: Annotated[list[str] | None, Parameter(negative="")] = None,
    over_time: str | None = None,
    read_ahead: Whole = 0,
    csv: Annotated[bool, Parameter(negative="")] = False,
    trace_type_params: Annotated[str | None, Parameter(name=["--trace-type-params", "-t"])] = None,
    time_unit: str | None = None,
    block: str | None = None,
    pages: Whole | None = None,
    requests: Whole | None = None,
    seed: Whole | None = None,
) -> None:
    """Compare replacement policies on one trace: which share of the pages asked for was there.

    Args:
        trace: A file in the form of the MSR Cambridge traces (timestamp,host,disk,type,offset,
            size,latency), another csv with --trace-type-params, either also as .gz; or a made
            trace: zipf, loop, scan, pollution (a hot set, then a scan) or ahead (a hot set and
            lone cold pages, for --read-ahead).
        size: Of the cache, such as 64M; may be repeated. Pages are 4 KiB.
        policy: lru, clock, two_lists (Linux), innodb (MySQL: 5:3), innodb_7_3 or s3_fifo; may be
            repeated; all by default.
        over_time: Hits in each stretch of so much time, such as 10min, instead of in all.
        read_ahead: Pages brought in after each page that was missed; a 4 KiB read that brings in
            16 KiB is 3.
        csv: Write comma-separated values instead of a table.
        trace_type_params: Columns of a csv trace, as libCacheSim takes them: time-col=1,
            obj-id-col=2, obj-size-col=3, delimiter=;, has-header=true. An object counts as a page.
        time_unit: Of the times of that csv; 1s by default.
        block: Objects of that csv are blocks of a disk of this size, such as 512, and a request is
            for all the pages it touches.
        pages: Different pages in the hot part of a made trace; 10000 by default.
        requests: How many there are in a made trace; 200000 by default.
        seed: What a made trace draws; 1 by default.
    """
    from kernelsim.report.text_table import print_table
    from kernelsim.units import parse_duration
    from kernelsim.user.cache.hit_rates import hit_rates
    from kernelsim.user.cache.made_traces import MADE_TRACES
    from kernelsim.user.cache.policies import POLICIES

    for name in policy or ():
        if name not in POLICIES:
            raise ConfigError("--policy", name, f"must be one of {', '.join(POLICIES)}")
    sizes = [cache_pages(text) for text in size]
    chosen = [(name, nr_pages) for nr_pages in sizes for name in policy or POLICIES]
    require("--read-ahead", read_ahead, READ_AHEAD_MAX, least=0)
    window_ns = None if over_time is None else parse_duration(over_time, key="--over-time")
    if window_ns == 0:
        raise ConfigError("--over-time", over_time, "must be more than nothing")
    of_csv = {"--time-unit": time_unit, "--block": block}
    if trace in MADE_TRACES:
        refuse(of_csv | {"--trace-type-params": trace_type_params}, "goes with a recorded trace")
        asked = made_requests(trace, pages, requests, seed)
    else:
        refuse({"--pages": pages, "--requests": requests, "--seed": seed}, "goes with a made trace")
        if trace_type_params is None:
            refuse(of_csv, "goes with --trace-type-params")
        asked = recorded_requests(Path(trace), trace_type_params, time_unit, block)
    caches = [POLICIES[name](nr_pages) for name, nr_pages in chosen]
    windows = hit_rates(asked, caches, read_ahead=read_ahead, window_ns=window_ns)
    if csv:
        write_csv(chosen, windows)
    elif window_ns is None:
        print_table(*in_all(chosen, windows[0]))
    else:
        print_table(*over_windows(chosen, windows))


def require(key: str, value: int, most: int, *, least: int = 1) -> None:
    """Refuse a number out of its range."""
    if not least <= value <= most:
        raise ConfigError(key, value, f"must be {least} to {most}")


def refuse(options: Mapping[str, object], rule: str) -> None:
    """Refuse options that mean nothing here; None is an option that was not given."""
    for key, value in options.items():
        if value is not None:
            raise ConfigError(key, value, rule)


def cache_pages(text: str) -> int:
    """Return the pages that a size of a cache means."""
    from kernelsim.units import PAGE_SHIFT, parse_size

    nr_pages = parse_size(text, key="--size") >> PAGE_SHIFT
    if not 1 <= nr_pages <= CACHE_PAGES_MAX:
        raise ConfigError("--size", text, "must be 4K, which is a page, to 16T")
    return nr_pages


def made_requests(
    name: str, pages: int | None, requests: int | None, seed: int | None
) -> "Iterator[Request]":
    """Make a trace."""
    from kernelsim.sim.rng import Rng
    from kernelsim.user.cache.made_traces import MADE_TRACES, TraceShape

    nr_pages = MADE_PAGES if pages is None else pages
    nr_requests = MADE_REQUESTS if requests is None else requests
    require("--pages", nr_pages, MADE_PAGES_MAX)
    require("--requests", nr_requests, MADE_REQUESTS_MAX)
    draws = Rng(SEED if seed is None else seed, name)
    return MADE_TRACES[name](TraceShape(nr_pages, nr_requests, draws))


def recorded_requests(
    path: Path, columns: str | None, time_unit: str | None, block: str | None
) -> "Iterator[Request]":
    """Read a file, in the form its columns are said to have.

    Raises:
        ConfigError: An option is wrong.
    """
    from kernelsim.units import NS_PER_S, parse_duration, parse_size
    from kernelsim.user.cache.block_trace import read_csv, read_msr
    from kernelsim.user.cache.csv_form import parse_csv_form

    if columns is None:
        return read_msr(path)
    unit_ns = NS_PER_S if time_unit is None else parse_duration(time_unit, key="--time-unit")
    if unit_ns == 0:
        raise ConfigError("--time-unit", time_unit, "must be more than nothing")
    block_bytes = None if block is None else parse_size(block, key="--block")
    if block_bytes is not None:
        require("--block", block_bytes, BLOCK_BYTES_MAX)
    form = parse_csv_form(columns, "--trace-type-params", unit_ns, block_bytes)
    return read_csv(path, form)


def in_all(
    chosen: Sequence[tuple[str, int]], window: "Window"
) -> tuple[Sequence[str], list[list[str]]]:
    """Return header and rows of a table with a row for each cache."""
    from kernelsim.units import PAGE_SHIFT, format_size

    rows = [
        [name, format_size(nr_pages << PAGE_SHIFT), str(nr_hits), percent(nr_hits, window)]
        for (name, nr_pages), nr_hits in zip(chosen, window.hits, strict=True)
    ]
    return ("policy", "size", f"hits of {window.nr_accesses}", "hit rate"), rows


def over_windows(
    chosen: Sequence[tuple[str, int]], windows: "Sequence[Window]"
) -> tuple[Sequence[str], list[list[str]]]:
    """Return header and rows of a table with a row for each window, a column for each cache."""
    from kernelsim.units import PAGE_SHIFT, format_duration, format_size

    caches = [f"{name} {format_size(nr_pages << PAGE_SHIFT)}" for name, nr_pages in chosen]
    rows = [
        [
            format_duration(window.begin_ns),
            str(window.nr_accesses),
            *(percent(nr_hits, window) for nr_hits in window.hits),
        ]
        for window in windows
    ]
    return ("from", "accesses", *caches), rows


def percent(nr_hits: int, window: "Window") -> str:
    """Write a hit rate with two decimals, rounded down."""
    if not window.nr_accesses:
        return "-"
    whole, rest = divmod(nr_hits * 10_000 // window.nr_accesses, 100)
    return f"{whole}.{rest:02d} %"


def write_csv(chosen: Sequence[tuple[str, int]], windows: "Sequence[Window]") -> None:
    """Write a line for each window and cache."""
    from kernelsim.units import PAGE_SHIFT

    writer = csv_module.writer(sys.stdout, lineterminator="\n")
    writer.writerow(CSV_HEADERS)
    for window in windows:
        for (name, nr_pages), nr_hits in zip(chosen, window.hits, strict=True):
            size_bytes = nr_pages << PAGE_SHIFT
            writer.writerow([window.begin_ns, name, size_bytes, window.nr_accesses, nr_hits])
