"""Counters over virtual time, and the Parquet file they become.

A run adds a row at a time; the columns are known from the beginning, and all are 64-bit integers,
so nothing is guessed from the data. Equal rows give equal bytes.

Interface: `MetricsRecorder(columns)`, `append`, `extend`, `write`.
"""

import contextlib
import errno
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Final

import attrs
import numpy as np
from numpy.typing import NDArray

from kernelsim.errors import readable

if TYPE_CHECKING:
    import duckdb  # takes a tenth of a second, so only what uses it imports it

ROWS_AT_FIRST: Final = 256  # doubled when full


@attrs.define
class MetricsRecorder:
    """A growing table of integers.

    Args:
        columns: Names, `t_ns` first, each once.
    """

    columns: tuple[str, ...]
    nr_rows: int = attrs.field(default=0, init=False)
    _rows: NDArray[np.int64] = attrs.field(init=False)  # [row, column]

    def __attrs_post_init__(self) -> None:
        assert self.columns[:1] == ("t_ns",), "time comes first"
        assert len(set(self.columns)) == len(self.columns), "a column's name is its own"
        self._rows = np.zeros((ROWS_AT_FIRST, len(self.columns)), np.int64)

    def append(self, values: Sequence[int] | NDArray[np.int64]) -> None:
        """Add a row.

        Args:
            values: One integer a column, in their order.
        """
        if self.nr_rows == len(self._rows):
            self._rows = np.concatenate((self._rows, np.zeros_like(self._rows)))
        assert len(values) == len(self.columns), "one value a column"
        self._rows[self.nr_rows] = values
        self.nr_rows += 1

    def extend(self, rows: NDArray[np.int64]) -> None:
        """Add many rows.

        Args:
            rows: [row, column], columns in their order.
        """
        assert rows.shape[1] == len(self.columns), "one value a column"
        self._rows = np.concatenate((self._rows[: self.nr_rows], rows))
        self.nr_rows = len(self._rows)

    def column(self, name: str) -> NDArray[np.int64]:
        """Return a copy of a column: [row]."""
        return self._rows[: self.nr_rows, self.columns.index(name)].copy()

    def write(self, path: Path) -> None:
        """Write the table as Parquet, columns of type BIGINT.

        Raises:
            OSError: the file cannot be written; `strerror` is the reason.
        """
        names = [quoted(name, '"') for name in self.columns]
        data = {name: self.column(name) for name in self.columns}
        with connect() as connection:
            schema = ", ".join(f"{name} BIGINT" for name in names)
            connection.execute(f"CREATE TABLE metrics ({schema})")
            connection.register("recorded", data)
            chosen = f"SELECT {', '.join(names)} FROM recorded"  # noqa: S608 - names are quoted
            connection.execute(f"INSERT INTO metrics {chosen}")
            if is_sql_text(path):
                copy_metrics(connection, path)
                return
            with TemporaryDirectory(prefix="kernelsim-") as scratch:
                copy_metrics(connection, Path(scratch) / "metrics")
                shutil.copyfile(Path(scratch) / "metrics", path)


def copy_metrics(connection: "duckdb.DuckDBPyConnection", path: Path) -> None:
    """Write the table `metrics` to a file; raises OSError as `MetricsRecorder.write`."""
    import duckdb  # noqa: PLC0415 - see above

    target = quoted(str(path), "'")
    try:
        connection.execute(f"COPY metrics TO {target} (FORMAT parquet, USE_TMP_FILE false)")
    except duckdb.IOException as error:
        raise OSError(errno.EIO, write_failure(error)) from error


def is_sql_text(path: Path) -> bool:
    """Return whether SQL can name a file: not if its name is no UTF-8."""
    return readable(str(path)) == str(path)


def named_for_sql(file: Path, scratch: Path) -> Path:
    """Return a file, or a copy of it if SQL cannot name it."""
    return file if is_sql_text(file) else Path(shutil.copy(file, scratch))


def connect() -> "duckdb.DuckDBPyConnection":
    """Open a database in memory: one thread for one order, and nothing loaded from a network."""
    import duckdb  # noqa: PLC0415 - see above

    return duckdb.connect(
        ":memory:",
        config={
            "threads": 1,
            "preserve_insertion_order": True,
            "autoinstall_known_extensions": False,
        },
    )


def write_failure(error: "duckdb.Error") -> str:
    """Take the system's reason out of duckdb's message, which may be text with JSON behind it."""
    text = str(error).partition("\n")[0]
    with contextlib.suppress(ValueError, KeyError, TypeError):
        text = str(json.loads(text[text.index("{") :])["exception_message"])
    return text.rpartition('": ')[2]  # behind the quoted name of the temporary file


def quoted(text: str, mark: str) -> str:
    """Quote a name (mark `"`) or a text (mark `'`) for SQL."""
    return f"{mark}{text.replace(mark, mark + mark)}{mark}"
