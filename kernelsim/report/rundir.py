"""The directory of one run, as `--out` names it.

events.jsonl streams under its own name. Every other file is written to a temporary name beside
its own and renamed when it is whole, so a file that is there is complete. `run.json` comes last:
a directory without it is a run that did not get to its end.

A directory that is not empty is taken over only if it holds a run of ours, told by the first line
of its events.jsonl. Then what we wrote is removed, and what others put there stays.

Interface: `RunDirectory.create`, `write_text`, `write_bytes`, `write_with`, `finish`.
"""

import contextlib
import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final, Self

import attrs
import msgspec

from kernelsim.errors import ConfigError, OutputError

EVENTS: Final = "events.jsonl"
METRICS: Final = "metrics.parquet"
RUN: Final = "run.json"
# Removed when the directory is used again: the last sign of completeness first.
OURS: Final = (RUN, METRICS, "report.html", "trace.pftrace", "proc", "sys", "snapshots", EVENTS)
TEMPORARY: Final = "{}.partial"  # what a file is called until it is whole


@attrs.frozen
class RunDirectory:
    """A directory that takes the files of one run."""

    path: Path

    @classmethod
    def create(cls, path: Path, *, key: str = "--out") -> Self:
        """Make the directory, or empty an old run's.

        Args:
            path: Where; parents are made.
            key: Name of the option for the error.

        Raises:
            ConfigError: something else than a run of ours is there.
            OutputError: the system refused.
        """
        try:
            if not path.exists():
                path.mkdir(parents=True)
            elif not path.is_dir():
                raise ConfigError(key, str(path), "must be a directory, not a file")
            elif any(path.iterdir()):
                if not holds_run(path):
                    rule = "must be empty, new, or hold an earlier run"
                    raise ConfigError(key, str(path), rule)
                remove_run(path)
        except OSError as error:
            raise OutputError(error.filename or path, error.strerror or str(error)) from error
        return cls(path)

    @property
    def events_path(self) -> Path:
        """Where events.jsonl streams to."""
        return self.path / EVENTS

    def write_text(self, relpath: str, text: str) -> None:
        """Write a text file, in UTF-8.

        Args:
            relpath: Path below the directory, such as `proc/meminfo`; folders are made.
            text: The whole content.

        Raises:
            OutputError: the system refused; then there is no such file, or the old one.
        """
        self.write_bytes(relpath, text.encode())

    def write_bytes(self, relpath: str, data: bytes) -> None:
        """Write a file; as `write_text`."""
        self.write_with(relpath, lambda path: path.write_bytes(data))

    def write_with(self, relpath: str, write: Callable[[Path], object]) -> None:
        """Let a function write a file at the path it is given; as `write_text`.

        Args:
            relpath: Path below the directory; folders are made.
            write: Gets the temporary path. What it raises, other than OSError, is not changed.
        """
        parts = Path(relpath).parts
        assert parts, "a file has a name"
        assert not relpath.startswith("/"), relpath
        assert ".." not in parts, relpath
        final = self.path / relpath
        temporary = final.with_name(TEMPORARY.format(final.name))
        try:
            final.parent.mkdir(parents=True, exist_ok=True)
            write(temporary)
            temporary.replace(final)
        except OSError as error:
            raise OutputError(final, error.strerror or str(error)) from error
        finally:
            with contextlib.suppress(OSError):
                temporary.unlink()

    def finish(self, run: Mapping[str, object]) -> None:
        """Write run.json, the last file of a run.

        Args:
            run: Versions, seeds, machine, times and exit state; JSON values.

        Raises:
            OutputError: the system refused.
        """
        self.write_text(RUN, json.dumps(run, indent=2, ensure_ascii=False) + "\n")


def holds_run(path: Path) -> bool:
    """Tell whether a directory holds a run of ours, by the header of its log."""
    try:
        with (path / EVENTS).open("rb") as log:
            header = msgspec.json.decode(log.readline())
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        return False
    return isinstance(header, dict) and header.get("event") == "ks_run_start"


def remove_run(path: Path) -> None:
    """Remove what a run of ours wrote, and what was not whole yet."""
    for name in OURS:
        for found in (path / name, path / TEMPORARY.format(name)):
            if found.is_dir() and not found.is_symlink():
                shutil.rmtree(found)
            else:
                found.unlink(missing_ok=True)
