"""Requests to a swap device: consecutive slots become one request, as the block layer merges them.

Linux: mm/page_io.c, block/blk-merge.c, block/blk-mq-tag.c:blk_mq_get_tag, 6.1.
Units: slots of one page.
"""

from collections.abc import Iterator

import numpy as np

from kernelsim.actors.core.current import Current
from kernelsim.actors.core.task import Task
from kernelsim.actors.messages.block_device import SubmitBio
from kernelsim.actors.parts.block_device import BlockDevice
from kernelsim.actors.tracing import trace
from kernelsim.mm.core.mem import I64, PG_writeback
from kernelsim.trace.ks import ks_io_wait


def runs(slots: I64) -> Iterator[tuple[int, int]]:
    """Cut slots into runs of consecutive ones: yields (first index, index behind the last)."""
    first, numbers = 0, slots.tolist()
    for index in range(1, len(numbers) + 1):
        if index == len(numbers) or numbers[index] != numbers[index - 1] + 1:
            yield first, index
            first = index


async def wbt_wait(task: Task, device: BlockDevice, kind: int, *, is_sync: bool = False) -> None:
    """Sleep until a disk takes one more write; it is counted then.

    Source: Linux 6.1 block/blk-wbt.c:__wbt_wait, which sleeps in io_schedule
    """
    throttle, engine = device.throttle, task.engine
    if throttle.try_begin(kind, engine.now_ns, is_sync=is_sync):
        return
    began_ns, nr_in_flight = engine.now_ns, device.nr_in_flight
    async with task.off_cpu(in_iowait=True):
        if not throttle.try_begin(kind, engine.now_ns, is_sync=is_sync):
            throttle.waits(kind, is_sync=is_sync)
            await device.wbt_queues[kind].wait()
    trace(task, ks_io_wait(device.name, "wbt", nr_in_flight, engine.now_ns - began_ns))


async def submit_bio(task: Task, device: BlockDevice, bio: SubmitBio) -> None:
    """Hand a request to a disk; the task sleeps off its CPU while the disk's queue is full.

    Source: Linux 6.1 block/blk-core.c:submit_bio
    """
    await task.compute(device.latency.submit_bio_ns, resched=False)
    if not device.is_full:
        await device.ref.ask(bio)
        return
    began_ns, nr_in_flight = task.engine.now_ns, device.nr_in_flight
    async with task.off_cpu(in_iowait=True):
        await device.ref.ask(bio)
    trace(task, ks_io_wait(device.name, "queue", nr_in_flight, task.engine.now_ns - began_ns))


async def wait_on_swap_writeback(current: Current, pfn: int) -> None:
    """Sleep until a page is not being written to swap.

    Source: Linux 6.1 mm/page-writeback.c:folio_wait_writeback
    """
    kernel, task = current
    began_ns = kernel.engine.now_ns
    nr_in_flight = sum(device.nr_in_flight for device in kernel.devices.values())
    while kernel.mem.pages.flags[pfn] & np.uint32(PG_writeback):
        queue = kernel.swap_writes.get(pfn)
        if queue is None:
            queue = kernel.engine.wait_queue(f"writeback of pfn {pfn}")
            kernel.swap_writes[pfn] = queue
        async with task.off_cpu(in_iowait=True):
            await queue.wait()
    if kernel.engine.now_ns > began_ns:
        wait_ns = kernel.engine.now_ns - began_ns
        trace(task, ks_io_wait("swap", "writeback", nr_in_flight, wait_ns))
