"""SQL over a run's directory: the log as the view `events`, the counters as `metrics`.

`events` has the columns t_ns BIGINT, actor VARCHAR, event VARCHAR and fields JSON, which holds
the event's own fields: `select fields->>'nid' from events`. `metrics` has BIGINT columns only,
and is there if the run wrote it.

Interface: `query`.
"""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import attrs
import duckdb

from kernelsim.errors import ConfigError
from kernelsim.report.log_file import end_of_last_line
from kernelsim.report.metrics import connect, quoted
from kernelsim.report.rundir import EVENTS, METRICS

EVENTS_VIEW: Final = """
CREATE VIEW events AS SELECT
  CAST(line->>'$.t_ns' AS BIGINT) AS t_ns,
  line->>'$.actor' AS actor,
  line->>'$.event' AS event,
  json_merge_patch(line, '{"t_ns":null,"actor":null,"event":null}') AS fields
FROM read_json(%s, format = 'newline_delimited', records = false, columns = {line: 'JSON'})
"""
METRICS_VIEW: Final = "CREATE VIEW metrics AS SELECT * FROM read_parquet(%s)"


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
            connection.execute(EVENTS_VIEW % quoted(str(log), "'"))
            if (directory / METRICS).exists():
                connection.execute(METRICS_VIEW % quoted(str(directory / METRICS), "'"))
            result = connection.execute(statement) if statement.strip() else None
            if result is None or result.description is None:
                raise ConfigError(key, statement, "must be a query, such as select * from events")
            columns = tuple(str(column[0]) for column in result.description)
            return QueryResult(columns, tuple(result.fetchall()))
        except duckdb.Error as error:
            raise ConfigError(key, statement, str(error).partition("\n")[0]) from error


def whole_lines(log: Path, scratch: Path) -> Path:
    """Return the log, or a copy without its last line if that is torn."""
    size_bytes = log.stat().st_size
    with log.open("rb") as reader:
        end = end_of_last_line(reader, size_bytes)
        if end == size_bytes:
            return log
        reader.seek(0)
        copy = scratch / EVENTS
        copy.write_bytes(reader.read(end))
    return copy
