"""Keep what the recorded cases have reached: which rows may lie outside their class, and no others.

tests/oracle/ratchet.json says, for each case that runs here, how many rows were compared and which
were outside when it was last written. The tests fail for any other row and for rows that are not
compared any more, so a row that was once inside stays inside.

    python -m tools.ratchet            run the cases; take out the rows that are inside by now

Likewise tests/oracle/syscalls_ratchet.json says of each family of programs of system calls how
many ran to their end, and names those of which a step differs; tests/oracle/malloc_ratchet.json
says of each allocator and trace which rows are not as recorded. Rows and programs are only ever
taken out. Exit status: 1 when another one is outside or one is missing, else 0.
"""

import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple

from kernelsim.oracle.case_run import run_case
from kernelsim.oracle.malloc import compare_malloc, run_malloc
from kernelsim.oracle.vmaprog import compare_recordings, run_family_of

TOP: Final = Path(__file__).resolve().parent.parent
CASES: Final = TOP / "tests/oracle/cases"
RATCHET: Final = TOP / "tests/oracle/ratchet.json"

SYSCALLS: Final = TOP / "tests/oracle/syscalls"
SYSCALLS_RATCHET: Final = TOP / "tests/oracle/syscalls_ratchet.json"

MALLOC: Final = TOP / "tests/oracle/malloc"
MALLOC_RATCHET: Final = TOP / "tests/oracle/malloc_ratchet.json"

Outside = dict[str, list[str]]


class Ratchet(NamedTuple):
    """What has been reached, by case or by family of programs."""

    compared: dict[str, int]
    """Rows that had a counterpart, inside or outside; programs that ran to their end."""
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


def programs_apart(family: str) -> tuple[int, list[str]]:
    """Run the programs of system calls of a family.

    Returns:
        How many ran to their end, and the names of those of which a step differs.
    """
    likeness = compare_recordings(SYSCALLS, family, run_family_of(SYSCALLS, family))
    assert likeness is not None, "each family that is kept has its recording"
    return likeness.nr_run, list(likeness.apart)


def malloc_rows_outside(case: str) -> tuple[int, list[str]]:
    """Run a trace through the model of an allocator; `case` names both, as in "glibc trim".

    Returns:
        How many rows were compared, and the names of those that are not as recorded.
    """
    allocator, trace = case.split()
    likeness = compare_malloc(MALLOC, allocator, trace, run_malloc(MALLOC, allocator, trace))
    assert likeness is not None, "each trace that is kept has its recordings"
    return len(likeness.rows), likeness.outside


def turn(path: Path, run: Callable[[str], tuple[int, list[str]]]) -> bool:
    """Run all cases of a ratchet and rewrite it towards better; tell whether none fell behind."""
    (compared, allowed), found, is_kept = read_ratchet(path), {}, True
    for case in allowed:
        nr_compared, found[case] = run(case)
        print(f"{case}: {len(found[case])} of {nr_compared} outside, {len(allowed[case])} allowed")
        if nr_compared < compared[case]:
            is_kept = False
            print(f"{case}: {compared[case]} were compared, now {nr_compared}")
        compared[case] = max(nr_compared, compared[case])
    reached = Ratchet(compared, tightened(allowed, found))
    path.write_text(json.dumps(reached._asdict(), indent=2) + "\n", encoding="utf-8")
    wrong = fallen(allowed, found)
    for case, names in wrong.items():
        print(*(f"{case}: {name} was inside and is not" for name in names), sep="\n")
    return is_kept and not wrong


def run_in_passing(case: str) -> tuple[int, list[str]]:
    """Run a recorded case and keep nothing of it; return as `rows_outside`."""
    with tempfile.TemporaryDirectory() as out:
        return rows_outside(CASES / case, Path(out))


def main() -> int:
    """Turn all ratchets, and name what has fallen behind."""
    kept = [
        turn(RATCHET, run_in_passing),
        turn(SYSCALLS_RATCHET, programs_apart),
        turn(MALLOC_RATCHET, malloc_rows_outside),
    ]
    return 0 if all(kept) else 1


if __name__ == "__main__":
    sys.exit(main())
