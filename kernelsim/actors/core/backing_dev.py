"""The writing side of the files of one disk: what is dirty, what its flusher is asked for.

Linux: struct backing_dev_info, fs/fs-writeback.c: wb_queue_work, wb_wakeup, wb_wakeup_delayed,
wb_start_writeback; mm/page-writeback.c; 6.1.
No actor: shared by those who dirty pages, those who want them written, and the flusher, as under
wb->list_lock and wb->work_lock, which nobody holds across a wait.
Interface: a `BackingDev` a disk that has files.
Units: pages, ns; jiffies where it says so.
"""

from collections import deque

import attrs

from kernelsim.actors.core.pdflush_pool import CENTISECOND_NS, Job, PdflushPool
from kernelsim.actors.parts.block_device import BlockDevice
from kernelsim.fs.fs_writeback import DirtyInodes, WbReason, WbWork
from kernelsim.fs.inode import Inode
from kernelsim.mm.file.backing_dev import BdiWriteback
from kernelsim.mm.file.dirty_rate import BANDWIDTH_INTERVAL
from kernelsim.mm.file.page_writeback import Writeback
from kernelsim.sim.engine import Engine
from kernelsim.sim.locks import WaitQueue
from kernelsim.units import NS_PER_JIFFY


@attrs.define(eq=False)
class QueuedWork:
    """A work in a flusher's queue, and who waits for it.

    Attributes:
        work: What to do.
        done: Where it waits.
        is_done: It has been done.
    """

    work: WbWork
    done: WaitQueue
    is_done: bool = False


@attrs.define(eq=False)
class BackingDev:
    """The files of a disk, as their writers and its flusher see them.

    Attributes:
        engine: Of the run.
        state: Limits of the machine.
        device: The disk.
        wb: Its dirty pages and rates.
        dirty: Its dirty files.
        sleep: Where its flusher sleeps.
        works: What the flusher is asked for, oldest first.
        start_all: Why it is to write all there is; None if it is not.
        wake_ns: When the flusher has to run next; None while nothing asks for it.
        is_running: The flusher works.
        last_old_flush: When it last looked for old files, jiffies.
        pool: The threads that do what a flusher does elsewhere, in the classic era.
        under_writeback: Where tasks wait for pages on their way, by file.
    """

    engine: Engine
    state: Writeback
    device: BlockDevice
    wb: BdiWriteback
    sleep: WaitQueue
    dirty: DirtyInodes = attrs.field(factory=DirtyInodes)
    works: deque[QueuedWork] = attrs.field(factory=deque)
    start_all: WbReason | None = None
    wake_ns: int | None = None
    is_running: bool = False
    last_old_flush: int = 0
    under_writeback: dict[int, WaitQueue] = attrs.field(factory=dict)
    pool: PdflushPool | None = None

    @property
    def now(self) -> int:
        """The time in jiffies."""
        return self.engine.now_ns // NS_PER_JIFFY

    @property
    def _interval_ns(self) -> int:
        sysctl = self.state.phys.tunables.now
        return sysctl.vm_dirty_writeback_centisecs * CENTISECOND_NS

    def dirtied(self, inode: Inode, nr_pages: int) -> None:
        """Note that pages of a file became dirty; the flusher comes when the time is over.

        Source: Linux 6.1 mm/page-writeback.c:folio_account_dirtied,
        fs/fs-writeback.c:__mark_inode_dirty
        """
        self.wb.nr_reclaimable += nr_pages
        self.wb.nr_dirtied += nr_pages
        self.mark_inode_dirty(inode)

    def mark_inode_dirty(self, inode: Inode) -> None:
        """Note that a file has something to be written."""
        is_first = self.dirty.mark_inode_dirty(inode, self.now)
        # pdflush's timer rests when all that was dirty is on its way, and the files still queued.
        if is_first or self.pool is not None:
            self.wakeup_delayed()

    def submits(self, nr_pages: int, *, is_first: bool) -> None:
        """Note that dirty pages of a file are on their way; the first ones of it.

        Source: Linux 6.1 mm/page-writeback.c:__folio_start_writeback, :wb_inode_writeback_start
        """
        self.wb.nr_reclaimable -= nr_pages
        self.wb.nr_writeback += nr_pages
        self.wb.nr_writeback_inodes += is_first

    def cleaned(self, nr_pages: int) -> None:
        """Note that dirty pages went without having been written.

        Source: Linux 6.1 mm/page-writeback.c:folio_account_cleaned
        """
        self.wb.nr_reclaimable -= nr_pages

    def written(self, inode: Inode, nr_pages: int, *, is_last: bool) -> None:
        """Note that pages of a file have been written, and wake those who wait for them.

        Args:
            inode: The file.
            nr_pages: How many.
            is_last: None of the file is on its way any more.

        Source: Linux 6.1 mm/page-writeback.c:__folio_end_writeback, :wb_inode_writeback_end
        """
        self.wb.nr_writeback -= nr_pages
        self.wb.writeout_add(self.state.dom, nr_pages, self.now)
        queue = self.under_writeback.get(inode.number)
        if queue is not None:
            queue.wake_all()
        if is_last:
            self.wb.nr_writeback_inodes -= 1
            due_ns = self.engine.now_ns + BANDWIDTH_INTERVAL * NS_PER_JIFFY
            self.engine.clock.schedule(due_ns, self._update_bandwidth, None)

    def _update_bandwidth(self, _argument: None) -> None:
        # Source: Linux 6.1 mm/backing-dev.c:wb_update_bandwidth_workfn
        self.state.update_bandwidth_if_due(self.wb, self.now)

    def queue_of(self, inode: Inode) -> WaitQueue:
        """Return where to wait for pages of a file to be written."""
        queue = self.under_writeback.get(inode.number)
        if queue is None:
            queue = self.engine.wait_queue(f"writeback of file {inode.number}")
            self.under_writeback[inode.number] = queue
        return queue

    def wakeup(self) -> None:
        """Let the flusher run now.

        Source: Linux 6.1 fs/fs-writeback.c:wb_wakeup
        """
        if self.pool is not None:
            self.pool.operation(Job.BACKGROUND_WRITEOUT)
            return
        self.wake_ns = self.engine.now_ns
        self.sleep.wake()

    def wakeup_delayed(self) -> None:
        """Let it run after dirty_writeback_centisecs, if nothing makes it run before.

        Source: Linux 6.1 mm/backing-dev.c:wb_wakeup_delayed
        """
        if self.pool is not None:
            self.pool.arm()
        elif self.wake_ns is None:
            self.wake_ns = self.engine.now_ns + self._interval_ns
            self.sleep.wake()

    def start_writeback(self, reason: WbReason) -> None:
        """Have everything written that is dirty, unless that is under way already.

        Source: Linux 6.1 fs/fs-writeback.c:wb_start_writeback
        """
        if self.dirty.has_dirty_io and self.start_all is None:
            self.start_all = reason
            self.wakeup()

    def queue_work(self, work: WbWork) -> QueuedWork:
        """Ask the flusher for a work.

        Source: Linux 6.1 fs/fs-writeback.c:wb_queue_work
        """
        queued = QueuedWork(work, self.engine.wait_queue(f"work of {self.device.name}'s flusher"))
        self.works.append(queued)
        self.wakeup()
        return queued
