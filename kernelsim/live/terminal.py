"""A terminal of a person: keys pressed, one by one and without an echo, and a screen to draw on.

Interface: `Keyboard` and `Screen`, both context managers that leave the terminal as it was.
Units: s of real time; columns and lines.
"""

import os
import re
import select
import termios
import tty
from contextlib import suppress
from typing import Final, Self

from rich.console import Console
from rich.live import Live
from rich.text import Text

NAMES: Final = {
    "\x1b[A": "up",
    "\x1b[B": "down",
    "\x1bOA": "up",
    "\x1bOB": "down",
    "\x1b[5~": "page up",
    "\x1b[6~": "page down",
}
KEY: Final = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|O.)?|[^\x1b]", re.DOTALL)
QUIT: Final = "q"  # also what is read when the terminal is gone
BYTES_MAX: Final = 256


class Keyboard:
    """The keys of a terminal; how it was before is restored at the end of the block.

    Args:
        fd: Of the terminal.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def __enter__(self) -> Self:
        self._before = termios.tcgetattr(self._fd)
        tty.setcbreak(self._fd, termios.TCSANOW)
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(termios.error):  # the terminal may be gone
            termios.tcsetattr(self._fd, termios.TCSANOW, self._before)

    def read(self, wait_s: float) -> list[str]:
        """Return the keys pressed since the last call; wait a while if there are none."""
        ready, _, _ = select.select([self._fd], [], [], wait_s)
        if not ready:
            return []
        try:
            data = os.read(self._fd, BYTES_MAX)
        except OSError:  # the terminal was closed
            data = b""
        return keys_in(data.decode(errors="replace")) if data else [QUIT]


class Screen:
    """All of a terminal, without what was there before.

    Args:
        console: The terminal.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = Live(
            console=console,
            screen=True,
            auto_refresh=False,
            redirect_stdout=False,
            redirect_stderr=False,
        )

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):
            self._live.stop()

    @property
    def size(self) -> tuple[int, int]:
        """Columns and lines, as they are now."""
        return self._console.size

    def show(self, text: Text) -> None:
        """Show a whole screen; nothing on a terminal that is gone, whose keys say so."""
        with suppress(OSError):
            self._live.update(text, refresh=True)


def keys_in(text: str) -> list[str]:
    """Return the keys that make a terminal send a text: characters, and words as in `NAMES`.

    Keys without a character that are not listed there are left out.
    """
    sent = KEY.findall(text)
    return [NAMES.get(key, key) for key in sent if key in NAMES or not key.startswith("\x1b")]
