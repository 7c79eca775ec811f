"""Which events a log keeps, by globs over names.

`--trace` takes words of three kinds: `GLOB` turns on page-level tracepoints, which are off
otherwise; `event=GLOB` and `actor=GLOB` keep only such events, only of such actors. A glob over
events may name the subsystem as Linux does: `vmscan:*`, `kmem:mm_page_*`.

Interface: `EventFilter.parse` reads such words; `wants` decides one event. Logs ask once for each
pair of actor and event and remember the answer.
"""

from collections.abc import Iterable
from fnmatch import fnmatchcase
from typing import Final, Self

import attrs

from kernelsim.errors import ConfigError
from kernelsim.trace.registry import TRACEPOINTS

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

    @classmethod
    def parse(cls, words: Iterable[str], *, key: str = "--trace") -> Self:
        """Read the words of an option.

        Args:
            words: `GLOB`, `event=GLOB` or `actor=GLOB` each.
            key: Name of the option for the error.

        Raises:
            ConfigError: a glob over events matches no declared tracepoint.
        """
        trace: list[str] = []
        events: list[str] = []
        actors: list[str] = []
        for word in words:
            head, equals, glob = word.partition("=")
            if head == "actor" and equals and glob:
                actors.append(glob)
                continue
            chosen = glob if head == "event" and equals else word
            if not any(event_matches(name, chosen) for name in TRACEPOINTS):
                rule = (
                    "matches no event; `kernelsim events` lists them (GLOB, event=GLOB, actor=GLOB)"
                )
                raise ConfigError(key, word, rule)
            (trace if chosen is word else events).append(chosen)
        return cls(tuple(trace), tuple(events), tuple(actors))

    def wants(self, actor: str, event: str) -> bool:
        """Decide about one event of one actor."""
        if event in ALWAYS:
            return True
        if self.actors and not any(fnmatchcase(actor, glob) for glob in self.actors):
            return False
        if self.events and not any(event_matches(event, glob) for glob in self.events):
            return False
        info = TRACEPOINTS.get(event)
        if info is None or not info.page_level:
            return True
        return any(event_matches(event, glob) for glob in (*self.trace, *self.events))


DEFAULT_FILTER: Final = EventFilter()


def event_matches(event: str, glob: str) -> bool:
    """Match an event's name, or its `subsystem:name` if the glob has a colon."""
    if ":" not in glob:
        return fnmatchcase(event, glob)
    info = TRACEPOINTS.get(event)
    return info is not None and fnmatchcase(f"{info.subsystem}:{event}", glob)
