"""`kernelsim inspect`: look into the log and the counters of a run.

Interface: `inspect`, a command.
"""

import csv as csv_module
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Final

import attrs
import msgspec
from cyclopts import Parameter

from kernelsim.cli.inspect_waits import print_waits
from kernelsim.cli.options import Whole
from kernelsim.errors import ConfigError, one_line
from kernelsim.report.event_filter import did_you_mean, event_matches, no_event
from kernelsim.report.event_reader import EventReader, Selection, parse_between
from kernelsim.report.ftrace_text import HEADER, FtraceText
from kernelsim.report.rundir import EVENTS, OUTPUT_FAILED, RUN, is_being_written, run_of
from kernelsim.report.sinks import Event, event_text
from kernelsim.report.timeline.slices import TimelineMaker
from kernelsim.trace.registry import TRACEPOINTS

CHOICE: Final = ("--event", "--actor", "--between")
WAITS: Final = ("--why", "--slowest", "--stats")
BESIDE: Final = {  # what goes with an option that prints something of its own
    **dict.fromkeys(WAITS, WAITS),
    "--sql": ("--json", "--csv"),
    "--csv": ("--sql", *CHOICE),
    "--parquet": (),
    "--perfetto": CHOICE,
    "--damon": ("--between",),
    "--ftrace": (*CHOICE, "--follow"),
}
POLL_S: Final = 0.2  # how often a live log is looked at


def inspect(
    directory: Path,
    *,
    event: str = "*",
    actor: str = "*",
    between: str | None = None,
    sql: str | None = None,
    perfetto: Path | None = None,
    damon: Path | None = None,
    ftrace: bool = False,
    why: str | None = None,
    slowest: Whole | None = None,
    stats: Annotated[bool, Parameter(negative="")] = False,
    json: bool = False,
    csv: Annotated[bool, Parameter(negative="")] = False,
    parquet: Annotated[bool, Parameter(negative="")] = False,
    follow: bool = False,
) -> None:
    """Print the events of a run, query them with SQL, or make a timeline of them.

    What t_ns, the fields and their units mean: `kernelsim events`. Text shows numbers as the
    kernel prints them (gfp_flags=GFP_KERNEL, lru=inactive_anon, pfn=0x1000); JSON and SQL have
    the numbers themselves.

    Args:
        directory: What `kernelsim run --out` wrote.
        event: Only events with such a name (glob; `vmscan:*` chooses by subsystem).
        actor: Only events of such actors (glob).
        between: Only events of this virtual time, such as 1s..2.5s, 500ms.. or ..3s; a bare number
            is ns.
        sql: A query over one table an event, `select max(latency_ns) from ks_fault`, with t_ns,
            actor and the fields that `kernelsim events` lists; over `events`, which has t_ns,
            actor, event, fields (JSON) and the columns of them all; and over `metrics`,
            `processes` and `memory_map`, which were sampled over time. `show tables` and
            `describe ks_fault` list what there is.
        perfetto: Write a timeline to this file, such as trace.pftrace, which ui.perfetto.dev opens:
            a track an actor, slices for faults, reclaim, stalls, spinning and waits for disks,
            arrows from cause to effect, and the counters. CPUs show the task they switched to
            last, less the times it is known to have slept: going idle is not logged.
        damon: Write what DAMON saw (`kernelsim run --damon`) to this file, such as damon.data, as
            `damo report heatmap --input FILE` reads it.
        ftrace: Print the lines that the kernel's own trace would have, for tools that read them.
        why: Say why a fault or another stall took so long: slowest, ACTOR, ACTOR@TIME or @TIME;
            as `kernelsim explain fault`.
        slowest: List so many faults and stalls, the slowest first, each with the word for --why;
            faults that were served in one go are as slow as their mean.
        stats: Print histograms of fault latencies, lock waits with their holders, and how
            efficient reclaim was.
        json: Write JSON, one object a line.
        csv: Write CSV: t_ns, actor, event, and a column for each field that an event has; of a
            query its columns.
        parquet: Write the events to events.parquet beside the log, from which --sql then answers
            much sooner where the log is long.
        follow: Go on while the run writes.
    """
    given = {f"--{name}": value for name, value in locals().items() if is_given(value)}
    del given["--directory"]
    if not (directory / EVENTS).is_file():
        raise ConfigError("DIRECTORY", str(directory), f"must hold a run; there is no {EVENTS}")
    require_together(given)
    is_torn = False
    if why is not None or slowest is not None or stats:
        print_waits(directory, why, slowest, stats=stats)
    elif parquet:
        from kernelsim.report.log_parquet import write_log_parquet

        print(write_log_parquet(directory))
    elif sql is not None:
        print_query(directory, sql, json=json, csv=csv)
    else:
        start_ns, end_ns = (0, None) if between is None else parse_between(between)
        is_torn = print_chosen(directory, Selection(event, actor, start_ns, end_ns), given)
    tell_end(directory, is_torn=is_torn)


def print_chosen(directory: Path, selection: Selection, given: Mapping[str, object]) -> bool:
    """Print the events chosen, or write them to a file, in the form that the options ask for.

    Args:
        directory: The run's.
        selection: Which events.
        given: The options that were given, by name.

    Returns:
        Whether the last line of the log is torn.

    Raises:
        ConfigError: There can be no such event.
    """
    log, seen = directory / EVENTS, Seen()
    is_over = (directory / RUN).exists
    reader = EventReader(log, follower(is_over)) if "--follow" in given else EventReader(log)
    match given:
        case {"--csv": True}:
            nr_events = print_csv(reader, selection, seen)
        case {"--perfetto": Path() as target}:
            nr_events = draw_timeline(reader, selection, seen, directory=directory, target=target)
        case {"--damon": Path() as target}:
            nr_events = make_record(reader, selection, seen, target=target)
        case {"--ftrace": True}:
            nr_events = print_ftrace(reader, selection, seen)
        case _:
            nr_events = print_events(reader, selection, seen, json="--json" in given)
    if not nr_events:
        seen.refuse_unknown(selection.event, selection.actor)
        if not given.keys() & {"--json", "--csv"}:
            what = "such event is in the log; some are written only with --trace, see: "
            print(f"kernelsim: {log}: no {what}kernelsim events", file=sys.stderr)
    return reader.is_torn


def is_given(value: object) -> bool:
    """Return whether an option has another value than it has by itself."""
    return value is not None and value is not False and value != "*"


def require_together(given: Mapping[str, object]) -> None:
    """Refuse an option beside one that would pass over it.

    Args:
        given: The options that were given, by name.

    Raises:
        ConfigError: Two do not go together.
    """
    for name, companions in BESIDE.items():
        others = [other for other in given if other != name and other not in companions]
        if name in given and others:
            only = f", only with {', '.join(companions)}" if companions else ""
            raise ConfigError(name, given[name], f"does not go with {', '.join(others)}{only}")


def tell_end(directory: Path, *, is_torn: bool) -> None:
    """Say on stderr if the log is not that of a whole run."""
    note = note_on_end(directory, is_torn=is_torn)
    if note:
        sys.stdout.flush()
        print(f"kernelsim: {directory / EVENTS}: {note}", file=sys.stderr)


def note_on_end(directory: Path, *, is_torn: bool) -> str:
    """Return one line on a log that is not that of a whole run; empty for one that is."""
    torn = ", its last line is torn and left out" if is_torn else ""
    if not (directory / RUN).exists():
        if is_being_written(directory):
            return f"the run goes on: there is no {RUN} yet"
        return f"the run did not end, or has not yet: there is no {RUN}{torn}"
    run = run_of(directory)
    if run is None:
        return f"{RUN} is no JSON object, though kernelsim writes one{torn}"
    if run.get("exit_state") == OUTPUT_FAILED:
        return one_line(f"the run was cut short: {run.get('detail')}{torn}")
    return f"the log was cut{torn}" if torn else ""


@attrs.define
class Seen:
    """The names that a log has."""

    events: dict[str, None] = attrs.field(factory=dict)
    actors: dict[str, None] = attrs.field(factory=dict)

    def noted(self, reader: EventReader) -> Iterator[tuple[Event, bytes]]:
        """Yield the events of a log with their lines, and note their names."""
        for found, line in reader:
            self.events[found.event] = self.actors[found.actor] = None
            yield found, line

    def refuse_unknown(self, event: str, actor: str) -> None:
        """Refuse a glob that can match nothing, rather than say that nothing happened.

        Raises:
            ConfigError: The glob over events matches none that is declared or in the log, or that
                over actors matches none of the log's.
        """
        if not any(event_matches(name, event) for name in (*TRACEPOINTS, *self.events)):
            raise ConfigError("--event", event, no_event(event, also=self.events))
        if not any(fnmatchcase(name, actor) for name in self.actors):
            hint = did_you_mean(actor, self.actors)
            raise ConfigError("--actor", actor, f"matches no actor of this log{hint}")


def print_events(reader: EventReader, selection: Selection, seen: Seen, *, json: bool) -> int:
    """Print the events chosen, as they stand in the log or as text; return their number."""
    nr_events = 0
    for found, line in seen.noted(reader):
        if selection.takes(found):
            nr_events += 1
            if json:
                sys.stdout.write(line.decode())
            else:
                print(event_text(found.t_ns, found.actor, found.event, found.fields))
    return nr_events


def print_csv(reader: EventReader, selection: Selection, seen: Seen) -> int:
    """Print the events chosen as CSV, with a column for each field they have; return their number.

    The log is read twice, since the header names the fields.

    Raises:
        ConfigError: There can be no such event; nothing is printed then.
    """
    nr_events = 0
    columns: dict[str, None] = dict.fromkeys(("t_ns", "actor", "event"))
    for found, _ in seen.noted(reader):
        if selection.takes(found):
            nr_events += 1
            columns.update(dict.fromkeys(found.fields))
    if not nr_events:
        seen.refuse_unknown(selection.event, selection.actor)
    chosen = (found for found, _ in reader if selection.takes(found))
    rows = (
        {"t_ns": each.t_ns, "actor": each.actor, "event": each.event, **each.fields}
        for each in chosen
    )
    write_csv(columns, ([row.get(name) for name in columns] for row in rows))
    return nr_events


def write_csv(columns: Iterable[str], rows: Iterable[Iterable[object]]) -> None:
    """Write a table to standard output as CSV."""
    table = csv_module.writer(sys.stdout, lineterminator="\n")
    table.writerow(columns)
    table.writerows(map(csv_text, row) for row in rows)


def csv_text(value: object) -> object:
    """Return a value as a cell of CSV: truth, lists and objects as JSON has them."""
    if isinstance(value, bool | list | dict):
        return msgspec.json.encode(value).decode()
    return value


def print_ftrace(reader: EventReader, selection: Selection, seen: Seen) -> int:
    """Print the events chosen as the kernel's own trace does; return their number."""
    nr_events, text = 0, FtraceText()
    sys.stdout.write(HEADER)
    for found, _ in seen.noted(reader):
        text.look(found)
        if selection.takes(found):
            nr_events += 1
            print(text.line(found))
    return nr_events


def make_record(reader: EventReader, selection: Selection, seen: Seen, *, target: Path) -> int:
    """Write what DAMON saw as damo reads it; return how many lines it has."""
    from kernelsim.report.damon_record import write_damon

    try:
        nr_events = write_damon((found for found, _ in seen.noted(reader)), selection, target)
    except OSError as error:
        raise ConfigError("--damon", str(target), f"cannot be written: {error.strerror}") from None
    if not nr_events:
        raise ConfigError("--damon", str(target), "DAMON saw nothing in this run: run --damon all")
    print(target)
    return nr_events


def draw_timeline(
    reader: EventReader, selection: Selection, seen: Seen, *, directory: Path, target: Path
) -> int:
    """Write the events chosen as a timeline, if there are any; return their number."""
    from kernelsim.report.timeline.perfetto import write_perfetto

    nr_events, maker = 0, TimelineMaker()
    for found, _ in seen.noted(reader):
        if selection.takes(found):
            nr_events += 1
            maker.take(found)
    if nr_events:
        maker.finish()
        write_perfetto(directory, maker, target, selection)
        print(target)
    return nr_events


def follower(is_over: Callable[[], bool]) -> Callable[[], bool]:
    """Return a function that waits a little and says whether more may come."""
    ended = False

    def await_more() -> bool:
        nonlocal ended
        if ended:
            return False
        ended = is_over()  # what was written before the end is read once more
        sys.stdout.flush()
        if not ended:
            time.sleep(POLL_S)
        return True

    return await_more


def print_query(directory: Path, sql: str, *, json: bool, csv: bool) -> None:
    """Print the result of a query as a table, as CSV, or a JSON object a row."""
    from kernelsim.report.sql import query
    from kernelsim.report.text_table import print_table

    result = query(directory, sql)
    if json:
        for row in result.rows:
            fields = dict(zip(result.columns, row, strict=True))
            print(msgspec.json.encode(fields, enc_hook=str).decode())
        return
    if csv:
        write_csv(result.columns, result.rows)
        return
    rows = [["" if value is None else str(value) for value in row] for row in result.rows]
    print_table(result.columns, rows)
