"""Runs of the workloads as they stand, each once for all tests that look at what it prints."""

import contextlib
import io
from functools import cache
from pathlib import Path

from kernelsim.cli.main import exit_status

FOLDER = Path(__file__).parents[1] / "workloads"


@cache
def ran(name: str) -> tuple[int, str]:
    """Run a workload without any option; return the exit status and what it printed."""
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        status = exit_status(["run", str(FOLDER / f"{name}.py")])
    return status, printed.getvalue()
