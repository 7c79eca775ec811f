"""Signals that end a run: SIGINT, SIGTERM and SIGHUP, which all mean the same here.

The first one asks the run to end at its next wait. A run that does not get there, because its
workload loops without waiting, is broken off where it is `PATIENCE_S` later, and again each
`REPEAT_S` if it goes on; a second signal does so at once. Nothing is broken off while the run
writes what it leaves behind.

A command takes the three signals whatever was inherited: a shell starts a background job with
SIGINT ignored, and nohup ignores SIGHUP, but such a run must be possible to end. In a program of
somebody else's only Python's own handler of Ctrl-C is replaced. Off the main thread nothing is.

Interface: `endings_interrupt` for a command, `on_ending` to do something else than raise,
`interruptible` for the engine; `Interrupted` is what is raised. `keep_for_ever` and
`must_leave_at_once` are for runs that cannot be ended at all. Units: s of wall time.
"""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from types import FrameType
from typing import Final, NoReturn, Protocol

ENDING_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
PATIENCE_S: Final = 1.0
REPEAT_S: Final = 0.25


_kept: Final[list[object]] = []


class Interrupted(KeyboardInterrupt):
    """A signal ended the run; unlike a KeyboardInterrupt that a workload raises itself."""


class EndingHandler:
    """A signal handler of ours; one inside another takes its place for a while."""

    def __init__(self, act: Callable[[], object]) -> None:
        self._act = act

    def __call__(self, _number: int, _frame: FrameType | None) -> None:
        """Act on a signal; called by Python."""
        self._act()


class Run(Protocol):
    """What the engine shows of itself to `interruptible`."""

    def interrupt(self) -> None:
        """End the run at its next wait."""
        ...

    def is_stuck(self) -> bool:
        """Return whether nothing waited since this was asked last, and may be broken off."""
        ...


def endings_interrupt() -> AbstractContextManager[None]:
    """Raise `Interrupted` on each of the signals inside the block, however they were inherited."""
    return on_ending(_raise_interrupted, inherited=True)


def keep_for_ever(run: object) -> None:
    """Keep a run whose tasks cannot be ended: Python would wait for their end if it let them go."""
    _kept.append(run)


def must_leave_at_once() -> bool:
    """Return whether this process has to end without Python's own tidying up."""
    return bool(_kept)


@contextmanager
def on_ending(act: Callable[[], object], *, inherited: bool = False) -> Iterator[None]:
    """Call `act` on each of the signals inside the block.

    Args:
        act: Called between two byte codes of the main thread; may raise.
        inherited: Take signals that are ignored, or have another handler, too.
    """
    taken = {}
    if threading.current_thread() is threading.main_thread():
        before = {number: signal.getsignal(number) for number in ENDING_SIGNALS}
        taken = {n: handler for n, handler in before.items() if inherited or _is_ours(handler)}
    for number in taken:
        signal.signal(number, EndingHandler(act))
    try:
        yield
    finally:
        for number, handler in taken.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)


@contextmanager
def interruptible(run: Run) -> Iterator[None]:
    """Let the signals end a run, also one whose workload never waits."""
    alarms: list[object] = []  # the handler of SIGALRM before the first signal

    def end() -> None:
        if not alarms:
            run.interrupt()
            run.is_stuck()
            alarms.append(signal.signal(signal.SIGALRM, EndingHandler(break_off)))
            signal.setitimer(signal.ITIMER_REAL, PATIENCE_S, REPEAT_S)
        else:
            break_off()

    def break_off() -> None:
        if run.is_stuck():
            raise Interrupted

    with on_ending(end):
        try:
            yield
        finally:
            if alarms:
                signal.setitimer(signal.ITIMER_REAL, 0)
                signal.signal(signal.SIGALRM, alarms[0])  # type: ignore[arg-type]  # as it was


def _is_ours(handler: object) -> bool:
    return handler is signal.default_int_handler or isinstance(handler, EndingHandler)


def _raise_interrupted() -> NoReturn:
    raise Interrupted
