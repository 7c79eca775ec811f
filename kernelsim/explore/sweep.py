"""A sweep: every run of a grid, on all cores or on a Dask cluster, and what came out.

    OUT/sweep.json       what is swept
    OUT/runs.jsonl       a line for each run that is over, as it ended: none of them is lost
    OUT/sweep.csv, sweep.parquet     a row a run, in the grid's order
    OUT/summary.csv      a row for each setting and metric: median and spread over the seeds
    OUT/sweep.html       the same as pictures

The files of the end are the same however many worked on them.

Interface: `run_sweep`. Units: as those of sweep_run.py.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import attrs
import msgspec

from kernelsim import __version__
from kernelsim.errors import ConfigError, OutputError, UserError
from kernelsim.explore.pool import STDERR, Pool
from kernelsim.explore.sweep_grid import Grid
from kernelsim.explore.sweep_run import DONE, SWEEP, Result, require_startable, run_job
from kernelsim.report.compiling import compile_leaves
from kernelsim.report.whole import write_whole

HEADER: Final = "sweep.json"
RUNS: Final = "runs.jsonl"
LOOK_SECONDS: Final = 0.5
DASK_WAIT: Final = "10s"  # for a scheduler to answer

Job = dict[str, Any]


@attrs.frozen(kw_only=True)
class SweepOptions:
    """How a sweep is run.

    Attributes:
        out: Directory.
        jobs: Processes here; with 1 all runs are done in this one.
        dask: Address of a Dask scheduler, instead of processes here.
        resume: Go on with what an earlier call left in the directory.
    """

    out: Path
    jobs: int = 1
    dask: str | None = None
    resume: bool = False


def run_sweep(
    grid: Grid,
    options: SweepOptions,
    look: Callable[[int, int], None],
    *,
    judge: Callable[[Result], None] = lambda _result: None,
) -> list[tuple[Job, Result]]:
    """Do all runs of a grid that are not done yet.

    Args:
        grid: What is swept.
        options: How.
        look: Told how many runs are over, and of how many.
        judge: Told the first run that ended well; what it raises ends the sweep, so that nobody
            waits for all of it to hear what one run could have told.

    Returns:
        Each run with its result, in the grid's order.

    Raises:
        ConfigError: The directory holds something else, or a value of the grid is wrong; or as
            `judge`.
        UserError: Dask is not installed, or its scheduler does not answer.
        OutputError: The directory cannot be written.
        KeyboardInterrupt: Ctrl-C; what is done is kept.
    """
    grid.require_sound()
    require_startable(grid)
    jobs = list(grid.jobs())
    try:
        options.out.mkdir(parents=True, exist_ok=True)
        results = opened(grid, options)
        waiting = [job for job in jobs if job["run"] not in results]
        look(len(results), len(jobs))
        ended_well = [result for result in results.values() if result["state"] == DONE]
        for result in ended_well[:1]:
            judge(result)
        judged = bool(ended_well)
        with (options.out / RUNS).open("ab") as runs:
            for result in results_of(waiting, options):
                runs.write(msgspec.json.encode(result) + b"\n")
                runs.flush()
                results[result["run"]] = result
                look(len(results), len(jobs))
                if not judged and result["state"] == DONE:
                    judge(result)
                    judged = True
    except OSError as error:
        place = error.filename or options.out
        raise OutputError(place, error.strerror or str(error)) from error
    return [(job, results[job["run"]]) for job in jobs]


def opened(grid: Grid, options: SweepOptions) -> dict[int, Result]:
    """Begin a directory, or read what an earlier part of the sweep left there: results by run."""
    path, runs = options.out / HEADER, options.out / RUNS
    text = msgspec.json.encode({"kernelsim": __version__, **header_of(grid)})
    if not path.exists():
        if any(options.out.iterdir()):
            rule = "must be new or empty, or hold the sweep to --resume"
            raise ConfigError("--out", str(options.out), rule)
        write_whole(path, lambda place: place.write_bytes(text))
        return {}
    if not options.resume:
        rule = "holds a sweep: say --resume to go on with it, or name another directory"
        raise ConfigError("--out", str(options.out), rule)
    if path.read_bytes() != text:
        rule = "holds a sweep of other values, or of another version: name another directory"
        raise ConfigError("--out", str(options.out), rule)
    whole = runs.read_bytes().splitlines(keepends=True) if runs.exists() else []
    if whole and not whole[-1].endswith(b"\n"):  # cut off in the middle
        whole.pop()
        write_whole(runs, lambda place: place.write_bytes(b"".join(whole)))
    return {result["run"]: result for result in map(msgspec.json.decode, whole)}


def header_of(grid: Grid) -> dict[str, Any]:
    """Return what says which sweep it is: values of the axes, seeds, and what runs."""
    table = attrs.asdict(grid)
    table["workload"] = str(grid.workload)
    return table


def results_of(jobs: Sequence[Job], options: SweepOptions) -> Iterator[Result]:
    """Yield the results of runs as they end."""
    if options.dask is not None:
        yield from on_dask(jobs, options.dask)
        return
    if not jobs:
        return
    compile_leaves()  # once, and not by each worker
    nr_workers = min(options.jobs, len(jobs))
    if nr_workers == 1:
        yield from map(run_job, jobs)
        return
    yield from in_processes(jobs, nr_workers, options.out)
    said = options.out / STDERR
    if said.exists() and not said.stat().st_size:
        said.unlink()


def in_processes(jobs: Sequence[Job], nr_workers: int, out: Path) -> Iterator[Result]:
    """Yield the results of runs that processes here do; a worker that dies loses its own run."""
    waiting = list(reversed(jobs))
    with Pool(nr_workers, out, SWEEP) as pool:
        while True:
            for worker in pool.idle():
                if waiting:
                    worker.give(waiting.pop())
            if len(pool.idle()) == len(pool.workers):
                return
            for _, job, result in pool.answers(LOOK_SECONDS):
                yield {**result, "run": job["run"]}


def on_dask(jobs: Sequence[Job], address: str) -> Iterator[Result]:
    """Yield the results of runs that the workers of a Dask cluster do.

    The workers have kernelsim, and the files that the grid names under the same paths.
    """
    try:
        import distributed  # noqa: PLC0415 - an extra, for those who have a cluster
    except ImportError:
        rule = "needs Dask: pip install 'kernelsim[cluster]'"
        raise ConfigError("--dask", address, rule) from None
    try:
        client = distributed.Client(address, timeout=DASK_WAIT)
    except (OSError, ValueError, TypeError) as error:
        raise UserError(f"--dask {address}: no scheduler answers: {error}") from error
    with client:
        futures = client.map(run_job, list(jobs), pure=False, retries=1)
        numbers = {future.key: job["run"] for future, job in zip(futures, jobs, strict=True)}
        for future in distributed.as_completed(futures):
            if future.status == "finished":
                yield future.result()
            else:
                reason = f"Dask: {future.exception()}"
                yield {**SWEEP.lost(False, reason), "run": numbers[future.key]}
