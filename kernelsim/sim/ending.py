"""How runs end: the outcome, and what is left of an error once trio is done with it.

Interface: `Ended`, which `Engine.ended` holds after a run; the rest is the engine's. Units: ns.
"""

import re
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
