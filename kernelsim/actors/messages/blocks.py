"""What a node hears of blocks of pages: requests for them, and the work of making some.

Units: pages, pfn; an order is the logarithm of a number of pages.
"""

import msgspec

from kernelsim.mm.core.mem import I64


class AllocBlock(msgspec.Struct, frozen=True, gc=False):
    """Take a block of one zone; answered with its first frame, 0 if there is none.

    Attributes:
        zone: Zone row.
        order: Its size.
        cpu_nid: Node of the asking CPU.
        preferred_nid: Node the policy wants, for numa_hit and numa_miss.
        migratetype: MIGRATE_*.
        user: Who asks, for the account of the lock.
        gfp: Bits of the request, for the tracepoint.
    """

    zone: int
    order: int
    cpu_nid: int
    preferred_nid: int
    migratetype: int
    user: str
    gfp: int


class FreeBlock(msgspec.Struct, frozen=True, gc=False):
    """Give a block of one zone back.

    Attributes:
        zone: Zone row.
        pfn: Its first frame.
        order: Its size.
        user: Who asks.
    """

    zone: int
    pfn: int
    order: int
    user: str


class IsolateMigratepages(msgspec.Struct, frozen=True, eq=False, gc=False):
    """Take pages of a pageblock off their lists to be moved; answered with how many.

    Attributes:
        scan: What is asked, MS_* of `isolate_migratepages_block`; is told how far it came.
        out: Gets the pages, as many as it holds.
        kinds: Gets as what each counts.
        user: Who asks.
    """

    scan: I64
    out: I64
    kinds: I64
    user: str


class IsolateFreepages(msgspec.Struct, frozen=True, eq=False, gc=False):
    """Take free pages of a pageblock for others to be moved to; answered with how many.

    Attributes:
        zone: Zone row.
        scan: What is asked, FS_* of `isolate_freepages_block`; is told how far it came.
        out: Gets the pages.
        user: Who asks.
    """

    zone: int
    scan: I64
    out: I64
    user: str
