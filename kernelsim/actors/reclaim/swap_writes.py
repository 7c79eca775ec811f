"""Writes of a reclaimer to swap: held back in a plug, so that neighbours become one request.

Linux: mm/vmscan.c:pageout, mm/page_io.c:swap_writepage, block/blk-mq.c:blk_mq_submit_bio, 6.1.
Interface: a `SwapWrites` a reclaimer: `put` pages in the plug, `submit` what is in it.
Units: pages, ns.
"""

from kernelsim.actors.core.bio_pool import is_used_up
from kernelsim.actors.core.current import Current
from kernelsim.actors.core.swap_io import submit_bio, wbt_wait
from kernelsim.actors.messages.block_device import SubmitBio
from kernelsim.actors.messages.node import EndSwapWrite
from kernelsim.actors.reclaim.zram_io import zram_write
from kernelsim.actors.tracing import trace, wants
from kernelsim.block.disk_place import DiskPlace
from kernelsim.mm.core.mem import I64
from kernelsim.mm.swap.swap_plug import SwapRequest, begin, flush, is_due, join, new_swap_plug
from kernelsim.trace.show import RECLAIM_NAMES
from kernelsim.trace.vmscan import mm_vmscan_write_folio
from kernelsim.units import SECTORS_PER_PAGE

RECLAIM_WB_ANON_ASYNC = RECLAIM_NAMES["RECLAIM_WB_ANON"] | RECLAIM_NAMES["RECLAIM_WB_ASYNC"]


class SwapWrites:
    """What one task writes to swap.

    Args:
        current: The task.
        writer: WBT_RWQ_*, how its writes are counted.

    Attributes:
        plug: Requests held back.
    """

    def __init__(self, current: Current, writer: int) -> None:
        self._current = current
        self._kernel, self._task = current
        self._writer = writer
        self.plug = new_swap_plug()

    async def put(self, nid: int, pfns: I64, nr: int, done: int, charged: int) -> None:
        """Give pages to the plug; requests that became large leave meanwhile.

        Args:
            nid: Node of the pages.
            pfns: All of a batch that are to be written.
            nr: How many these are.
            done: The first that is not in the plug.
            charged: The first whose cost is not paid.

        Source: Linux 6.1 mm/vmscan.c:pageout, block/blk-mq.c:blk_mq_submit_bio
        """
        kernel, plug = self._kernel, self.plug
        engine = kernel.engine
        slot_ns = kernel.spec.latency.swap_slot_ns
        private, kind = kernel.mem.pages.private, self._writer
        device, _ = kernel.swap_location(int(private[pfns[done]]))
        while True:
            done = join(kernel.mem, plug, pfns, done, nr, device.spec.max_segments)
            if done < nr:  # a batch may go to several disks, each with accounts of its own
                device, _ = kernel.swap_location(int(private[pfns[done]]))
            is_disk = not device.spec.compressed_permille
            must_wait = done < nr and is_disk and not device.throttle.try_begin(kind, engine.now_ns)
            must_flush = done < nr and is_due(plug)
            if must_wait or must_flush or done == nr:
                await self._task.compute(slot_ns * (done - charged))
                charged = done
            if done == nr:
                return
            if must_wait or must_flush:
                await self._start(nid)
            if must_wait:
                await wbt_wait(self._task, device, kind)
            pfn = int(pfns[done])
            begin(plug, int(private[pfn]), pfn)
            done += 1

    async def submit(self, nid: int) -> None:
        """Start writing what is in the plug; wait for bios if there was no memory for them.

        Not amid a batch: its other bios are not under way, and would not come back.
        """
        await self._start(nid)
        if is_used_up(self._kernel.mem.slabs):
            await self._kernel.mempool_alloc(self._task)

    async def _start(self, nid: int) -> None:
        """Start writing pages to their slots; what follows happens when the disk is done."""
        kernel = self._kernel
        requests: list[SwapRequest] = flush(self.plug)
        for request in requests:
            device, page = kernel.swap_location(request.slot)
            part = request.pfns
            sector, tokens = page * SECTORS_PER_PAGE, kernel.mem.pages.token[part]
            for pfn in part.tolist() if wants(self._task, mm_vmscan_write_folio) else ():
                trace(self._task, mm_vmscan_write_folio(pfn, RECLAIM_WB_ANON_ASYNC))
            end_io = EndSwapWrite(part, tokens, DiskPlace(device.dev, sector))
            if device.spec.compressed_permille:
                await zram_write(self._current, device, request.slot, nid, end_io)
                continue
            bio = SubmitBio(
                is_write=True,
                sector=sector,
                nr_pages=len(part),
                comm=self._task.name,
                cpu=self._task.cpu.number,
                end_io=end_io,
                receiver=kernel.nodes[nid].ref,
                throttled=self._writer,
            )
            await submit_bio(self._task, device, bio)
