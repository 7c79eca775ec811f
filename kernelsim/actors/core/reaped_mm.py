"""Waiting for an address space that another task is taking apart, as for mmap_lock.

Linux: mm/oom_kill.c:__oom_reap_task_mm, 6.1.
Interface: `Kernel.reaped_mms` names them; `wait_while_reaped` sleeps until one is left alone.
"""

from kernelsim.actors.core.current import Current
from kernelsim.actors.tracing import trace
from kernelsim.trace.ks import ks_sleep


async def wait_while_reaped(current: Current, number: int) -> None:
    """Sleep while another task walks the page tables of an address space.

    It may be over when the CPU has been left: the last look is the one before the sleep.
    """
    kernel, task = current
    began_ns = kernel.engine.now_ns
    async with task.off_cpu():
        while (released := kernel.reaped_mms.get(number)) is not None:
            await released.wait()
    trace(task, ks_sleep("reaped", "", kernel.engine.now_ns - began_ns))
