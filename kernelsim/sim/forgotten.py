"""Coroutines that a workload makes and never awaits: each is an error, not a line on stderr.

Python finds them when it throws them away, for a statement such as `hog.touch(region)` at once,
and gives a warning with the line that runs then.

Interface: `forgotten_awaits`, around a run.
"""

import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, TextIO

from kernelsim.errors import ForgottenAwaitError

NEVER_AWAITED: Final = re.compile(r"coroutine '(.+)' was never awaited")


@contextmanager
def forgotten_awaits(fail: Callable[[ForgottenAwaitError], None]) -> Iterator[None]:
    """Call `fail` for each coroutine that is thrown away inside the block without being awaited."""
    with warnings.catch_warnings():
        show_others = warnings.showwarning

        def show(
            message: Warning | str,
            category: type[Warning],
            filename: str,
            lineno: int,
            file: TextIO | None = None,
            line: str | None = None,
        ) -> None:
            found = NEVER_AWAITED.match(str(message))
            if found is None:
                show_others(message, category, filename, lineno, file, line)
            else:
                fail(ForgottenAwaitError(found[1], filename, lineno))

        warnings.filterwarnings("always", NEVER_AWAITED.pattern, RuntimeWarning)
        warnings.showwarning = show
        yield
