"""What a node does when a disk has read pages of a file: fill them, and wake the tasks that wait.

Linux: fs/mpage.c, 6.1. It happens in the disk's interrupt, and takes no lock.
Interface: `NodeFiles`, part of a node's actor, whose method is the handler of its message.
Units: pages.
"""

from kernelsim.actors.messages.node import EndPageRead
from kernelsim.actors.parts.memory import Memory
from kernelsim.actors.tracing import Named, Speaker, trace
from kernelsim.mm.file.address_space import page_key
from kernelsim.mm.file.filemap import end_page_read
from kernelsim.trace.ks import ks_readpages


class NodeFiles:
    """The side of one node that serves reads of files.

    Args:
        owner: The node's actor.
        memory: What it works with.
    """

    def __init__(self, owner: Named, memory: Memory) -> None:
        self._owner = owner
        self._memory = memory

    def end_read(self, message: EndPageRead) -> None:
        """Fill the pages and wake the tasks that wait for them.

        A request that failed leaves none of its pages up to date: it was one bio, of one status.
        The kernel log tells nothing of it.

        Source: Linux 6.1 fs/mpage.c:mpage_end_io
        """
        memory, inode, nr = self._memory, message.inode, len(message.pfns)
        end_page_read(memory.mem, inode.disk, message.pfns, nr, message.status)
        reads, first = memory.page_reads, page_key(inode.number, message.index)
        queue = reads[first]
        for key in range(first, first + nr):
            del reads[key]
        queue.wake_all()
        latency_ns = self._owner.engine.now_ns - message.began_ns
        point = ks_readpages(message.device, inode.number, message.index, nr, latency_ns)
        trace(Speaker(self._owner.engine, message.comm), point)
