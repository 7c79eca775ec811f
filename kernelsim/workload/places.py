"""Where in its author's files a workload is: the line that called us, the lines of an exception.

Interface: `calling_place`, `is_ours`.
"""

import inspect
import os
from pathlib import Path
from typing import Final

PACKAGE: Final = f"{Path(__file__).parents[1]}{os.sep}"  # where our own code is


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
