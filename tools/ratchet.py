"""Keep what the recorded cases have reached: which rows may lie outside their class, and no others.

tests/oracle/ratchet.json says, for each case that runs here, how many rows were compared and which
were outside when it was last written. The tests fail for any other row and for rows that are not
compared any more, so a row that was once inside stays inside.

    python -m tools.ratchet            run the cases; take out the rows that are inside by now

Likewise tests/oracle/syscalls_ratchet.json names the programs of system calls of which a step
differs. Rows and programs are only ever taken out. Exit status: 1 when another one is outside or
one is missing, else 0.
"""

import json
import sys
import tempfile
from pathlib import Path
from typing import Final, NamedTuple

from kernelsim.oracle.case_run import run_case
from kernelsim.oracle.vmaprog import compare_recordings, run_family_of

TOP: Final = Path(__file__).resolve().parent.parent
CASES: Final = TOP / "tests/oracle/cases"
RATCHET: Final = TOP / "tests/oracle/ratchet.json"

SYSCALLS: Final = TOP / "tests/oracle/syscalls"
SYSCALLS_RATCHET: Final = TOP / "tests/oracle/syscalls_ratchet.json"

Outside = dict[str, list[str]]


class Ratchet(NamedTuple):
    """What has been reached, by case."""

    compared: dict[str, int]
    """Rows that had a counterpart, inside or outside."""
    outside: Outside


def read_ratchet(path: Path = RATCHET) -> Ratchet:
    """Return what has been reached."""
    return Ratchet(**json.loads(path.read_text(encoding="utf-8")))


def rows_outside(case: Path, out: Path) -> tuple[int, list[str]]:
    """Run a recorded case, writing into a directory.

    Returns:
        How many rows were compared, and the names of those outside their class.
    """
    rows = run_case(case, out).rows
    return len(rows), [row.name for row in rows if not row.ok]


def tightened(allowed: Outside, found: Outside) -> Outside:
    """Return what is allowed from now on: of what was allowed, that which was found outside."""
    return {
        case: [row for row in rows if row in found.get(case, rows)]
        for case, rows in allowed.items()
    }


def fallen(allowed: Outside, found: Outside) -> Outside:
    """Return the rows found outside that may not be, by case; cases without any are left out."""
    wrong = {
        case: [row for row in rows if row not in allowed.get(case, ())]
        for case, rows in found.items()
    }
    return {case: rows for case, rows in wrong.items() if rows}


def programs_apart(family: str) -> list[str]:
    """Return the names of the programs of system calls of a family of which a step differs."""
    likeness = compare_recordings(SYSCALLS, family, run_family_of(SYSCALLS, family))
    assert likeness is not None, "each family that is kept has its recording"
    return list(likeness.apart)


def turn_syscalls() -> Outside:
    """Run all programs of system calls, rewrite their ratchet; return those that fell behind."""
    allowed: Outside = json.loads(SYSCALLS_RATCHET.read_text(encoding="utf-8"))
    found = {family: programs_apart(family) for family in allowed}
    for family, names in found.items():
        print(f"{family}: {len(names)} programs differ, {len(allowed[family])} allowed")
    reached = json.dumps(tightened(allowed, found), indent=2) + "\n"
    SYSCALLS_RATCHET.write_text(reached, encoding="utf-8")
    return fallen(allowed, found)


def main() -> int:
    """Run all cases of the ratchet, rewrite it towards better, name what has fallen behind."""
    (compared, allowed), found, missing = read_ratchet(), {}, False
    for case in allowed:
        with tempfile.TemporaryDirectory() as out:
            nr_rows, found[case] = rows_outside(CASES / case, Path(out))
        print(f"{case}: {len(found[case])} of {nr_rows} rows outside, {len(allowed[case])} allowed")
        if nr_rows < compared[case]:
            missing = True
            print(f"{case}: {compared[case]} rows were compared, now {nr_rows}")
        compared[case] = max(nr_rows, compared[case])
    reached = Ratchet(compared, tightened(allowed, found))
    RATCHET.write_text(json.dumps(reached._asdict(), indent=2) + "\n", encoding="utf-8")
    wrong = fallen(allowed, found) | turn_syscalls()
    for case, rows in wrong.items():
        print(*(f"{case}: {row} was inside and is not" for row in rows), sep="\n")
    return 1 if wrong or missing else 0


if __name__ == "__main__":
    sys.exit(main())
