"""What a worker of a CPU is asked to do.

Units: ns.
"""

import attrs


@attrs.frozen
class Work:
    """A piece of work; answered when it is done.

    Attributes:
        cost_ns: CPU time that it takes.
        wake_ns: CPU time in which the worker tells who waits, and finds nothing more to do.
    """

    cost_ns: int
    wake_ns: int
