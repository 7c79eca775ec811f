"""`kernelsim oracle`: run recorded cases of a real kernel here and compare row by row.

Exit status: 0 when every row of every case is inside its class, 1 when one is outside, 2 when a
case cannot be run; then nothing has run. 3 is a bug of ours, such as what `--check` finds.
"""

import json as json_format
import tempfile
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

from kernelsim.cli.options import Whole
from kernelsim.errors import ConfigError, UserError

if TYPE_CHECKING:
    from kernelsim.oracle.compare import Comparison

EXIT_OUTSIDE = 1


def oracle(
    *cases: Path,
    out: Path | None = None,
    seed: Whole = 1,
    burst_pages: Whole = 512,
    check: bool = False,
    json: bool = False,
    all: bool = False,  # noqa: A002 - the option's name
) -> int:
    """Run recorded cases of a real kernel and compare: rows outside their class, then totals.

    Args:
        cases: Directories of recorded cases.
        out: Keep what our run wrote: of one case in this directory, of several in one each below.
        seed: Everything random in a run comes from it.
        burst_pages: Most pages handled in one go.
        check: Check all invariants while a case runs, and at its end.
        json: Print one JSON object a case instead of tables.
        all: List the rows inside their class too.
    """
    from kernelsim.oracle.case_output import case_output, check_output
    from kernelsim.oracle.case_run import check_case, run_case
    from kernelsim.oracle.compare import render, to_json

    if not cases:
        raise UserError("oracle needs at least one case directory (see --help)")
    for case in cases:
        check_case(case)
        if out is not None:
            check_output(out_of_case(out, case, len(cases)))
    names = [name_of(case) for case in cases]
    twice = [name for number, name in enumerate(names) if name in names[:number]]
    if out is not None and twice:
        raise ConfigError("--out", str(out), f"two cases are named {twice[0]}")
    results: list[Comparison] = []
    for case in cases:
        place: AbstractContextManager[Path | str] = (
            tempfile.TemporaryDirectory(prefix="kernelsim-")
            if out is None
            else case_output(out_of_case(out, case, len(cases)))
        )
        with place as folder:
            result = run_case(case, Path(folder), seed=seed, burst_pages=burst_pages, check=check)
        results.append(result)
        if json:
            table = {"case": name_of(case), **json_format.loads(to_json(result))}
            print(json_format.dumps(table), flush=True)
        else:
            heading = f"== {name_of(case)}\n" if len(cases) > 1 else ""
            print(heading + render(result, all_rows=all), end="", flush=True)
    if len(cases) > 1 and not json:
        inside = sum(row.ok for result in results for row in result.rows)
        total = sum(len(result.rows) for result in results)
        print(f"== {len(cases)} cases: {inside} of {total} rows inside")
    return 0 if all_ok(results) else EXIT_OUTSIDE


def all_ok(results: "list[Comparison]") -> bool:
    """Return whether every case is inside."""
    return all(result.ok for result in results)


def out_of_case(out: Path, case: Path, nr_cases: int) -> Path:
    """Return where the run of a case is kept."""
    return out if nr_cases == 1 else out / name_of(case)


def name_of(case: Path) -> str:
    """Return the name of a case: that of its directory."""
    return case.resolve().name
