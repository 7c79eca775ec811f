"""A fault that begins afresh, because it had to wait for a page that was being read.

Linux: mm/filemap.c:__folio_lock_or_retry, mm/memory.c:handle_mm_fault, 6.1.
Interface: `count_retry`.
"""

from kernelsim.actors.core.current import Current
from kernelsim.actors.messages.fault_handler import PageFault
from kernelsim.actors.tracing import trace, wants
from kernelsim.mm.core.vmstat import PGFAULT
from kernelsim.trace.ks import ks_fault_retry


def count_retry(current: Current, fault: PageFault, *, is_major: bool) -> None:
    """Count a fault once more; `is_major` if it asked the disk itself."""
    kernel, task = current
    kernel.mem.vm_event[PGFAULT] += 1
    if wants(task, ks_fault_retry):
        trace(task, ks_fault_retry(task.pid, fault.vpn, is_major))
