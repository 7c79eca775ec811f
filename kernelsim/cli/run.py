"""`kernelsim run`: run a workload and print a summary.

A file marked with `@simulation` runs actors of its own; one marked with `@workload` runs on a
simulated machine.
Exit status: 0 done, 1 an expectation failed, 2 wrong use or bad input, 3 a bug of ours, also one
that --check found, 130 interrupted by Ctrl-C, SIGTERM or SIGHUP; what was logged so far is
written then.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from traceback import print_exc
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from kernelsim.cli.run_words import NO_WORDS, RunWords, read_workload
from kernelsim.errors import ConfigError, readable

if TYPE_CHECKING:
    from kernelsim.actors.core.kernel import Kernel
    from kernelsim.report.machine_run import RunOutcome
    from kernelsim.report.onlooker import ComesToLook
    from kernelsim.report.run_options import RunOptions
    from kernelsim.workload.api import Workload


def run(
    workload: Path,
    /,
    *,
    words: RunWords = NO_WORDS,
    report: bool = False,
    traceback: Annotated[bool, Parameter(negative="")] = False,
) -> None:
    """Run a workload.

    Args:
        workload: A Python file with one function marked @workload or @simulation, a portable
            script (memhog mmap:a:1M touchw:a), a recording (valgrind --tool=lackey, strace -f,
            page faults of perf or ftrace, ltrace of malloc and free: `kernelsim record`), a trace
            of allocations, a masim configuration, or a kernel log with an OOM report; its content
            tells which.
        words: Of the run.
        traceback: Before the one line that says why a run failed, show where in full.
        report: Let report.html be among it, as `kernelsim report` writes it afterwards.
    """
    with tracebacks(enabled=traceback):
        loaded, options = read_workload(workload, words.machine), words.options()
        if report and options.out is None:
            raise ConfigError("--report", report, "needs a directory to be in: --out DIR")
        if loaded.kind == "simulation":
            run_alone(loaded, workload, options, report=report)
        else:
            run_on_machine(loaded, workload, options, report=report)


def run_alone(loaded: "Workload", path: Path, options: "RunOptions", *, report: bool) -> None:
    """Run a workload that has no machine; print its summary, or its log.

    Raises:
        ConfigError: An option was given that means nothing without a machine.
    """
    from kernelsim.report.engine_run import run_simulation

    given = {
        "--machine": options.machine,
        "--set": " ".join(options.settings) or None,
        "--mempolicy": options.mempolicy,
        "--damon": options.damon,
        "--burst-pages": options.burst_pages,
        "--check-every": options.check_every,
        "--check": options.check or None,
        "--report": report or None,
    }
    for name, value in given.items():
        if value is not None:
            raise ConfigError(name, value, "this workload is a simulation without a machine")
    print(run_simulation(loaded, path, options), end="")


def run_on_machine(loaded: "Workload", path: Path, options: "RunOptions", *, report: bool) -> None:
    """Run a workload on a machine; print its summary, then raise what made it fail."""
    from kernelsim.report.machine_run import run_machine

    onlooker = None if options.out is None else door_to(options.out, options, path)
    outcome = run_machine(loaded, options, name=str(path), onlooker=onlooker)
    tell_outcome(outcome, options, report=report)


def door_to(directory: Path, options: "RunOptions", path: Path) -> "ComesToLook":
    """Return what shows how a run goes on, and lets `kernelsim top DIR` look at it as well."""
    from kernelsim.live.door import Door
    from kernelsim.report.progress import Progress

    def comes(kernel: "Kernel") -> Door:
        title = f"{readable(str(path))} on {kernel.spec.name}, seed {options.seed}"
        return Door(kernel, directory, title, Progress(kernel, enabled=options.progress))

    return comes


def tell_outcome(outcome: "RunOutcome", options: "RunOptions", *, report: bool = False) -> None:
    """Print the summary of a run, write its report if wanted, and raise what made it fail."""
    from kernelsim.report.run_summary import print_summary

    print_summary(outcome.summary)
    if report and options.out is not None:
        from kernelsim.report.html.page import write_report

        print(f"report  {write_report(options.out)}")
    if options.out is not None:
        from kernelsim.report.log_size import size_remark
        from kernelsim.report.rundir import EVENTS

        remark = size_remark(options.out / EVENTS, outcome.machine.now_ns)
        print(f"log     {remark}\n" if remark else "", end="")
    if outcome.failure is not None:
        raise outcome.failure


@contextmanager
def tracebacks(*, enabled: bool) -> Iterator[None]:
    """Print the whole traceback of what ends the block, if the user wants to see it."""
    try:
        yield
    except BaseException:
        if enabled:
            print_exc()
        raise
