"""Keep what the recorded cases have reached: which rows may lie outside their class, and no others.

tests/oracle/ratchet.json names, for each case that runs here, the rows that were outside when it
was last written. The tests fail for any other row, so a row that was once inside stays inside.

    python -m tools.ratchet            run the cases; take out the rows that are inside by now

Rows are only ever taken out. Exit status: 0 when no other row is outside, else 1.
"""

import json
import sys
import tempfile
from pathlib import Path
from typing import Final

from kernelsim.oracle.case_run import run_case

TOP: Final = Path(__file__).resolve().parent.parent
CASES: Final = TOP / "tests/oracle/cases"
RATCHET: Final = TOP / "tests/oracle/ratchet.json"

Outside = dict[str, list[str]]


def read_ratchet(path: Path = RATCHET) -> Outside:
    """Return the rows that may be outside, by case."""
    rows: Outside = json.loads(path.read_text(encoding="utf-8"))
    return rows


def rows_outside(case: Path, out: Path) -> list[str]:
    """Run a recorded case, writing into a directory; name the rows outside their class."""
    return [row.name for row in run_case(case, out).rows if not row.ok]


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


def main() -> int:
    """Run all cases of the ratchet, rewrite it towards better, name what has fallen behind."""
    allowed, found = read_ratchet(), {}
    for case in allowed:
        with tempfile.TemporaryDirectory() as out:
            found[case] = rows_outside(CASES / case, Path(out))
        print(f"{case}: {len(found[case])} rows outside, {len(allowed[case])} allowed")
    text = json.dumps(tightened(allowed, found), indent=2) + "\n"
    RATCHET.write_text(text, encoding="utf-8")
    wrong = fallen(allowed, found)
    for case, rows in wrong.items():
        print(*(f"{case}: {row} was inside and is not" for row in rows), sep="\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
