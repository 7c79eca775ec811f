"""What the memory hotplug controller hears, and what it asks of nodes for it.

Units: pages, pfn.
"""

import msgspec

from kernelsim.mm.core.mem import I64


class StateStore(msgspec.Struct, frozen=True, eq=False, gc=False):
    """Bring a memory block online or offline; answered with 0 or a negative errno.

    Attributes:
        current: The task in whose time it is done, a `Current`.
        index: Number of the block.
        word: offline, online, online_kernel or online_movable.
    """

    current: object
    index: int
    word: str


class IsolateRange(msgspec.Struct, frozen=True, gc=False):
    """Isolate a range of frames; answered as `start_isolate_page_range` does."""

    zone: int
    start: int
    end: int
    in_movable_zone: bool
    user: str


class UndoIsolateRange(msgspec.Struct, frozen=True, gc=False):
    """Let the pages of an isolated range be used again."""

    zone: int
    start: int
    end: int
    user: str


class OfflineRange(msgspec.Struct, frozen=True, gc=False):
    """Take frames that are free and isolated away from their zone."""

    zone: int
    start: int
    end: int
    user: str


class OnlineRange(msgspec.Struct, frozen=True, gc=False):
    """Give frames to a zone."""

    zone: int
    start: int
    end: int
    user: str


class IsolateMovable(msgspec.Struct, frozen=True, eq=False, gc=False):
    """Take pages of a range of frames off their lists; answered with how many, and the next frame.

    Attributes:
        start: First frame.
        end: The one behind the last.
        out: Gets the pages, as many as it holds.
        kinds: Gets as what each counts, see `isolate_movable`.
        user: Who asks.
    """

    start: int
    end: int
    out: I64
    kinds: I64
    user: str


class PutbackMovable(msgspec.Struct, frozen=True, eq=False, gc=False):
    """Put isolated pages of this node on its lists; answered with those to be freed."""

    pfns: I64
    kinds: I64
    user: str
