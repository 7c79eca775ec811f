"""Reads the counters that were sampled while a run went on.

Interface: `Samples` of a run directory's metrics.parquet or processes.parquet; `growth` of one.
Units: as the sampler's.
"""

from pathlib import Path
from tempfile import TemporaryDirectory

import duckdb
import numpy as np
from numpy.typing import NDArray

from kernelsim.errors import ConfigError
from kernelsim.report.metrics import connect, named_for_sql, quoted

Column = NDArray[np.int64]
Floats = NDArray[np.float64] | Column


class Samples:
    """The counters of a run over virtual time.

    Args:
        path: metrics.parquet, or processes.parquet.

    Raises:
        OSError: There is no such file.
        ConfigError: It is not a run's.
    """

    def __init__(self, path: Path) -> None:
        path.stat()
        try:
            with TemporaryDirectory(prefix="kernelsim-") as scratch, connect() as connection:
                name = quoted(str(named_for_sql(path, Path(scratch))), "'")
                select = f"SELECT * FROM read_parquet({name})"  # noqa: S608 - quoted
                table = connection.execute(select).fetchnumpy()
        except duckdb.Error as error:
            rule = f"must be a run's {path.name}: {str(error).partition(chr(10))[0]}"
            raise ConfigError("DIR", str(path), rule) from error
        self._columns: dict[str, Column] = {
            name: np.asarray(column, np.int64) for name, column in table.items()
        }
        self.t_ns = self.of("t_ns")

    @property
    def names(self) -> list[str]:
        """Names of the columns, in their order."""
        return list(self._columns)

    def of(self, name: str) -> Column:
        """Return a column: [row]."""
        return self._columns[name]

    def total(self, ending: str) -> Column:
        """Return the sum of a node's or zone's columns over the machine: [row]."""
        names = [n for n in self._columns if n.startswith("node") and n.endswith(f"_{ending}")]
        summed: Column = np.sum([self._columns[name] for name in names], axis=0, dtype=np.int64)
        return summed

    def rows_every(self, interval_ns: int) -> list[int]:
        """Return the rows nearest before each multiple of an interval, first and last included."""
        last_ns = int(self.t_ns[-1])
        times = range(0, last_ns + 1, interval_ns)
        rows = np.searchsorted(self.t_ns, np.array(times), side="right") - 1
        return sorted({0, *rows.tolist(), len(self.t_ns) - 1})


def growth(values: Floats, seconds: Floats) -> NDArray[np.float64]:
    """Return how much a counter grew a second before each row, 0 for the first: [row]."""
    grown = np.diff(values) / np.maximum(np.diff(seconds), 1e-9)
    return np.concatenate(([0.0], grown))
