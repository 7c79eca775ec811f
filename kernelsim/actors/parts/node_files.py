"""What a node does when a disk is done with pages of a file: fill them, or let them be clean.

Linux: fs/mpage.c, fs/ext4/page-io.c, 6.1.
It happens in the disk's interrupt. A page that was read wakes the tasks that wait for it, and takes
no lock. What a device holds changes when it has written, not before; a page that could not be
written stays as it is in memory, clean, and its file remembers the error.
Interface: `NodeFiles`, part of a node's actor, whose methods are handlers of its messages.
Units: pages.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from kernelsim.actors.messages.node import EndPageRead, EndPageWrite
from kernelsim.actors.parts.memory import Memory
from kernelsim.actors.parts.shared_server import Work
from kernelsim.actors.tracing import Named, Speaker, trace
from kernelsim.fs.errseq import errseq_set
from kernelsim.fs.page_write import PageWrite
from kernelsim.mm.core.mem import I64, PG_error, nids_of
from kernelsim.mm.file.address_space import page_key
from kernelsim.mm.file.dirty_pages import end_page_writeback, is_under_writeback, wants_rotation
from kernelsim.mm.file.filemap import end_page_read
from kernelsim.mm.reclaim.throttle_reason import WRITEBACK
from kernelsim.mm.reclaim.vmscan_throttle import wakes_writeback_throttled
from kernelsim.trace.ks import ks_readpages


class NodeFiles:
    """The side of one node that serves reads and writes of files whose first page lies on it.

    Args:
        owner: The node's actor.
        memory: What it works with.
        under_lru_lock: Does work at the node under its lru_lock: the work, and who asks.
        hold_ns: How long the lock is held to move so many pages, for whom.
    """

    def __init__(
        self,
        owner: Named,
        memory: Memory,
        under_lru_lock: Callable[[Work, str], Any],
        hold_ns: Callable[[str, int], int],
    ) -> None:
        self._owner = owner
        self._memory = memory
        self._under_lru_lock = under_lru_lock
        self._hold_ns = hold_ns

    def end_read(self, message: EndPageRead) -> None:
        """Fill the pages and wake the tasks that wait for them.

        A request that failed leaves none of its pages up to date: it was one bio, of one status.
        The kernel log tells nothing of it.

        Source: Linux 6.1 fs/mpage.c:mpage_end_io
        """
        memory, inode, nr = self._memory, message.inode, len(message.pfns)
        inode.reserve_disk(message.index + nr)  # pages of a hole may be behind all that is there
        end_page_read(memory.mem, inode.disk, message.pfns, nr, message.status)
        reads, first = memory.page_reads, page_key(inode.number, message.index)
        queue = reads[first]
        for key in range(first, first + nr):
            del reads[key]
        queue.wake_all()
        latency_ns = self._owner.engine.now_ns - message.began_ns
        point = ks_readpages(message.device, inode.number, message.index, nr, latency_ns)
        trace(Speaker(self._owner.engine, message.comm), point)

    def end_write(self, message: EndPageWrite) -> Any:  # noqa: ANN401 - nobody hears it
        """Enter what the device holds now, and end the writing of pages.

        Source: Linux 6.1 fs/ext4/page-io.c:ext4_end_bio, :ext4_finish_bio, :ext4_end_io_end
        """
        write, pfns = message.write, message.write.pfns
        self._enter(message)
        write.nr_left -= message.nr
        if write.nr_left:
            return None
        work = partial(self._end, write, pfns)
        if wants_rotation(self._memory.mem, pfns, len(pfns)):
            return self._under_lru_lock(work, "interrupt")
        work()
        return None

    def _enter(self, message: EndPageWrite) -> None:
        write, inode = message.write, message.write.inode
        written = np.ones(message.nr, np.bool_)
        written[list(message.failed)] = False
        at = slice(write.index + message.first, write.index + message.first + message.nr)
        inode.reserve_disk(at.stop)
        inode.disk[at][written] = write.tokens[message.first : message.first + message.nr][written]
        if message.status:
            inode.wb_err = errseq_set(inode.wb_err, message.status)
            failed = np.array(message.failed, np.int64)
            self._memory.mem.pages.flags[write.pfns[message.first + failed]] |= np.uint32(PG_error)
            self._memory.observer.lost(inode, at.start + failed)

    def _end(self, write: PageWrite, pfns: I64) -> tuple[None, int]:
        memory, inode = self._memory, write.inode
        queues = [memory.throttle_queue(nid, WRITEBACK) for nid in range(len(memory.lruvec))]
        throttled = np.array([queue.nr_waiting > 0 for queue in queues], np.int64)
        files = memory.spaces.mappings
        memory.observer.written(pfns)
        nr_rotated = end_page_writeback(memory.mem, files, pfns, len(pfns), throttled)
        is_last = not is_under_writeback(files, inode.number)
        memory.written(inode, len(pfns), is_last=is_last)
        for nid in np.unique(nids_of(memory.mem, pfns)).tolist() if throttled.any() else ():
            if wakes_writeback_throttled(memory.mem, memory.lruvec, nid):
                queues[nid].wake_all()
        return None, self._hold_ns("interrupt", nr_rotated)
