"""What a node does when a disk has read pages: fill them, and wake the tasks that wait.

It happens in the disk's interrupt, and takes no lock.
Interface: a `ReadEnds` a node, whose methods are handlers of its messages.
"""

from kernelsim.actors.messages.node import EndPageRead, EndSwapRead
from kernelsim.actors.parts.memory import Memory
from kernelsim.actors.tracing import Named, Speaker, trace
from kernelsim.mm.file.address_space import page_key
from kernelsim.mm.file.filemap import end_page_read
from kernelsim.mm.swap.page_io import end_swap_read
from kernelsim.trace.ks import ks_readpages, ks_swapin


class ReadEnds:
    """The ends of reads to a node.

    Args:
        owner: The node.
        memory: What it works with.
    """

    def __init__(self, owner: Named, memory: Memory) -> None:
        self._owner = owner
        self._memory = memory

    def on_end_swap_read(self, message: EndSwapRead) -> None:
        """Fill the pages and wake the tasks that wait for them; no lock is taken.

        Source: Linux 6.1 mm/page_io.c:end_swap_bio_read
        """
        memory, slots = self._memory, message.slots.tolist()
        end_swap_read(memory.mem, memory.swap, message.pfns, len(slots))
        queue = memory.page_reads[slots[0]]
        for slot in slots:
            del memory.page_reads[slot]
        queue.wake_all()
        ahead = len(slots) - (message.target in slots)
        latency_ns = self._owner.engine.now_ns - message.began_ns
        point = ks_swapin(message.device, message.target, len(slots), ahead, latency_ns)
        trace(Speaker(self._owner.engine, message.comm), point)

    def on_end_page_read(self, message: EndPageRead) -> None:
        """Fill pages of a file and wake the tasks that wait for them; no lock is taken.

        Source: Linux 6.1 fs/mpage.c:mpage_end_io
        """
        inode, nr = message.inode, len(message.pfns)
        end_page_read(self._memory.mem, inode.disk, message.pfns, nr, message.error)
        if message.error:
            inode.nr_read_errors += nr
        reads, first = self._memory.page_reads, page_key(inode.number, message.index)
        queue = reads[first]
        for key in range(first, first + nr):
            del reads[key]
        queue.wake_all()
        latency_ns = self._owner.engine.now_ns - message.began_ns
        point = ks_readpages(message.device, inode.number, message.index, nr, latency_ns)
        trace(Speaker(self._owner.engine, message.comm), point)
