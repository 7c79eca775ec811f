"""`kernelsim events`: the tracepoints that a log may hold, with their fields.

Interface: `events`, a command.
"""

import json as json_module

from kernelsim.errors import ConfigError
from kernelsim.report.event_filter import event_matches, no_event
from kernelsim.trace.registry import TRACEPOINTS
from kernelsim.trace.tracepoint import TracepointInfo


def events(glob: str = "*", *, json: bool = False) -> None:
    """List the events that a run may log: subsystem, fields, types and units.

    Each event's t_ns is virtual time; its row says of what, the start or the end. Where the kernel
    prints a number by name, so does `kernelsim inspect`; --json, --sql and the log have the number.

    Args:
        glob: Only events with such a name; `vmscan:*` chooses by subsystem.
        json: Write one JSON object a line instead.
    """
    chosen = [info for info in TRACEPOINTS.values() if event_matches(info.name, glob)]
    if not chosen:
        raise ConfigError("GLOB", glob, f"{no_event(glob)} without it")
    if json:
        for info in chosen:
            print(json_module.dumps(as_json(info), ensure_ascii=False))
        return
    from kernelsim.report.text_table import print_table

    headers = ("subsystem", "event", "field", "type", "unit", "meaning")
    print_table(headers, [row for info in chosen for row in rows_of(info)])


def rows_of(info: TracepointInfo) -> list[tuple[str, ...]]:
    """Return the rows of one tracepoint: itself, then its fields."""
    off = " (off unless --trace asks)" if info.page_level else ""
    first = (info.subsystem, info.name, "", "", "", info.doc + off)
    return [
        first,
        ("", "", "t_ns", "long", "ns", info.when),
        *(("", "", field.name, field.type, field.unit, field.doc) for field in info.fields),
    ]


def as_json(info: TracepointInfo) -> dict[str, object]:
    """Return what is known of one tracepoint, for programs."""
    return {
        "event": info.name,
        "subsystem": info.subsystem,
        "meaning": info.doc,
        "t_ns": info.when,
        "page_level": info.page_level,
        "fields": [
            {"name": field.name, "type": field.type, "unit": field.unit, "meaning": field.doc}
            for field in info.fields
        ],
    }
