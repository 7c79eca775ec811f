"""Watches a run from the other side of its door: shows what it draws, sends it the keys.

Interface: `watch_elsewhere`.
Units: s of real time.
"""

from contextlib import suppress
from time import monotonic  # noqa: TID251 - the time of the person who watches
from typing import Final

from rich.text import Text

from kernelsim.live.door import Lines, Message
from kernelsim.live.terminal import QUIT
from kernelsim.live.watch import Canvas, Keys

ANSWER_S: Final = 10.0  # a run is given so long to draw its first screen
POLL_S: Final = 0.02  # how long keys have to wait while nothing is drawn
ENDS: Final = {QUIT, "\x03"}


def watch_elsewhere(lines: Lines, keys: Keys, canvas: Canvas, answer_s: float = ANSWER_S) -> bool:
    """Show a run until the person leaves; its last screen stays until then.

    Args:
        lines: To the run.
        keys: What is pressed.
        canvas: What to draw on.
        answer_s: How long to wait for the first screen.

    Returns:
        Whether anything was shown before the run hung up or the time was over.
    """
    size, has_answered, until = (0, 0), False, monotonic() + answer_s
    with suppress(KeyboardInterrupt):
        while has_answered or (monotonic() < until and not lines.is_over):
            if size != canvas.size:
                size = canvas.size
                lines.send(Message(size=size))
            screens = [each.screen for each in lines.receive(POLL_S) if each.screen]
            if screens:
                has_answered = True
                canvas.show(Text.from_markup(screens[-1], emoji=False))
            pressed = keys.read(POLL_S if lines.is_over else 0.0)
            if ENDS.intersection(pressed):
                return True
            if pressed:
                lines.send(Message(keys=pressed))
    return has_answered
