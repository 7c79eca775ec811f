"""A file on a device: its size, its extents, and what the device holds of each of its pages.

Linux: struct inode (include/linux/fs.h), extents as in fs/ext4/extents.c, 6.1.
Differs: The metadata of a file system takes no blocks and no memory; no access times are kept.

Interface: `Inode`, made by a `Filesystem`. `disk` says what a read from the device gives: it
changes only when a write completes.
Units: bytes, pages of the file, pages of the device.
"""

from bisect import bisect_right
from collections import deque
from typing import Final

import attrs
import numpy as np

from kernelsim.mm.core.mem import U64

HOLE: Final = -1  # device page of a page of the file that has no place there
TOKEN_SHIFT: Final = 36  # of the number of a file in the tokens it was made with


@attrs.frozen
class Extent:
    """Pages of a file that lie one after the other on the device."""

    index: int  # first page of the file
    nr_pages: int
    device_page: int  # where that lies

    @property
    def end(self) -> int:
        """Return the first page of the file behind it."""
        return self.index + self.nr_pages


@attrs.define(eq=False)
class Inode:
    """One file.

    Attributes:
        number: Of the file on its machine, and of its address space; from 1.
        path: Its name; "" once it is unlinked.
        device: Name of the disk it lies on.
        size: Bytes.
        extents: Rising, without overlap.
        disk: What the device holds of each page, as tokens; 0 for a page never written.
        wb_err: Errors of writing back, for those that ask later (fs/errseq.py); 0 for none yet.
        nr_open: Open files that use it; mappings of it are found through its page cache.
        is_locked: A task writes to it or cuts it off (i_rwsem).
        is_dirty: Its pages, or its size, have to be written (I_DIRTY).
        is_syncing: A task writes its pages at this moment (I_SYNC).
        dirtied_when: When it became dirty, in jiffies.
        io_list: Queue of its device it is in, see fs/fs_writeback.py; None for none.
        writeback_index: Page at which the last turn of writing stopped.
        is_shmem: It lies in memory, on no device; its pages are all there is of it.
        is_charged: Its size was charged when it was made; else each page is (VM_NORESERVE).
        alloced: Pages that were made of it in memory, as far as it is known that they went.
    """

    number: int
    path: str
    device: str
    size: int = 0
    extents: list[Extent] = attrs.field(factory=list)
    disk: U64 = attrs.field(factory=lambda: np.zeros(0, np.uint64))
    wb_err: int = 0
    nr_open: int = 0
    is_locked: bool = False
    is_dirty: bool = False
    is_syncing: bool = False
    dirtied_when: int = 0
    io_list: "deque[Inode] | None" = None
    writeback_index: int = 0
    is_shmem: bool = False
    is_charged: bool = False
    alloced: int = 0

    @property
    def nr_pages(self) -> int:
        """Return the pages its size covers."""
        return -(-self.size >> 12)

    def map_blocks(self, index: int, nr_pages: int) -> tuple[int, int]:
        """Return where a page lies, HOLE for nowhere, and how many of `nr_pages` follow alike.

        Source: Linux 6.1 fs/ext4/inode.c:ext4_map_blocks
        """
        place = bisect_right(self.extents, index, key=lambda extent: extent.index) - 1
        if place >= 0 and index < self.extents[place].end:
            extent = self.extents[place]
            inside = index - extent.index
            return extent.device_page + inside, min(nr_pages, extent.nr_pages - inside)
        after = self.extents[place + 1].index if place + 1 < len(self.extents) else index + nr_pages
        return HOLE, min(nr_pages, after - index)

    def reserve_disk(self, nr_pages: int) -> None:
        """Make room for what the device holds of the first `nr_pages` pages."""
        if nr_pages > len(self.disk):
            grown = np.zeros(max(nr_pages, 2 * len(self.disk)), np.uint64)
            grown[: len(self.disk)] = self.disk
            self.disk = grown


def first_tokens(number: int, nr_pages: int) -> U64:
    """Return what the pages of a file hold that was there before the machine booted.

    No two of them hold the same, nor what a program stores (those tokens begin with a pid).
    """
    start = np.uint64(1 << 62 | number << TOKEN_SHIFT)
    tokens: U64 = np.arange(nr_pages, dtype=np.uint64) + start
    return tokens
