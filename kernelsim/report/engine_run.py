"""Run a workload that has actors of its own and no machine, and leave behind what a run leaves.

    text = run_simulation(load_workload(path), path, RunOptions(seed=1))

With `out` the directory gets events.jsonl while the run goes on and run.json at its end, however
it ended; without, the log is shown on stdout. Only run.json holds wall-clock time.

Interface: `run_simulation`, `summary_text`. Units: ns.
"""

import platform
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import attrs
import trio

from kernelsim import __version__
from kernelsim.errors import CheckFailedError, OutputError, SimulationError
from kernelsim.report.event_filter import EventFilter
from kernelsim.report.run_files import RunFiles
from kernelsim.report.run_options import RunOptions, replay_command
from kernelsim.report.sinks import RingSink, TeeSink, as_mapping, event_text
from kernelsim.report.text_table import plain_table
from kernelsim.sim.ending import Ended
from kernelsim.sim.engine import Engine
from kernelsim.sim.locks import WaitAccount
from kernelsim.sim.signals import Interrupted, on_ending
from kernelsim.sim.sink import Sink
from kernelsim.trace.tracepoint import Fields
from kernelsim.units import format_duration, parse_duration
from kernelsim.workload.api import Workload, telling, workload_mistake

PERCENT: Final = 100
LOCK_HEADERS: Final = ("lock", "holds", "held", "waits", "waited", "longest")
PAIR_HEADERS: Final = ("lock", "who waited", "on whom", "waited")


@attrs.define
class ShownLog:
    """A sink that writes events to stdout, for people."""

    events: EventFilter
    error: OSError | None = attrs.field(default=None, init=False)
    """Why stdout takes no more: its reader went away, or the disk is full."""

    def wants(self, actor: str, event: str) -> bool:
        """Return whether the filter keeps it."""
        return self.events.wants(actor, event)

    def emit(self, t_ns: int, actor: str, event: str, fields: Fields) -> None:
        """Write an event if it is wanted."""
        if self.wants(actor, event) and self.error is None:
            try:
                sys.stdout.write(event_text(t_ns, actor, event, as_mapping(fields)) + "\n")
            except OSError as error:
                self.error = error
                raise

    def flush(self) -> None:
        """Do nothing: the command flushes stdout, or tells why it cannot."""

    def cause_of(self, caught: BaseException, _ended: Ended | None) -> BaseException:
        """Return why a run ended, given what it raised."""
        return caught if self.error is None else self.error


def run_simulation(workload: Workload, path: Path, options: RunOptions) -> str:
    """Run a workload to its end.

    Args:
        workload: Of kind "simulation".
        path: Its file, as given on the command line.
        options: What the user chose; without a machine, some choices mean nothing.

    Returns:
        The summary, for people.

    Raises:
        UserError: An option or the workload is wrong.
        CheckFailedError: An expectation of the workload does not hold.
        SimulationError: The run could not go on; the text is a report with the command to replay.
        KeyboardInterrupt: Ctrl-C; what the run had written stays, run.json says so.
    """
    assert workload.kind == "simulation"
    until_ns = None if options.until is None else parse_duration(options.until, key="--until")
    engine = Engine(seed=options.seed, schedule_seed=options.schedule_seed, until_ns=until_ns)
    events = EventFilter.parse(options.trace)
    ring = RingSink(filter=events)
    if options.out is None:
        shown = ShownLog(events)
        return _run(workload, path, options, engine, ring, shown, shown.cause_of)
    header = _header(path, options)
    files = RunFiles.start(options.out, header, events=events, parts=options.parts)
    began_ns = time.perf_counter_ns()
    text = ""
    error: BaseException | None = None
    with on_ending(lambda: None):  # a signal after the run's end does not cut the writing short
        try:
            text = _run(workload, path, options, engine, ring, files.log, files.cause_of)
        except BaseException as caught:  # noqa: BLE001 - raised below
            error = caught
        try:
            error = files.end(
                header | _end(engine, error, time.perf_counter_ns() - began_ns),
                t_ns=engine.now_ns,
                error=error,
            )
        finally:
            files.close()
    if error is not None:
        raise error
    return text


def _run(
    workload: Workload,
    path: Path,
    options: RunOptions,
    engine: Engine,
    ring: RingSink,
    log: Sink,
    cause_of: Callable[[BaseException, Ended | None], BaseException],
) -> str:
    """Run; `cause_of` tells why, should the log have failed and something else been raised."""
    engine.sink = TeeSink((log, ring))
    try:
        engine.run(workload.function)
    except BaseException as caught:  # noqa: BLE001 - told below; SystemExit is no way to end
        error = cause_of(caught, engine.ended)
    else:
        return summary_text(engine)
    told = telling(error)
    if isinstance(told, CheckFailedError | Interrupted | OutputError | OSError):
        raise told
    mistake = workload_mistake(error, path)
    if mistake is not None:
        raise mistake from error
    if isinstance(error, SimulationError):
        raise _reported(error, path, options, engine, ring) from error
    crash = SimulationError(f"main crashed at {engine.now_ns} ns: {error!r}")
    raise _reported(crash, path, options, engine, ring) from error


def summary_text(engine: Engine) -> str:
    """Write how a run ended, what it took, and how long each waiter waited on each holder."""
    ended = engine.ended
    assert ended is not None
    clock = engine.clock
    share = clock.nr_inline * PERCENT // max(clock.number, 1)
    how = f"{ended.state}: {ended.detail}" if ended.detail else ended.state
    facts = {
        "ended": how,
        "virtual time": f"{format_duration(engine.now_ns)} ({engine.now_ns} ns)",
        "steps": f"{clock.number}, {share} % in line",
        "seed": seed_text(engine.seed, engine.schedule_seed),
    }
    told = plain_facts(facts)
    used = {name: account for name, account in engine.accounts.items() if account.nr_holds}
    if not used:
        return told
    locks = plain_table(LOCK_HEADERS, [lock_row(name, used[name]) for name in used])
    pairs = [row for name, account in used.items() for row in pair_rows(name, account)]
    return "\n".join([told, locks, *([plain_table(PAIR_HEADERS, pairs)] if pairs else [])])


def plain_facts(facts: dict[str, str]) -> str:
    """Write names and values, a line each."""
    width = max(len(name) for name in facts)
    return "".join(f"{name:<{width}}  {value}\n" for name, value in facts.items())


def lock_row(name: str, account: WaitAccount) -> list[str]:
    """Return the row of a lock or server."""
    return [
        name,
        str(account.nr_holds),
        format_duration(account.hold_ns),
        str(account.nr_waits),
        format_duration(account.wait_ns),
        format_duration(account.wait_ns_max),
    ]


def pair_rows(name: str, account: WaitAccount) -> list[list[str]]:
    """Return a row for each pair of waiter and holder, longest wait first."""
    pairs = sorted(account.by_pair.items(), key=lambda item: (-item[1], item[0]))
    return [[name, waiter, holder, format_duration(wait_ns)] for (waiter, holder), wait_ns in pairs]


def seed_text(seed: int, schedule_seed: int | None) -> str:
    """Name the seeds of a run."""
    return str(seed) if schedule_seed is None else f"{seed}, schedule seed {schedule_seed}"


def _reported(
    error: SimulationError, path: Path, options: RunOptions, engine: Engine, ring: RingSink
) -> SimulationError:
    lines = [
        str(error),
        f"seed {seed_text(options.seed, options.schedule_seed)}, virtual time {engine.now_ns} ns",
        "last events:",
        *(f"  {line}" for line in ring.lines()),
        f"replay: {replay_command(options, str(path))}",
    ]
    return type(error)("\n".join(lines))


def _header(path: Path, options: RunOptions) -> dict[str, object]:
    return {
        "kernelsim": __version__,
        "python": platform.python_version(),
        "trio": trio.__version__,
        "workload": str(path),
        "kind": "simulation",
        "seed": options.seed,
        "schedule_seed": options.schedule_seed,
        "trace": list(options.trace),
        "until": options.until,
        "replay": replay_command(options, str(path)),
    }


def _end(engine: Engine, error: BaseException | None, wall_ns: int) -> dict[str, object]:
    ended = engine.ended
    state = "failed" if ended is None or (error and ended.state == "done") else ended.state
    return {
        "exit_state": state,
        "nr_steps": engine.clock.number,
        "detail": "" if ended is None else ended.detail,
        "failure": None if error is None else str(error),
        "virtual_ns": engine.now_ns,
        "nr_inline": engine.clock.nr_inline,
        "wall_ns": wall_ns,
    }
