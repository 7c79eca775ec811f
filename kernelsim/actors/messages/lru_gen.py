"""What a node hears of its generations of pages: take the oldest, put back, begin a new one.

Each is work under the node's lru_lock, as those of messages/node.py; `user` is the CPU that asks.
Units: pages.
"""

import msgspec

from kernelsim.mm.reclaim.lru_gen_walk import MmWalk
from kernelsim.mm.reclaim.reclaim_batch import ReclaimBatch


class IsolateOldest(msgspec.Struct, frozen=True, eq=False, gc=False):
    """Take a batch of the oldest pages; answered with (scanned, type taken).

    Attributes:
        swappiness: 0 to 200.
        reclaim_idx: Pages of zone types above it are left alone.
        how: SHRINK_* bits.
        batch: Where the pages go.
        user: Who asks.
    """

    swappiness: int
    reclaim_idx: int
    how: int
    batch: ReclaimBatch
    user: str


class PutbackOldest(msgspec.Struct, frozen=True, eq=False, gc=False):
    """Put back what is left of a batch, count what was promoted; answered with pages to free."""

    file: int
    how: int
    batch: ReclaimBatch
    walk: MmWalk
    user: str


class ResetBatchSize(msgspec.Struct, frozen=True, eq=False, gc=False):
    """Count the pages that a walk has promoted."""

    walk: MmWalk
    user: str


class IncMaxSeq(msgspec.Struct, frozen=True, gc=False):
    """Begin a new youngest generation; answered with whether that is done.

    If not, a batch of the oldest pages was moved to make room for it: ask again.
    """

    can_swap: bool
    user: str
