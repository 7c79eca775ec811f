"""Pages that are being read from a disk, of swap and of files alike, and the tasks that wait.

Linux: mm/filemap.c:folio_wait_bit_common, 6.1.
Interface: `Kernel.page_reads` holds them by `page_key` (mm/file/address_space.py);
`wait_on_page_read` sleeps until one is over. Swap is the space with number 0, and its keys are its
slots.
Units: page indexes, ns.
"""

from contextlib import nullcontext

from kernelsim.actors.core.current import Current
from kernelsim.actors.tracing import trace
from kernelsim.mm.core.mem import PG_workingset
from kernelsim.trace.ks import ks_sleep


async def wait_on_page_read(current: Current, key: int, pfn: int) -> bool:
    """Sleep until a page is not being read any more; True if it was: `pfn` is what it is read to.

    Source: Linux 6.1 mm/filemap.c:folio_wait_bit_common
    """
    kernel, task = current
    reads = kernel.page_reads
    if key not in reads:
        return False
    # A page that was in use when it was evicted comes back: that is thrashing.
    is_thrashing = bool(kernel.mem.pages.flags[pfn] & PG_workingset)
    began_ns, reader = kernel.engine.now_ns, reads[key].reader
    with task.memstall() if is_thrashing else nullcontext():
        async with task.off_cpu(in_iowait=True):
            while key in reads:
                await reads[key].wait()
    wait_ns = kernel.engine.now_ns - began_ns
    task.waits.io_ns += wait_ns
    if reader != task.name:  # the read itself is in the log
        trace(task, ks_sleep("page read", reader, wait_ns))
    return True
