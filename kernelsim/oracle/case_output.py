"""Where the run of a recorded case is kept, if the user asks for it: all of it or nothing.

The run is written to a folder beside its final place. When it is whole, what an earlier run of a
case left there goes, and the new files take its place; a run that fails changes nothing.

Interface: `case_output`; `check_output` before anything runs.
"""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from kernelsim.errors import ConfigError, OutputError
from kernelsim.report.rundir import locked
from kernelsim.report.whole import STAGE, TEMPORARY, remove

LOGS: Final = ("workload.out", "dmesg.txt")  # what every run of a case writes beside snapshots
RECORDED: Final = ("case.toml", "script.txt")  # what only a recording has
SNAPSHOT_FILE: Final = "zoneinfo"  # by which a snapshot is known
EARLIER: Final = TEMPORARY.format("earlier")


def check_output(out: Path, key: str = "--out") -> None:
    """Refuse a place for the run of a case where something else is.

    Raises:
        ConfigError: There is a file, a recording, or anything that no run of a case has left.
    """
    if not out.exists():
        return
    if not out.is_dir():
        raise ConfigError(key, str(out), "must be a directory, not a file")
    names = {path.name for path in out.iterdir()}
    if names & set(RECORDED):
        raise ConfigError(key, str(out), "holds a recording: choose another directory")
    if names - {STAGE, EARLIER} and not names.issuperset(LOGS) and EARLIER not in names:
        rule = "must be empty, new, or hold an earlier run of a case"
        raise ConfigError(key, str(out), rule)


@contextlib.contextmanager
def case_output(out: Path, key: str = "--out") -> Iterator[Path]:
    """Give a folder to write a run to; afterwards its content is in `out`, if nothing was raised.

    Raises:
        ConfigError: As `check_output`, or another run is being written there.
        OutputError: The system refused.
    """
    check_output(out, key)
    lock: int | None = None
    stage = out / STAGE
    try:
        out.mkdir(parents=True, exist_ok=True)
        lock = locked(out, key)
        recover(out)
        stage.mkdir()
        yield stage
        replace(out)
    except OSError as error:
        raise OutputError(error.filename or out, error.strerror or str(error)) from error
    finally:
        with contextlib.suppress(OSError):
            remove(stage)
        if lock is not None:
            os.close(lock)


def recover(out: Path) -> None:
    """Remove what a killed run left, and put back what it had moved away."""
    remove(out / STAGE)
    if (out / EARLIER).is_dir():
        for path in (out / EARLIER).iterdir():
            remove(out / path.name)
            path.rename(out / path.name)
        (out / EARLIER).rmdir()


def replace(out: Path) -> None:
    """Let the new run take the place of an earlier one; what others put there stays."""
    earlier = out / EARLIER
    earlier.mkdir()
    for path in sorted(out.iterdir()):
        if path.name in LOGS or (path / SNAPSHOT_FILE).is_file():
            path.rename(earlier / path.name)
    for path in sorted((out / STAGE).iterdir()):
        path.rename(out / path.name)
    remove(earlier)
