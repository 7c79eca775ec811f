"""What a process has done and has: the numbers that a workload reads of it.

A value, taken from the kernel's own accounts at one moment.
Units: pages, ns.
"""

from typing import Final

import attrs

from kernelsim.actors.core.kernel import Kernel
from kernelsim.actors.core.process_table import ProcessEntry
from kernelsim.errors import ProcessEndedError
from kernelsim.mm.space.pgtable import _PAGE_PRESENT, MM_SWAPENTS, pte_at, pte_pfn
from kernelsim.units import PAGE_SHIFT

PID_SHIFT: Final = 32  # of what a store leaves in a page; calls/caller.py:Caller.token


@attrs.frozen
class ProcessStatistics:
    """What a process has done and has.

    Attributes:
        pgfault: Faults, major ones included.
        pgmajfault: Faults that waited for I/O.
        rss_pages: Resident pages.
        swap_pages: Pages on swap.
        utime_ns: CPU time of the program.
        stime_ns: CPU time of the kernel for it.
        run_delay_ns: Time in run queues.
        lock_ns: Time getting pages from nodes.
        reclaim_ns: Time in direct reclaim and node reclaim.
        io_ns: Time waiting for its own reads.
    """

    pgfault: int
    pgmajfault: int
    rss_pages: int
    swap_pages: int
    utime_ns: int
    stime_ns: int
    run_delay_ns: int
    lock_ns: int
    reclaim_ns: int
    io_ns: int


def process_statistics(kernel: Kernel, process: ProcessEntry) -> ProcessStatistics:
    """Return what a process has done and has; pages are 0 before its start and after its end."""
    kernel.bursts.enter_tasks()
    task, waits = process.task, process.task.waits
    rss = [0, 0, 0, 0]
    if process.pid in kernel.processes:  # neither before its start nor after its end
        rss = [int(pages) for pages in kernel.mms.mms.rss[process.mm.number]]
    return ProcessStatistics(
        pgfault=process.minflt + process.majflt,
        pgmajfault=process.majflt,
        rss_pages=sum(rss) - rss[MM_SWAPENTS],
        swap_pages=rss[MM_SWAPENTS],
        utime_ns=task.utime_ns,
        stime_ns=task.stime_ns,
        run_delay_ns=task.run_delay_ns,
        lock_ns=waits.lock_ns,
        reclaim_ns=waits.reclaim_ns,
        io_ns=waits.io_ns,
    )


def writer_of(kernel: Kernel, process: ProcessEntry, address: int) -> int:
    """Return the pid of who has stored last to a page; 0 for nobody, or a page that is not there.

    Raises:
        ProcessEndedError: The process has no memory any more.
    """
    if process.has_ended():
        raise ProcessEndedError(process.comm, process.pid, process.exit_status or 0)
    pte = pte_at(*kernel.space, process.mm.number, address >> PAGE_SHIFT)
    if not pte & _PAGE_PRESENT:
        return 0
    return int(kernel.mem.pages.token[pte_pfn(pte)]) >> PID_SHIFT
