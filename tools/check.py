"""Run every gate a change has to pass; what CI runs and what `tools/dev test` runs.

The tests come last, so that their last lines are the last lines; a gate that failed before is
named on one line more. Words given are handed to pytest.
Exit status: 0 if all gates passed, else 1.
"""

import subprocess
import sys
from pathlib import Path
from typing import Final

TOP: Final = Path(__file__).resolve().parent.parent
TYPED_FOLDERS: Final = ("kernelsim", "tools", "workloads")


def main(pytest_words: list[str]) -> int:
    """Run all gates, also after one failed, and name the failed ones."""
    failed = [name for name, command in gates(pytest_words).items() if not passes(command)]
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


def gates(pytest_words: list[str]) -> dict[str, list[str]]:
    """Name the gates in the order they run, each a module of Python with its words."""
    typed = [name for name in TYPED_FOLDERS if any((TOP / name).rglob("*.py"))]
    return {
        "ruff format": ["ruff", "format", "--check", "--quiet", "."],
        "ruff check": ["ruff", "check", "--quiet", "."],
        "mypy": ["mypy", "--strict", *typed],
        "pytest": ["pytest", *pytest_words],
    }


def passes(command: list[str]) -> bool:
    """Run one gate at the top of the checkout."""
    print(f"== {' '.join(command)}", flush=True)
    return subprocess.run([sys.executable, "-m", *command], cwd=TOP, check=False).returncode == 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
