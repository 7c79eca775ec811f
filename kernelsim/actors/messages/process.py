"""What a process hears of a signal; what its program asks of it are the calls of process/calls/."""

import attrs


@attrs.frozen
class TakeSignal:
    """Act on the fatal signal that is pending; answered with None."""
