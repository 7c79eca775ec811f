"""What a command that runs a workload may be told about the run.

Interface: `RunWords`, the options that `run`, `top` and `serve` have alike; `read_workload`,
`on_a_machine`, `positive_ns`.
"""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import attrs
from cyclopts import Parameter

from kernelsim.cli.options import Whole
from kernelsim.errors import ConfigError, WorkloadError
from kernelsim.units import KIB, parse_duration, parse_size

if TYPE_CHECKING:
    from kernelsim.report.log_parts import LogParts
    from kernelsim.report.run_options import RunOptions
    from kernelsim.workload.api import Workload


KEEP_MIN: Final = 2  # files of a log: the first, which has the header, and the newest
PART_BYTES_MIN: Final = 64 * KIB  # the log is written in pieces of that size


@Parameter(name="*")
@attrs.frozen(kw_only=True)
class RunWords:
    """Options of a run, as they stand on the command line.

    Attributes:
        machine: A preset or a TOML file; the workload names one by default, a script gets
            small-512m, and a recording a machine a little too small for it.
        seed: What is random on a real machine comes from it: addresses, the time of cache misses,
            the phase of the timer, the CPU a task starts on. So does what a workload draws with
            machine.rng(NAME).
        schedule_seed: Permutes simultaneous events: each seed is another legal order, and so gives
            other results. Without it they happen in the order they were planned in.
        settings: A tunable as KEY=VALUE, such as vm.swappiness=10; may be repeated. One that
            changes nothing yet is named in the summary; `kernelsim differences` lists them.
        mempolicy: Memory policy of the processes whose workload names none, as numactl sets it:
            interleave:0-1, bind:0, preferred:1, local.
        damon: Have DAMON watch which memory a process uses, by its pid or name, or that of all
            which the workload starts; it takes CPU time, as a real one does. `kernelsim inspect
            DIR --damon FILE` makes a record of it that damo draws.
        burst_pages: Most pages a task touches before the log gets its events, 1 to 4096; 512 by
            default, or what the workload says. A ks_fault covers up to that many pages.
            With 1 every step is a message, which is slow. Counters and times stay the same, unless
            a schedule seed is given: it then finds other events to permute.
        trace: Log page-level tracepoints too, or only some events and actors: GLOB, event=GLOB,
            actor=GLOB, or not=GLOB for all but such events; may be repeated. Changes what is
            logged, no result.
        check: Check all invariants, and that every page holds what its process wrote, while the
            run goes on and at its end. What does not hold ends it with exit status 3. Changes no
            result, only the time the run takes.
        check_every: Steps of the engine (nr_steps of run.json) between two such checks, which
            implies --check; by default 500, or a 64th of the machine's pages if that is more.
        until: End the run at this virtual time, such as 10s or 0.5ms; a bare number is ns.
        out: Directory for what the run leaves behind: log, counters, /proc and /sys, run.json.
        log_size: Size, such as 100M, at which events.jsonl goes on in events.2.jsonl, then
            events.3.jsonl and so on; whatever reads the log reads them all.
        log_keep: Keep so many of these files, the first and the newest; by default all.
    """

    machine: str | None = None
    seed: Whole = 1
    schedule_seed: Whole | None = None
    settings: Annotated[list[str] | None, Parameter(name="--set", negative="")] = None
    mempolicy: str | None = None
    damon: str | None = None
    burst_pages: Whole | None = None
    trace: Annotated[list[str] | None, Parameter(negative="")] = None
    check: Annotated[bool, Parameter(negative="")] = False
    check_every: Whole | None = None
    until: str | None = None
    out: Path | None = None
    log_size: str | None = None
    log_keep: Whole | None = None

    def options(self) -> "RunOptions":
        """Return them as a run takes them.

        Raises:
            ConfigError: One of them is wrong by itself.
        """
        from kernelsim.report.run_options import RunOptions

        if self.check_every is not None and self.check_every < 1:
            raise ConfigError("--check-every", self.check_every, "must be at least 1 event")
        return RunOptions(
            machine=self.machine,
            seed=self.seed,
            schedule_seed=self.schedule_seed,
            settings=tuple(self.settings or ()),
            mempolicy=self.mempolicy,
            damon=self.damon,
            burst_pages=self.burst_pages,
            trace=tuple(self.trace or ()),
            check=self.check or self.check_every is not None,
            check_every=self.check_every,
            until=self.until,
            out=self.out,
            parts=self._log_parts(),
        )

    def _log_parts(self) -> "LogParts | None":
        from kernelsim.report.log_parts import LogParts

        if self.log_keep is not None and self.log_size is None:
            raise ConfigError("--log-keep", self.log_keep, "needs --log-size")
        if self.log_keep is not None and self.log_keep < KEEP_MIN:
            raise ConfigError("--log-keep", self.log_keep, f"must be at least {KEEP_MIN}")
        if self.log_size is None:
            return None
        if self.out is None:
            raise ConfigError("--log-size", self.log_size, "needs a log: --out DIR")
        size_bytes = parse_size(self.log_size, key="--log-size")
        if size_bytes < PART_BYTES_MIN:
            raise ConfigError("--log-size", self.log_size, "must be at least 64K")
        return LogParts(size_bytes, self.log_keep)


NO_WORDS: Final = RunWords()


def read_workload(path: Path, machine: str | None) -> "Workload":
    """Read a workload of any kind; warnings go to stderr."""
    from kernelsim.workload.script.load import load_any

    loaded = load_any(path, machine)
    for warning in loaded.warnings:
        print(f"kernelsim: warning: {warning}", file=sys.stderr)
    return loaded


def on_a_machine(loaded: "Workload", path: Path) -> "Workload":
    """Return a workload that has a machine to look at.

    Raises:
        WorkloadError: It is a simulation without one.
    """
    if loaded.kind == "simulation":
        raise WorkloadError("is a simulation without a machine: there is nothing to watch", path)
    return loaded


def positive_ns(key: str, text: str) -> int:
    """Read a duration that is not 0.

    Raises:
        ConfigError: It is none, or 0.
    """
    ns = parse_duration(text, key=key)
    if not ns:
        raise ConfigError(key, text, "must be more than 0")
    return ns
