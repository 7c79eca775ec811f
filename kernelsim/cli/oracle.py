"""`kernelsim oracle`: run recorded cases of a real kernel here and compare row by row.

Of several cases those that can be run are; the others are listed with the reason.

Exit status: 0 when every row of every case is inside its class; 1 when one is outside, or one of
several cases could not be run; 2 when the only case cannot be run or an option is wrong, then
nothing has run. 3 is a bug of ours, such as what `--check` finds.
"""

import json as json_format
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from kernelsim.cli.options import Whole
from kernelsim.errors import ConfigError, RecordingError, UserError, WorkloadError

if TYPE_CHECKING:
    from kernelsim.oracle.compare import Comparison

EXIT_OUTSIDE = 1


def oracle(
    *cases: Path,
    out: Path | None = None,
    family: tuple[str, ...] = (),
    allocator: tuple[str, ...] = (),
    trace: tuple[str, ...] = (),
    seed: Whole = 1,
    burst_pages: Whole = 512,
    check: bool = False,
    json: bool = False,
    all: bool = False,  # noqa: A002 - the option's name
) -> int:
    """Run recorded cases of a real kernel and compare: rows outside their class, then totals.

    A directory that has `programs/` holds programs of system calls instead, one that has `traces/`
    traces of allocations: they run here, and a table says how much is as it was recorded.

    Args:
        cases: Directories of recorded cases, or one of programs of system calls, or of traces.
        out: Keep what our run wrote: of one case in this directory, of several in one each below.
        family: Of programs of system calls only this family; may be given several times. With
            `--out` what they answered is in DIR/recordings.
        allocator: Of traces run only this allocator; may be given several times. With `--out`
            what it did is in DIR/recordings/ALLOCATOR.
        trace: Of traces run only this one; may be given several times.
        seed: Decides the time of cache misses, the phase of the timer, the first CPU of a task.
        burst_pages: Most pages a task touches before the log gets its events. It changes no
            counter; with 1 every step is a message, which is slower.
        check: Check all invariants while a case runs, and at its end.
        json: Print one JSON object a case instead of tables.
        all: List the rows inside their class too.
    """
    from kernelsim.machine import require_burst_pages
    from kernelsim.oracle.case_run import run_case
    from kernelsim.oracle.malloc import has_traces
    from kernelsim.oracle.vmaprog import has_programs
    from kernelsim.report.compiling import compile_leaves

    require_burst_pages(burst_pages)
    of_looks = {"--json": json, "--all": all}
    of_programs = {"--family": bool(family)}
    of_traces = {"--allocator": bool(allocator), "--trace": bool(trace)}
    if len(cases) == 1 and has_programs(cases[0]):
        refuse("programs of system calls", {**of_looks, **of_traces})
        compile_leaves()
        return run_programs(cases[0], out, family, seed, burst_pages, check=check)
    if len(cases) == 1 and has_traces(cases[0]):
        refuse("traces of allocations", {"--check": check, **of_looks, **of_programs})
        compile_leaves()
        return run_traces(cases[0], out, allocator, trace, seed, burst_pages)
    refuse("recorded cases", {**of_programs, **of_traces})
    check_places(cases, out)
    compile_leaves()
    run = partial(run_case, seed=seed, burst_pages=burst_pages, check=check)
    return run_cases(cases, out, run, json=json, all_rows=all)


def run_cases(
    cases: Sequence[Path],
    out: Path | None,
    run: "Callable[[Path, Path], Comparison]",
    *,
    json: bool,
    all_rows: bool,
) -> int:
    """Run recorded cases, print what each shows, then which could not be run, and the sum."""
    from kernelsim.oracle.case_run import check_case

    not_run: dict[Path, str] = {}
    if len(cases) == 1:
        check_case(cases[0])
    else:
        not_run = reasons_against(cases)
    results: list[Comparison] = []
    for case in (case for case in cases if case not in not_run):
        try:
            with place_of(out, case, len(cases)) as folder:
                results.append(run(case, Path(folder)))
        except UserError as error:
            if len(cases) == 1 or not is_about_case(error):
                raise
            not_run[case] = str(error)
        else:
            text = case_text(case, results[-1], json=json, all_rows=all_rows)
            print(
                text if json or len(cases) == 1 else f"== {name_of(case)}\n{text}",
                end="",
                flush=True,
            )
    if len(cases) > 1:
        print(json_reasons(not_run) if json else total_text(results, not_run), end="")
    return EXIT_OUTSIDE if not_run or not all_ok(results) else 0


def case_text(case: Path, result: "Comparison", *, json: bool, all_rows: bool) -> str:
    """Return what to print of a case: a table, or an object of JSON on a line."""
    from kernelsim.oracle.compare import render, to_json

    if not json:
        return render(result, all_rows=all_rows)
    return json_format.dumps({"case": name_of(case), **json_format.loads(to_json(result))}) + "\n"


def refuse(what: str, options: Mapping[str, bool]) -> None:
    """Refuse options that say nothing about what is to run.

    Raises:
        UserError: One of them is given.
    """
    for name, given in options.items():
        if given:
            raise UserError(f"{name} says nothing about {what}")


def run_programs(
    directory: Path,
    out: Path | None,
    wanted: Sequence[str],
    seed: int,
    burst_pages: int,
    *,
    check: bool,
) -> int:
    """Run programs of system calls, write recordings of them, print how much is the same."""
    from kernelsim.oracle.vmaprog import (
        compare_recordings,
        family_names,
        run_family_of,
        table_of,
    )

    rows = []
    for name in family_names(directory, wanted):
        ours = run_family_of(directory, name, seed=seed, burst_pages=burst_pages, check=check)
        if out is not None:
            folder = out / "recordings"
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"{name}.out").write_text(ours, encoding="utf-8")
        row = compare_recordings(directory, name, ours)
        rows += [row] if row is not None else []
    print(table_of(rows), end="")
    return EXIT_OUTSIDE if any(row.apart for row in rows) else 0


def run_traces(
    directory: Path,
    out: Path | None,
    allocators: Sequence[str],
    traces: Sequence[str],
    seed: int,
    burst_pages: int,
) -> int:
    """Run traces through models of allocators, write recordings, print how much is the same."""
    from kernelsim.oracle.malloc import (
        allocator_names,
        compare_malloc,
        malloc_table,
        run_malloc,
        trace_names,
        write_recording,
    )

    rows = []
    names = trace_names(directory, traces)
    for allocator in allocator_names(allocators):
        for name in names:
            ours = run_malloc(directory, allocator, name, seed=seed, burst_pages=burst_pages)
            if out is not None:
                write_recording(out, allocator, name, ours)
            row = compare_malloc(directory, allocator, name, ours)
            rows += [row] if row is not None else []
    print(malloc_table(rows), end="")
    return EXIT_OUTSIDE if any(row.outside for row in rows) else 0


def reasons_against(cases: Sequence[Path]) -> dict[Path, str]:
    """Return the cases that cannot be run, each with the reason; nothing has run yet."""
    from kernelsim.oracle.case_run import check_case

    reasons: dict[Path, str] = {}
    for case in cases:
        try:
            check_case(case)
        except (RecordingError, WorkloadError) as error:
            reasons[case] = str(error)
    return reasons


def is_about_case(error: UserError) -> bool:
    """Return whether an error is the case's, not that of an option or of a file of ours."""
    if isinstance(error, ConfigError):  # of the machine it describes
        return error.file is not None
    return isinstance(error, RecordingError | WorkloadError)


def json_reasons(not_run: Mapping[Path, str]) -> str:
    """Return a JSON object a line for each case that was not run."""
    objects = ({"case": name_of(case), "not_run": why} for case, why in not_run.items())
    return "".join(json_format.dumps(each) + "\n" for each in objects)


def total_text(results: "Sequence[Comparison]", not_run: Mapping[Path, str]) -> str:
    """Return which cases were not run and why, then the sum over all."""
    lines = [f"not run: {name_of(case)}: {why}" for case, why in not_run.items()]
    inside = sum(row.ok for result in results for row in result.rows)
    total = sum(len(result.rows) for result in results)
    lines.append(
        f"== {len(results) + len(not_run)} cases: {inside} of {total} rows inside, "
        f"{sum(not result.ok for result in results)} cases with rows outside, "
        f"{len(not_run)} not run"
    )
    return "".join(f"{line}\n" for line in lines)


def check_places(cases: Sequence[Path], out: Path | None) -> None:
    """Refuse no cases, and places for their runs that are taken or the same for two.

    Raises:
        UserError: One line says which.
    """
    from kernelsim.oracle.case_output import check_output

    if not cases:
        raise UserError("oracle needs at least one case directory (see --help)")
    if out is None:
        return
    names = [name_of(case) for case in cases]
    for number, case in enumerate(cases):
        check_output(out_of_case(out, case, len(cases)))
        if names[number] in names[:number]:
            raise ConfigError("--out", str(out), f"two cases are named {names[number]}")


def place_of(out: Path | None, case: Path, nr_cases: int) -> AbstractContextManager[Path | str]:
    """Return where a case is run: in its place, or in a directory that goes afterwards."""
    from kernelsim.oracle.case_output import case_output

    if out is None:
        return tempfile.TemporaryDirectory(prefix="kernelsim-")
    return case_output(out_of_case(out, case, nr_cases))


def all_ok(results: "Sequence[Comparison]") -> bool:
    """Return whether every case is inside."""
    return all(result.ok for result in results)


def out_of_case(out: Path, case: Path, nr_cases: int) -> Path:
    """Return where the run of a case is kept."""
    return out if nr_cases == 1 else out / name_of(case)


def name_of(case: Path) -> str:
    """Return the name of a case: that of its directory."""
    return case.resolve().name
