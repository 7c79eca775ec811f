"""`kernelsim run`: run a workload and print a summary.

A file marked with `@simulation` runs actors of its own; one marked with `@workload` runs on a
simulated machine.
Exit status: 0 done, 1 an expectation failed, 2 wrong use or bad input, 3 a bug of ours, also one
that --check found, 130 interrupted by Ctrl-C, SIGTERM or SIGHUP; what was logged so far is
written then.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from traceback import print_exc
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from kernelsim.cli.options import Whole
from kernelsim.errors import ConfigError

if TYPE_CHECKING:
    from kernelsim.report.run_options import RunOptions
    from kernelsim.workload.api import Workload


def run(
    workload: Path,
    /,
    *,
    machine: str | None = None,
    seed: Whole = 1,
    schedule_seed: Whole | None = None,
    settings: Annotated[list[str] | None, Parameter(name="--set", negative="")] = None,
    mempolicy: str | None = None,
    burst_pages: Whole | None = None,
    trace: Annotated[list[str] | None, Parameter(negative="")] = None,
    check: Annotated[bool, Parameter(negative="")] = False,
    check_every: Whole | None = None,
    until: str | None = None,
    out: Path | None = None,
    report: bool = False,
    traceback: Annotated[bool, Parameter(negative="")] = False,
) -> None:
    """Run a workload.

    Args:
        workload: A Python file with one function marked @workload or @simulation, a portable
            script (memhog mmap:a:1M touchw:a), a recording (valgrind --tool=lackey, strace -f,
            page faults of perf or ftrace: `kernelsim record`), a masim configuration, or a kernel
            log with an OOM report; its content tells which.
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
        burst_pages: Most pages a task touches before the log gets its events, 1 to 4096; 512 by
            default, or what the workload says. A ks_fault covers up to that many pages.
            With 1 every step is a message, which is slow. Counters and times stay the same, unless
            a schedule seed is given: it then finds other events to permute. Nor do they yet while
            memory goes offline under programs that store to it.
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
        traceback: Before the one line that says why a run failed, show where in full.
        report: Let report.html be among it, as `kernelsim report` writes it afterwards.
    """
    from kernelsim.report.run_options import RunOptions
    from kernelsim.workload.script.load import load_any

    with tracebacks(enabled=traceback):
        loaded = load_any(workload, machine)
        for warning in loaded.warnings:
            print(f"kernelsim: warning: {warning}", file=sys.stderr)
        if check_every is not None and check_every < 1:
            raise ConfigError("--check-every", check_every, "must be at least 1 event")
        if report and out is None:
            raise ConfigError("--report", report, "needs a directory to be in: --out DIR")
        options = RunOptions(
            machine=machine,
            seed=seed,
            schedule_seed=schedule_seed,
            settings=tuple(settings or ()),
            mempolicy=mempolicy,
            burst_pages=burst_pages,
            trace=tuple(trace or ()),
            check=check or check_every is not None,
            check_every=check_every,
            until=until,
            out=out,
        )
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
    from kernelsim.report.run_summary import print_summary

    outcome = run_machine(loaded, options, name=str(path))
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
