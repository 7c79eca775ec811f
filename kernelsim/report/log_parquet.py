"""The events of a log as Parquet, for logs so long that reading their text again takes minutes.

events.parquet has a row an event, in the log's order: t_ns BIGINT, actor, event and `fields`, the
event's own as JSON text. pandas, polars and duckdb read it as it is. `kernelsim inspect --sql`
reads it instead of events.jsonl when it was made of the log as that is now, told by the log's size.

Interface: `write_log_parquet`; `log_parquet_is_current` and `read_log_parquet` for queries.
"""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Final

from kernelsim.errors import ConfigError, OutputError
from kernelsim.report.log_file import end_of_last_line
from kernelsim.report.metrics import connect, named_for_sql, quoted, write_failure
from kernelsim.report.rundir import EVENTS, EVENTS_PARQUET
from kernelsim.report.whole import write_whole

if TYPE_CHECKING:
    import duckdb

LINES_VIEW: Final = """
CREATE SCHEMA log;
CREATE VIEW log.lines AS SELECT line
FROM read_json(%s, format = 'newline_delimited', records = false, columns = {line: 'JSON'})
"""
COPY: Final = """
COPY (SELECT
  CAST(line->>'$.t_ns' AS BIGINT) AS t_ns,
  line->>'$.actor' AS actor,
  line->>'$.event' AS event,
  json_merge_patch(line, '{"t_ns":null,"actor":null,"event":null}') AS fields
FROM log.lines)
TO %s (FORMAT parquet, COMPRESSION zstd, USE_TMP_FILE false, KV_METADATA {log_bytes: %s})
"""
READ: Final = "CREATE SCHEMA log; CREATE VIEW log.lines AS SELECT * FROM read_parquet(%s)"
MADE_OF: Final = "SELECT value FROM parquet_kv_metadata(%s) WHERE key = 'log_bytes'"


def write_log_parquet(directory: Path) -> Path:
    """Write events.parquet beside the log of a run, whole or not at all.

    Args:
        directory: The run's; a torn last line of its log is left out.

    Returns:
        The file.

    Raises:
        ConfigError: A line of the log is no JSON.
        OutputError: The file cannot be written.
        OSError: The log cannot be read.
    """
    import duckdb  # noqa: PLC0415 - as in metrics.py

    log, target = directory / EVENTS, directory / EVENTS_PARQUET
    size_bytes = log.stat().st_size
    with TemporaryDirectory(prefix="kernelsim-") as scratch, connect() as connection:
        lines = quoted(str(whole_lines(log, Path(scratch))), "'")
        connection.execute(LINES_VIEW % lines)

        def copy(path: Path) -> None:
            name = quoted(str(path), "'")
            connection.execute(COPY % (name, quoted(str(size_bytes), "'")))

        try:
            write_whole(target, copy)
        except duckdb.IOException as error:
            raise OutputError(target, write_failure(error)) from error
        except duckdb.Error as error:
            reason = str(error).partition("\n")[0]
            raise ConfigError(
                "DIRECTORY", str(directory), f"has a damaged log: {reason}"
            ) from error
    return target


def log_parquet_is_current(directory: Path, connection: "duckdb.DuckDBPyConnection") -> bool:
    """Tell whether a run has an events.parquet that was made of its log as that is now."""
    import duckdb  # noqa: PLC0415 - as in metrics.py

    file = directory / EVENTS_PARQUET
    if not file.is_file():
        return False
    with TemporaryDirectory(prefix="kernelsim-") as scratch:
        name = quoted(str(named_for_sql(file, Path(scratch))), "'")
        try:
            found = connection.execute(MADE_OF % name).fetchone()
        except duckdb.Error:  # something else of that name
            return False
    return found is not None and found[0] == str((directory / EVENTS).stat().st_size).encode()


def read_log_parquet(connection: "duckdb.DuckDBPyConnection", file: Path) -> None:
    """Make the view `log.lines` over events.parquet: t_ns, actor, event, fields."""
    connection.execute(READ % quoted(str(file), "'"))


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
