"""A CPU at work on memory, wherever that is: clearing and copying pages, accessing a line.

The CPU is busy for as long as clearing or copying takes at that distance, and at least until the
bus or the link, and the memory controller, have served the bytes. With few CPUs the first is
longer; with many the queue is. An access to one line waits for its turn in full.
Where CPUs share no bus, accesses and copies pass nothing: see `bus_bandwidth_bytes_per_s`.
Units: ns, bytes.
"""

import numpy as np

from kernelsim.actors.core.current import Current
from kernelsim.actors.messages.interconnect import Transfer
from kernelsim.actors.messages.node import MemoryTraffic
from kernelsim.hw.access_path import QueueWaits
from kernelsim.hw.tlb import TLB_MISS, TLB_PFN_SHIFT, tlb_lookup
from kernelsim.mm.core.mem import I64, nid_of, nids_of
from kernelsim.mm.space.mm_struct import MmStruct
from kernelsim.units import CACHE_LINE_SIZE, PAGE_SIZE


async def pass_traffic(current: Current, nid: int, size_bytes: int) -> tuple[int, int]:
    """Let bytes pass bus or link, then the controller; return when they had passed each."""
    kernel, task = current
    clock, cpu = kernel.engine.clock, task.cpu
    if nid != cpu.nid or kernel.spec.latency.has_bus:
        await kernel.interconnect.ref.ask(Transfer(cpu.nid, nid, size_bytes, cpu.name))
    crossed_ns = clock.now_ns
    await kernel.nodes[nid].ref.ask(MemoryTraffic(size_bytes, cpu.name))
    return crossed_ns, clock.now_ns


async def clear_pages(current: Current, nid: int, nr_pages: int) -> None:
    """Clear pages of a node on the task's CPU.

    Source: Linux 6.1 arch/x86/lib/clear_page_64.S; include/linux/highmem.h:clear_user_highpage
    """
    kernel, task = current
    began_ns = kernel.engine.now_ns
    distance = kernel.distance(task.cpu, nid)
    busy_ns = nr_pages * kernel.spec.latency.page_zeroing_ns * distance // 10
    await pass_traffic(current, nid, nr_pages * PAGE_SIZE)
    waited_ns = kernel.engine.now_ns - began_ns
    task.stime_ns += waited_ns
    await task.compute(max(0, busy_ns - waited_ns), resched=False)


async def copy_pages(
    current: Current, nids: tuple[int, ...], nr_pages: int, *, resched: bool
) -> None:
    """Copy pages on the task's CPU.

    Args:
        current: Who copies.
        nids: Nodes of the pages that are read and of those that are written, where a bus is shared.
        nr_pages: How many.
        resched: Whether others may have the CPU then.

    Source: Linux 6.1 arch/x86/lib/copy_page_64.S; include/linux/highmem.h:copy_user_highpage
    """
    kernel, task = current
    began_ns = kernel.engine.now_ns
    busy_ns = nr_pages * kernel.spec.latency.page_copy_ns
    if kernel.spec.latency.has_bus and nr_pages:
        for nid in nids:
            await pass_traffic(current, nid, nr_pages * PAGE_SIZE)
    waited_ns = kernel.engine.now_ns - began_ns
    task.stime_ns += waited_ns
    await task.compute(max(0, busy_ns - waited_ns), resched=resched)


async def copy_folios(current: Current, old: I64, new: I64, *, resched: bool) -> None:
    """Copy pages to other frames; where a bus is shared, a run for each two nodes.

    Source: Linux 6.1 mm/migrate.c:folio_migrate_copy
    """
    mem, latency = current.kernel.mem, current.kernel.spec.latency
    if not latency.has_bus:
        await current.task.compute(latency.page_copy_ns * len(old), resched=resched)
        return
    pairs = np.stack((nids_of(mem, old), nids_of(mem, new)), axis=1)
    for pair, nr_pages in zip(*np.unique(pairs, axis=0, return_counts=True), strict=True):
        await copy_pages(current, tuple(pair.tolist()), int(nr_pages), resched=resched)


async def access_line(current: Current, nid: int, access_ns: int) -> QueueWaits:
    """Spend the time of an access whose translation was there, in user mode.

    Args:
        current: Whose access it is.
        nid: Node of the memory.
        access_ns: What it costs on an idle machine, the translation included.

    Returns:
        How long it waited for others.
    """
    kernel, task = current
    latency = kernel.spec.latency
    if not latency.has_bus:
        await task.compute(access_ns, user=True)
        return QueueWaits()
    memory_ns = int(task.cpu.access_cost.memory_ns[nid])
    left_ns = memory_ns - min(memory_ns, latency.cache_miss_ns)
    await task.compute(access_ns - left_ns, user=True, resched=False)
    sent_ns = kernel.engine.now_ns
    crossed_ns, passed_ns = await pass_traffic(current, nid, CACHE_LINE_SIZE)
    task.utime_ns += passed_ns - sent_ns
    task.cpu.state.user_ns += passed_ns - sent_ns
    crossing_ns, controller_ns = latency.passing_ns(CACHE_LINE_SIZE, is_near=nid == task.cpu.nid)
    left_ns = max(0, left_ns - crossing_ns - controller_ns)
    await task.compute(left_ns, user=True)
    return QueueWaits(crossed_ns - sent_ns - crossing_ns, passed_ns - crossed_ns - controller_ns)


def accessed_nid(current: Current, mm: MmStruct, vpn: int) -> int:
    """Return the node of the memory that was accessed just now; 0 where nobody asks."""
    kernel, task = current
    if not kernel.spec.latency.has_bus or len(kernel.nodes) == 1:
        return 0
    held = tlb_lookup(task.cpu.tlb, mm.ctx_id, vpn)
    assert held != TLB_MISS, "an access enters its page in the TLB"
    return nid_of(kernel.mem, held >> TLB_PFN_SHIFT)
