"""What a sweep says: rows, medians over the seeds with their spread, files.

Interface: `summary_of`, `shown_metrics`, `require_known`, `table_of`, `write_tables`.
Units: those of the metrics; `_ns` is shown with its unit.
"""

import csv
import io
from collections.abc import Collection, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Final

import attrs

from kernelsim.errors import ConfigError
from kernelsim.explore.sweep import Job
from kernelsim.explore.sweep_run import DONE, FAILED, Result
from kernelsim.report.metrics import connect, quoted
from kernelsim.report.text_table import spread_text
from kernelsim.report.whole import write_whole

CSV: Final = "sweep.csv"
PARQUET: Final = "sweep.parquet"
SUMMARY: Final = "summary.csv"
SHOWN_MAX: Final = 8
KNOWN_MAX: Final = 30  # metrics that a refusal names
PREFERRED: Final = (  # metrics shown unless the user chooses, if they differ between settings
    *("virtual_ns", "fault_p50_ns", "fault_p99_ns", "fault_max_ns", "reclaim_ns", "lock_ns"),
    *("pgmajfault", "pswpout", "pswpin", "oom_kill", "pgscan_kswapd", "pgscan_direct", "io_ns"),
    *("numa_miss", "nr_free_pages", "pgfault"),
)
Runs = Sequence[tuple[Job, Result]]


@attrs.frozen
class Figure:
    """One metric of one setting, over its seeds."""

    nr: int
    median: float
    min: float
    max: float


@attrs.frozen
class Setting:
    """One setting of a sweep.

    Attributes:
        point: Its values by axis.
        figures: By metric, of the runs that have numbers.
        reasons: Why others have none, each once.
        nr_failed: Runs that did not end well.
    """

    point: Mapping[str, str]
    figures: Mapping[str, Figure]
    reasons: tuple[str, ...]
    nr_failed: int


def summary_of(runs: Runs) -> list[Setting]:
    """Sum runs up, setting by setting."""
    grouped: dict[tuple[tuple[str, str], ...], list[Result]] = {}
    for job, result in runs:
        grouped.setdefault(tuple(job["point"].items()), []).append(result)
    settings = []
    for point, results in grouped.items():
        figures = {
            name: figure_of([r["metrics"][name] for r in results if name in r["metrics"]])
            for name in metric_names(results)
        }
        failed = [result for result in results if result["state"] != DONE]
        reasons = dict.fromkeys(result["reason"] for result in failed)
        settings.append(Setting(dict(point), figures, tuple(reasons), len(failed)))
    return settings


def figure_of(values: Sequence[float]) -> Figure:
    """Return median and spread."""
    return Figure(len(values), median(values), min(values), max(values))


def metric_names(results: Sequence[Result]) -> list[str]:
    """Return the metrics that any run has, in the order in which they come first."""
    return list(dict.fromkeys(name for result in results for name in result["metrics"]))


def shown_metrics(settings: Sequence[Setting], globs: Sequence[str]) -> list[str]:
    """Return the metrics to show: those a user chose, or a few that differ between settings.

    Raises:
        ConfigError: A glob matches none.
    """
    known = list(dict.fromkeys(name for each in settings for name in each.figures))
    require_known(known, globs)
    if globs:
        return [name for name in known if any(fnmatchcase(name, glob) for glob in globs)]
    differing = [name for name in known if differs(settings, name)] or known
    own = [name for name in differing if name in own_names(known)]
    return [*own, *(name for name in PREFERRED if name in differing)][:SHOWN_MAX]


def require_known(known: Collection[str], globs: Sequence[str]) -> None:
    """Refuse a glob that matches no metric; nothing is known of runs that all failed.

    Raises:
        ConfigError: It does not.
    """
    for glob in globs:
        if known and not any(fnmatchcase(name, glob) for name in known):
            some = ", ".join(list(known)[:KNOWN_MAX])
            raise ConfigError("--metric", glob, f"matches none of {some} …")


def own_names(known: Sequence[str]) -> list[str]:
    """Return the metrics that the workload returned: they stand before those of /proc/vmstat."""
    start = known.index("stime_ns") + 1 if "stime_ns" in known else 0
    return list(known[start : known.index("nr_free_pages")]) if "nr_free_pages" in known else []


def differs(settings: Sequence[Setting], name: str) -> bool:
    """Return whether the median of a metric differs between settings."""
    return len({each.figures[name].median for each in settings if name in each.figures}) > 1


def table_of(
    settings: Sequence[Setting], metrics: Sequence[str]
) -> tuple[list[str], list[list[str]]]:
    """Return headers and rows: a row a setting, the median of each metric with its spread."""
    axes = list(settings[0].point)
    rows = []
    for each in settings:
        cells = [cell_of(name, each.figures.get(name)) for name in metrics]
        failed = f"{each.nr_failed} failed" if each.nr_failed else ""
        rows.append([*each.point.values(), *cells, failed])
    headers = [*axes, *metrics, ""]
    if not any(row[-1] for row in rows):
        headers, rows = headers[:-1], [row[:-1] for row in rows]
    return headers, rows


def cell_of(name: str, figure: Figure | None) -> str:
    """Return a figure as text; of a setting without it, a dash."""
    if figure is None:
        return "-"
    return spread_text(name, figure.median, figure.min, figure.max)


def write_tables(out: Path, runs: Runs, settings: Sequence[Setting]) -> None:
    """Write sweep.csv, sweep.parquet and summary.csv.

    Raises:
        OutputError: The system refused.
    """
    axes = list(settings[0].point)
    metrics = metric_names([result for _, result in runs])
    headers = ["run", *axes, "seed", "state", "reason", *metrics]
    rows = [
        [job["run"], *job["point"].values(), job["seed"], result["state"], result["reason"]]
        + [result["metrics"].get(name) for name in metrics]
        for job, result in runs
    ]
    types = dict.fromkeys((*axes, "state", "reason"), "VARCHAR")
    types |= dict.fromkeys(("run", "seed"), "BIGINT")
    for name in metrics:
        is_whole = all(type(result["metrics"].get(name, 0)) is int for _, result in runs)
        types[name] = "BIGINT" if is_whole else "DOUBLE"
    text = csv_text(headers, rows)
    write_whole(out / CSV, lambda path: path.write_text(text, encoding="utf-8"))
    write_whole(out / PARQUET, lambda path: write_parquet(path, text, headers, types))
    summed = csv_text(
        ["metric", *axes, "nr_runs", "median", "min", "max"], list(summary_rows(settings))
    )
    write_whole(out / SUMMARY, lambda path: path.write_text(summed, encoding="utf-8"))


def summary_rows(settings: Sequence[Setting]) -> Iterator[list[object]]:
    """Yield the rows of summary.csv, metric by metric."""
    for name in dict.fromkeys(name for each in settings for name in each.figures):
        for each in settings:
            if name in each.figures:
                figure = each.figures[name]
                numbers = (figure.nr, figure.median, figure.min, figure.max)
                yield [name, *each.point.values(), *numbers]


def csv_text(headers: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Write a table as CSV, lines ended as on Unix."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(headers)
    writer.writerows(rows)
    return text.getvalue()


def write_parquet(path: Path, text: str, headers: Sequence[str], types: Mapping[str, str]) -> None:
    """Write a CSV text as Parquet, each column of the type given."""
    with TemporaryDirectory(prefix="kernelsim-") as scratch, connect() as connection:
        source = Path(scratch) / CSV
        source.write_text(text, encoding="utf-8")
        columns = ", ".join(f"{text_of_sql(name)}: '{types[name]}'" for name in headers)
        read = f"read_csv({text_of_sql(str(source))}, header = true, columns = {{{columns}}})"
        made = Path(scratch) / PARQUET
        select = f"SELECT * FROM {read}"  # noqa: S608 - names are quoted
        connection.execute(f"COPY ({select}) TO {text_of_sql(str(made))} (FORMAT parquet)")
        path.write_bytes(made.read_bytes())


def text_of_sql(text: str) -> str:
    """Quote a text for SQL."""
    return quoted(text, "'")


def failures(runs: Runs) -> tuple[int, int]:
    """Return how many runs failed by what the workload found, and how many for another reason."""
    states = [result["state"] for _, result in runs]
    found = sum(state == FAILED for state in states)
    return found, sum(state != DONE for state in states) - found
