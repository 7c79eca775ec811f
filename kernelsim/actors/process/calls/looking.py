"""What a program that reports about the machine does: refresh counters, read files, print lines.

Linux: mm/vmstat.c: vmstat_refresh; fs/seq_file.c, drivers/tty/n_tty.c, 6.1.
Units: bytes.
"""

import attrs

from kernelsim.actors.core.workqueue import schedule_on_each_cpu
from kernelsim.actors.process.calls.call import Call
from kernelsim.actors.process.calls.caller import Caller
from kernelsim.mm.core.mem import Z_MANAGED


@attrs.frozen
class StatRefresh:
    """Write to /proc/sys/vm/stat_refresh: all CPUs add their parts of the counters."""


@attrs.frozen
class Report:
    """Read files of /proc and print what was found.

    Attributes:
        nr_read: Bytes of the files.
        nr_lines: Lines printed, a write each.
        nr_printed: Bytes of them.
    """

    nr_read: int
    nr_lines: int
    nr_printed: int


async def vmstat_refresh(caller: Caller, _message: StatRefresh) -> None:
    """Have every CPU add its part of the counters, and wait.

    Source: Linux 6.1 mm/vmstat.c:vmstat_refresh, :refresh_cpu_vm_stats
    """
    await caller.enter_kernel()
    kernel = caller.kernel
    # Of each populated zone the CPU's counters and its lists' expiry, of each node its counters.
    nr_zones = int((kernel.mem.zone[:, Z_MANAGED] > 0).sum())
    await schedule_on_each_cpu(caller.current, 2 * nr_zones + len(kernel.nodes))


async def report(caller: Caller, message: Report) -> None:
    """Spend the time that the kernel takes for the text of files, and for lines on their way.

    Source: Linux 6.1 fs/seq_file.c:seq_read_iter, drivers/tty/tty_io.c:file_tty_write
    """
    latency = caller.kernel.spec.latency
    if message.nr_read:
        await caller.enter_kernel()
        await caller.task.compute(latency.seq_file_byte_ns * message.nr_read)
    line_ns = latency.tty_byte_ns * message.nr_printed // max(1, message.nr_lines)
    for _ in range(message.nr_lines):
        await caller.enter_kernel()
        await caller.task.compute(line_ns)


CALLS = (
    Call(name="stat_refresh", value=StatRefresh, handler=vmstat_refresh, form=""),
    Call(name="report", value=Report, handler=report),
)
