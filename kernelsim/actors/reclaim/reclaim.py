"""Reclaim, as whoever needs pages does it: kswapd in its own time, a faulting task in its own.

Linux: mm/vmscan.c: shrink_node, shrink_lruvec, shrink_inactive_list, reclaim_throttle, 6.1.
The decisions are plain functions of `kernelsim.mm.reclaim.vmscan`; this file waits between them:
for lru_lock at the node, for the CPU, for the other CPUs to flush their TLBs, for room in the
disk's queue. Writes go on after it; their pages are freed by a later scan.
Interface: one `Reclaimer` a task; `shrink_node` is one pass over a node.
Units: pages, ns.
"""

from kernelsim.actors.core.current import Current
from kernelsim.actors.core.free_pages import free_on_node
from kernelsim.actors.core.kernel import wakeup_flusher_threads
from kernelsim.actors.core.lru_add import lru_add_drain
from kernelsim.actors.core.tlb_flush import try_to_unmap_flush
from kernelsim.actors.messages.node import (
    IsolateLru,
    IsolateMapped,
    PutbackInactive,
    PutbackMapped,
    ShrinkActive,
)
from kernelsim.actors.reclaim.lru_gen import LruGenReclaimer
from kernelsim.actors.reclaim.reclaim_burst import ReclaimBurst
from kernelsim.actors.reclaim.swap_writes import RECLAIM_WB_ANON_ASYNC, SwapWrites
from kernelsim.actors.tracing import trace, wants
from kernelsim.block.blk_wbt import WBT_RWQ_BG
from kernelsim.fs.fs_writeback import WbReason
from kernelsim.mm.core.lru_gen import MIN_LRU_BATCH, lru_gen_enabled
from kernelsim.mm.core.mem import I64, LRU_ACTIVE_ANON, SWAP_CLUSTER_MAX
from kernelsim.mm.core.slab import has_slab_work
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
    STAT_NR_TAKEN,
    STAT_NR_TO_FREE,
    STAT_NR_TO_WRITE,
    STAT_NR_UNMAP_FAIL,
    STAT_NR_UNQUEUED_DIRTY,
    STAT_NR_WRITEBACK,
    new_reclaim_batch,
)
from kernelsim.mm.reclaim.reclaim_run import (
    DONE,
    FLUSH,
    FREE,
    ISOLATE,
    JUDGE,
    PUT_BACK,
    WORK_CHARGED,
    WORK_FREED,
    WORK_HOW,
    WORK_JUDGED,
    WORK_NR_TO_SCAN,
    WORK_PLUGGED,
    WORK_SCANNED,
    WORK_SKIPPED,
    WORK_STEP,
    WRITE,
    after_flush,
    after_write,
    judge_chunk,
    nr_to_judge,
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
from kernelsim.mm.reclaim.vmscan_compact import should_continue_reclaim
from kernelsim.mm.reclaim.vmscan_folio import free_written
from kernelsim.mm.reclaim.vmscan_throttle import end_writeback_throttle, reclaim_throttle
from kernelsim.trace.show import RECLAIM_NAMES
from kernelsim.trace.tracepoint import Tracepoint
from kernelsim.trace.vmscan import (
    mm_vmscan_lru_isolate,
    mm_vmscan_lru_shrink_active,
    mm_vmscan_lru_shrink_inactive,
    mm_vmscan_throttled,
)

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
        self._batch = new_reclaim_batch(MIN_LRU_BATCH)
        self._writes = SwapWrites(current, writer)
        self._burst = ReclaimBurst(current, self._batch, self._writes.plug)
        self._lru_gen = LruGenReclaimer(current, self._batch, self._shrink_oldest)

    async def shrink_node(self, sc: ScanControl, nid: int) -> None:
        """Make one pass over a node's lists; adds to `sc.nr_scanned` and `sc.nr_reclaimed`.

        For a block it is done again until compaction can go ahead.

        Source: Linux 6.1 mm/vmscan.c:shrink_node
        """
        kernel = self._kernel
        while True:
            before = sc.nr_reclaimed
            await self._shrink_node_once(sc, nid)
            nr_reclaimed = sc.nr_reclaimed - before
            if not sc.order or not should_continue_reclaim(
                kernel.mem, kernel.swap, nid, sc, nr_reclaimed=nr_reclaimed
            ):
                break

    async def _shrink_node_once(self, sc: ScanControl, nid: int) -> None:
        kernel = self._kernel
        before = sc.nr_reclaimed
        prepare_scan_count(kernel.mem, kernel.lruvec, nid, sc)
        is_lru_gen = lru_gen_enabled(kernel.mem)
        if is_lru_gen:
            await self._lru_gen.shrink_lruvec(sc, nid)
        else:
            await self._shrink_lruvec(sc, nid)
        await self._writes.submit(nid)
        await self._shrink_slab(nid)
        if not is_lru_gen and should_age_active_anon(kernel.mem, kernel.swap, nid):
            await self._shrink_active_list(sc, nid, LRU_ACTIVE_ANON, SWAP_CLUSTER_MAX)
        reason = finish_shrink_node(kernel.lruvec, nid, sc, nr_reclaimed_before=before)
        if reason is not None:
            await self.throttle(nid, reason)

    async def _shrink_lruvec(self, sc: ScanControl, nid: int) -> None:
        """Scan the four lists of a node as far as the pass asks for.

        Source: Linux 6.1 mm/vmscan.c:shrink_lruvec
        """
        kernel = self._kernel
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
        sc.nr_reclaimed += plan.nr_reclaimed

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
            await self._kernel.settle_slabs(self._task)

    async def kswapd_age_node(self, sc: ScanControl, nid: int) -> None:
        """Age pages before a pass of kswapd: a batch of active anonymous ones, if others are few.

        Source: Linux 6.1 mm/vmscan.c:kswapd_age_node
        """
        if lru_gen_enabled(self._kernel.mem):
            await self._lru_gen.age_node(sc, nid)
        elif should_age_active_anon(self._kernel.mem, self._kernel.swap, nid):
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
        await self._writes.submit(nid)
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

    async def _shrink_inactive_list(
        self, sc: ScanControl, nid: int, lru: int, nr_to_scan: int
    ) -> int:
        """Do a batch, step by step; return the pages reclaimed.

        Source: Linux 6.1 mm/vmscan.c:shrink_inactive_list, :shrink_folio_list
        """
        # Differs from Linux: Reclaim calls cond_resched after every eighth page, not before each.
        kernel, task, batch = self._kernel, self._task, self._batch
        if too_many_isolated(kernel.mem, nid, sc, lru=lru):
            await self.throttle(nid, ISOLATED)
            if task.killed or too_many_isolated(kernel.mem, nid, sc, lru=lru):
                return 0
        burst = self._burst
        burst.begin(sc, nid, lru, nr_to_scan)
        while (step := burst.go_on()) != DONE:
            if has_slab_work(kernel.mem.slabs):
                await self._kernel.settle_slabs(self._task)
            else:
                await self._take_step(step, sc, nid, lru)
        if not batch.stat[STAT_NR_TAKEN]:
            return 0
        self._trace_inactive(sc, nid, lru)
        return sc.add_batch(batch, lru=lru)

    async def _take_step(self, step: int, sc: ScanControl, nid: int, lru: int) -> None:
        """Take a step of the batch that cannot be taken in compiled code now."""
        batch, work = self._batch, self._burst.work
        if step == ISOLATE:
            counts = await self._isolate(sc, nid, lru, int(work[WORK_NR_TO_SCAN]))
            taken, work[WORK_SCANNED], work[WORK_SKIPPED] = counts
            work[WORK_STEP] = JUDGE if taken else DONE
            self._burst.trace_isolate()
        elif step == JUDGE:
            await self._judge()
        elif step in (FLUSH, WRITE):
            await self._after_judging(step, nid)
        elif step == PUT_BACK:
            await self._put_back(nid, lru)
        else:
            freed, nr = int(work[WORK_FREED]), int(batch.stat[STAT_NR_TO_FREE])
            await free_on_node(self._current, nid, batch.to_free[freed:], nr - freed)
            work[WORK_STEP] = DONE

    async def _isolate(
        self, sc: ScanControl, nid: int, lru: int, nr_to_scan: int
    ) -> tuple[int, int, int]:
        """Take a batch off a list; return the pages taken, looked at, and skipped."""
        await lru_add_drain(self._current)
        request = IsolateLru(
            lru, nr_to_scan, sc.reclaim_idx, sc.how(), self._batch, self._task.cpu.name
        )
        counts: tuple[int, int, int] = await self._kernel.nodes[nid].ref.ask(request)
        return counts

    async def _judge(self, look_around: int | None = None, *, is_scan: bool = True) -> None:
        """Decide about a chunk of the batch; others may run before.

        Args:
            look_around: Node whose pages next to those of the chunk become young, if used.
            is_scan: They come from the end of a list; nobody has chosen them.
        """
        kernel, task, batch, work = self._kernel, self._task, self._batch, self._burst.work
        nr, first = nr_to_judge(batch, work), int(work[WORK_JUDGED])
        await task.compute(kernel.spec.latency.scan_page_ns * nr)
        may_unmap = bool(work[WORK_HOW] & SHRINK_MAY_UNMAP)
        kernel.observer.judges(batch.folios[first : first + nr], may_unmap=may_unmap)
        if look_around is not None and lru_gen_enabled(kernel.mem):  # it may be off by now
            self._lru_gen.look_around(look_around, first, first + nr)
        kernel.taken(
            judge_chunk(
                *kernel.space, kernel.swap, kernel.spaces.mappings, kernel.lruvec,
                task.cpu.number, batch, work,
            )
        )  # fmt: skip
        kernel.observer.judged(task.cpu.name, is_scan=is_scan)

    async def _after_judging(self, step: int, nid: int) -> None:
        """Have TLBs forget what was unmapped, or hand to the disk what is to be written."""
        batch, work = self._batch, self._burst.work
        nr, plugged = int(batch.stat[STAT_NR_TO_WRITE]), int(work[WORK_PLUGGED])
        if step == FLUSH:
            await try_to_unmap_flush(self._current, max(1, nr - plugged))
            after_flush(batch, work)
        else:
            await self._writes.put(nid, batch.to_write, nr, plugged, int(work[WORK_CHARGED]))
            after_write(batch, work)

    async def _shrink_oldest(self, nid: int, how: int) -> None:
        """Decide about a batch of the oldest pages, and look around those that were used.

        Source: Linux 6.1 mm/vmscan.c:shrink_folio_list
        """
        work = self._burst.work
        self._burst.begin_isolated(nid, how)
        while (step := int(work[WORK_STEP])) != PUT_BACK:
            if step == JUDGE:
                await self._judge(look_around=nid)
                await self._kernel.settle_slabs(self._task)
            else:
                await self._after_judging(step, nid)
            if work[WORK_STEP] in (JUDGE, PUT_BACK):
                await self._lru_gen.pay_for_walk()

    async def reclaim_folio_list(self, mm: int, nid: int, vpns: I64, pfns: I64) -> None:
        """Reclaim pages of a node that an address space alone maps, used or not.

        Source: Linux 6.1 mm/vmscan.c:reclaim_folio_list
        """
        kernel, task, batch, work = self._kernel, self._task, self._batch, self._burst.work
        node = kernel.nodes[nid].ref
        for at in range(0, len(pfns), len(batch.folios)):
            part = slice(at, at + len(batch.folios))
            request = IsolateMapped(mm, vpns[part], pfns[part], batch, task.cpu.name)
            nr_file = await node.ask(request)
            if not batch.stat[STAT_NR_TAKEN]:
                continue
            self._burst.begin_isolated(nid, ScanControl().how())
            while (step := int(work[WORK_STEP])) != PUT_BACK:
                if step == JUDGE:
                    await self._judge(is_scan=False)
                    await self._kernel.settle_slabs(self._task)
                else:
                    await self._after_judging(step, nid)
            await self._writes.submit(nid)
            nr_freed = free_written(
                kernel.mem, kernel.swap, kernel.spaces.mappings, kernel.lruvec, batch
            )
            kernel.taken(nr_freed)
            nr = await node.ask(PutbackMapped(nr_file, batch, task.cpu.name))
            await free_on_node(self._current, nid, batch.to_free, nr)

    async def _put_back(self, nid: int, lru: int) -> None:
        """Put what stays of the batch back on its list."""
        kernel, batch, work = self._kernel, self._batch, self._burst.work
        if batch.stat[STAT_NR_UNQUEUED_DIRTY] == batch.stat[STAT_NR_TAKEN]:
            wakeup_flusher_threads(kernel, WbReason.WB_REASON_VMSCAN)  # they do not do their job
        put_back = PutbackInactive(lru, int(work[WORK_HOW]), batch, self._task.cpu.name)
        work[WORK_STEP] = FREE if await kernel.nodes[nid].ref.ask(put_back) else DONE

    def _trace_inactive(self, sc: ScanControl, nid: int, lru: int) -> None:
        if not wants(self._task, mm_vmscan_lru_shrink_inactive):
            return
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
        taken, nr_scanned, nr_skipped = await self._isolate(sc, nid, lru, nr_to_scan)
        point: Tracepoint = mm_vmscan_lru_isolate(
            sc.reclaim_idx, sc.order, nr_to_scan, nr_scanned, nr_skipped, taken, lru
        )
        trace(self._task, point)
        if not taken:
            return
        await self._task.compute(kernel.spec.latency.scan_page_ns * taken)
        request = ShrinkActive(lru, self._batch, self._task.cpu.name)
        moved, nr_to_free = await kernel.nodes[nid].ref.ask(request)
        await free_on_node(self._current, nid, self._batch.to_free, nr_to_free)
        point = mm_vmscan_lru_shrink_active(
            nid, taken, 0, moved, taken - moved, sc.priority, _reclaim_flags(lru)
        )
        trace(self._task, point)


def _reclaim_flags(lru: int) -> int:
    return RECLAIM_WB_FILE_ASYNC if lru > LRU_ACTIVE_ANON else RECLAIM_WB_ANON_ASYNC
