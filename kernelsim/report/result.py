"""Runs in Python: start one, or read what one left behind, as columns of numbers.

    import kernelsim
    result = kernelsim.run("hog.py", machine="tiny-64m", seed=1)
    pandas.DataFrame(result.metrics).plot(x="t_ns", y="node0_DMA32_free")

Interface: `run` and `read`, which `import kernelsim` has; both give a `Result`.
Units: ns, pages.
"""

import inspect
from collections.abc import Mapping, Sequence
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp
from typing import Any, Final
from weakref import finalize

import numpy as np
from numpy.typing import NDArray

from kernelsim.config.machine import MachineSpec
from kernelsim.errors import ConfigError
from kernelsim.report.event_filter import event_matches, no_event
from kernelsim.report.event_reader import EventReader, Selection, parse_between
from kernelsim.report.html.picture import Picture, counters_picture, memory_picture
from kernelsim.report.html.record import read_record
from kernelsim.report.machine_run import run_machine
from kernelsim.report.run_options import RunOptions
from kernelsim.report.rundir import EVENTS, MEMORY_MAP, METRICS, PROCESSES, run_of
from kernelsim.report.samples import Samples
from kernelsim.trace.registry import TRACEPOINTS
from kernelsim.workload.api import Main, Workload
from kernelsim.workload.api import workload as marked_as_workload
from kernelsim.workload.script.load import load_any

INT64_MAX: Final = (1 << 63) - 1


class Columns(dict[str, NDArray[Any]]):
    """A table: a NumPy array a column, all of one length.

    Whole numbers are int64; what may be missing or is text is an array of objects. pandas and
    polars take it as it is: `pandas.DataFrame(columns)`, `polars.DataFrame(columns)`.
    """

    @property
    def nr_rows(self) -> int:
        """Rows of the table."""
        return len(next(iter(self.values()), ()))

    def __repr__(self) -> str:
        return f"<{self.nr_rows} rows of {', '.join(self)}>"


class Result:
    """What a run left behind.

    Attributes:
        directory: The run's directory; of a run that was given none, a temporary one that lives as
            long as this.
        failure: What makes its exit status 1, as one line: a panic, an outcome that nobody caught,
            expectations that failed; None if it is done.
        value: What the workload returned; None for a run that was read.

    >>> import kernelsim
    >>> result = kernelsim.run("hog.py", machine="tiny-64m", seed=1)
    >>> result.failure is None, result.record["exit_state"]
    (True, 'done')
    >>> result.counters["pgfault"] >= 1024
    True
    """

    def __init__(
        self,
        directory: Path,
        *,
        failure: str | None = None,
        value: object = None,
    ) -> None:
        self.directory = directory
        self.failure = failure
        self.value = value
        self._metrics: Columns | None = None

    def __repr__(self) -> str:
        name, machine = self.record.get("workload"), self.record.get("machine")
        how = self.failure or self.record.get("exit_state", "did not end")
        return f"<{name} on {machine}, seed {self.record.get('seed')}: {how}>"

    @property
    def record(self) -> dict[str, Any]:
        """What run.json says: machine, seeds, settings, exit_state, virtual_ns, notes and more."""
        return run_of(self.directory) or {}

    @property
    def metrics(self) -> Columns:
        """The machine's counters over virtual time: a row a sample, t_ns first.

        >>> import kernelsim
        >>> metrics = kernelsim.run("hog.py", machine="tiny-64m").metrics
        >>> bool((metrics["node0_DMA32_free"] > 0).all()), str(metrics["t_ns"].dtype)
        (True, 'int64')
        """
        if self._metrics is None:
            self._metrics = sampled(self.directory / METRICS)
        return self._metrics

    @property
    def processes(self) -> Columns:
        """The counters of each living process over virtual time: t_ns, pid, rss, swap and so on."""
        return sampled(self.directory / PROCESSES)

    @property
    def memory_map(self) -> Columns:
        """What page frames held over virtual time: a row a sample and part of a zone.

        >>> import kernelsim
        >>> parts = kernelsim.run("hog.py", machine="tiny-64m").memory_map
        >>> list(parts)[:5], bool((parts["free"] <= parts["nr_pages"]).all())
        (['t_ns', 'nid', 'zid', 'first_pfn', 'nr_pages'], True)
        """
        return sampled(self.directory / MEMORY_MAP)

    @property
    def counters(self) -> dict[str, int]:
        """By how much each of the machine's counters changed from the first sample to the last.

        Those that do not only grow, such as free pages, may be negative.
        """
        return {name: int(column[-1] - column[0]) for name, column in self.metrics.items()}

    def events(self, event: str = "*", actor: str = "*", between: str | None = None) -> Columns:
        """Return events of the log as a table: t_ns, actor, event and their fields.

        Args:
            event: Glob over names, or over `subsystem:name`.
            actor: Glob over actors.
            between: Virtual time, as `1s..2.5s`.

        Raises:
            ConfigError: No such event; `between` is no time.

        >>> import kernelsim
        >>> faults = kernelsim.run("hog.py", machine="tiny-64m").events("ks_fault")
        >>> int(faults["nr_pages"].sum()) >= 1024, set(faults["kind"])
        (True, {'anon'})
        """
        start_ns, end_ns = (0, None) if between is None else parse_between(between, key="between")
        selection = Selection(event, actor, start_ns, end_ns)
        reader = EventReader(self.directory / EVENTS)
        lists: dict[str, list[Any]] = {"t_ns": [], "actor": [], "event": []}
        nr_rows = 0
        for found, _ in reader:
            if not selection.takes(found):
                continue
            values = {"t_ns": found.t_ns, "actor": found.actor, "event": found.event}
            for name, value in {**values, **found.fields}.items():
                column = lists.setdefault(name, [])
                column.extend([None] * (nr_rows - len(column)))
                column.append(value)
            nr_rows += 1
        if not nr_rows and not any(event_matches(name, event) for name in TRACEPOINTS):
            raise ConfigError("event", event, no_event(event))
        return Columns({name: as_array(values, nr_rows) for name, values in lists.items()})

    def plot(self, *counters: str) -> Picture:
        """Draw counters over virtual time; without names, free pages against the watermarks.

        A notebook shows the picture as it is; `picture.save("x.html")` writes it.

        Args:
            counters: Columns of `metrics`.

        Raises:
            ConfigError: No such column, or the run has no samples.
        """
        if not counters:
            return memory_picture(read_record(self.directory, key="directory"))
        for name in counters:
            if name not in self.metrics:
                raise ConfigError("counters", name, "is no column of metrics")
        return counters_picture({"": self.metrics}, counters)


def run(
    workload: str | Path | Workload | Main,
    *,
    machine: MachineSpec | str | None = None,
    seed: int = 1,
    schedule_seed: int | None = None,
    settings: Mapping[str, object] | None = None,
    mempolicy: str | None = None,
    damon: int | str | None = None,
    burst_pages: int | None = None,
    trace: Sequence[str] = (),
    check: bool = False,
    until: str | None = None,
    out: str | Path | None = None,
) -> Result:
    """Run a workload on a machine, as `kernelsim run` does.

    Args:
        workload: A file that `kernelsim run` takes, a function marked @workload, or an async
            function of the machine.
        machine: A preset, a TOML file, or a description.
        seed: What is random comes from it.
        schedule_seed: Another legal order of simultaneous events.
        settings: Tunables, as {"vm.swappiness": 10}.
        mempolicy: Memory policy of processes that ask for none, as "interleave:0-1".
        damon: Whose memory accesses DAMON watches: a pid, a comm, or "all".
        burst_pages: Most pages in one event of the log.
        trace: Page-level tracepoints to log, as words of `--trace`.
        check: Check all invariants meanwhile.
        until: End at this virtual time, as "10s".
        out: Directory for what it leaves behind; None for a temporary one.

    Returns:
        The run, also one whose expectations failed: `failure` says so.

    Raises:
        UserError: An option or the workload is wrong.
        SimulationError: A bug of ours, also one that `check` found.

    >>> import kernelsim
    >>> async def main(machine):
    ...     process = await machine.spawn("p")
    ...     await process.touch(await process.mmap("1M"), write=True)
    ...     return process.stats.rss_pages
    >>> kernelsim.run(main, machine="tiny-64m").value >= 256
    True
    """
    chosen, name = loaded(workload, machine)
    directory = Path(mkdtemp(prefix="kernelsim-") if out is None else out)
    options = RunOptions(
        machine=machine,
        seed=seed,
        schedule_seed=schedule_seed,
        settings=tuple(f"{key}={setting_text(value)}" for key, value in (settings or {}).items()),
        mempolicy=mempolicy,
        damon=None if damon is None else str(damon),
        burst_pages=burst_pages,
        trace=tuple(trace),
        check=check,
        until=until,
        out=directory,
        progress=False,
    )
    try:
        outcome = run_machine(chosen, options, name=name)
    except BaseException:
        if out is None:
            rmtree(directory, ignore_errors=True)
        raise
    failure = None if outcome.failure is None else str(outcome.failure)
    result = Result(directory, failure=failure, value=outcome.result)
    if out is None:
        finalize(result, rmtree, directory, ignore_errors=True)
    return result


def read(directory: str | Path) -> Result:
    """Read what an earlier run left in its directory.

    Raises:
        ConfigError: There is no run.

    >>> import kernelsim
    >>> _ = kernelsim.run("hog.py", machine="tiny-64m", out="out")
    >>> kernelsim.read("out").record["machine"]
    'tiny-64m'
    """
    path = Path(directory)
    if not (path / EVENTS).is_file():
        raise ConfigError("directory", str(path), f"must hold a run; there is no {EVENTS}")
    failure = (run_of(path) or {}).get("failure")
    return Result(path, failure=str(failure) if failure else None)


def loaded(
    given: str | Path | Workload | Main, machine: MachineSpec | str | None
) -> tuple[Workload, str]:
    """Return a workload with its name: of a file, marked, or a plain async function."""
    if isinstance(given, str | Path):
        found = load_any(Path(given), machine)
        if found.kind != "machine":
            raise ConfigError("workload", str(given), "is a simulation without a machine")
        return found, str(given)
    marked = given if isinstance(given, Workload) else marked_as_workload(given)
    code = inspect.unwrap(marked.function)
    return marked, code.__qualname__.rpartition(".")[2]


def setting_text(value: object) -> str:
    """Return the value of a tunable as /proc/sys has it."""
    if isinstance(value, list | tuple):
        return " ".join(map(str, value))
    return str(int(value) if isinstance(value, bool) else value)


def sampled(path: Path) -> Columns:
    """Return a file of samples as columns.

    Raises:
        ConfigError: There is none: the run did not end.
    """
    if not path.is_file():
        raise ConfigError("directory", str(path.parent), f"has no {path.name}: the run did not end")
    samples = Samples(path)
    return Columns({name: samples.of(name) for name in samples.names})


def as_array(values: list[Any], nr_rows: int) -> NDArray[Any]:
    """Return a column as an array: whole numbers and truth by type, all else as objects."""
    values.extend([None] * (nr_rows - len(values)))
    kinds = {type(value) for value in values}
    if kinds == {bool}:
        return np.array(values, bool)
    if kinds == {int} and max(values) <= INT64_MAX:
        return np.array(values, np.int64)
    made = np.empty(nr_rows, object)
    made[:] = values
    return made
