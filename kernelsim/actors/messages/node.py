"""What a node hears: requests for pages, pages given back, work on its lists, memory traffic.

Work on the LRU lists holds the node's lru_lock for as long as the pages it moves cost; `user` is
the name of the task that asks, for the account of the lock.

The structs are msgspec's, as tracepoints are: each step of a burst makes one, and a frozen attrs
object takes several times as long.
Units: pages, bytes, ns.
"""

import msgspec

from kernelsim.actors.messages.block_device import EndIo
from kernelsim.block.disk_place import DiskPlace
from kernelsim.fs.inode import Inode
from kernelsim.fs.page_write import PageWrite
from kernelsim.mm.core.mem import I64, U64
from kernelsim.mm.reclaim.lru_gen_walk import MmWalk
from kernelsim.mm.reclaim.reclaim_batch import ReclaimBatch


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
    """Give pages `pfns[start:nr]` back through the asking CPU's list.

    The answer is how many of the `nr` are back: less than all after a hold of a zone's lock, and
    the asking CPU goes on with the rest.
    """

    cpu: int
    pfns: I64
    nr: int
    user: str
    start: int = 0


class DrainPages(msgspec.Struct, frozen=True, gc=False):
    """Give a CPU's whole list of one zone back; the answer is the number of pages."""

    zone: int
    cpu: int
    user: str


class LruAddDrain(msgspec.Struct, frozen=True, gc=False):
    """Move the pages of a CPU's folio_batch that lie on this node to their lists.

    Those of the first run on it; answered with the pages that have no user left, to be freed.
    """

    cpu: int
    user: str


class LruActivate(msgspec.Struct, frozen=True, gc=False):
    """Move the pages that a CPU has collected to be activated to their lists, as `LruAddDrain`."""

    cpu: int
    user: str


class ReleasePages(msgspec.Struct, frozen=True, eq=False, gc=False):
    """Take pages that nobody uses any more off their lists; answered with those to be freed."""

    pfns: I64
    user: str


class MlockFolios(msgspec.Struct, frozen=True, eq=False, gc=False):
    """Move pages that were locked to the unevictable list, or unlocked ones back from it.

    Attributes:
        pfns: The pages.
        locks: They were locked.
        user: Who asks.
    """

    pfns: I64
    locks: bool
    user: str


class LazyfreeFolios(msgspec.Struct, frozen=True, eq=False, gc=False):
    """Move anonymous pages to the inactive list of files, from where they are dropped unwritten.

    Attributes:
        pfns: The pages.
        user: Who asks.
    """

    pfns: I64
    user: str


class IsolateLru(msgspec.Struct, frozen=True, eq=False, gc=False):
    """Take a batch of pages off a list; answered with (taken, looked at, skipped).

    Attributes:
        lru: LRU_* of the list.
        nr_to_scan: Most pages to look at.
        reclaim_idx: Pages of zone types above it are skipped.
        how: SHRINK_* bits.
        batch: Where the pages go.
        user: Who asks.
    """

    lru: int
    nr_to_scan: int
    reclaim_idx: int
    how: int
    batch: ReclaimBatch
    user: str


class PutbackInactive(msgspec.Struct, frozen=True, eq=False, gc=False):
    """Put back what is left of a batch of an inactive list; answered with the pages to free."""

    lru: int
    how: int
    batch: ReclaimBatch
    user: str


class IsolateMapped(msgspec.Struct, frozen=True, eq=False, gc=False):
    """Take chosen pages off their lists; answered with how many of those taken are of files.

    Attributes:
        mm: Number of the address space that alone maps them.
        vpns: Where.
        pfns: Their frames, of this node, no more than `batch` has room for.
        batch: Where those go that are still there and on a list.
        user: Who asks.
    """

    mm: int
    vpns: I64
    pfns: I64
    batch: ReclaimBatch
    user: str


class PutbackMapped(msgspec.Struct, frozen=True, eq=False, gc=False):
    """Put back what is left of a batch of chosen pages; answered with the pages to free."""

    nr_file: int
    batch: ReclaimBatch
    user: str


class ShrinkActive(msgspec.Struct, frozen=True, eq=False, gc=False):
    """Move a batch of an active list to the inactive one; answered with (moved, pages to free)."""

    lru: int
    batch: ReclaimBatch
    user: str


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


class MigrateFolios(msgspec.Struct, frozen=True, eq=False, gc=False):
    """Move pages of this node to other frames; answered with 1 for each that was moved, else 0.

    Attributes:
        mm: Number of the address space that maps them.
        asid: What tells its translations from others.
        vpns: Where.
        old: Their frames.
        new: Fresh frames, of any node; those that are used are isolated until `PutbackFolios`.
        user: Who asks.
    """

    mm: int
    asid: int
    vpns: I64
    old: I64
    new: I64
    user: str


class PutbackFolios(msgspec.Struct, frozen=True, eq=False, gc=False):
    """Put pages that were moved to this node on its lists; answered with those to be freed."""

    pfns: I64
    user: str


class BeginSwapRead(msgspec.Struct, frozen=True, eq=False, gc=False):
    """Enter fresh pages in the swap cache, locked until their slots have been read.

    Answered with the slots to read, of those asked for: others may have read or freed some
    meanwhile. The first pages of `pfns` are theirs.

    Attributes:
        slots: Slots wanted.
        pfns: A fresh page for each.
        target: The slot a task waits for; the others are readahead.
        user: Who asks.
        reader: The task that it does so for.
        in_fault: For a page fault whose page is used now (`Task.in_lru_fault`).
    """

    slots: I64
    pfns: I64
    target: int
    user: str
    reader: str
    in_fault: bool


class EndSwapRead(EndIo, frozen=True, eq=False, gc=False):
    """A disk has read consecutive slots; told by it.

    Attributes:
        slots: What was read.
        pfns: The pages it was read to.
        target: The slot the reader waits for, or waited for with another request.
        device: Name of the disk.
        place: Its number, and the first sector of the request.
        comm: Name of the task that asked for it.
        began_ns: When it did.
    """

    slots: I64
    pfns: I64
    target: int
    device: str
    place: DiskPlace
    comm: str
    began_ns: int


class EndSwapWrite(EndIo, frozen=True, eq=False, gc=False):
    """A disk has written pages to consecutive slots, or could not; told by it.

    Attributes:
        pfns: The pages.
        tokens: What they held when it took them.
        place: Number of the disk, and the first sector of the request.
    """

    pfns: I64
    tokens: U64
    place: DiskPlace


class EndPageRead(EndIo, frozen=True, eq=False, gc=False):
    """A disk has read pages of a file that follow each other, or could not; told by it.

    Attributes:
        inode: The file.
        index: Its first page.
        pfns: The pages it was read to.
        device: Name of the disk.
        comm: Name of the task that asked for it.
        began_ns: When it did.
    """

    inode: Inode
    index: int
    pfns: I64
    device: str
    comm: str
    began_ns: int


class EndPageWrite(EndIo, frozen=True, eq=False, gc=False):
    """A disk has written one request of a `PageWrite`, or could not; told by it.

    Attributes:
        write: What it is part of.
        first: Number of its first page there.
        nr: Pages of the request.
    """

    write: PageWrite
    first: int
    nr: int


class MemoryTraffic(msgspec.Struct, frozen=True, gc=False):
    """Move bytes through the memory controller; the answer comes when they have passed."""

    size_bytes: int
    user: str
