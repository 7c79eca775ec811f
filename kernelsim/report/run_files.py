"""What a run writes while it goes on and at its end, and what becomes of a run that cannot write.

The first thing that could not be written is remembered. Whatever the run made of it, the user is
told that reason, and run.json says it too if there is still room: exit state `output_failed`.

Interface: `RunFiles.start`, then `log`, `write` for each step of writing, `cause_of` for what the
run raised, `end`; `close` in any case. Units: ns.
"""

import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final, Self

import attrs

from kernelsim.errors import OutputError, add_remark, readable
from kernelsim.report.event_filter import EventFilter
from kernelsim.report.log import RUN_ACTOR, RunLog
from kernelsim.report.log_parts import LogParts
from kernelsim.report.rundir import OUTPUT_FAILED, RunDirectory
from kernelsim.sim.ending import Ended
from kernelsim.units import KIB

RECORD_ROOM_BYTES: Final = 16 * KIB  # for run.json, in blocks of any file system's size


@attrs.define
class RunFiles:
    """The directory and the log of one run."""

    directory: RunDirectory
    log: RunLog
    failure: Exception | None = attrs.field(default=None, init=False)
    """Why the first thing that could not be written was not."""

    @classmethod
    def start(
        cls,
        path: Path,
        header: Mapping[str, object],
        *,
        events: EventFilter,
        parts: LogParts | None = None,
    ) -> Self:
        """Take a directory over and write the header of the log.

        Raises:
            ConfigError: Something else than a run of ours is there.
            OutputError: The system refused; an earlier run is where it was.
        """
        directory = RunDirectory.create(path)
        log: RunLog | None = None
        try:
            log = RunLog(directory.events_path, events=events, parts=parts)
            log.start(plain_record(header))
        except BaseException:
            if log is not None:
                log.close()
            directory.give_up()
            raise
        return cls(directory, log)

    def write(self, step: Callable[[], object]) -> None:
        """Do one step of writing, and remember why it failed."""
        try:
            step()
        except Exception as error:  # noqa: BLE001 - raised when the run is over
            self.failure = self.failure or error

    def stop(self, error: OutputError) -> None:
        """Log nothing more: what could not be written ends the run, and the log is its prefix."""
        self.failure = self.failure or error
        self.log.stop(error)

    @property
    def has_failed(self) -> bool:
        """Whether anything could not be written so far."""
        return self.failure is not None or self.log.file.error is not None

    def cause_of(self, caught: BaseException, ended: Ended | None) -> BaseException:
        """Return why a run ended, given what it raised: a log that breaks hides other errors."""
        failure = self.failure or self.log.file.error
        if failure is None or caught is failure:
            return caught
        return failure if ended is None or ended.error is None else ended.error

    def end(
        self,
        record: Mapping[str, object],
        *,
        t_ns: int,
        steps: tuple[Callable[[], object], ...] = (),
        error: BaseException | None = None,
    ) -> BaseException | None:
        """Write the end of the log, what else there is, and run.json.

        Args:
            record: What run.json says, with exit_state and detail; `nr_events`, the lines of the
                log, is added.
            t_ns: Virtual time of the last line of the log.
            steps: Each writes something.
            error: Why the run ended.

        Returns:
            What is to be raised: `error`, with remarks on what else went wrong, or why something
            could not be written.
        """
        for step in (lambda: self._end_log(t_ns, record["exit_state"]), *steps):
            self.write(step)
        if self.failure is not None:
            cut = dict.fromkeys(("detail", "failure"), str(self.failure))
            record = {**record, "exit_state": OUTPUT_FAILED, **cut}
        self._finish(record)
        told = error or self.failure
        if told is not None:
            if self.failure is not None and self.failure is not told:
                add_remark(told, str(self.failure))
            if self.directory.previous is not None:
                add_remark(told, f"the earlier run is in {self.directory.previous}")
        return told

    def close(self) -> None:
        """Close the log and let other runs write to the directory."""
        self.write(self.log.close)
        self.directory.close()

    def _finish(self, record: Mapping[str, object]) -> None:
        """Write run.json; where the log fills the disk, give up some of it to say so."""
        record = plain_record(record)
        file = self.log.file
        try:
            self.directory.finish({**record, "nr_events": file.nr_written})
        except OutputError as error:
            self.failure = self.failure or error
            if file.error is not None and file.cut(RECORD_ROOM_BYTES):
                self.write(lambda: self.directory.finish({**record, "nr_events": file.nr_written}))

    def _end_log(self, t_ns: int, exit_state: object) -> None:
        nr_events = self.log.nr_lines + 1
        last = {"exit_state": exit_state, "nr_events": nr_events}
        self.log.emit(t_ns, RUN_ACTOR, "ks_run_end", last)
        self.log.flush()
        if self.log.file.error is not None:  # a workload may have caught it
            raise self.log.file.error


def show_line(line: str) -> None:
    """Print what a workload prints; a reader that went away, as head does, misses the rest."""
    with suppress(BrokenPipeError):  # the run goes on: its files have all lines
        sys.stdout.write(f"{line}\n")


def plain_record(record: Mapping[str, object]) -> dict[str, object]:
    """Return a record whose texts can be written: names of files may be no UTF-8."""
    return {name: plain_value(value) for name, value in record.items()}


def plain_value(value: object) -> object:
    """Return a value of a record whose texts can be written."""
    if isinstance(value, str):
        return readable(value)
    if isinstance(value, list):
        return [plain_value(item) for item in value]
    return value
