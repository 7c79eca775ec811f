"""Which dirty files of a device are written next: its three queues, and what a work asks for.

Linux: fs/fs-writeback.c, include/linux/writeback.h, 6.1.
A file that becomes dirty goes to `b_dirty`, the latest in front. A work that finds `b_io` empty
fills it: with what an earlier one left (`b_more_io`), and with files that have been dirty for long
enough. A file of which only a slice was written waits in `b_more_io` for its next turn.
# Differs from Linux: A device holds one file system.
Interface: `DirtyInodes` a device; `WbWork` is what its flusher is asked for, `WritebackControl`
what one file's pages are written by.
Units: pages, jiffies.
"""

from collections import deque
from enum import IntEnum
from typing import Final

import attrs

from kernelsim.fs.inode import Inode
from kernelsim.mm.file.backing_dev import BdiWriteback, WbDomain
from kernelsim.units import PAGE_SHIFT

LONG_MAX: Final = (1 << 63) - 1
MIN_WRITEBACK_PAGES: Final = 4096 >> (PAGE_SHIFT - 10)  # 4 MiB
DIRTY_SCOPE: Final = 8  # a slice is at most an eighth of the limit


class WbReason(IntEnum):
    """Why a device is written to; include/linux/backing-dev-defs.h:enum wb_reason."""

    WB_REASON_BACKGROUND = 0
    WB_REASON_VMSCAN = 1
    WB_REASON_SYNC = 2
    WB_REASON_PERIODIC = 3


@attrs.frozen(kw_only=True)
class WritebackControl:
    """How the pages of one file are written.

    Attributes:
        nr_to_write: Pages after which it may stop.
        is_sync: All pages of the range that are dirty when it begins, also those that are being
            written at that moment (WB_SYNC_ALL); else whatever can be written without waiting.
        is_tagged: Pages that become dirty meanwhile are left out, as with `is_sync`.
        is_cyclic: Go on where the last one stopped, and begin again at the end.
        first: First page of the range, if it is not cyclic.
        last: Its last one.
    """

    nr_to_write: int = LONG_MAX
    is_sync: bool = False
    is_tagged: bool = False
    is_cyclic: bool = False
    first: int = 0
    last: int = LONG_MAX


@attrs.define(eq=False, kw_only=True)
class WbWork:
    """What a flusher is asked to do; struct wb_writeback_work.

    Attributes:
        reason: Who asks.
        nr_pages: Pages still to be written.
        is_sync: Wait for pages that are being written, and write all of them once.
        is_tagged: Write no page that becomes dirty meanwhile.
        for_kupdate: Files that have been dirty for long.
        for_background: Until the background limit is no longer exceeded.
    """

    reason: WbReason
    nr_pages: int = LONG_MAX
    is_sync: bool = False
    is_tagged: bool = False
    for_kupdate: bool = False
    for_background: bool = False

    def control(self, nr_to_write: int) -> WritebackControl:
        """Return by what the next file is written.

        Source: Linux 6.1 fs/fs-writeback.c:writeback_sb_inodes
        """
        return WritebackControl(
            nr_to_write=nr_to_write,
            is_sync=self.is_sync,
            is_tagged=self.is_tagged,
            is_cyclic=not self.is_sync,
        )

    def chunk_size(self, wb: BdiWriteback, dom: WbDomain) -> int:
        """Return how many pages of a file are written in one turn: about half a second's worth.

        Source: Linux 6.1 fs/fs-writeback.c:writeback_chunk_size
        """
        if self.is_sync or self.is_tagged:
            return LONG_MAX
        pages = min(wb.avg_write_bandwidth // 2, dom.dirty_limit // DIRTY_SCOPE, self.nr_pages)
        return (pages + MIN_WRITEBACK_PAGES) // MIN_WRITEBACK_PAGES * MIN_WRITEBACK_PAGES


@attrs.define(eq=False)
class DirtyInodes:
    """The dirty files of a device. The left end of a queue is its young end.

    Attributes:
        b_dirty: Dirty, in the order in which they became so.
        b_io: To be written by the present work.
        b_more_io: Written in part, to be gone on with.
    """

    b_dirty: deque[Inode] = attrs.field(factory=deque)
    b_io: deque[Inode] = attrs.field(factory=deque)
    b_more_io: deque[Inode] = attrs.field(factory=deque)

    @property
    def has_dirty_io(self) -> bool:
        """Whether any file is dirty."""
        return bool(self.b_dirty or self.b_io or self.b_more_io)

    def mark_inode_dirty(self, inode: Inode, now: int) -> bool:
        """Note that a file is dirty; tell whether it is the first of its device.

        Source: Linux 6.1 fs/fs-writeback.c:__mark_inode_dirty
        """
        if inode.is_dirty:
            return False
        inode.is_dirty = True
        if inode.io_list is not None and inode.io_list is not self.b_dirty:
            return False  # its writer puts it in its place when it is done (I_SYNC_QUEUED)
        inode.dirtied_when = now
        was_clean = not self.has_dirty_io
        self._move(inode, self.b_dirty)
        return was_clean

    def queue_io(self, dirtied_before: int) -> int:
        """Fill the queue of the present work; return how many files were old enough.

        Source: Linux 6.1 fs/fs-writeback.c:queue_io, :move_expired_inodes
        """
        while self.b_more_io:
            self._move(self.b_more_io[-1], self.b_io)
        moved = 0
        while self.b_dirty and self.b_dirty[-1].dirtied_when <= dirtied_before:
            self._move(self.b_dirty[-1], self.b_io)
            moved += 1
        return moved

    def redirty_tail(self, inode: Inode, now: int) -> None:
        """Put a file among the dirty ones; one that is older than the youngest becomes young.

        Source: Linux 6.1 fs/fs-writeback.c:redirty_tail_locked
        """
        if self.b_dirty and inode.dirtied_when < self.b_dirty[0].dirtied_when:
            inode.dirtied_when = now
        self._move(inode, self.b_dirty)

    def requeue_io(self, inode: Inode) -> None:
        """Let a file wait for its next turn.

        Source: Linux 6.1 fs/fs-writeback.c:requeue_io
        """
        self._move(inode, self.b_more_io)

    def requeue_inode(
        self, inode: Inode, wbc: WritebackControl, left: int, now: int, *, has_dirty_pages: bool
    ) -> None:
        """Find a file its place after a turn of which `left` pages were not used.

        Source: Linux 6.1 fs/fs-writeback.c:requeue_inode
        """
        if inode.is_dirty and (wbc.is_sync or wbc.is_tagged):
            inode.dirtied_when = now
        if has_dirty_pages and left <= 0:
            self.requeue_io(inode)
        elif has_dirty_pages or inode.is_dirty:
            self.redirty_tail(inode, now)
        else:
            self.remove(inode)

    def remove(self, inode: Inode) -> None:
        """Take a clean or vanishing file out of the queues."""
        self._move(inode, None)

    def _move(self, inode: Inode, queue: deque[Inode] | None) -> None:
        if inode.io_list is not None:
            inode.io_list.remove(inode)
        inode.io_list = queue
        if queue is not None:
            queue.appendleft(inode)
