"""What a run's waits were, summed up: fault latencies, lock waits with holders, reclaim.

Interface: `statistics_text` of a run's directory.
Units: ns, pages.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import attrs

from kernelsim.report.event_reader import EventReader
from kernelsim.report.ftrace_text import THREAD
from kernelsim.report.latencies import FAULT, kind_of
from kernelsim.report.rundir import EVENTS
from kernelsim.report.sinks import Event
from kernelsim.report.text_table import plain_table
from kernelsim.report.why import KEPT, SHRUNK
from kernelsim.units import format_duration

LOCK_WAIT: Final = "ks_lock_wait"
STARS: Final = 40  # width of a histogram's longest bar
LOCKS_MAX: Final = 10


@attrs.define
class LockWaits:
    """How long one lock was waited for."""

    nr: int = 0
    ns: int = 0
    longest_ns: int = 0
    by_holder: Counter[str] = attrs.field(factory=Counter)


@attrs.define
class Tally:
    """What the events of a log sum up to."""

    faults: dict[str, Counter[int]] = attrs.field(factory=dict)  # kind: number by log2 of ns
    locks: dict[str, LockWaits] = attrs.field(factory=dict)
    reclaim: dict[str, Counter[str]] = attrs.field(factory=dict)  # who: pages by field

    def take(self, event: Event) -> None:
        """Take an event."""
        fields: Any = event.fields
        if event.event == FAULT and fields["nr_pages"]:
            kind = kind_of(fields["kind"], waited=bool(fields["io_ns"]))
            level = max(fields["latency_ns"] // fields["nr_pages"], 1).bit_length() - 1
            self.faults.setdefault(kind, Counter())[level] += fields["nr_pages"]
        elif event.event == LOCK_WAIT:
            lock = self.locks.setdefault(fields["lock"], LockWaits())
            lock.nr += 1
            lock.ns += fields["wait_ns"]
            lock.longest_ns = max(lock.longest_ns, fields["wait_ns"])
            lock.by_holder[fields.get("holder") or "?"] += fields["wait_ns"]
        elif event.event == SHRUNK:
            who = event.actor if THREAD.fullmatch(event.actor) else "tasks: direct reclaim"
            own = self.reclaim.setdefault(who, Counter())
            own.update({name: fields[name] for name in ("nr_scanned", "nr_reclaimed", *KEPT)})


def statistics_text(directory: Path) -> str:
    """Return histograms of fault latency by kind, lock waits, and reclaim efficiency."""
    tally = Tally()
    for event, _ in EventReader(directory / EVENTS):
        tally.take(event)
    parts = [*fault_parts(tally), lock_part(tally), reclaim_part(tally)]
    return "\n".join(part for part in parts if part) or "no waits are in the log\n"


def fault_parts(tally: Tally) -> Iterator[str]:
    """Yield a histogram a kind of fault; faults served in one go count at their mean."""
    for kind, levels in sorted(tally.faults.items()):
        lines = [f"page faults, {kind}: {levels.total()}, latency in ns"]
        most = max(levels.values())
        for level in range(min(levels), max(levels) + 1):
            nr = levels[level]
            bar = "*" * -(-nr * STARS // most)
            reach = f"{1 << level:>12} -> {(2 << level) - 1:<12}"
            lines.append(f"{reach}: {nr:<10} |{bar:<{STARS}}|")
        yield "\n".join(lines) + "\n"


def lock_part(tally: Tally) -> str:
    """Return a table of locks, the most waited for first, and who held them meanwhile."""
    busy = sorted(tally.locks.items(), key=lambda each: (-each[1].ns, each[0]))
    rows = [
        [name, str(w.nr), format_duration(w.ns), format_duration(w.longest_ns), holders(w)]
        for name, w in busy[:LOCKS_MAX]
    ]
    return plain_table(["lock", "waits", "waited", "longest", "held by"], rows) if rows else ""


def holders(waits: LockWaits) -> str:
    """Return who held a lock for most of the waits."""
    first = sorted(waits.by_holder.items(), key=lambda each: (-each[1], each[0]))[:3]
    return ", ".join(f"{name} {ns / max(waits.ns, 1):.0%}" for name, ns in first)


def reclaim_part(tally: Tally) -> str:
    """Return a table of who reclaimed how efficiently, and what became of the other pages."""
    rows: list[Sequence[str]] = []
    for who, own in sorted(tally.reclaim.items()):
        kept: Counter[str] = Counter()
        for name, text in KEPT.items():
            kept[text] += own[name]
        scanned = own["nr_scanned"]
        share = f"{own['nr_reclaimed'] / scanned:.1%}" if scanned else "-"
        why = ", ".join(f"{nr} {text}" for text, nr in kept.items() if nr)
        rows.append([who, str(scanned), str(own["nr_reclaimed"]), share, why])
    headers = ["reclaim", "looked at", "freed", "efficiency", "not freed"]
    return plain_table(headers, rows) if rows else ""
