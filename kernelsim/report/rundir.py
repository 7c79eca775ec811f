"""The directory of one run, as `--out` names it.

events.jsonl streams under its own name. Every other file is written to a temporary name beside
its own and renamed when it is whole; proc/ and sys/ appear together, a snapshot at once. `run.json`
comes last and says how the run ended: a directory without it is a run that was cut short.

A directory that is not empty is taken over only if it holds a run of ours, told by the first line
of its events.jsonl. Then what we wrote is set aside as `previous/`, and what others put there
stays. `previous/` goes when the new run has ended at least as well as the one before; until then
`kernelsim show DIR/previous` still shows it. An earlier run that has no run.json is not kept.

One run at a time writes to a directory: it holds a lock on it, which the system takes away with
the process.

Interface: `RunDirectory.create`, `write_text`, `write_bytes`, `write_with`, `write_tree`,
`finish`, `close`; `is_being_written` for readers of a run that goes on.
"""

import contextlib
import errno
import fcntl
import json
import os
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Final, Self

import attrs
import msgspec

from kernelsim.errors import ConfigError, OutputError
from kernelsim.report.log_parts import parts_of
from kernelsim.report.whole import (
    STAGE,
    TEMPORARY,
    checked_name,
    move_all,
    remove,
    write_tree,
    write_whole,
)

EVENTS: Final = "events.jsonl"
EVENTS_PARQUET: Final = "events.parquet"  # the same, where `kernelsim inspect --parquet` made it
METRICS: Final = "metrics.parquet"
PROCESSES: Final = "processes.parquet"  # the same of each living process
MEMORY_MAP: Final = "memory_map.parquet"  # what page frames held
REPORT: Final = "report.html"
RUN: Final = "run.json"
OUTPUT: Final = "workload.out"  # what the workload printed
DMESG: Final = "dmesg"  # the kernel log
PREVIOUS: Final = "previous"  # the earlier run, until this one has ended as well
ASIDE: Final = TEMPORARY.format(PREVIOUS)  # the same while it is being set aside
# Moved when the directory is used again: the last sign of completeness first.
OURS: Final = (
    *(RUN, METRICS, PROCESSES, MEMORY_MAP, OUTPUT, DMESG, REPORT, "trace.pftrace"),
    *("proc", "sys", "snapshots", EVENTS_PARQUET, EVENTS),
)
OUTPUT_FAILED: Final = "output_failed"  # exit state of a run whose files could not all be written
GOOD_ENDS: Final = ("done", "until", "stopped")
LOCK_TRIES: Final = 10  # a call of `is_being_written` holds the lock for a moment
LOCK_PAUSE_S: Final = 0.05


@attrs.define
class RunDirectory:
    """A directory that takes the files of one run."""

    path: Path
    _lock: int | None = None
    """File descriptor that holds the lock."""

    @classmethod
    def create(cls, path: Path, *, key: str = "--out") -> Self:
        """Make the directory, or set an old run in it aside.

        Args:
            path: Where; parents are made.
            key: Name of the option for the error.

        Raises:
            ConfigError: Something else than a run of ours is there, or another run writes to it.
            OutputError: The system refused.
        """
        if path.exists() and not path.is_dir():
            raise ConfigError(key, str(path), "must be a directory, not a file")
        lock = None
        try:
            path.mkdir(parents=True, exist_ok=True)
            lock = locked(path, key)
            take_over(path, key)
        except BaseException as error:
            if lock is not None:
                os.close(lock)
            if isinstance(error, OSError):
                raise OutputError(error.filename or path, error.strerror or str(error)) from error
            raise
        return cls(path, lock)

    @property
    def events_path(self) -> Path:
        """Where events.jsonl streams to."""
        return self.path / EVENTS

    @property
    def previous(self) -> Path | None:
        """Where the earlier run is, while it is kept."""
        return self.path / PREVIOUS if (self.path / PREVIOUS).is_dir() else None

    def write_text(self, relpath: str, text: str) -> None:
        """Write a text file, in UTF-8.

        Args:
            relpath: Path below the directory, such as `report.html`; folders are made.
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
        final = self.path / checked_name(relpath)
        try:
            final.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(final, error.strerror or str(error)) from error
        write_whole(final, write)

    def write_tree(
        self,
        files: Iterable[tuple[str, str]],
        *,
        links: Iterable[tuple[str, str]] = (),
        name: str = "",
    ) -> None:
        """Write proc/ and sys/, or a snapshot of them: all of it or nothing.

        Args:
            files: Pairs of a path below the tree, such as `proc/meminfo`, and its text.
            links: Pairs of such a path and where the symbolic link points to.
            name: Of the tree, such as `snapshots/full`; empty for that of the end.

        Raises:
            OutputError: The system refused; then nothing of the tree is there.
        """
        write_tree(self.path, files, links=links, name=name)

    def finish(self, run: Mapping[str, object]) -> None:
        """Write run.json, the last file of a run; an earlier run goes if this one ended as well.

        Args:
            run: Versions, seeds, machine, times and exit state; JSON values.

        Raises:
            OutputError: the system refused.
        """
        self.write_text(RUN, json.dumps(run, indent=2, ensure_ascii=False) + "\n")
        if self.previous is not None and worth(self.path) >= worth(self.previous):
            with contextlib.suppress(OSError):  # then the next run removes it
                remove_previous(self.path)
        self.close()

    def give_up(self) -> None:
        """Put the earlier run back: of this one not even the beginning could be written."""
        with contextlib.suppress(OSError):
            for part in parts_of(self.events_path):
                part.unlink(missing_ok=True)
            if self.previous is not None:
                move_all(ours(self.previous), self.previous, self.path)
                self.previous.rmdir()
        self.close()

    def close(self) -> None:
        """Let other runs write here. A second call does nothing."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def locked(path: Path, key: str) -> int | None:
    """Lock a directory for this process; None where the file system has no locks.

    Raises:
        ConfigError: Another run holds the lock.
    """
    for attempt in range(LOCK_TRIES):
        if attempt:
            time.sleep(LOCK_PAUSE_S)
        lock = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(lock)
            if error.errno != errno.EWOULDBLOCK:
                return None
        else:
            return lock
    raise ConfigError(key, str(path), "another run is being written there")


def is_being_written(path: Path) -> bool:
    """Tell whether a run is writing to a directory at this moment."""
    try:
        lock = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    except OSError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno == errno.EWOULDBLOCK
    finally:
        os.close(lock)
    return False


def holds_run(path: Path) -> bool:
    """Tell whether a directory holds a run of ours, by the header of its log."""
    try:
        with (path / EVENTS).open("rb") as log:
            header = msgspec.json.decode(log.readline())
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        return False
    return isinstance(header, dict) and header.get("event") == "ks_run_start"


def run_of(path: Path) -> dict[str, object] | None:
    """Return what run.json of a directory says; None if there is none that can be read."""
    try:
        run = msgspec.json.decode((path / RUN).read_bytes())
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        return None
    return run if isinstance(run, dict) else None


def worth(path: Path) -> int:
    """Rank a run: 2 ended well, 1 ended otherwise, 0 was cut short or could not be written."""
    run = run_of(path)
    if run is None or run.get("exit_state") == OUTPUT_FAILED:
        return 0
    return 2 if run.get("exit_state") in GOOD_ENDS else 1


def take_over(path: Path, key: str) -> None:
    """Make an empty directory of one that holds a run of ours, but for what others put there.

    Raises:
        ConfigError: There is something, and no run of ours.
    """
    if not any(path.iterdir()):
        return
    if not any(map(holds_run, (path, path / PREVIOUS, path / ASIDE))):
        raise ConfigError(key, str(path), "must be empty, new, or hold an earlier run")
    if (path / PREVIOUS).exists() and not holds_run(path / PREVIOUS):
        raise ConfigError(key, str(path), f"its {PREVIOUS} is no earlier run: move it away")
    set_aside(path)


def set_aside(path: Path) -> None:
    """Move a run of ours to `previous/`, or remove it where a better one is there already.

    What is not whole goes. A move that was cut short by a kill is undone first.
    """
    previous, aside = path / PREVIOUS, path / ASIDE
    if aside.is_dir():
        move_all(ours(aside), aside, path)
        aside.rmdir()
    for name in (STAGE, *map(TEMPORARY.format, OURS)):
        remove(path / name)
    if worth(path) >= max(1, worth(previous)):
        aside.mkdir()
        move_all(ours(path), path, aside)
        remove_previous(path)
        aside.rename(previous)
    else:
        for name in ours(path):
            remove(path / name)


def ours(path: Path) -> tuple[str, ...]:
    """Return the names of what a run of ours may have in a directory, its log last."""
    *names, events = OURS
    return (*names, *(part.name for part in parts_of(path / EVENTS)[1:]), events)


def remove_previous(path: Path) -> None:
    """Remove `previous/`, under another name: what a kill leaves of it is no half of a run."""
    if (path / PREVIOUS).exists():
        remove(path / STAGE)
        (path / PREVIOUS).rename(path / STAGE)
        remove(path / STAGE)
