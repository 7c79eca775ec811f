"""Tests of the counters' table and its Parquet file."""

import hashlib
import subprocess
import sys

import duckdb
import numpy as np
import pytest

from kernelsim.report.metrics import MetricsRecorder

PROGRAM = """
import sys
from pathlib import Path
from kernelsim.report.metrics import MetricsRecorder
recorder = MetricsRecorder(("t_ns", *sorted({f"counter_{n}" for n in range(40)})))
for row in range(3000):
    recorder.append([row * column for column in range(41)])
recorder.write(Path(sys.argv[1]))
"""


def test_rows_come_back(tmp_path):
    """Rows are read back in order as BIGINT, under their names, however many there are."""
    recorder = MetricsRecorder(("t_ns", 'odd "name"', "pgfault"))
    for number in range(1000):
        recorder.append((number, -number, 2**62 + number))
    recorder.append(np.array((1000, -(2**63), 2**63 - 1)))
    path = tmp_path / "it's.parquet"
    recorder.write(path)
    table = duckdb.read_parquet(str(path))
    assert table.columns == ["t_ns", 'odd "name"', "pgfault"]
    assert [str(kind) for kind in table.types] == ["BIGINT"] * 3
    rows = table.fetchall()
    assert rows[:-1] == [(number, -number, 2**62 + number) for number in range(1000)]
    assert rows[-1] == (1000, -(2**63), 2**63 - 1)
    assert recorder.column("t_ns").tolist() == list(range(1001))


def test_empty_table_has_its_columns(tmp_path):
    """A run without a row still says which counters there are."""
    MetricsRecorder(("t_ns", "pgfault")).write(tmp_path / "a.parquet")
    table = duckdb.read_parquet(str(tmp_path / "a.parquet"))
    assert (table.columns, table.fetchall()) == (["t_ns", "pgfault"], [])


@pytest.mark.parametrize("columns", [("pgfault",), ("t_ns", "a", "a"), ()])
def test_bad_columns_are_refused(columns):
    """Time comes first, and names are their columns' own."""
    with pytest.raises(AssertionError):
        MetricsRecorder(columns)


def test_short_row_is_refused():
    """A row with too few values, even a single one, is no row."""
    recorder = MetricsRecorder(("t_ns", "a"))
    with pytest.raises(AssertionError):
        recorder.append((1,))
    assert recorder.nr_rows == 0


@pytest.mark.slow
def test_equal_rows_give_equal_bytes(tmp_path):
    """The file is the same byte for byte under any hash seed."""
    digests = []
    for hash_seed in ("1", "2", "3"):
        path = tmp_path / hash_seed
        command = [sys.executable, "-c", PROGRAM, str(path)]
        subprocess.run(command, env={"PYTHONHASHSEED": hash_seed}, check=True)
        digests.append(hashlib.sha256(path.read_bytes()).hexdigest())
    assert digests[1:] == digests[:-1]


def test_a_run_without_a_directory_imports_no_database():
    """What takes a tenth of a second to import is imported only by a run that writes metrics."""
    program = "import sys, kernelsim.report.machine_run; print('duckdb' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout == "False\n"
