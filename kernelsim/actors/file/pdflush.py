"""pdflush: two to eight threads that write dirty files of all disks, in kernels before 2.6.32.

Linux: mm/pdflush.c, mm/page-writeback.c: background_writeout, wb_kupdate; fs/fs-writeback.c:
writeback_inodes, generic_sync_sb_inodes, 2.6.31.
A thread sleeps until it is given a job, does it, and sleeps again. When no thread was idle for a
second another is born; when one has been idle for a second one goes. One thread writes a disk at a
time; a disk whose queue is nearly full is left until it has done some.
Owns: nothing of its own; the queues of dirty files are the disks'.
Interface: `PdflushPool.operation` gives jobs; it hears no messages.
Units: pages, jiffies.
"""

from kernelsim.actors.alloc.task_struct import release_tasks, take_task_struct
from kernelsim.actors.core.backing_dev import BackingDev
from kernelsim.actors.core.current import Current
from kernelsim.actors.core.kernel import Kernel
from kernelsim.actors.core.pdflush_pool import Job, PdflushPool
from kernelsim.actors.core.task import Task
from kernelsim.actors.file.write_inode import writeback_single_inode
from kernelsim.actors.tracing import trace
from kernelsim.fs.fs_writeback import LONG_MAX, WritebackControl
from kernelsim.mm.file.classic_writeback import (
    MAX_WRITEBACK_PAGES,
    over_background,
)
from kernelsim.mm.file.dirty_pages import has_dirty_pages
from kernelsim.sim.actor import Actor
from kernelsim.trace.ks import ks_pdflush_start, ks_pdflush_stop
from kernelsim.units import CENTISECONDS_PER_S, HZ, NS_PER_JIFFY

CONGESTION_NS = HZ // 10 * NS_PER_JIFFY


class Pdflush(Actor):
    """The actor of one thread.

    Args:
        kernel: The machine.
        pool: The pool it belongs to.
        task: Its thread of control.
        is_of_boot: It runs since boot, and has its stack in what the kernel held then.
    """

    def __init__(self, kernel: Kernel, pool: PdflushPool, task: Task, *, is_of_boot: bool) -> None:
        super().__init__(task.name)
        self._is_of_boot = is_of_boot
        self._kernel = kernel
        self._pool = pool
        self._task = task
        self._current = Current(kernel, task)

    async def run(self) -> None:
        """Do jobs until there are too many threads.

        Source: Linux 2.6.31 mm/pdflush.c:__pdflush
        """
        pool, threads = self._pool, self._pool.threads
        own = self.engine.wait_queue(f"idle {self.name}", is_for_work=True)
        if not self._is_of_boot:
            await self._task.get_cpu()
            await take_task_struct(self._current)
            await self._task.put_cpu()
        trace(self, ks_pdflush_start(threads.nr))
        while True:
            pool.idle.appendleft(own)
            threads.sleeps(pool.now)
            await own.wait()
            job, min_pages = pool.jobs.popleft()
            await self._task.get_cpu(wakeup=True)
            await (self._kupdate() if job is Job.WB_KUPDATE else self._background(min_pages))
            await self._task.put_cpu()
            if threads.wants_another(pool.now):
                pool.start()
            pool.job_done()
            if threads.may_go(pool.now):
                break
        threads.nr -= 1
        trace(self, ks_pdflush_stop(threads.nr))
        await release_tasks(self._current, (self._task,))

    async def _background(self, min_pages: int) -> None:
        """Write until no more is dirty than the background limit, and `min_pages` at least.

        Source: Linux 2.6.31 mm/page-writeback.c:background_writeout
        """
        goes_on = True
        while goes_on and (over_background(self._pool.state) or min_pages > 0):
            wrote, goes_on = await self._write_inodes(LONG_MAX)
            min_pages -= wrote

    async def _kupdate(self) -> None:
        """Write what has been dirty for long.

        Source: Linux 2.6.31 mm/page-writeback.c:wb_kupdate
        """
        expire = self._kernel.sysctl.vm_dirty_expire_centisecs * HZ // CENTISECONDS_PER_S
        older_than, left = self._pool.now - expire, self._pool.state.nr_dirty
        goes_on = True
        while goes_on and left > 0:
            wrote, goes_on = await self._write_inodes(older_than)
            left -= wrote

    async def _write_inodes(self, older_than: int) -> tuple[int, bool]:
        """Write 1024 pages of old files; return how many were, and whether there may be more.

        When a disk was too busy to take them all, wait until it has done some.

        Source: Linux 2.6.31 fs/fs-writeback.c:writeback_inodes
        """
        left, is_congested = MAX_WRITEBACK_PAGES, False
        for bdi in self._kernel.backing_devs.values():
            if left > 0 and not bdi.is_running:  # writeback_acquire: one thread a disk
                bdi.is_running = True
                left, is_busy = await write_device(self._current, bdi, older_than, left)
                bdi.is_running = False
                is_congested |= is_busy
        if left > 0 and is_congested:
            await congestion_wait(self._current)
        return MAX_WRITEBACK_PAGES - left, left <= 0 or is_congested


async def write_device(
    current: Current, bdi: BackingDev, older_than: int, left: int, *, blocks: bool = False
) -> tuple[int, bool]:
    """Write dirty files of a disk; return the pages left of those asked for, and if it is busy.

    Args:
        current: Who writes.
        bdi: The disk.
        older_than: Files that became dirty later are left, jiffies.
        left: Pages to be written.
        blocks: Also when the disk has much to do: the writer then sleeps until there is room.

    Source: Linux 2.6.31 fs/fs-writeback.c:generic_sync_sb_inodes
    """
    dirty = bdi.dirty
    if not dirty.b_io:
        dirty.queue_io(min(older_than, bdi.now))
    while dirty.b_io and left > 0:
        if bdi.device.is_congested and not blocks:
            return left, True
        inode = dirty.b_io[-1]
        if inode.is_syncing:
            dirty.requeue_io(inode)
            continue
        wbc = WritebackControl(nr_to_write=left, is_cyclic=True)
        left = await writeback_single_inode(current, inode, wbc)
        has_dirty = has_dirty_pages(current.kernel.spaces.mappings, inode.number)
        if inode.io_list is not None:
            dirty.requeue_inode(inode, wbc, left, bdi.now, has_dirty_pages=has_dirty)
    return left, bool(dirty.b_more_io)


async def congestion_wait(current: Current) -> None:
    """Sleep until a disk has done some of its writes, a tenth of a second at most.

    Source: Linux 2.6.31 mm/backing-dev.c:congestion_wait
    """
    kernel, task = current
    devices = [bdi.device for bdi in kernel.backing_devs.values()]
    busy = next((device for device in devices if device.is_congested), devices[0])
    began_ns = kernel.engine.now_ns
    async with task.off_cpu(in_iowait=True):
        with kernel.engine.move_on_after(CONGESTION_NS):
            await busy.uncongested.wait()
    task.waits.io_ns += kernel.engine.now_ns - began_ns
