"""The flusher of one disk: writes dirty files in the background, since nobody has to wait for it.

Linux: fs/fs-writeback.c: wb_workfn, wb_do_writeback, wb_writeback, writeback_sb_inodes, 6.1. A
work item of a workqueue there, a thread with its disk's name here.
It runs when it is asked to; when a writer found too much dirty; and dirty_writeback_centisecs
after the first file became dirty. Then it writes what it was asked for, what has been dirty for
dirty_expire_centisecs, and until no more is dirty than the background limit allows.
Owns: the disk's queues of dirty files while it runs, as under wb->list_lock.
Interface: `BackingDev` says what for and wakes it; it hears no messages.
Units: pages, jiffies.
"""

from contextlib import nullcontext

from kernelsim.actors.core.backing_dev import BackingDev
from kernelsim.actors.core.current import Current
from kernelsim.actors.core.kernel import Kernel
from kernelsim.actors.core.task import Task
from kernelsim.actors.core.writeback_wait import inode_sleep_on_writeback
from kernelsim.actors.file.write_inode import writeback_single_inode
from kernelsim.actors.tracing import trace
from kernelsim.fs.fs_writeback import WbReason, WbWork
from kernelsim.mm.file.dirty_pages import has_dirty_pages
from kernelsim.sim.actor import Actor
from kernelsim.trace.writeback import writeback_start, writeback_written
from kernelsim.units import CENTISECONDS_PER_S, HZ


class Flusher(Actor):
    """The actor that writes the files of one disk.

    Args:
        kernel: The machine.
        bdi: The disk's files.
        task: Its thread.
    """

    def __init__(self, kernel: Kernel, bdi: BackingDev, task: Task) -> None:
        super().__init__(task.name)
        self._kernel = kernel
        self._bdi = bdi
        self._task = task
        self._current = Current(kernel, task)

    async def run(self) -> None:
        """Sleep until there is something to do, do it, sleep again.

        Source: Linux 6.1 fs/fs-writeback.c:wb_workfn
        """
        bdi = self._bdi
        while True:
            await self._sleep()
            await self._task.get_cpu(wakeup=True)
            bdi.is_running = True
            await self._do_writeback()
            while bdi.works:
                await self._do_writeback()
            bdi.is_running = False
            if bdi.dirty.has_dirty_io and self._kernel.sysctl.vm_dirty_writeback_centisecs:
                bdi.wakeup_delayed()
            await self._task.put_cpu()

    async def _sleep(self) -> None:
        bdi = self._bdi
        while bdi.wake_ns is None or bdi.wake_ns > self.engine.now_ns:
            left = None if bdi.wake_ns is None else bdi.wake_ns - self.engine.now_ns
            with nullcontext() if left is None else self.engine.move_on_after(left):
                await bdi.sleep.wait()
        bdi.wake_ns = None

    async def _do_writeback(self) -> None:
        """Do what was asked for, then what is old, then what is too much.

        Source: Linux 6.1 fs/fs-writeback.c:wb_do_writeback
        """
        bdi, state = self._bdi, self._bdi.state
        while bdi.works:
            queued = bdi.works.popleft()
            await self._writeback(queued.work)
            queued.is_done = True
            queued.done.wake_all()
        if bdi.start_all is not None:
            if state.nr_dirty:
                await self._writeback(WbWork(reason=bdi.start_all, nr_pages=self._nr_dirty_pages()))
            bdi.start_all = None
        await self._check_old_data_flush()
        if state.over_bg_thresh(bdi.wb, bdi.now):
            work = WbWork(reason=WbReason.WB_REASON_BACKGROUND, for_background=True)
            await self._writeback(work)

    async def _check_old_data_flush(self) -> None:
        # Source: Linux 6.1 fs/fs-writeback.c:wb_check_old_data_flush
        bdi, interval = self._bdi, self._kernel.sysctl.vm_dirty_writeback_centisecs
        if not interval or bdi.now < bdi.last_old_flush + interval * HZ // CENTISECONDS_PER_S:
            return
        bdi.last_old_flush = bdi.now
        nr_pages = self._nr_dirty_pages()
        if nr_pages:
            work = WbWork(reason=WbReason.WB_REASON_PERIODIC, nr_pages=nr_pages, for_kupdate=True)
            await self._writeback(work)

    def _nr_dirty_pages(self) -> int:
        """Return how much there may be to do, inodes included.

        Source: Linux 6.1 fs/fs-writeback.c:get_nr_dirty_pages
        """
        nr_inodes = sum(inode.is_dirty for inode in self._kernel.files.inodes.values())
        return self._bdi.state.nr_dirty + nr_inodes

    async def _writeback(self, work: WbWork) -> None:
        """Do one work, round by round.

        Source: Linux 6.1 fs/fs-writeback.c:wb_writeback
        """
        bdi, dirty = self._bdi, self._bdi.dirty
        began, queued = bdi.now, False
        while work.nr_pages > 0:
            if (work.for_background or work.for_kupdate) and bdi.works:
                return
            if work.for_background and not bdi.state.over_bg_thresh(bdi.wb, bdi.now):
                return
            trace(self._task, writeback_start(*self._fields(work)))
            if not dirty.b_io:
                dirty.queue_io(self._dirtied_before(work, began))
                queued = True
            progress = await self._write_inodes(work)
            trace(self._task, writeback_written(*self._fields(work)))
            if progress or not queued:
                continue
            if not dirty.b_more_io:
                return
            await inode_sleep_on_writeback(self._current, dirty.b_more_io[-1])

    def _dirtied_before(self, work: WbWork, began: int) -> int:
        # What somebody waits for leaves out files that become dirty meanwhile, or it might not end;
        # the others give way to it.
        if work.for_kupdate:
            expire = self._kernel.sysctl.vm_dirty_expire_centisecs
            return self._bdi.now - expire * HZ // CENTISECONDS_PER_S
        return self._bdi.now if work.for_background else began

    async def _write_inodes(self, work: WbWork) -> int:
        """Write files of the present queue for a tenth of a second; return how much was done.

        Source: Linux 6.1 fs/fs-writeback.c:writeback_sb_inodes
        """
        bdi, dirty = self._bdi, self._bdi.dirty
        began, wrote = bdi.now, 0
        while dirty.b_io:
            inode = dirty.b_io[-1]
            if inode.is_syncing and not work.is_sync:
                dirty.requeue_io(inode)
                continue
            if inode.is_syncing:
                await inode_sleep_on_writeback(self._current, inode)
                continue
            chunk = work.chunk_size(bdi.wb, bdi.state.dom)
            wbc = work.control(chunk)
            left = await writeback_single_inode(self._current, inode, wbc)
            work.nr_pages -= chunk - left
            wrote += chunk - left + (not inode.is_dirty)
            await self._task.cond_resched()
            has_dirty = has_dirty_pages(self._kernel.spaces.mappings, inode.number)
            if inode.io_list is not None:
                dirty.requeue_inode(inode, wbc, left, bdi.now, has_dirty_pages=has_dirty)
            if wrote and (bdi.now > began + HZ // 10 or work.nr_pages <= 0):
                break
        return wrote

    def _fields(self, work: WbWork) -> tuple[str, int, int, int, int, int, int, int]:
        cyclic = not work.is_sync
        return (
            self._bdi.wb.name, work.nr_pages, 0, int(work.is_sync), int(work.for_kupdate),
            int(cyclic), int(work.for_background), int(work.reason),
        )  # fmt: skip
