"""Why an operation took so long: the chain of what its task waited for, as a tree.

The log tells the end of each wait with how long it took; what lies inside another wait of the same
task is its part. What no event tells is the task's own work and its wait for a CPU.

Interface: `read_waits`; `Waits.operations`, `Waits.find`, `Waits.why`; `each_ns`, `tree_text`,
`mostly`.
Units: ns.
"""

from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Final

import attrs

from kernelsim.errors import ConfigError
from kernelsim.report.event_reader import EventReader
from kernelsim.report.ftrace_text import THREAD
from kernelsim.report.rundir import EVENTS
from kernelsim.report.sinks import Event
from kernelsim.report.timeline.slices import (
    DISK,
    FAULT,
    RECLAIMING,
    RUNNING,
    SPINNING,
    STALL,
    Slice,
    TimelineMaker,
)
from kernelsim.units import format_duration, parse_duration

SHRUNK: Final = "mm_vmscan_lru_shrink_inactive"
ISSUED: Final = "block_rq_issue"
COMPLETED: Final = "block_rq_complete"
KEPT: Final = {  # fields of it: what became of pages that were not freed
    "nr_writeback": "under writeback",
    "nr_dirty": "dirty",
    "nr_ref_keep": "referenced",
    "nr_activate0": "activated",
    "nr_activate1": "activated",
    "nr_unmap_fail": "could not be unmapped",
}
WAITED: Final = (FAULT, STALL, RECLAIMING)  # what may be asked about
SELECTOR: Final = "slowest, ACTOR, ACTOR@TIME or @TIME, such as hog-100@1.2s"
OWN: Final = "its own work, and waiting for a CPU"


@attrs.frozen
class Cause:
    """A part of an operation.

    Attributes:
        name: What it was.
        ns: How long, in all.
        nr: How many of its kind, one after the other.
        longest_ns: The longest of them.
        notes: More about it, a line each.
        parts: What it consists of.
    """

    name: str
    ns: int
    nr: int = 1
    longest_ns: int = 0
    notes: tuple[str, ...] = ()
    parts: tuple["Cause", ...] = ()


@attrs.define
class Waits:
    """What tasks of a run waited for."""

    _slices: dict[str, list[Slice]] = attrs.field(factory=dict)  # by track, by start
    _shrunk: dict[str, list[tuple[int, dict[str, Any]]]] = attrs.field(factory=dict)  # by actor
    _requests: list[tuple[int, bool, str]] = attrs.field(factory=list)  # issued or completed

    def take(self, event: Event) -> None:
        """Take what the timeline leaves out."""
        if event.event == SHRUNK:
            self._shrunk.setdefault(event.actor, []).append((event.t_ns, dict(event.fields)))
        elif event.event in {ISSUED, COMPLETED}:
            self._requests.append((event.t_ns, event.event == ISSUED, str(event.fields["rwbs"])))

    def add(self, slices: Sequence[Slice]) -> None:
        """Take the slices of the timeline."""
        for each in slices:
            if each.category != RUNNING:
                self._slices.setdefault(each.track, []).append(each)
        for track in self._slices.values():
            track.sort(key=lambda s: (s.start_ns, -s.end_ns))

    def operations(self) -> list[Slice]:
        """Return faults, and stalls and reclaims that lie in none, the slowest first.

        Faults that were served in one go are as slow as their mean.
        """
        found: list[Slice] = []
        for track, slices in self._slices.items():
            if THREAD.fullmatch(track):
                continue
            end_ns = -1
            for each in slices:
                if each.category in WAITED and each.end_ns > end_ns:
                    found.append(each)
                    end_ns = each.end_ns
        return sorted(found, key=lambda s: (-each_ns(s), s.start_ns, s.track))

    def find(self, selector: str, *, key: str) -> Slice:
        """Return the operation that a selector names: `SELECTOR`; of several the slowest.

        Of those of a moment one that ends just then is meant: so `inspect --slowest` names them.

        Raises:
            ConfigError: It names none.
        """
        actor, at, moment = selector.partition("@")
        actor = "*" if actor in {"", "slowest"} else actor
        at_ns = parse_duration(moment, key=key) if at else None
        found = [
            each
            for each in self.operations()
            if fnmatchcase(each.track, actor)
            and (at_ns is None or each.start_ns <= at_ns <= each.end_ns)
        ]
        if found:
            return min(found, key=lambda each: each.end_ns != at_ns)
        known = ", ".join(dict.fromkeys(each.track for each in self.operations())) or "nobody"
        rule = f"names no operation ({SELECTOR}); there are some of {known}"
        raise ConfigError(key, selector, rule)

    def why(self, operation: Slice) -> Cause:
        """Return an operation with its parts."""
        inside = [
            each
            for each in self._slices[operation.track]
            if each is not operation
            and operation.start_ns <= each.start_ns
            and each.end_ns <= operation.end_ns
        ]
        return self._cause(operation, inside)

    def _cause(self, each: Slice, inside: Sequence[Slice]) -> Cause:
        parts: list[Cause] = []
        told_ns, place = 0, 0
        while place < len(inside):
            child, place = inside[place], place + 1
            below = []
            while place < len(inside) and inside[place].end_ns <= child.end_ns:
                below.append(inside[place])
                place += 1
            parts.append(self._cause(child, below))
            told_ns += child.end_ns - child.start_ns
        ns = each.end_ns - each.start_ns
        parts = merged(parts)
        if parts and ns > told_ns:
            parts.append(Cause(OWN, ns - told_ns))
        return Cause(each.name, ns, 1, ns, tuple(self._notes(each)), tuple(parts))

    def _notes(self, each: Slice) -> Iterator[str]:
        if each.category == SPINNING:
            holder = each.fields.get("holder")
            if holder:
                yield f"held by {self._on(str(holder), each.end_ns)}"
        elif each.category == RECLAIMING:
            yield from self._reclaim_notes(each)
        elif each.category == DISK:
            yield from self._disk_notes(each)
        elif each.category == STALL:
            yield from self._others(each, "meanwhile")

    def _on(self, cpu: str, at_ns: int) -> str:
        """Return a CPU with the task whose hold of a lock ended there at a moment."""
        for slices in self._slices.values():
            for held in slices:
                if held.start_ns > at_ns:
                    break
                if held.end_ns == at_ns and held.name.endswith(f" on {cpu}"):
                    return held.name.removeprefix("held by ")
        return cpu

    def _reclaim_notes(self, each: Slice) -> Iterator[str]:
        """Say how many pages were looked at and freed, and what kept the others."""
        rounds = [
            fields
            for t_ns, fields in self._shrunk.get(each.track, ())
            if each.start_ns <= t_ns <= each.end_ns
        ]
        if rounds:
            scanned, freed = (sum(f[n] for f in rounds) for n in ("nr_scanned", "nr_reclaimed"))
            kept: dict[str, int] = {}
            for name, text in KEPT.items():
                kept[text] = kept.get(text, 0) + sum(fields[name] for fields in rounds)
            why = ", ".join(f"{nr} {text}" for text, nr in kept.items() if nr)
            priority = min(fields["priority"] for fields in rounds)
            told = f": {why}" if why else ""
            yield f"looked at {scanned} pages, freed {freed}{told}; priority down to {priority}"
        yield from self._others(each, "meanwhile")

    def _others(self, each: Slice, when: str) -> Iterator[str]:
        """Say what kernel threads did at the same time, and what they waited for themselves."""
        for track, slices in self._slices.items():
            if not THREAD.fullmatch(track):
                continue
            beside = [s for s in slices if s.start_ns < each.end_ns and s.end_ns > each.start_ns]
            if not beside:
                continue
            told = f"{when} {track} was at it for {format_duration(within(beside, each))}"
            for name in dict.fromkeys(s.name for s in beside if s.category in {DISK, STALL}):
                ns = within([s for s in beside if s.name == name], each)
                told += f"; {format_duration(ns)} of that: {name}"
            yield told

    def _disk_notes(self, each: Slice) -> Iterator[str]:
        """Say what was in front of a read at its disk."""
        dev = str(each.fields.get("dev", ""))
        if "nr_in_flight" in each.fields:
            yield f"{each.fields['nr_in_flight']} requests were under way when it began"
            yield from self._others(each, "meanwhile")
            return
        before = [
            s
            for s in self._slices.get(dev, ())
            if s.start_ns < each.start_ns < s.end_ns and s.flows != each.flows
        ]
        for other in before:
            left = format_duration(other.end_ns - each.start_ns)
            yield f"behind a {other.name}, which took {left} more"
        if self._requests:
            queued = 0
            for t_ns, is_issue, _ in self._requests:
                if t_ns >= each.start_ns:
                    break
                queued += 1 if is_issue else -1
            yield f"{queued} requests were at the disks when it began"


def read_waits(directory: Path, *, key: str = "DIRECTORY") -> Waits:
    """Read a run's log.

    Raises:
        ConfigError: There is none.
    """
    log = directory / EVENTS
    if not log.is_file():
        raise ConfigError(key, str(directory), f"must hold a run; there is no {EVENTS}")
    maker, waits = TimelineMaker(), Waits()
    for event, _ in EventReader(log):
        maker.take(event)
        waits.take(event)
    maker.finish()
    waits.add(maker.slices)
    return waits


def each_ns(operation: Slice) -> int:
    """Return how long an operation took; of faults served in one go, each of them in the mean."""
    took_ns = operation.end_ns - operation.start_ns
    nr = operation.fields.get("nr_pages") if operation.category == FAULT else None
    return took_ns // nr if isinstance(nr, int) and nr else took_ns


def within(slices: Sequence[Slice], each: Slice) -> int:
    """Return for how long of a slice at least one of others, sorted by start, went on."""
    ns, at_ns = 0, each.start_ns
    for other in slices:
        start_ns, end_ns = max(other.start_ns, at_ns), min(other.end_ns, each.end_ns)
        if end_ns > start_ns:
            ns += end_ns - start_ns
            at_ns = end_ns
    return ns


def merged(parts: Sequence[Cause]) -> list[Cause]:
    """Put parts of one name and without parts of their own together, where the first stood.

    More is told of the longest of them.
    """
    found: dict[tuple[str, int], Cause] = {}
    for number, part in enumerate(parts):
        place = (part.name, number if part.parts else -1)
        before = found.get(place)
        if before is None:
            found[place] = part
            continue
        longest = max(before, part, key=lambda each: each.longest_ns)
        found[place] = attrs.evolve(longest, ns=before.ns + part.ns, nr=before.nr + part.nr)
    return list(found.values())


def mostly(cause: Cause) -> str:
    """Return what an operation was for most of its time, as far down as the log tells."""
    name = cause.name
    while cause.parts:
        cause = max(cause.parts, key=lambda part: part.ns)
        name = name if cause.name == OWN else cause.name
    return name


def tree_text(cause: Cause, *, of_ns: int = 0) -> Iterator[str]:
    """Yield the lines of a tree: how long, its share of the whole, what, then notes and parts."""
    of_ns = of_ns or max(cause.ns, 1)
    many = f"{cause.nr} × " if cause.nr > 1 else ""
    longest = f", longest {format_duration(cause.longest_ns)}" if cause.nr > 1 else ""
    yield f"{format_duration(cause.ns):>12} {cause.ns / of_ns:>6.1%}  {many}{cause.name}{longest}"
    lines = [f"{'':>12} {'':>6}  - {note}" for note in cause.notes]
    for part in cause.parts:
        lines += tree_text(part, of_ns=of_ns)
    yield from (line[:21] + "  " + line[21:] for line in lines)
