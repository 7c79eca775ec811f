"""Run a workload on a machine, and leave behind what a run leaves behind.

    outcome = run_machine(load_workload(path), RunOptions(out=Path("out")), name=str(path))
    print_summary(outcome.summary)

With `out` the directory gets events.jsonl while the run goes on, snapshots/NAME/ for each snapshot
the workload takes, and at the end proc/ and sys/, metrics.parquet, processes.parquet,
memory_map.parquet, dmesg and run.json, however the run ended. Only run.json holds wall-clock time.
A run that cannot write its log ends there, without proc/ and sys/: they would pass for its end.

What looks on (samples, checks, the display) does so between two events and changes nothing, so
the events are the same with and without.
Units: ns.
"""

import time
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Final

import attrs

from kernelsim.actors.core.kernel import Kernel
from kernelsim.check.machine import require_sound
from kernelsim.check.record import observe
from kernelsim.config.machine import MachineSpec
from kernelsim.config.machine_file import load_machine
from kernelsim.config.sysctl import SYSCTLS, SysctlValue
from kernelsim.config.sysctl_write import parse_setting, parse_value, write_sysctls
from kernelsim.errors import (
    CheckFailedError,
    ConfigError,
    OutputError,
    WorkloadError,
)
from kernelsim.hw.compile import compiling_time
from kernelsim.machine import DEFAULT_BURST_PAGES, Machine
from kernelsim.procfs.capture import capture, capture_pressure
from kernelsim.procfs.dmesg import render_dmesg
from kernelsim.procfs.hardware import tree_links
from kernelsim.procfs.tree import render_tree
from kernelsim.report.compiling import compile_leaves
from kernelsim.report.event_filter import EventFilter
from kernelsim.report.memory_map import MemoryMap
from kernelsim.report.onlooker import ComesToLook, Onlooker
from kernelsim.report.progress import Progress
from kernelsim.report.run_end import RunEnd
from kernelsim.report.run_files import RunFiles, show_line
from kernelsim.report.run_options import SNAPSHOT_NAME, RunOptions
from kernelsim.report.run_record import run_record
from kernelsim.report.run_summary import RunSummary, summarize
from kernelsim.report.rundir import DMESG, MEMORY_MAP, METRICS, OUTPUT, PROCESSES
from kernelsim.report.sampler import Sampler
from kernelsim.report.sinks import RingSink, TeeSink
from kernelsim.sim.signals import on_ending
from kernelsim.sim.sink import Sink
from kernelsim.units import parse_duration
from kernelsim.workload.api import Workload
from kernelsim.workload.machine import MachineHandle, mempolicy_of

CHECK_EVENTS: Final = 500  # events between two checks; more on a machine with much memory,
PAGES_PER_CHECK_EVENT: Final = 64  # so that checking takes about as long as the run itself


@attrs.frozen(kw_only=True)
class RunOutcome:
    """A run that ended in the simulated world, not by a mistake or a bug.

    So it is done, at its time limit, or ended by a panic or an outcome the workload did not catch.
    """

    machine: MachineHandle
    kernel: Kernel
    """The machine's state at the end."""
    result: object
    """What `main` returned; None if the run ended before it did."""
    summary: RunSummary
    failure: CheckFailedError | None
    """What makes its exit status 1: a panic, an uncaught outcome, expectations that failed."""


def run_machine(
    workload: Workload,
    options: RunOptions,
    *,
    name: str,
    beside: Sink | None = None,
    onlooker: ComesToLook | None = None,
) -> RunOutcome:
    """Run a workload to its end.

    Args:
        workload: Its function gets a `MachineHandle`; what the user chose counts more than what its
            author did.
        options: What the user chose.
        name: The workload's file, as given on the command line.
        beside: Gets the events as well; None for nobody.
        onlooker: Looks at the run meanwhile; None for what `options.progress` shows.

    Raises:
        ConfigError, WorkloadError: An option or the workload is wrong.
        SimulationError: A bug of ours; the text is a report with the command to replay it.
        OutputError: The directory cannot be written.
        KeyboardInterrupt: Ctrl-C; what the run had written stays, run.json says so.
    """
    run = _Run(workload, options, name, beside, onlooker)
    try:
        return run.go()
    finally:
        run.close()


class _Run:
    """One run: the machine, its sinks, its checks, and who looks on."""

    def __init__(
        self,
        workload: Workload,
        options: RunOptions,
        name: str,
        beside: Sink | None,
        onlooker: ComesToLook | None,
    ) -> None:
        self.workload = workload
        self.options = options
        self.name = name
        self.settings = settings_of(workload, options)
        self.spec = machine_of(workload, options, self.settings)
        self.ring = RingSink()
        events = EventFilter.parse(options.trace)
        self.compile_ns = compile_leaves(enabled=options.progress)
        self.machine = Machine(
            self.spec,
            seed=options.seed, schedule_seed=options.schedule_seed,
            burst_pages=burst_pages_of(workload, options),
            until_ns=until_ns_of(workload, options),
            on_boot=self._on_boot,
        )  # fmt: skip
        self.lines: list[str] = []
        self.handle = MachineHandle(
            self.machine, self._on_snapshot, self._on_line,
            mempolicy=options.mempolicy, damon=options.damon,
        )  # fmt: skip
        self.end = RunEnd(self.machine, self.handle, workload, options, name, self.ring)
        self.sampler = Sampler(self.machine.kernel)
        self.memory_map = MemoryMap(self.machine.kernel)
        comes_to_look = onlooker or partial(Progress, enabled=options.progress)
        self.onlooker: Onlooker = comes_to_look(self.machine.kernel)
        self.check_due = 0
        self.nr_checks = 0
        self.check_every = options.check_every or events_between_checks(self.machine)
        self.snapshots: list[str] = []
        engine = self.machine.engine
        sinks: list[Sink] = [self.ring] if beside is None else [self.ring, beside]
        self.files: RunFiles | None = None
        if options.out is not None:
            header = run_record(self.machine, options, name)
            self.files = RunFiles.start(options.out, header, events=events, parts=options.parts)
            sinks.insert(0, self.files.log)
        engine.sink = sinks[0] if len(sinks) == 1 else TeeSink(tuple(sinks))

    def go(self) -> RunOutcome:
        """Run, and write what is left to write whatever happens.

        A signal that comes after the run has ended does not cut the writing short.
        """
        with on_ending(lambda: None):
            return self._go()

    def _go(self) -> RunOutcome:
        began = time.perf_counter_ns()
        error: BaseException | None = None
        result: object = None
        try:
            with compiling_time() as late_ns:
                result = self.handle.run_to_end(self._body)
        except BaseException as caught:  # noqa: BLE001 - told below; SystemExit is no way to end
            files = self.files
            cause = caught if files is None else files.cause_of(caught, self.machine.ended)
            error = self.end.explained(cause)
        finally:
            self.onlooker.stop()
        wall_ns = time.perf_counter_ns() - began - late_ns()
        self.compile_ns += late_ns()
        error = self.end.failure(error)
        if self.files is not None:
            error = self._write_end(self.files, error, wall_ns)
        if error is not None and not isinstance(error, CheckFailedError):
            raise error
        return RunOutcome(
            machine=self.handle,
            kernel=self.machine.kernel,
            result=result,
            failure=error,
            summary=summarize(
                self.machine,
                self.handle,
                self.options,
                wall_ns=wall_ns,
                compile_ns=self.compile_ns,
                nr_checks=self.nr_checks if self.options.check else None,
                failure=error,
                unreached=self.end.unreached(),
            ),
        )

    def close(self) -> None:
        """Close what is open; a second call does nothing."""
        self.onlooker.stop()
        if self.files is not None:
            self.files.close()

    async def _body(self, handle: MachineHandle) -> object:
        result = await self.workload.function(handle)
        if self.options.check:
            self._check()
        return result

    def _check(self) -> None:
        require_sound(self.machine.kernel)
        self.nr_checks += 1

    def _on_boot(self, machine: Machine) -> None:
        with_memory = machine.kernel.phys.nodes_with_memory
        mempolicy_of(with_memory, self.options.mempolicy, key="--mempolicy")  # refused early
        clock = machine.engine.clock
        self.check_due = clock.number + self.check_every
        if self.options.check:
            observe(machine.kernel)
        clock.on_tick = self._on_tick
        clock.on_end = self._on_end
        if self.spec.boot.recorded:  # it has booted as it was recorded; now a user comes
            for name, value in self.settings.items():
                self.handle.sysctl(name, value)
        for name in idle_settings(machine.spec, self.settings):
            self.handle.note_idle(name)
        self._sample()
        self.onlooker.look()
        self._set_tick()

    def _sample(self) -> None:
        if self.files is not None:
            self.sampler.take()
            self.memory_map.take()

    def _on_tick(self, is_time: bool) -> None:
        clock = self.machine.engine.clock
        if is_time and clock.now_ns >= self.sampler.due_ns:
            self._sample()
        if self.options.check and clock.number >= self.check_due:
            self.check_due = clock.number + self.check_every
            self._check()
        self.onlooker.look()
        self._set_tick()

    def _set_tick(self) -> None:
        clock = self.machine.engine.clock
        if clock.is_halted:  # whoever looked has ended the run
            return
        look_ns, look_number = self.onlooker.due()
        times = [look_ns, None if self.files is None else self.sampler.due_ns]
        numbers = [look_number, self.check_due if self.options.check else None]
        clock.set_tick(first_of(times), first_of(numbers))

    async def _on_snapshot(self, name: str) -> None:
        if not isinstance(name, str) or not SNAPSHOT_NAME.fullmatch(name):
            raise WorkloadError(f"snapshot name {name!r} must be letters, digits, _ . and -")
        if name in self.snapshots:
            raise WorkloadError(f"there is a snapshot named {name!r} already")
        if self.files is not None:
            try:
                self._write_tree(f"snapshots/{name}")
            except OutputError as error:
                self.files.stop(error)
                raise
        else:
            capture_pressure(self.machine.kernel)  # who reads it adds it up, with files or without
        self.snapshots.append(name)

    def _on_line(self, line: str) -> None:
        show_line(line)
        self.lines.append(line)

    def _write_tree(self, name: str) -> None:
        assert self.files is not None, "there is a directory"
        snapshot = capture(self.machine.kernel)
        self.files.directory.write_tree(
            render_tree(snapshot), links=tree_links(snapshot), name=name
        )

    def _on_end(self) -> None:
        """Take the last sample and write proc/ and sys/, before the actors are stopped."""
        self.onlooker.see_end()
        if self.files is None:
            return
        self.sampler.finish()
        self.memory_map.finish()
        if not self.files.has_failed:
            self.files.write(lambda: self._write_tree(""))

    def _write_end(
        self, files: RunFiles, error: BaseException | None, wall_ns: int
    ) -> BaseException | None:
        """Write what is left to write; return what is to be raised."""
        engine = self.machine.engine
        ended = engine.ended
        state = "failed" if ended is None or (error and ended.state == "done") else ended.state
        record = run_record(self.machine, self.options, self.name)
        record |= {
            "exit_state": state,
            "detail": str(error or "") or (ended.detail if ended else ""),
            "failure": None if error is None else str(error),
            "virtual_ns": self.end.ended_ns,
            "nr_steps": engine.clock.number,
            "snapshots": self.snapshots,
            "processes": [
                {"pid": each.pid, "name": each.name, "exit_status": each.exit_status}
                for each in self.handle.processes
            ],
            "notes": self.handle.notes,
            "expectations": [attrs.asdict(each) for each in self.handle.expectations],
            "expectations_not_reached": self.end.unreached(),
            "wall_ns": wall_ns,
            "compile_ns": self.compile_ns,
        }
        output = "".join(f"{line}\n" for line in self.lines)
        log = render_dmesg(self.machine.kernel.dmesg, boot_ns=self.spec.boot.uptime_ns)
        steps = (
            lambda: files.directory.write_with(METRICS, self.sampler.recorder().write),
            lambda: files.directory.write_with(PROCESSES, self.sampler.process_recorder().write),
            lambda: files.directory.write_with(MEMORY_MAP, self.memory_map.recorder().write),
            lambda: files.directory.write_text(DMESG, log),
            *((lambda: files.directory.write_text(OUTPUT, output),) if output else ()),
        )
        return files.end(record, t_ns=engine.now_ns, steps=steps, error=error)


def machine_of(
    workload: Workload, options: RunOptions, settings: Mapping[str, object]
) -> MachineSpec:
    """Return the machine to run on; one that was not recorded boots with the tunables set.

    Raises:
        ConfigError: There is none, it is not known, or a tunable is wrong.
    """
    chosen = workload.machine if options.machine is None else options.machine
    if chosen is None:
        raise ConfigError("--machine", None, "the workload names no machine: choose one")
    spec = load_machine(chosen) if isinstance(chosen, str) else chosen
    if spec.boot.recorded:  # settings are written when it has booted
        return spec
    return attrs.evolve(spec, sysctl=write_sysctls(spec.sysctl, settings, spec.era))


def first_of(marks: Iterable[int | None]) -> int | None:
    """Return the first of some times or numbers; None if there is none."""
    return min((mark for mark in marks if mark is not None), default=None)


def events_between_checks(machine: Machine) -> int:
    """Return after how many events to check, unless the user says so."""
    return max(CHECK_EVENTS, machine.kernel.phys.totalram_pages // PAGES_PER_CHECK_EVENT)


def burst_pages_of(workload: Workload, options: RunOptions) -> int:
    """Return the most pages handled in one go: the user's choice, the workload's, or 512."""
    if options.burst_pages is not None:
        return options.burst_pages
    return DEFAULT_BURST_PAGES if workload.burst_pages is None else workload.burst_pages


def until_ns_of(workload: Workload, options: RunOptions) -> int | None:
    """Return the virtual time at which the run ends: the user's choice, or the workload's."""
    if options.until is not None:
        return parse_duration(options.until, key="--until")
    return None if workload.until is None else parse_duration(workload.until, key="until")


def idle_settings(spec: MachineSpec, settings: Mapping[str, object]) -> list[str]:
    """Return the tunables that change nothing yet and that a user chose.

    A user chooses by a setting of the run or in a machine file; that a recorded machine has other
    values than the defaults is no choice.
    """
    return [
        name
        for name, entry in SYSCTLS.items()
        if entry.idle
        and (
            name in settings
            or (not spec.boot.recorded and getattr(spec.sysctl, entry.attribute) != entry.default)
        )
    ]


def settings_of(workload: Workload, options: RunOptions) -> dict[str, SysctlValue]:
    """Return the tunables set: the workload's, then the user's; the last of one name counts."""
    own = {name: parse_value(name, value) for name, value in workload.settings.items()}
    return own | dict(parse_setting(text) for text in options.settings)
