"""The events of a log as Parquet, for logs so long that reading their text again takes minutes.

events.parquet has a row an event, in the log's order: t_ns BIGINT, actor, event and `fields`, the
event's own as JSON text. pandas, polars and duckdb read it as it is. `kernelsim inspect --sql`
reads it instead of events.jsonl when it was made of the log as that is now, told by the log's size.

Interface: `write_log_parquet`; `log_parquet_is_current`, `read_log_parquet` and `read_log_text` for
queries; `sql_list`.
"""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Final

from kernelsim.errors import ConfigError, OutputError
from kernelsim.report.log_parts import log_bytes, whole_parts
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
    size_bytes = log_bytes(log)
    with TemporaryDirectory(prefix="kernelsim-") as scratch, connect() as connection:
        read_log_text(connection, log, Path(scratch))

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
    return found is not None and found[0] == str(log_bytes(directory / EVENTS)).encode()


def read_log_parquet(connection: "duckdb.DuckDBPyConnection", file: Path) -> None:
    """Make the view `log.lines` over events.parquet: t_ns, actor, event, fields."""
    connection.execute(READ % quoted(str(file), "'"))


def read_log_text(connection: "duckdb.DuckDBPyConnection", log: Path, scratch: Path) -> None:
    """Make the view `log.lines` over events.jsonl and its further parts: line JSON."""
    connection.execute(LINES_VIEW % sql_list(whole_parts(log, scratch)))


def sql_list(files: list[Path]) -> str:
    """Return files as duckdb's readers take them."""
    return "[" + ", ".join(quoted(str(file), "'") for file in files) + "]"
