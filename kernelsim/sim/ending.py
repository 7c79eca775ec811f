"""How runs end: the outcome, Ctrl-C, and what is left of an error once trio is done with it.

Interface: `Ended`, which `Engine.ended` holds after a run; the rest is the engine's. Units: ns.
"""

import re
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Final

import attrs
import trio

ADDRESS: Final = re.compile(r" at 0x[0-9a-f]+")  # in Python's own text for an object


@attrs.frozen
class Ended:
    """How a run ended.

    Attributes:
        state: "done": main returned. "until": virtual time reached its limit. "stopped":
            `Engine.stop`. "interrupted": Ctrl-C. "failed": main raised, or an actor raised a user
            error. "crashed": an actor raised anything else. "deadlock", "livelock", "max_events".
        now_ns: Virtual time of the end.
        detail: What happened, for a person; empty for "done".
        error: What `Engine.run` raises, if anything.
    """

    state: str
    now_ns: int
    detail: str = ""
    error: BaseException | None = None


@contextmanager
def interruptible(interrupt: Callable[[], None]) -> Iterator[None]:
    """Call `interrupt` on the first Ctrl-C; a second one raises KeyboardInterrupt where it hits.

    Does nothing outside the main thread, or where somebody else handles SIGINT already.
    """
    is_main = threading.current_thread() is threading.main_thread()
    if not is_main or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return

    def handle(_number: int, _frame: FrameType | None) -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        interrupt()

    signal.signal(signal.SIGINT, handle)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def without_cancelled(error: BaseException) -> BaseException | None:
    """Return what is left of an error without trio's cancellations; None if nothing is."""
    if isinstance(error, trio.Cancelled):
        return None
    if not isinstance(error, BaseExceptionGroup):
        return error
    return error.split(trio.Cancelled)[1]


def described(error: BaseException) -> str:
    """Write an exception for a log, without addresses, which differ from run to run."""
    return ADDRESS.sub("", repr(error))
