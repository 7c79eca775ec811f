"""What a node hears: requests for pages, pages given back, work on its lists, memory traffic.

The structs are msgspec's, as tracepoints are: each step of a burst makes one, and a frozen attrs
object takes several times as long.
Units: pages, bytes, ns.
"""

from collections.abc import Callable
from typing import Any

import msgspec

from kernelsim.mm.core.mem import I64


class AllocPages(msgspec.Struct, frozen=True, eq=False, gc=False):
    """Take order-0 pages of one zone, through the asking CPU's list.

    Attributes:
        zone: Zone row.
        cpu: The asking CPU.
        cpu_nid: Its node.
        preferred_nid: Node the policy wants, for numa_hit and numa_miss.
        migratetype: MIGRATE_*.
        floor: The grant ends when the zone has no more free pages than this.
        want: Pages wanted.
        out: Array the page frame numbers are put in.
        start: First index to use there.
        user: Who asks, for the account of the lock.
        gfp: Bits of the request, for the tracepoint.
    """

    zone: int
    cpu: int
    cpu_nid: int
    preferred_nid: int
    migratetype: int
    floor: int
    want: int
    out: I64
    start: int
    user: str
    gfp: int = 0


class FreePages(msgspec.Struct, frozen=True, eq=False, gc=False):
    """Give pages back through the asking CPU's list; the answer comes when that is done."""

    cpu: int
    pfns: I64
    nr: int
    user: str


class DrainPages(msgspec.Struct, frozen=True, gc=False):
    """Give a CPU's whole list of one zone back; the answer is the number of pages."""

    zone: int
    cpu: int
    user: str


class UnderLruLock(msgspec.Struct, frozen=True, eq=False, gc=False):
    """Do something to the LRU lists while holding lru_lock; the answer is its result.

    Attributes:
        work: Runs to completion when the lock is granted.
        nr_pages: How many pages it moves; None when `work` returns (…, nr_scanned, …) as its
            second value.
        user: Who asks, for the account of the lock.
    """

    work: Callable[[], Any]
    nr_pages: int | None
    user: str


class MemoryTraffic(msgspec.Struct, frozen=True, gc=False):
    """Move bytes through the memory controller; the answer comes when they have passed."""

    size_bytes: int
    user: str
