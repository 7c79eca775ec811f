"""SQL over a run's directory: one table an event, all of them as `events`, and sampled counters.

The table of an event, such as `ks_fault`, has t_ns BIGINT, actor VARCHAR and the event's fields as
`kernelsim events` lists them: `select max(latency_ns) from ks_fault`. An `unsigned long` is a
HUGEINT, so that differences may be negative; other numbers are BIGINT, truth BOOLEAN, text VARCHAR.
`events` has t_ns, actor, event, `fields` JSON, which holds whatever the event has, and every field
of every event by its name, NULL where an event has none of that name. The two names that mean a
number in one event and text in another (dev, error) are VARCHAR there. `metrics`, `processes` and
`memory_map`, the sampled counters of the machine, of each process and of each part of memory, have
BIGINT columns only, and are there if the run wrote them.

Interface: `query`.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import attrs
import duckdb

from kernelsim.errors import ConfigError, one_line
from kernelsim.report.log_parquet import (
    log_parquet_is_current,
    read_log_parquet,
    read_log_text,
)
from kernelsim.report.metrics import connect, named_for_sql, quoted
from kernelsim.report.rundir import EVENTS, EVENTS_PARQUET, MEMORY_MAP, METRICS, PROCESSES
from kernelsim.trace.registry import TRACEPOINTS
from kernelsim.trace.tracepoint import FieldInfo

EVENTS_VIEW: Final = """
CREATE VIEW events AS SELECT
  CAST(line->>'$.t_ns' AS BIGINT) AS t_ns,
  line->>'$.actor' AS actor,
  line->>'$.event' AS event,
  json_merge_patch(line, '{"t_ns":null,"actor":null,"event":null}') AS fields,
  own.*
FROM (SELECT line, json_transform(line, %s) AS own FROM log.lines)
"""
EVENT_VIEW: Final = """
CREATE VIEW %s AS SELECT own.*
FROM (SELECT json_transform(line, %s) AS own FROM log.lines WHERE line->>'$.event' = %s)
"""
LINE_TYPES: Final = {"t_ns": "BIGINT", "actor": "VARCHAR"}
# The same two of events.parquet, where `kernelsim inspect --parquet` wrote it: see log_parquet.py.
PARQUET_EVENTS_VIEW: Final = """
CREATE VIEW events AS SELECT t_ns, actor, event, fields, own.*
FROM (SELECT *, json_transform(fields, %s) AS own FROM log.lines)
"""
PARQUET_EVENT_VIEW: Final = """
CREATE VIEW %s AS SELECT t_ns, actor, own.*
FROM (SELECT *, json_transform(fields, %s) AS own FROM log.lines WHERE event = %s)
"""
BARE_EVENT_VIEW: Final = """
CREATE VIEW %s AS SELECT t_ns, actor FROM log.lines WHERE event = %s
"""
SAMPLES_VIEW: Final = "CREATE VIEW %s AS SELECT * FROM read_parquet(%s)"
TABLES: Final = (
    "tables: events, metrics, processes, memory_map, and one an event, such as ks_fault; "
    "`show tables` lists them, `describe ks_fault` its columns"
)


@attrs.frozen
class QueryResult:
    """What a query gave."""

    columns: tuple[str, ...]
    rows: tuple[tuple[object, ...], ...]


def query(directory: Path, statement: str, *, key: str = "--sql") -> QueryResult:
    """Run SQL over a run.

    Args:
        directory: The run's; a torn last line of its log is left out.
        statement: The query.
        key: Name of the option for the error.

    Raises:
        ConfigError: the query, or a line of the log, is not as duckdb wants it.
        OSError: the log cannot be read.
    """
    with TemporaryDirectory(prefix="kernelsim-") as scratch, connect() as connection:
        try:
            if log_parquet_is_current(directory, connection):
                events = named_for_sql(directory / EVENTS_PARQUET, Path(scratch))
                read_log_parquet(connection, events)
                make_event_views(connection, PARQUET_EVENT_VIEW, {}, PARQUET_EVENTS_VIEW)
            else:
                read_log_text(connection, directory / EVENTS, Path(scratch))
                make_event_views(connection, EVENT_VIEW, LINE_TYPES, EVENTS_VIEW)
            for name in (METRICS, PROCESSES, MEMORY_MAP):
                if (directory / name).exists():
                    file = quoted(str(named_for_sql(directory / name, Path(scratch))), "'")
                    connection.execute(SAMPLES_VIEW % (Path(name).stem, file))
            result = connection.execute(statement) if statement.strip() else None
            if result is None or result.description is None:
                raise ConfigError(key, statement, f"must be a query; {TABLES}")
            columns = tuple(str(column[0]) for column in result.description)
            return QueryResult(columns, tuple(result.fetchall()))
        except (duckdb.BinderException, duckdb.CatalogException) as error:  # no such name
            what = one_line(str(error).partition("\n\nLINE ")[0])
            raise ConfigError(key, statement, f"{what}; {TABLES}") from error
        except duckdb.Error as error:
            raise ConfigError(key, statement, str(error).partition("\n")[0]) from error


def make_event_views(
    connection: duckdb.DuckDBPyConnection,
    event_view: str,
    line_types: Mapping[str, str],
    events_view: str,
) -> None:
    """Make the view of each declared event, and `events`, over `log.lines`.

    Args:
        connection: Where `log.lines` is.
        event_view: Statement for the view of one event.
        line_types: Columns that are taken out of a line beside the event's own fields.
        events_view: Statement for the view of them all.
    """
    every: dict[str, str] = {}
    for info in TRACEPOINTS.values():
        own = {field.name: sql_type(field) for field in info.fields}
        for name, kind in own.items():
            every[name] = kind if every.get(name, kind) == kind else "VARCHAR"
        table, event, types = quoted(info.name, '"'), quoted(info.name, "'"), {**line_types, **own}
        if types:
            connection.execute(event_view % (table, transform_of(types), event))
        else:
            connection.execute(BARE_EVENT_VIEW % (table, event))
    connection.execute(events_view % transform_of(every))


def transform_of(types: dict[str, str]) -> str:
    """Return columns and their types as duckdb's json_transform takes them."""
    return quoted(json.dumps(types), "'")


def sql_type(field: FieldInfo) -> str:
    """Return the type of a field's column."""
    if field.type.startswith("char"):
        return "VARCHAR"
    return {"bool": "BOOLEAN", "unsigned long": "HUGEINT"}.get(field.type, "BIGINT")
