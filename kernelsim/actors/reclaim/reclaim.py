"""Reclaim, as whoever needs pages does it: kswapd in its own time, a faulting task in its own.

Linux: mm/vmscan.c: shrink_node, shrink_lruvec, shrink_inactive_list, reclaim_throttle, 6.1.
The decisions are plain functions of `kernelsim.mm.reclaim.vmscan`; this file waits between them:
for lru_lock at the node, for the CPU, for the other CPUs to flush their TLBs, for room in the
disk's queue. Writes go on after it; their pages are freed by a later scan.
Interface: one `Reclaimer` a task; `shrink_node` is one pass over a node.
Units: pages, ns.
"""

import numpy as np

from kernelsim.actors.core.current import Current
from kernelsim.actors.core.free_pages import free_on_node
from kernelsim.actors.core.kernel import wakeup_flusher_threads
from kernelsim.actors.core.lru_add import lru_add_drain
from kernelsim.actors.core.swap_io import submit_bio, wbt_wait
from kernelsim.actors.core.tlb_flush import try_to_unmap_flush
from kernelsim.actors.messages.block_device import SubmitBio
from kernelsim.actors.messages.node import (
    EndSwapWrite,
    IsolateLru,
    PutbackInactive,
    ShrinkActive,
)
from kernelsim.actors.reclaim.zram_io import zram_write
from kernelsim.actors.tracing import trace, wants
from kernelsim.block.blk_wbt import WBT_RWQ_BG, Urgency
from kernelsim.block.disk_place import DiskPlace
from kernelsim.block.plug import SwapPlug, SwapRequest
from kernelsim.fs.fs_writeback import WbReason
from kernelsim.mm.core.mem import LRU_ACTIVE_ANON, SWAP_CLUSTER_MAX
from kernelsim.mm.file.shadow_nodes import free_shadow_nodes, nr_shadow_nodes_to_free
from kernelsim.mm.reclaim.reclaim_batch import (
    SHRINK_MAY_UNMAP,
    STAT_NR_ACTIVATE_ANON,
    STAT_NR_ACTIVATE_FILE,
    STAT_NR_CONGESTED,
    STAT_NR_DIRTY,
    STAT_NR_IMMEDIATE,
    STAT_NR_RECLAIMED,
    STAT_NR_REF_KEEP,
    STAT_NR_SCANNED,
    STAT_NR_TO_WRITE,
    STAT_NR_UNMAP_FAIL,
    STAT_NR_UNMAPPED,
    STAT_NR_UNQUEUED_DIRTY,
    STAT_NR_WRITEBACK,
    new_reclaim_batch,
)
from kernelsim.mm.reclaim.scan_control import ScanControl, may_shrink_active, plan_shrink
from kernelsim.mm.reclaim.throttle_reason import ISOLATED, WRITEBACK, ThrottleReason
from kernelsim.mm.reclaim.vmscan import (
    finish_shrink_node,
    get_scan_count,
    prepare_scan_count,
    should_age_active_anon,
    too_many_isolated,
)
from kernelsim.mm.reclaim.vmscan_folio import shrink_folio_list
from kernelsim.mm.reclaim.vmscan_throttle import end_writeback_throttle, reclaim_throttle
from kernelsim.trace.show import RECLAIM_NAMES
from kernelsim.trace.vmscan import (
    mm_vmscan_lru_isolate,
    mm_vmscan_lru_shrink_active,
    mm_vmscan_lru_shrink_inactive,
    mm_vmscan_throttled,
    mm_vmscan_write_folio,
)
from kernelsim.units import SECTORS_PER_PAGE

CHUNK_PAGES = 8  # pages of a batch that are decided about in one go
RECLAIM_WB_ANON_ASYNC = RECLAIM_NAMES["RECLAIM_WB_ANON"] | RECLAIM_NAMES["RECLAIM_WB_ASYNC"]
RECLAIM_WB_FILE_ASYNC = RECLAIM_NAMES["RECLAIM_WB_FILE"] | RECLAIM_NAMES["RECLAIM_WB_ASYNC"]


class Reclaimer:
    """One task that reclaims: its work space, and the steps it takes.

    Args:
        current: The task that reclaims.
        writer: WBT_RWQ_*, how its writes are counted.
    """

    def __init__(self, current: Current, writer: int = WBT_RWQ_BG) -> None:
        self._current = current
        self._kernel, self._task = current
        self._writer = writer
        self._batch = new_reclaim_batch()
        self._plug = SwapPlug()

    async def shrink_node(self, sc: ScanControl, nid: int) -> None:
        """Make one pass over a node's lists; adds to `sc.nr_scanned` and `sc.nr_reclaimed`.

        Source: Linux 6.1 mm/vmscan.c:shrink_node, :shrink_lruvec
        """
        kernel = self._kernel
        before = sc.nr_reclaimed
        prepare_scan_count(kernel.mem, kernel.lruvec, nid, sc)
        plan = plan_shrink(sc, get_scan_count(kernel.mem, kernel.swap, nid, sc))
        while batches := plan.next_round():
            reclaimed = 0
            for lru, nr_to_scan in batches:
                if not lru & 1:
                    reclaimed += await self._shrink_inactive_list(sc, nid, lru, nr_to_scan)
                elif may_shrink_active(sc, lru=lru):
                    await self._shrink_active_list(sc, nid, lru, nr_to_scan)
            plan.end_round(reclaimed)
            if self._task.killed:
                break
        await self._submit_writes(nid, self._plug.flush())
        sc.nr_reclaimed += plan.nr_reclaimed
        await self._shrink_slab(nid)
        if should_age_active_anon(kernel.mem, kernel.swap, nid):
            await self._shrink_active_list(sc, nid, LRU_ACTIVE_ANON, SWAP_CLUSTER_MAX)
        reason = finish_shrink_node(kernel.lruvec, nid, sc, nr_reclaimed_before=before)
        if reason is not None:
            await self.throttle(nid, reason)

    async def _shrink_slab(self, nid: int) -> None:
        """Free nodes of page caches that only remember evicted pages, if there are too many.

        Source: Linux 6.1 mm/vmscan.c:shrink_slab
        """
        kernel = self._kernel
        files = kernel.spaces.mappings
        nr = nr_shadow_nodes_to_free(kernel.mem, files, nid)
        if nr:
            free_shadow_nodes(kernel.mem, files, nid, nr)
            await self._task.compute(kernel.spec.latency.scan_page_ns * nr)

    async def age_active_anon(self, sc: ScanControl, nid: int) -> None:
        """Move a batch of active anonymous pages to the inactive list if that is short.

        Source: Linux 6.1 mm/vmscan.c:age_active_anon
        """
        if should_age_active_anon(self._kernel.mem, self._kernel.swap, nid):
            await self._shrink_active_list(sc, nid, LRU_ACTIVE_ANON, SWAP_CLUSTER_MAX)

    async def throttle(self, nid: int, reason: ThrottleReason) -> None:
        """Sleep for a reason until woken, at most as long as the reason allows.

        Source: Linux 6.1 mm/vmscan.c:reclaim_throttle
        """
        kernel = self._kernel
        engine = kernel.engine
        timeout_ns = reclaim_throttle(kernel.mem, kernel.swap, kernel.lruvec, nid, reason=reason)
        if not timeout_ns:
            await self._task.cond_resched()
            return
        await self._submit_writes(nid, self._plug.flush())
        began_ns = engine.now_ns
        async with self._task.off_cpu():
            with engine.move_on_after(timeout_ns):
                await kernel.throttle_queue(nid, reason).wait()
        if reason is WRITEBACK:
            end_writeback_throttle(kernel.lruvec, nid)
        delayed_ns = engine.now_ns - began_ns
        trace(
            self._task,
            mm_vmscan_throttled(nid, timeout_ns // 1000, delayed_ns // 1000, reason.value),
        )

    async def _isolate(self, sc: ScanControl, nid: int, lru: int, nr_to_scan: int, how: int) -> int:
        await lru_add_drain(self._current)
        request = IsolateLru(lru, nr_to_scan, sc.reclaim_idx, how, self._batch, self._task.cpu.name)
        taken, scanned, skipped = await self._kernel.nodes[nid].ref.ask(request)
        point = mm_vmscan_lru_isolate(
            sc.reclaim_idx, sc.order, nr_to_scan, scanned, skipped, taken, lru
        )
        trace(self._task, point)
        return int(taken)

    async def _shrink_inactive_list(
        self, sc: ScanControl, nid: int, lru: int, nr_to_scan: int
    ) -> int:
        kernel, task, batch = self._kernel, self._task, self._batch
        if too_many_isolated(kernel.mem, nid, sc, lru=lru):
            await self.throttle(nid, ISOLATED)
            if task.killed or too_many_isolated(kernel.mem, nid, sc, lru=lru):
                return 0
        how = sc.how()
        taken = await self._isolate(sc, nid, lru, nr_to_scan, how)
        if not taken:
            return 0
        await self._shrink_folio_list(nid, how, taken)
        if batch.stat[STAT_NR_UNQUEUED_DIRTY] == taken:  # the flushers are not doing their job
            wakeup_flusher_threads(kernel, WbReason.WB_REASON_VMSCAN)
        put_back = PutbackInactive(lru, how, batch, task.cpu.name)
        await self._free(nid, await kernel.nodes[nid].ref.ask(put_back))
        self._trace_inactive(sc, nid, lru)
        return sc.add_batch(batch, lru=lru)

    async def _shrink_folio_list(self, nid: int, how: int, taken: int) -> None:
        """Decide about an isolated batch, piece by piece; others may run between two pieces.

        Source: Linux 6.1 mm/vmscan.c:shrink_folio_list
        """
        # Differs from Linux: Reclaim calls cond_resched after every eighth page, not before each.
        kernel, task, batch = self._kernel, self._task, self._batch
        stat = batch.stat
        for first in range(0, taken, CHUNK_PAGES):
            last = min(first + CHUNK_PAGES, taken)
            await task.compute(kernel.spec.latency.scan_page_ns * (last - first))
            unmapped, to_write = int(stat[STAT_NR_UNMAPPED]), int(stat[STAT_NR_TO_WRITE])
            pfns, may_unmap = batch.folios[first:last], bool(how & SHRINK_MAY_UNMAP)
            kernel.observer.judges(pfns, may_unmap=may_unmap)
            kernel.taken(
                shrink_folio_list(
                    *kernel.space, kernel.swap, kernel.spaces.mappings, kernel.lruvec,
                    task.cpu.number, how, batch, first, last,
                )
            )  # fmt: skip
            kernel.observer.judged(task.cpu.name)
            nr_to_write = int(stat[STAT_NR_TO_WRITE]) - to_write
            # A page that its process has just unmapped may still be in a TLB, too.
            if stat[STAT_NR_UNMAPPED] > unmapped or kernel.mms.mms.tlb_flush_batched.any():
                await try_to_unmap_flush(self._current, max(1, nr_to_write))
            if nr_to_write:
                await self._plug_writes(nid, to_write, to_write + nr_to_write)

    async def _free(self, nid: int, nr: int) -> None:
        await free_on_node(self._current, nid, self._batch.to_free, nr)

    def _trace_inactive(self, sc: ScanControl, nid: int, lru: int) -> None:
        stat = self._batch.stat.tolist()
        point = mm_vmscan_lru_shrink_inactive(
            nid=nid,
            nr_scanned=stat[STAT_NR_SCANNED],
            nr_reclaimed=stat[STAT_NR_RECLAIMED],
            nr_dirty=stat[STAT_NR_DIRTY],
            nr_writeback=stat[STAT_NR_WRITEBACK],
            nr_congested=stat[STAT_NR_CONGESTED],
            nr_immediate=stat[STAT_NR_IMMEDIATE],
            nr_activate0=stat[STAT_NR_ACTIVATE_ANON],
            nr_activate1=stat[STAT_NR_ACTIVATE_FILE],
            nr_ref_keep=stat[STAT_NR_REF_KEEP],
            nr_unmap_fail=stat[STAT_NR_UNMAP_FAIL],
            priority=sc.priority,
            reclaim_flags=_reclaim_flags(lru),
        )
        trace(self._task, point)

    async def _shrink_active_list(
        self, sc: ScanControl, nid: int, lru: int, nr_to_scan: int
    ) -> None:
        kernel = self._kernel
        taken = await self._isolate(sc, nid, lru, nr_to_scan, sc.how())
        if not taken:
            return
        await self._task.compute(kernel.spec.latency.scan_page_ns * taken)
        request = ShrinkActive(lru, self._batch, self._task.cpu.name)
        moved, nr_to_free = await kernel.nodes[nid].ref.ask(request)
        await self._free(nid, nr_to_free)
        point = mm_vmscan_lru_shrink_active(
            nid, taken, 0, moved, taken - moved, sc.priority, _reclaim_flags(lru)
        )
        trace(self._task, point)

    async def _plug_writes(self, nid: int, first: int, nr: int) -> None:
        """Give pages of the batch to the plug; requests that became large leave meanwhile.

        Source: Linux 6.1 mm/vmscan.c:pageout, block/blk-mq.c:blk_mq_submit_bio
        """
        kernel, plug, pfns = self._kernel, self._plug, self._batch.to_write
        engine = kernel.engine
        slot_ns = kernel.spec.latency.swap_slot_ns
        private, kind = kernel.mem.pages.private, self._writer
        device, _ = kernel.swap_location(int(private[pfns[first]]))
        done = charged = first
        while True:
            done = plug.join(kernel.mem, pfns, done, nr, device.spec.max_segments)
            if done < nr:  # a batch may go to several disks, each with accounts of its own
                device, _ = kernel.swap_location(int(private[pfns[done]]))
            is_disk = not device.spec.compressed_permille
            must_wait = done < nr and is_disk and not device.throttle.try_begin(kind, engine.now_ns)
            is_due = done < nr and plug.is_due()
            if must_wait or is_due or done == nr:
                await self._task.compute(slot_ns * (done - charged))
                charged = done
            if done == nr:
                return
            if must_wait or is_due:
                await self._submit_writes(nid, plug.flush())
            if must_wait:
                await wbt_wait(self._task, device, kind, Urgency.NORMAL)
            pfn = int(pfns[done])
            plug.begin(int(private[pfn]), pfn)
            done += 1

    async def _submit_writes(self, nid: int, requests: list[SwapRequest]) -> None:
        """Start writing pages to their slots; what follows happens when the disk is done."""
        kernel = self._kernel
        for request in requests:
            device, page = kernel.swap_location(request.slot)
            part = np.array(request.pfns, np.int64)
            sector, tokens = page * SECTORS_PER_PAGE, kernel.mem.pages.token[part]
            for pfn in request.pfns if wants(self._task, mm_vmscan_write_folio) else ():
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
                end_io=end_io,
                receiver=kernel.nodes[nid].ref,
                throttled=self._writer,
            )
            await submit_bio(self._task, device, bio)


def _reclaim_flags(lru: int) -> int:
    return RECLAIM_WB_FILE_ASYNC if lru > LRU_ACTIVE_ANON else RECLAIM_WB_ANON_ASYNC
