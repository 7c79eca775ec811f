"""What the interconnect hears."""

import msgspec


class Transfer(msgspec.Struct, frozen=True, gc=False):
    """Move bytes between the CPUs of one node and memory; its own if they share a bus.

    Attributes:
        source: Node of the CPU.
        target: Node of the memory.
        size_bytes: How much.
        user: Who asks, for the account.
    """

    source: int
    target: int
    size_bytes: int
    user: str
