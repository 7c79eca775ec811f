"""`kernelsim compare`: what is different between runs."""

from pathlib import Path
from typing import Annotated, Final

from cyclopts import Parameter

from kernelsim.cli.options import Whole
from kernelsim.errors import ConfigError

ROWS: Final = 25


def compare(
    *directories: Path,
    counter: Annotated[list[str] | None, Parameter(negative="")] = None,
    rows: Whole = ROWS,
    out: Path | None = None,
) -> None:
    """Compare runs: settings, counters with their change, latencies of page faults.

    Runs that differ only in their seeds are one side. With several seeds a side, the last column
    says whether a difference exceeds their spread: no run of one side reaches the other's.

    Args:
        directories: What `kernelsim run --out` wrote, two or more.
        counter: Only such counters (glob); may be repeated.
        rows: Most counters shown, the largest change first.
        out: Write pictures of the counters shown first, laid over each other, to this HTML file.
    """
    from fnmatch import fnmatchcase

    from kernelsim.report.compare import (
        counter_names,
        counter_rows,
        latency_rows,
        overlaid,
        settings_rows,
        sides_of,
    )
    from kernelsim.report.event_filter import did_you_mean
    from kernelsim.report.result import read
    from kernelsim.report.text_table import print_table

    if len(directories) < 2:  # noqa: PLR2004 - one cannot be compared
        raise ConfigError("DIRECTORIES", len(directories), "must be two runs or more")
    if len({directory.resolve() for directory in directories}) < len(directories):
        listed = " ".join(map(str, directories))
        raise ConfigError("DIRECTORIES", listed, "must name each run once")
    if rows < 1:
        raise ConfigError("--rows", rows, "must be at least 1")
    sides = sides_of([read(directory) for directory in directories])
    known = counter_names(sides)
    for glob in counter or ():
        if not any(fnmatchcase(name, glob) for name in known):
            raise ConfigError("--counter", glob, f"matches no counter{did_you_mean(glob, known)}")
    names = [side.name for side in sides]
    print_table(["", *names], list(settings_rows(sides)))
    found = counter_rows(sides)
    if counter:
        found = [row for row in found if any(fnmatchcase(row[0], glob) for glob in counter)]
    print()
    if len(sides) == 1:
        print("all runs have the same settings: they differ by their seeds")
    print_table(["counter", *names, "change", "exceeds the spread"], found[:rows])
    if len(found) > rows:
        print(f"… and {len(found) - rows} more: --rows {len(found)}")
    print()
    headers = ["page faults", "side", "faults", "half took less", "99 % took less", "slowest"]
    print_table(headers, latency_rows(sides))
    if out is not None:
        overlaid(sides, [row[0] for row in found]).save(out)
        print(f"\npictures  {out}")
