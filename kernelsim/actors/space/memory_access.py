"""A CPU streaming through memory: clearing fresh pages, wherever they are.

The CPU is busy for as long as clearing takes at that distance, and at least until the memory
controller, and the link to a remote node, have served the bytes. With few CPUs the first is
longer; with many the controller's queue is.
Units: ns, bytes.
"""

from kernelsim.actors.core.current import Current
from kernelsim.actors.messages.interconnect import Transfer
from kernelsim.actors.messages.node import MemoryTraffic
from kernelsim.units import PAGE_SIZE


async def clear_pages(current: Current, nid: int, nr_pages: int) -> None:
    """Clear pages of a node on the task's CPU.

    Source: Linux 6.1 arch/x86/lib/clear_page_64.S; include/linux/highmem.h:clear_user_highpage
    """
    kernel, task = current
    clock = kernel.engine.clock
    cpu = task.cpu
    began_ns = clock.now_ns
    distance = kernel.distance(cpu, nid)
    size_bytes = nr_pages * PAGE_SIZE
    busy_ns = nr_pages * kernel.spec.latency.page_zeroing_ns * distance // 10
    if nid != cpu.nid:
        await kernel.interconnect.ref.ask(Transfer(cpu.nid, nid, size_bytes, cpu.name))
    await kernel.nodes[nid].ref.ask(MemoryTraffic(size_bytes, cpu.name))
    waited_ns = clock.now_ns - began_ns
    task.stime_ns += waited_ns
    await task.compute(max(0, busy_ns - waited_ns), resched=False)
