"""A sink that keeps every event it wants, for tests to look at."""

from fnmatch import fnmatchcase

import attrs

from kernelsim.report.event_filter import DEFAULT_FILTER, EventFilter
from kernelsim.report.sinks import Event, as_mapping


@attrs.define
class MemorySink:
    """Keeps every event it wants."""

    filter: EventFilter = DEFAULT_FILTER
    events: list[Event] = attrs.field(factory=list, init=False)

    def wants(self, actor, event):
        """Return whether the filter keeps it."""
        return self.filter.wants(actor, event)

    def emit(self, t_ns, actor, event, fields):
        """Keep an event if it is wanted."""
        if self.wants(actor, event):
            self.events.append(Event(t_ns, actor, event, as_mapping(fields)))

    def flush(self):
        """Do nothing: there is no further to go."""

    def named(self, event, actor="*"):
        """Return the events whose name, and whose actor's name, match the globs."""
        return [
            kept
            for kept in self.events
            if fnmatchcase(kept.event, event) and fnmatchcase(kept.actor, actor)
        ]
