"""Where in its author's files a workload is: the line that called us, the line that waits.

A file is the author's if it is none of ours, of trio's or of Python's own library.

Interface: `calling_place`, `waiting_place`, `waits_in_trio`, `is_ours`.
"""

import inspect
import os
from pathlib import Path
from typing import Final

import trio

PACKAGE: Final = f"{Path(__file__).parents[1]}{os.sep}"  # where our own code is
TRIO: Final = f"{Path(trio.__file__).parent}{os.sep}"
LIBRARY: Final = f"{Path(os.__file__).parent}{os.sep}"


def is_ours(file: str) -> bool:
    """Return whether a file of a frame is one of our own."""
    return file.startswith(PACKAGE)


def calling_place() -> tuple[str, int]:
    """Return file and line of the innermost running code that is not ours."""
    frame = inspect.currentframe()
    while frame is not None and is_ours(frame.f_code.co_filename) and frame.f_back is not None:
        frame = frame.f_back
    assert frame is not None, "CPython has frames"
    return frame.f_code.co_filename, frame.f_lineno


def waiting_place(task: trio.lowlevel.Task) -> tuple[str, int] | None:
    """Return file and line of the innermost code of an author's in which a task waits, if any."""
    found = None
    for frame, line in task.iter_await_frames():
        file = frame.f_code.co_filename
        if not file.startswith((PACKAGE, TRIO, LIBRARY)):
            found = file, line
    return found


def waits_in_trio(task: trio.lowlevel.Task) -> str:
    """Return the name of the function of trio's in which a task waits."""
    for frame, _ in task.iter_await_frames():
        if frame.f_code.co_filename.startswith(TRIO):
            return f"trio.{frame.f_code.co_name}"
    return "trio"
