"""`kernelsim sweep`: run a workload under every setting of a grid, with many seeds.

Exit status: 0 all runs were done, 1 some failed (each is a row with its reason), 2 an option is
wrong, 3 some failed by a bug of ours. 130 interrupted; `--resume` goes on.
"""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import attrs
from cyclopts import Parameter

from kernelsim.cli.options import Whole
from kernelsim.cli.progress import CountProgress
from kernelsim.errors import CheckFailedError, ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kernelsim.explore.sweep_grid import Grid
    from kernelsim.explore.sweep_table import Runs, Setting

EXIT_OUR_BUG: Final = 3
REASONS_MAX: Final = 5
Listed = Annotated[list[str] | None, Parameter(negative="")]


def sweep(
    workload: Path,
    /,
    *,
    settings: Annotated[list[str] | None, Parameter(name="--set", negative="")] = None,
    machine: Listed = None,
    mempolicy: Annotated[
        list[str] | None, Parameter(name=("--mempolicy", "--policy"), negative="")
    ] = None,
    seeds: str | None = None,
    metric: Listed = None,
    jobs: Whole | None = None,
    dask: str | None = None,
    burst_pages: Whole | None = None,
    until: str | None = None,
    out: Path = Path("sweep"),
    resume: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """Run a workload under every setting of a grid, with several seeds, and compare.

    Args:
        workload: What `kernelsim run` takes, or a grid: a TOML file with the keys workload,
            machine, mempolicy, seeds and a table set of tunables, each with its list of values.
        settings: A tunable with its values, such as vm.swappiness=0,60,100; may be repeated.
        machine: Presets or TOML files, with commas between them; may be repeated.
        mempolicy: A memory policy of the processes whose workload names none, such as local or
            interleave:0-1; repeated for several.
        seeds: Each setting runs with each of them: 1-5, or 1,7,9.
        metric: What to show (glob), of the columns of sweep.csv; may be repeated. Without it, what
            the workload returned as numbers by name and some counters that differ.
        jobs: Worker processes; one for each CPU by default. The results are the same with any.
        dask: Address of a Dask scheduler (tcp://HOST:8786) whose workers do it instead; they have
            kernelsim and the same files. Needs kernelsim[cluster].
        burst_pages: As of run.
        until: As of run: each ends at this virtual time.
        out: Directory for sweep.csv, sweep.parquet, summary.csv, sweep.html.
        resume: Go on with a sweep that was interrupted.
    """
    from kernelsim.explore.sweep import SweepOptions, run_sweep
    from kernelsim.explore.sweep_grid import Grid, read_grid, seeds_of, settings_of
    from kernelsim.explore.sweep_table import require_known

    if jobs is not None and jobs < 1:
        raise ConfigError("--jobs", jobs, "must be at least 1")
    if jobs is not None and dask is not None:
        raise ConfigError("--jobs", jobs, "is for this computer; with --dask the cluster decides")
    grid = read_grid(workload) if workload.suffix == ".toml" else Grid(workload=workload)
    given: dict[str, Any] = {
        "settings": {**grid.settings, **settings_of(settings or ())},
        "machines": tuple(name for word in machine or () for name in word.split(",")) or None,
        "mempolicies": tuple(mempolicy or ()) or None,
        "seeds": None if seeds is None else seeds_of(seeds),
        "burst_pages": burst_pages,
        "until": until,
    }
    grid = attrs.evolve(grid, **{name: value for name, value in given.items() if value is not None})
    globs = metric or ()
    nr_jobs = jobs or os.cpu_count() or 1
    options = SweepOptions(out=out, jobs=nr_jobs, dask=dask, resume=resume)
    progress = CountProgress("runs")
    try:
        runs = run_sweep(
            grid,
            options,
            progress.look,
            judge=lambda result: require_known(result["metrics"], globs),
        )
    finally:
        progress.stop()
    return _tell(grid, runs, out, globs)


def _tell(grid: "Grid", runs: "Runs", out: Path, globs: "Sequence[str]") -> int:
    """Write the tables and the picture of a sweep, print what was asked for; return the status.

    Raises:
        CheckFailedError: Some runs failed, by no bug of ours.
    """
    from kernelsim.explore.sweep_picture import write_picture
    from kernelsim.explore.sweep_table import shown_metrics, summary_of, table_of, write_tables
    from kernelsim.report.text_table import print_table

    summed = summary_of(runs)
    write_tables(out, runs, summed)
    metrics = shown_metrics(summed, globs)
    write_picture(out, summed, metrics, f"{grid.workload.name}: {len(runs)} runs")
    print_table(*table_of(summed, metrics))
    print(f"\nmedian of {len(grid.seeds)} seeds (least … most); all figures and pictures: {out}")
    return _tell_failures(runs, summed)


def _tell_failures(runs: "Runs", summed: "list[Setting]") -> int:
    """Print why runs failed; return the exit status of a bug of ours among them, or 0.

    Raises:
        CheckFailedError: Some failed, by no bug of ours.
    """
    from kernelsim.explore.sweep_table import failures

    reasons = list(dict.fromkeys(reason for each in summed for reason in each.reasons))
    for reason in reasons[:REASONS_MAX]:
        print(f"failed  {reason}")
    nr_failed = sum(failures(runs))
    if any(result["state"] == "bug" for _, result in runs):
        return EXIT_OUR_BUG
    if nr_failed:
        raise CheckFailedError(f"{nr_failed} of {len(runs)} runs failed: see the reasons")
    return 0
