"""What the keeper of the kernel's addresses hears: tasks that want some, or give them back."""

import attrs


@attrs.frozen
class AllocVmapArea:
    """Give addresses; answered with the first, or 0 when no hole is large enough.

    Attributes:
        size: Bytes, in whole pages.
        align: The first is a multiple of it.
    """

    size: int
    align: int


@attrs.frozen
class FreeVmapArea:
    """Take the addresses of an area back.

    Attributes:
        address: The first.
    """

    address: int


@attrs.frozen
class PurgeVmapAreas:
    """Have all TLBs forget freed areas, and give their addresses out again."""


@attrs.frozen
class KmapHigh:
    """Map a frame of high memory; answered with its slot, or NO_SLOT when all are in use.

    Attributes:
        pfn: The frame.
    """

    pfn: int


@attrs.frozen
class KunmapHigh:
    """Take a user off a frame; answered with whether it had one.

    Attributes:
        pfn: The frame.
    """

    pfn: int


@attrs.frozen
class WaitForPkmap:
    """Answer when a slot has lost its last user, which may have happened by then."""
