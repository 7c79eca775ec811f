"""How far a command with many parts is, as a line on stderr.

Interface: `CountProgress`.
"""

import sys
import time
from typing import Final

PLAIN_SECONDS: Final = 30  # between two lines where stderr is no terminal
SECONDS_A_MINUTE: Final = 60


class CountProgress:
    """A line that says how many parts are done, and how long the rest will take.

    Args:
        what: The parts, in the plural.
    """

    def __init__(self, what: str) -> None:
        self._what = what
        self._is_terminal = sys.stderr.isatty()
        self._began = self._shown = time.monotonic()
        self._first: int | None = None  # done before we began
        self._is_open = False

    def look(self, nr_done: int, nr_all: int) -> None:
        """Show the line, if it is time to."""
        now = time.monotonic()
        if self._first is None:
            self._first = nr_done
        if not self._is_terminal and now - self._shown < PLAIN_SECONDS:
            return
        self._shown = now
        text = f"{nr_done} of {nr_all} {self._what}"
        nr_new = nr_done - self._first
        if nr_new:
            left = (now - self._began) / nr_new * (nr_all - nr_done)
            minutes, seconds = divmod(round(left), SECONDS_A_MINUTE)
            text += f", {minutes}:{seconds:02d} left"
        start, end = ("\r\x1b[K", "") if self._is_terminal else ("", "\n")
        self._is_open = self._is_terminal
        print(f"{start}{text}", end=end, file=sys.stderr, flush=True)

    def stop(self) -> None:
        """Remove the line."""
        if self._is_open:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)
