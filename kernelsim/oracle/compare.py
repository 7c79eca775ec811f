"""Hold one run of a recorded case against the recording of a real kernel, row by row.

Rows that the kernel does not repeat itself are left out: where a repeat of the recording (a
directory of the same name with `_r2` … `_r9`) lies outside a row's class, the row is not compared.

Interface: `compare_runs` decides, `render` prints for people, `to_json` for programs.
Units: an error is a share of the real value (0.02 is two percent); slack is in the row's unit.
"""

import json
import re
from pathlib import Path
from typing import Final

import attrs

from kernelsim.oracle.compare_rows import SLACK, Row, Value, rows_of

KB_PER_PAGE: Final = 4
IN_KB: Final = re.compile(r"_kB|\.MemFree|(?:^| )meminfo")
TOPICS: Final = tuple(
    # The first pattern found in a row's name decides; the last takes what is left.
    (re.compile(pattern), label)
    for pattern, label in (
        (r"oom|killed|constraint", "oom"),
        (r"zoneinfo.*(min|low|high|protection|spanned|present|batch)", "zones"),
        (r"numa|\.n[0-3]$|nodes", "numa"),
        (r"swp|Swap|anon.*(steal|refault)", "swap"),
        (r"pgscan|pgsteal|allocstall|refill|activate|refault", "reclaim"),
        (r"pgpg|cached|file|Dirty|dirtied|written|readstep", "page cache"),
        (r"malloc|usable|mod16|probe|CommitLimit", "malloc and overcommit"),
        (r"memory\d+|migrate|block", "migration and hotplug"),
        (r"", "faults and memory"),
    )
)


@attrs.frozen
class ComparedRow:
    """One row of the comparison."""

    name: str
    topic: str
    kind: str
    """The slack class, a key of `compare_rows.SLACK`."""
    real: Value
    ours: Value | None
    """None when our run has no such row."""
    error: float
    """Relative error, rounded to four places; 1 for unequal text or a missing row."""
    ok: bool


@attrs.frozen
class TopicTotal:
    """How many rows of one topic are inside their class."""

    inside: int
    total: int
    error_sum: float
    """Sum of the rows' errors, each counted at most once whole (1.0)."""


@attrs.frozen
class Comparison:
    """The result of holding one run against a recording."""

    rows: tuple[ComparedRow, ...]
    topics: dict[str, TopicTotal]
    """By label, in the order the rows name them."""

    @property
    def ok(self) -> bool:
        """Whether every row is inside its class."""
        return all(row.ok for row in self.rows)


def compare_runs(real_dir: Path, ours_dir: Path) -> Comparison:
    """Compare our run with the recording and its repeats.

    Args:
        real_dir: the recording; repeats are looked for beside it.
        ours_dir: the run that is judged, in the same layout.

    Raises:
        RecordingError: a directory cannot be read or a file of it is malformed.
    """
    real = rows_of(real_dir, real=True)
    ours = rows_of(ours_dir, real=False)
    for repeat_dir in sorted(real_dir.parent.glob(f"{real_dir.name}_r[2-9]")):
        if not ours_dir.samefile(repeat_dir):
            repeat = rows_of(repeat_dir, real=False)
            real = {
                name: row
                for name, row in real.items()
                if name in repeat and _hold(row, repeat[name].value)[0]
            }
    totals: dict[str, TopicTotal] = {}
    rows: list[ComparedRow] = []
    for name, row in real.items():
        value = ours[name].value if name in ours else None
        ok, error = _judge(row, value)
        label = topic(name)
        before = totals.get(label, TopicTotal(0, 0, 0.0))
        totals[label] = TopicTotal(
            before.inside + ok, before.total + 1, before.error_sum + min(error, 1.0)
        )
        rows.append(ComparedRow(name, label, row.kind, row.value, value, round(error, 4), ok))
    return Comparison(tuple(rows), totals)


def topic(name: str) -> str:
    """Return the topic a row belongs to, by its name."""
    return next(label for pattern, label in TOPICS if pattern.search(name))


def render(comparison: Comparison, *, all_rows: bool = False) -> str:
    """Return the table for people: rows outside (or all), then totals by topic."""
    lines = []
    for row in comparison.rows:
        if all_rows or not row.ok:
            mark = "ok" if row.ok else "OUT"
            lines.append(
                f"{mark:4} {row.kind:5} {row.name:60} real {row.real!s:>14} "
                f"ours {row.ours!s:>14} error {row.error:.3f}"
            )
    for label, count in sorted(comparison.topics.items()):
        mean = count.error_sum / count.total
        lines.append(
            f"{label:24} {count.inside:4d} of {count.total:4d} rows inside, mean error {mean:.3f}"
        )
    inside = sum(count.inside for count in comparison.topics.values())
    lines.append(f"{'total':24} {inside:4d} of {len(comparison.rows):4d}")
    return "\n".join(lines) + "\n"


def to_json(comparison: Comparison) -> str:
    """Return `{"rows": [{row, topic, class, real, ours, error, ok}], "topics": {…}}`.

    A topic is `[rows inside, rows, sum of errors]`.
    """
    rows = [
        {
            "row": row.name,
            "topic": row.topic,
            "class": row.kind,
            "real": row.real,
            "ours": row.ours,
            "error": row.error,
            "ok": row.ok,
        }
        for row in comparison.rows
    ]
    topics = {
        label: [count.inside, count.total, count.error_sum]
        for label, count in comparison.topics.items()
    }
    return json.dumps({"rows": rows, "topics": topics})


def _judge(row: Row, value: Value | None) -> tuple[bool, float]:
    """Hold a value, or its absence, against a row: inside or not, and the relative error."""
    if value is not None:
        return _hold(row, value)
    # A figure our run does not print counts as zero, where zero would do.
    if isinstance(row.value, float) and _hold(row, 0.0)[0]:
        return _hold(row, 0.0)
    return False, 1.0


def _hold(row: Row, value: Value) -> tuple[bool, float]:
    """Hold a present value against a row."""
    if isinstance(row.value, str) or isinstance(value, str):
        return row.value == value, 0.0 if row.value == value else 1.0
    difference = abs(value - row.value)
    return difference <= _slack(row, abs(row.value)), difference / max(abs(row.value), 1.0)


def _slack(row: Row, size: float) -> float:
    """Return how far a figure of this size may be off, in the row's own unit."""
    share, pages = SLACK[row.kind]
    allowance = pages * (KB_PER_PAGE if IN_KB.search(row.name) else 1)
    slack = max(share * size, allowance)
    # A small figure gets half the allowance, or zero would always do.
    return slack / 2 if row.kind in ("near", "close") and size < allowance else slack
