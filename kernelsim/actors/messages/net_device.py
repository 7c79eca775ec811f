"""What a network card hears: packets that come over the wire, and readers that take them."""

import attrs


@attrs.frozen
class Receive:
    """Receive packets of a page each; answered when the last has come.

    The answer is a `NetStatistics` of these packets.

    Attributes:
        nr: How many.
        interval_ns: From one to the next.
    """

    nr: int
    interval_ns: int


@attrs.frozen
class Consume:
    """Free the oldest packets that nobody has read, as many as this or all; answered by how many.

    Attributes:
        nr: How many; None for all.
    """

    nr: int | None = None
