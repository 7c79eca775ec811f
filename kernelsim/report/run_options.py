"""What a user may choose for one run, and how to say it again.

Interface: `RunOptions`, `replay_command`, `options_of_record`, `shell_command`, `SNAPSHOT_NAME`.
"""

import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import attrs

from kernelsim.config.machine import MachineSpec
from kernelsim.errors import readable
from kernelsim.report.log_parts import LogParts

SNAPSHOT_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")  # of a folder, so a plain one


@attrs.frozen(kw_only=True)
class RunOptions:
    """What a user may choose for one run."""

    machine: MachineSpec | str | None = None
    """A description, a preset or a TOML file; None takes the workload's."""
    seed: int = 1
    schedule_seed: int | None = None
    settings: tuple[str, ...] = ()
    """Tunables as KEY=VALUE, put in force before the workload starts."""
    mempolicy: str | None = None
    """Memory policy of processes whose workload names none, as numactl would have it set."""
    damon: str | None = None
    """Whose memory accesses DAMON watches: a pid, a comm, or all."""
    burst_pages: int | None = None
    """Most pages handled in one go; None takes the workload's, or 512."""
    trace: tuple[str, ...] = ()
    """Words of `--trace`."""
    check: bool = False
    """Check all invariants while the run goes on, and at its end."""
    check_every: int | None = None
    """Events between two checks, >= 1; None for 500, or more when the machine is big."""
    until: str | None = None
    """The run ends at this virtual time, such as "10s"."""
    out: Path | None = None
    """Directory for what the run leaves behind; None for nothing."""
    parts: LogParts | None = None
    """How the log is divided; None for one file."""
    progress: bool = True
    """Show what goes on, if stderr is a terminal."""


def replay_command(options: RunOptions, workload: str) -> str:
    """Return the command line that runs the same again, without its output directory."""
    words = ["kernelsim", "run", workload]
    if isinstance(options.machine, str):
        words += ["--machine", options.machine]
    words += ["--seed", str(options.seed)]
    if options.schedule_seed is not None:
        words += ["--schedule-seed", str(options.schedule_seed)]
    for setting in options.settings:
        words += ["--set", setting]
    if options.mempolicy is not None:
        words += ["--mempolicy", options.mempolicy]
    if options.damon is not None:
        words += ["--damon", options.damon]
    if options.burst_pages is not None:
        words += ["--burst-pages", str(options.burst_pages)]
    for word in options.trace:
        words += ["--trace", word]
    if options.until is not None:
        words += ["--until", options.until]
    if options.check and options.check_every is not None:
        words += ["--check-every", str(options.check_every)]
    elif options.check:
        words.append("--check")
    return shell_command(words)


def options_of_record(record: Mapping[str, Any]) -> RunOptions:
    """Return what makes the same run again, of run.json; what only looks on is left out.

    Args:
        record: What `run_record` made. One of an earlier version, which did not say what machine
            was asked for, gets the workload's: whether that is the same, machine_sha256 says.
    """
    return RunOptions(
        machine=record.get("machine_option"),
        seed=record["seed"],
        schedule_seed=record["schedule_seed"],
        settings=tuple(record["settings"]),
        mempolicy=record.get("mempolicy"),
        damon=record.get("damon"),
        burst_pages=record["burst_pages"],
        until=record["until"],
        progress=False,
    )


def shell_command(words: Sequence[str]) -> str:
    r"""Return a command line in plain text: bytes of a file's name that are none as `$'\xff'`."""
    return " ".join(
        shlex.quote(word) if word == readable(word) else _escaped_word(word) for word in words
    )


def _escaped_word(word: str) -> str:
    data = word.encode("utf-8", "surrogateescape")
    plain = "".join(
        chr(byte) if chr(byte).isascii() and chr(byte) not in "'\\" else f"\\x{byte:02x}"
        for byte in data
    )
    return f"$'{plain}'"
