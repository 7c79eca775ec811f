"""Which events a log keeps, by globs over names.

`--trace` takes words of four kinds: `GLOB` turns on page-level tracepoints, which are off
otherwise; `event=GLOB` and `actor=GLOB` keep only such events, only of such actors; `not=GLOB`
leaves events out, whatever else is said. A glob over events may name the subsystem as Linux does:
`vmscan:*`, `kmem:mm_page_*`.

Interface: `EventFilter.parse` reads such words; `wants` decides one event. Logs ask once for each
pair of actor and event and remember the answer.
"""

import difflib
from collections.abc import Iterable
from fnmatch import fnmatchcase
from typing import Final, Self

import attrs

from kernelsim.errors import ConfigError
from kernelsim.trace.registry import TRACEPOINTS

NEAR_MAX: Final = 3  # names offered for one that is not known
ALWAYS: Final = ("ks_run_start", "ks_run_end")  # no filter drops the ends of a log


@attrs.frozen
class EventFilter:
    """A choice of events. The empty one keeps all but page-level tracepoints."""

    trace: tuple[str, ...] = ()
    """Globs of page-level tracepoints to keep."""
    events: tuple[str, ...] = ()
    """Globs of events; if any, no other event is kept."""
    actors: tuple[str, ...] = ()
    """Globs of actor names; if any, no other actor's events are kept."""
    dropped: tuple[str, ...] = ()
    """Globs of events that are not kept."""

    @classmethod
    def parse(cls, words: Iterable[str], *, key: str = "--trace") -> Self:
        """Read the words of an option.

        Args:
            words: `GLOB`, `event=GLOB`, `actor=GLOB` or `not=GLOB` each.
            key: Name of the option for the error.

        Raises:
            ConfigError: a glob over events matches no declared tracepoint.
        """
        trace: list[str] = []
        events: list[str] = []
        actors: list[str] = []
        dropped: list[str] = []
        kinds = {"event": events, "not": dropped}
        for word in words:
            head, equals, glob = word.partition("=")
            if head == "actor" and equals and glob:
                actors.append(glob)
                continue
            is_kind = bool(equals) and head in kinds
            chosen = glob if is_kind else word
            if not any(event_matches(name, chosen) for name in TRACEPOINTS):
                rule = f"{no_event(chosen)} (GLOB, event=GLOB, actor=GLOB, not=GLOB)"
                raise ConfigError(key, word, rule)
            (kinds[head] if is_kind else trace).append(chosen)
        return cls(tuple(trace), tuple(events), tuple(actors), tuple(dropped))

    def wants(self, actor: str, event: str) -> bool:
        """Decide about one event of one actor."""
        if event in ALWAYS:
            return True
        if self.actors and not any(fnmatchcase(actor, glob) for glob in self.actors):
            return False
        if self.events and not any(event_matches(event, glob) for glob in self.events):
            return False
        if any(event_matches(event, glob) for glob in self.dropped):
            return False
        info = TRACEPOINTS.get(event)
        if info is None or not info.page_level:
            return True
        return any(event_matches(event, glob) for glob in (*self.trace, *self.events))


DEFAULT_FILTER: Final = EventFilter()


def no_event(glob: str, *, also: Iterable[str] = ()) -> str:
    """Say that a glob matches no event, and which it may have meant.

    Args:
        glob: Over names, or over `subsystem:name`.
        also: Names of events that are not declared, such as those a workload made up.
    """
    hint = did_you_mean(glob.rpartition(":")[2], [*TRACEPOINTS, *also])
    return f"matches no event{hint}; `kernelsim events` lists them"


def did_you_mean(glob: str, known: Iterable[str]) -> str:
    """Return `, did you mean …?` with the names nearest to what a glob says; empty if none is."""
    word = glob.strip("*?[]")
    names = sorted(set(known))
    near = difflib.get_close_matches(word, names, n=NEAR_MAX, cutoff=0.5)
    near = near or [name for name in names if word and word in name][:NEAR_MAX]
    return f", did you mean {' or '.join(near)}?" if near else ""


def event_matches(event: str, glob: str) -> bool:
    """Match an event's name, or its `subsystem:name` if the glob has a colon."""
    if ":" not in glob:
        return fnmatchcase(event, glob)
    info = TRACEPOINTS.get(event)
    return info is not None and fnmatchcase(f"{info.subsystem}:{event}", glob)
