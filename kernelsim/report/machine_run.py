"""Run a workload on a machine, and leave behind what a run leaves behind.

    outcome = run_machine(load_workload(path), RunOptions(out=Path("out")), name=str(path))
    print_summary(outcome.summary)

With `out` the directory gets events.jsonl while the
run goes on, snapshots/NAME/ for each snapshot the workload takes, and at the end proc/ and sys/,
metrics.parquet and run.json, however the run ended. Only run.json holds wall-clock time.

What looks on (samples, checks, the display) does so between two events and changes nothing, so
the events are the same with and without.
Units: ns.
"""

import re
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Final

import attrs

from kernelsim.check.machine import require_sound
from kernelsim.check.record import observe
from kernelsim.config.machine import MachineSpec
from kernelsim.config.machine_file import load_machine
from kernelsim.config.sysctl import SYSCTLS, SysctlValue, parse_setting, parse_value
from kernelsim.config.sysctl_write import write_sysctls
from kernelsim.errors import (
    CheckFailedError,
    ConfigError,
    KernelsimError,
    SimulationError,
    WorkloadError,
)
from kernelsim.machine import DEFAULT_BURST_PAGES, Hooks, Machine
from kernelsim.procfs.capture import capture
from kernelsim.procfs.hardware import tree_links
from kernelsim.procfs.tree import render_tree
from kernelsim.report.event_filter import EventFilter
from kernelsim.report.log import RUN_ACTOR, RunLog
from kernelsim.report.progress import Progress
from kernelsim.report.run_options import RunOptions, replay_command
from kernelsim.report.run_record import run_record
from kernelsim.report.run_summary import RunSummary, summarize
from kernelsim.report.rundir import METRICS, RunDirectory
from kernelsim.report.sampler import Sampler
from kernelsim.report.sinks import RingSink, TeeSink
from kernelsim.units import parse_duration
from kernelsim.workload.api import Workload, workload_mistake

SNAPSHOT_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
CHECK_EVENTS: Final = 500  # events between two checks; more on a machine with much memory,
PAGES_PER_CHECK_EVENT: Final = 64  # so that checking takes about as long as the run itself
MARK_SETTINGS: Final = (  # from which watermarks, reserves and per-cpu list sizes are computed
    "vm.min_free_kbytes",
    "vm.watermark_scale_factor",
    "vm.lowmem_reserve_ratio",
    "vm.percpu_pagelist_high_fraction",
)
LOOK_EVENTS: Final = 500  # events between two looks at the wall clock, when a display is on


@attrs.frozen(kw_only=True)
class RunOutcome:
    """A run that ended as it should: done, or at its time limit, or by a simulated panic."""

    machine: Machine
    result: object
    """What `main` returned; None if the run ended before it did."""
    summary: RunSummary


def run_machine(workload: Workload, options: RunOptions, *, name: str) -> RunOutcome:
    """Run a workload to its end.

    Args:
        workload: Its function gets the `Machine`; what the user chose counts more than what its
            author did.
        options: What the user chose.
        name: The workload's file, as given on the command line.

    Raises:
        ConfigError, WorkloadError: An option or the workload is wrong.
        CheckFailedError: An expectation of the workload does not hold.
        SimulationError: A bug of ours; the text is a report with the command to replay it.
        OutputError: The directory cannot be written.
        KeyboardInterrupt: Ctrl-C; what the run had written stays, run.json says so.
    """
    run = _Run(workload, options, name)
    try:
        return run.go()
    finally:
        run.close()


class _Run:
    """One run: the machine, its sinks, and who looks on."""

    def __init__(self, workload: Workload, options: RunOptions, name: str) -> None:
        self.workload = workload
        self.options = options
        self.name = name
        self.settings = settings_of(workload, options)
        self.spec = machine_of(workload, options, self.settings)
        self.ring = RingSink()
        events = EventFilter.parse(options.trace)
        until = workload.until if options.until is None else options.until
        hooks = Hooks(on_boot=self._on_boot, on_snapshot=self._on_snapshot)
        self.machine = Machine(
            self.spec,
            seed=options.seed,
            schedule_seed=options.schedule_seed,
            burst_pages=burst_pages_of(workload, options),
            until_ns=None if until is None else parse_duration(until),
            hooks=hooks,
        )
        self.directory = None if options.out is None else RunDirectory.create(options.out)
        engine = self.machine.engine
        engine.sink = self.ring
        self.log: RunLog | None = None
        if self.directory is not None:
            self.log = RunLog(self.directory.events_path, clock=engine, events=events)
            self.log.start(run_record(self.machine, options, name))
            engine.sink = TeeSink((self.log, self.ring))
        self.sampler = Sampler(self.machine.kernel)
        self.progress = Progress(self.machine.kernel, enabled=options.progress)
        self.check_due = 0
        self.check_every = options.check_every or max(
            CHECK_EVENTS, self.machine.kernel.phys.totalram_pages // PAGES_PER_CHECK_EVENT
        )
        self.snapshots: list[str] = []
        self.end_error: Exception | None = None

    def go(self) -> RunOutcome:
        """Run, and write what is left to write whatever happens."""
        began = time.perf_counter_ns()
        error: BaseException | None = None
        result: object = None
        try:
            result = self.machine.run(self._body)
        except (Exception, KeyboardInterrupt) as caught:  # noqa: BLE001 - told below
            error = self._explained(caught)
        finally:
            self.progress.stop()
        wall_ns = time.perf_counter_ns() - began
        try:
            self._write_end(error, wall_ns)
        except Exception:
            if error is None:
                raise
        if error is not None:
            raise error
        return RunOutcome(
            machine=self.machine,
            result=result,
            summary=summarize(self.machine, wall_ns=wall_ns, out=self.options.out),
        )

    def close(self) -> None:
        """Close what is open; a second call does nothing."""
        self.progress.stop()
        if self.log is not None:
            self.log.close()

    async def _body(self, machine: Machine) -> object:
        result = await self.workload.function(machine)
        if self.options.check:
            require_sound(machine.kernel)
        return result

    def _on_boot(self, machine: Machine) -> None:
        clock = machine.engine.clock
        self.check_due = clock.number + self.check_every
        if self.options.check:
            observe(machine.kernel)
        clock.on_tick = self._on_tick
        clock.on_end = self._on_end
        if self.spec.boot.recorded:  # its marks are the recorded ones until a tunable is written
            for name, value in self.settings.items():
                if name in MARK_SETTINGS:
                    machine.sysctl(name, value)
        for name in self.settings:
            if SYSCTLS[name].idle:
                machine.note_idle(name)
        self.sampler.take()
        self._set_tick()

    def _on_tick(self, is_time: bool) -> None:
        if is_time:
            self.sampler.take()
        clock = self.machine.engine.clock
        if self.options.check and clock.number >= self.check_due:
            self.check_due = clock.number + self.check_every
            require_sound(self.machine.kernel)
        self.progress.look()
        self._set_tick()

    def _set_tick(self) -> None:
        clock = self.machine.engine.clock
        numbers = [self.check_due] if self.options.check else []
        if self.progress.is_on:
            numbers.append(clock.number + LOOK_EVENTS)
        clock.set_tick(self.sampler.due_ns, min(numbers, default=None))

    async def _on_snapshot(self, _machine: Machine, name: str) -> None:
        if not SNAPSHOT_NAME.fullmatch(name):
            raise WorkloadError(f"snapshot name {name!r} must be letters, digits, _ . and -")
        if name in self.snapshots:
            raise WorkloadError(f"there is a snapshot named {name!r} already")
        self.snapshots.append(name)
        if self.directory is not None:
            self._write_tree(f"snapshots/{name}/")

    def _write_tree(self, prefix: str) -> None:
        assert self.directory is not None
        snapshot = capture(self.machine)
        for relpath, text in render_tree(snapshot):
            self.directory.write_text(prefix + relpath, text)
        for relpath, target in tree_links(snapshot):
            self.directory.write_with(prefix + relpath, partial(link_to, target))

    def _on_end(self) -> None:
        """Take the last sample and write proc/ and sys/, before the actors are stopped."""
        self.sampler.finish()
        try:
            if self.directory is not None:
                self._write_tree("")
        except Exception as error:  # noqa: BLE001 - raised when the run is over
            self.end_error = error

    def _write_end(self, error: BaseException | None, wall_ns: int) -> None:
        engine = self.machine.engine
        ended = engine.ended
        state = "failed" if ended is None or (error and ended.state == "done") else ended.state
        if self.log is not None:
            nr_events = engine.clock.number
            end = {"exit_state": state, "nr_events": nr_events}
            self.log.emit(engine.now_ns, RUN_ACTOR, "ks_run_end", end)
            self.log.flush()
        if self.directory is None:
            return
        if self.end_error is not None:
            raise self.end_error
        self.directory.write_with(METRICS, self.sampler.recorder().write)
        record = run_record(self.machine, self.options, self.name)
        record |= {
            "exit_state": state,
            "detail": str(error or "") or (ended.detail if ended else ""),
            "virtual_ns": self._ended_ns(),
            "nr_events": engine.clock.number,
            "snapshots": self.snapshots,
            "wall_ns": wall_ns,
        }
        self.directory.finish(record)

    def _ended_ns(self) -> int:
        # Stopping the actors takes some more virtual time, which is no part of the run.
        ended = self.machine.ended
        return self.machine.now_ns if ended is None else ended.now_ns

    def _explained(self, error: BaseException) -> BaseException:
        """Return what to raise: the error itself, or one that says what a person needs to know."""
        if isinstance(error, KeyboardInterrupt | CheckFailedError):
            return error
        if isinstance(error, SimulationError):
            return self._reported(error)
        mistake = workload_mistake(error, Path(self.name))
        if mistake is not None:
            mistake.__cause__ = error
            return mistake
        if isinstance(error, KernelsimError):
            return error
        crash = SimulationError(f"main crashed at {self._ended_ns()} ns: {error!r}")
        crash.__cause__ = error
        return self._reported(crash)

    def _reported(self, error: SimulationError) -> SimulationError:
        options = self.options
        lines = [
            str(error),
            f"seed {options.seed}, schedule seed {options.schedule_seed}",
            f"virtual time {self._ended_ns()} ns",
            "last events:",
            *(f"  {line}" for line in self.ring.lines()),
            f"replay: {replay_command(options, self.name)}",
        ]
        reported = type(error)("\n".join(lines))
        reported.__cause__ = error.__cause__ or error
        return reported


def link_to(target: str, path: Path) -> None:
    """Make a symbolic link at the path."""
    path.symlink_to(target)


def machine_of(
    workload: Workload, options: RunOptions, settings: Mapping[str, object]
) -> MachineSpec:
    """Return the machine to run on, with tunables set.

    Raises:
        ConfigError: There is none, it is not known, or a tunable is wrong.
    """
    chosen = workload.machine if options.machine is None else options.machine
    if chosen is None:
        raise ConfigError("--machine", None, "the workload names no machine: choose one")
    spec = load_machine(chosen) if isinstance(chosen, str) else chosen
    if not settings:
        return spec
    return attrs.evolve(spec, sysctl=write_sysctls(spec.sysctl, settings))


def burst_pages_of(workload: Workload, options: RunOptions) -> int:
    """Return the most pages handled in one go: the user's choice, the workload's, or 512."""
    if options.burst_pages is not None:
        return options.burst_pages
    return DEFAULT_BURST_PAGES if workload.burst_pages is None else workload.burst_pages


def settings_of(workload: Workload, options: RunOptions) -> dict[str, SysctlValue]:
    """Return the tunables set: the workload's, then the user's; the last of one name counts."""
    own = {name: parse_value(name, value) for name, value in workload.settings.items()}
    return own | dict(parse_setting(text) for text in options.settings)
