"""Run every gate a change has to pass; what CI runs and what `tools/dev test` runs.

Types are checked beside the others, on the processor that they leave idle. The tests come last, so
that their last lines are the last lines; what mypy found, and which gates failed, comes after them.
Words given are handed to pytest.
SIGINT, SIGTERM and SIGHUP end it and every process it started, also where a shell started it in
the background with SIGINT ignored; the gates themselves get the signals as they are by default.
Exit status: 0 if all gates passed, else 1; 128 and the signal's number after a signal.
"""

import contextlib
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import FrameType
from typing import Final, NoReturn

import psutil  # type: ignore[import-untyped]  # it ships none

TOP: Final = Path(__file__).resolve().parent.parent
TYPED_FOLDERS: Final = ("kernelsim", "tools", "workloads")
# A process for each core; one that has run out of tests takes from the others. A `-n` among the
# words given comes later and counts.
ALL_CORES: Final = ("--numprocesses=auto", "--dist=worksteal")
SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
PATIENCE_S: Final = 2.0  # for processes to end of their own accord


def main(pytest_words: list[str]) -> int:
    """Run all gates, also after one failed, and name the failed ones."""
    # Tests start hundreds of processes, each of which would compile all our modules again.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    commands = gates(pytest_words)
    with ThreadPoolExecutor(1) as beside:
        typed = beside.submit(words_of_failure, commands.pop("mypy"))
        failed = [name for name, command in commands.items() if not passes(command)]
        words = typed.result()
    if words is not None:
        print(words, end="", flush=True)
        failed.append("mypy")
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
        "pytest": ["pytest", *ALL_CORES, *pytest_words],
    }


def passes(command: list[str]) -> bool:
    """Run one gate at the top of the checkout."""
    print(f"== {' '.join(command)}", flush=True)
    return subprocess.run([sys.executable, "-m", *command], cwd=TOP, check=False).returncode == 0


def words_of_failure(command: list[str]) -> str | None:
    """Run one gate as `passes` does; return what it printed if it failed, else None."""
    print(f"== {' '.join(command)}, beside the others", flush=True)
    ran = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=TOP,
        check=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    return None if ran.returncode == 0 else ran.stdout


def signal_all(processes: list[psutil.Process], number: int) -> None:
    """Send a signal to those that still live."""
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(number)


def end_all(number: int, _frame: FrameType | None) -> NoReturn:
    """End every process started from here, then this one."""
    for each in SIGNALS:
        signal.signal(each, signal.SIG_IGN)
    started = psutil.Process().children(recursive=True)
    signal_all(started, signal.SIGTERM)
    _, alive = psutil.wait_procs(started, timeout=PATIENCE_S)
    signal_all([*alive, *psutil.Process().children(recursive=True)], signal.SIGKILL)
    sys.exit(128 + number)


if __name__ == "__main__":
    for each in SIGNALS:
        signal.signal(
            each, end_all
        )  # a handler is not inherited by the gates, an ignored signal is
    sys.exit(main(sys.argv[1:]))
