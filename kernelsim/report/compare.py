"""Compares runs: what was set otherwise, which counters differ, how long page faults took.

Runs that differ in nothing but their seeds are one side. A difference between two sides exceeds
the spread when no run of one reaches what any run of the other has: then it is no matter of seeds.

Interface: `sides_of`; of them `settings_rows`, `counter_names`, `counter_rows`, `latency_rows`,
`overlaid`.
Units: pages and events as counted; `_ns` is shown with its unit.
"""

from collections.abc import Iterator, Mapping, Sequence
from statistics import median
from string import ascii_uppercase
from typing import Any, Final

import attrs

from kernelsim.report.html.picture import Picture, counters_picture
from kernelsim.report.latencies import SHARES, FaultLatencies
from kernelsim.report.result import Result
from kernelsim.report.text_table import spread_text
from kernelsim.units import format_duration

SETTINGS: Final = (  # of run.json: what makes two runs more than two seeds
    *("kernelsim", "workload", "machine", "machine_sha256", "settings", "mempolicy", "damon"),
    *("burst_pages", "until"),
)
ENDED: Final = "virtual_ns"  # when a run ended; a counter like the others
PICTURES_MAX: Final = 6
TEXT_MAX: Final = 40  # characters of a setting
YES: Final = "yes"


@attrs.frozen
class Side:
    """Runs of one setting.

    Attributes:
        name: A, B, …
        runs: One a seed.
    """

    name: str
    runs: tuple[Result, ...]

    @property
    def record(self) -> dict[str, Any]:
        """What run.json says of the first."""
        return self.runs[0].record

    @property
    def seeds(self) -> list[str]:
        """The seed of each run; with its schedule's, where it has one."""
        return [seed_of(run.record) for run in self.runs]

    def values(self, counter: str) -> list[int]:
        """Return by how much a counter grew, a run each; those without it left out."""
        if counter == ENDED:
            return [int(run.record.get(ENDED, 0)) for run in self.runs]
        columns = [run.metrics[counter] for run in self.runs if counter in run.metrics]
        return [int(column[-1] - column[0]) for column in columns]


def seed_of(record: Mapping[str, Any]) -> str:
    """Return what two runs of one setting differ in: `1`, or `1/7` with schedule seed 7."""
    schedule = record.get("schedule_seed")
    return str(record.get("seed")) + ("" if schedule is None else f"/{schedule}")


def sides_of(runs: Sequence[Result]) -> list[Side]:
    """Put runs that differ in their seeds only together, in the order given."""
    grouped: dict[str, list[Result]] = {}
    for run in runs:
        grouped.setdefault(repr([run.record.get(key) for key in SETTINGS]), []).append(run)
    return [Side(name_of(number), tuple(found)) for number, found in enumerate(grouped.values())]


def name_of(number: int) -> str:
    """Return the name of a side: A to Z, then A1 and so on."""
    letter = ascii_uppercase[number % len(ascii_uppercase)]
    return letter if number < len(ascii_uppercase) else f"{letter}{number // len(ascii_uppercase)}"


def settings_rows(sides: Sequence[Side]) -> Iterator[list[str]]:
    """Yield what differs: its name, then what each side has; seeds and directories at the end."""
    written = {str(side.record.get("settings")) for side in sides}
    for key in SETTINGS:
        texts = [text_of(side.record.get(key)) for side in sides]
        is_told = key == "settings" or (key == "machine_sha256" and len(written) > 1)  # below
        if not is_told and len(set(texts)) > 1:
            yield [key, *texts]
    tunables = [dict(t.split("=", 1) for t in side.record.get("settings", ())) for side in sides]
    for name in sorted({name for each in tunables for name in each}):
        texts = [each.get(name, "not set") for each in tunables]
        if len(set(texts)) > 1:
            yield [name, *texts]
    yield ["seeds", *(" ".join(side.seeds) for side in sides)]
    yield ["ended", *(" ".join(dict.fromkeys(ends(side))) for side in sides)]


def ends(side: Side) -> Iterator[str]:
    """Yield how the runs of a side ended."""
    for run in side.runs:
        yield str(run.record.get("exit_state", "cut short")) + (" (failed)" if run.failure else "")


def text_of(value: object) -> str:
    """Return a setting as text."""
    return "-" if value is None else str(value)[:TEXT_MAX]


def counter_names(sides: Sequence[Side]) -> list[str]:
    """Return the counters that any run has."""
    names = dict.fromkeys([ENDED, *(n for s in sides for r in s.runs for n in r.metrics)])
    return [name for name in names if name != "t_ns"]


def counter_rows(sides: Sequence[Side]) -> list[list[str]]:
    """Return a row a counter that differs, the largest change first.

    A row has the counter, what each side has (median, least … most), the change of the last side
    against the first, and whether it exceeds the spread: yes, no, or ? where a side has one seed.
    """
    fewest = min(len(set(side.seeds)) for side in sides)
    found: list[tuple[bool, float, str, list[str]]] = []
    for name in counter_names(sides):
        values = [side.values(name) for side in sides]
        if not all(values) or len({v for each in values for v in each}) == 1:
            continue
        first, last = median(values[0]), median(values[-1])
        change = (last - first) / abs(first) if first else float("inf") if last else 0.0
        if change == 0.0 and not exceeds(values):
            continue
        cells = [spread_text(name, median(each), min(each), max(each)) for each in values]
        shown = f"{change:+.1%}" if first else "from 0" if last else "="
        verdict = YES if exceeds(values) else "no"
        verdict = "?" if fewest == 1 and verdict == YES else verdict
        found.append((exceeds(values), abs(change), name, [name, *cells, shown, verdict]))
    found.sort(key=lambda each: (not each[0], -each[1], each[2]))
    return [row for _, _, _, row in found]


def exceeds(values: Sequence[Sequence[int]]) -> bool:
    """Return whether the values of some side lie apart from all values of another."""
    return any(max(one) < min(other) for one in values for other in values)


def latency_rows(sides: Sequence[Side]) -> list[list[str]]:
    """Return a row a kind of page fault and side: number, median, 99 %, the slowest."""
    rows: dict[str, list[list[str]]] = {}
    for side in sides:
        latencies = FaultLatencies()
        for run in side.runs:
            faults = run.events("ks_fault")
            if faults.nr_rows:
                columns = (faults[n] for n in ("kind", "io_ns", "nr_pages", "latency_ns"))
                for kind, io_ns, nr_pages, latency_ns in zip(*columns, strict=True):
                    latencies.take(kind, int(io_ns), int(nr_pages), int(latency_ns))
        for kind, spread in latencies.kinds():
            times = [format_duration(spread.at_ns[share]) for share in SHARES]
            rows.setdefault(kind, []).append([kind, side.name, str(spread.nr), *times])
    return [row for kind in sorted(rows) for row in rows[kind]]


def overlaid(sides: Sequence[Side], counters: Sequence[str]) -> Picture:
    """Draw counters of all runs over each other: a colour a side, a dash a seed."""
    tables = {
        f"{side.name}/seed {seed_of(run.record)}": run.metrics
        for side in sides
        for run in side.runs
    }
    known = [name for name in counters if any(name in table for table in tables.values())]
    return counters_picture(tables, known[:PICTURES_MAX])
