"""Who looks at a run while it goes on.

Interface: `Onlooker`, a protocol; `LOOK_EVENTS`, after how many events most look.
A run asks it when to let it look, does so between two events, and waits until it has looked, so it
can hold a run up. It changes nothing in the machine.
Units: ns of virtual time.
"""

from collections.abc import Callable
from typing import Final, Protocol

from kernelsim.actors.core.kernel import Kernel

LOOK_EVENTS: Final = 500  # between two looks at the wall clock, and at the keys


class Onlooker(Protocol):
    """Somebody who looks at one run."""

    def due(self) -> tuple[int | None, int | None]:
        """Return the next time to look, after now, and the next number of an event; None: never.

        It looks when either is reached, and perhaps before.
        """
        ...

    def look(self) -> None:
        """Look at the machine as it is now; it has booted."""
        ...

    def see_end(self) -> None:
        """Look at the machine at the end of the run, when all still stands."""
        ...

    def stop(self) -> None:
        """Put away what was shown, however the run ended; a second call does nothing."""
        ...


ComesToLook = Callable[[Kernel], Onlooker]
"""Makes an onlooker of a machine that has yet to boot."""
