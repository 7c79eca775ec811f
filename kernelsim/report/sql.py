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
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import attrs
import duckdb

from kernelsim.errors import ConfigError, one_line
from kernelsim.report.log_file import end_of_last_line
from kernelsim.report.metrics import connect, named_for_sql, quoted
from kernelsim.report.rundir import EVENTS, MEMORY_MAP, METRICS, PROCESSES
from kernelsim.trace.registry import TRACEPOINTS
from kernelsim.trace.tracepoint import FieldInfo

LINES_VIEW: Final = """
CREATE SCHEMA log;
CREATE VIEW log.lines AS SELECT line
FROM read_json(%s, format = 'newline_delimited', records = false, columns = {line: 'JSON'})
"""
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
        log = whole_lines(directory / EVENTS, Path(scratch))
        try:
            make_event_views(connection, log)
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


def make_event_views(connection: duckdb.DuckDBPyConnection, log: Path) -> None:
    """Make the view of each declared event, and `events`, over the lines of a log."""
    connection.execute(LINES_VIEW % quoted(str(log), "'"))
    every: dict[str, str] = {}
    for info in TRACEPOINTS.values():
        own = {field.name: sql_type(field) for field in info.fields}
        for name, kind in own.items():
            every[name] = kind if every.get(name, kind) == kind else "VARCHAR"
        names = (quoted(info.name, '"'), transform_of({**LINE_TYPES, **own}))
        connection.execute(EVENT_VIEW % (*names, quoted(info.name, "'")))
    connection.execute(EVENTS_VIEW % transform_of(every))


def transform_of(types: dict[str, str]) -> str:
    """Return columns and their types as duckdb's json_transform takes them."""
    return quoted(json.dumps(types), "'")


def sql_type(field: FieldInfo) -> str:
    """Return the type of a field's column."""
    if field.type.startswith("char"):
        return "VARCHAR"
    return {"bool": "BOOLEAN", "unsigned long": "HUGEINT"}.get(field.type, "BIGINT")


def whole_lines(log: Path, scratch: Path) -> Path:
    """Return the log, or a copy without its last line if that is torn."""
    size_bytes = log.stat().st_size
    with log.open("rb") as reader:
        end = end_of_last_line(reader, size_bytes)
        if end == size_bytes:
            return named_for_sql(log, scratch)
        reader.seek(0)
        copy = scratch / EVENTS
        copy.write_bytes(reader.read(end))
    return copy
