"""Reclaim by generations: aging walks page tables, eviction takes what has not been used for long.

Linux: mm/vmscan.c: lru_gen_shrink_lruvec, lru_gen_age_node, try_to_inc_max_seq, walk_mm,
evict_folios, 6.1.
The decisions are plain functions of mm/reclaim/lru_gen_*.py; this file waits between them: for
lru_lock at the node, for the CPU while page tables are read, for other tasks that walk.
Differs: There are no memory cgroups. Each reclaimer notes what it promotes in a work space of its
own, from the start; in Linux a direct reclaimer that has not aged takes lru_lock for it. Nothing
holds mmap_lock, so no address space is passed over because it is busy.

Interface: `LruGenReclaimer`, which reclaim.py asks while the multi-generational LRU is in force.
Units: pages, ns.
"""

from collections.abc import Awaitable, Callable
from typing import Final

from kernelsim.actors.core.current import Current
from kernelsim.actors.core.free_pages import free_on_node
from kernelsim.actors.core.lru_add import lru_add_drain
from kernelsim.actors.messages.node import (
    IncMaxSeq,
    IsolateOldest,
    PutbackOldest,
    ResetBatchSize,
)
from kernelsim.actors.messages.oom_killer import OutOfMemory
from kernelsim.actors.tracing import trace
from kernelsim.mm.core.lru_gen import (
    LG_CAPS,
    LG_MAX_SEQ,
    LG_MIN_SEQ,
    LG_TIMESTAMPS,
    LRU_GEN_FILE,
    LRU_GEN_MM_WALK,
    MAX_LRU_BATCH,
    MIN_LRU_BATCH,
    MIN_NR_GENS,
    lru_gen_from_seq,
)
from kernelsim.mm.core.mem import I64
from kernelsim.mm.reclaim.lru_gen_aging import should_run_aging
from kernelsim.mm.reclaim.lru_gen_plan import get_swappiness, should_abort_scan
from kernelsim.mm.reclaim.lru_gen_walk import (
    W_BATCHED,
    W_CAN_SWAP,
    W_FORCE_SCAN,
    W_MAX_SEQ,
    W_NR_LINES,
    look_around_batch,
    new_mm_walk,
    walk_ptes,
)
from kernelsim.mm.reclaim.reclaim_batch import (
    STAT_NR_RECLAIMED,
    STAT_NR_SCANNED,
    STAT_NR_TAKEN,
    ReclaimBatch,
)
from kernelsim.mm.reclaim.scan_control import DEF_PRIORITY, ScanControl
from kernelsim.mm.reclaim.throttle_reason import LRU_GEN_WAIT
from kernelsim.mm.space.mm_struct import MmStruct
from kernelsim.mm.space.mmap import VmArea
from kernelsim.mm.space.vm_flags import VM_ACCESS_FLAGS, VM_READ_HINTS, VM_SPECIAL, VmFlag
from kernelsim.trace.ks import ks_lru_gen, ks_sleep
from kernelsim.units import NS_PER_MS, PAGE_SHIFT

TABLES_AT_ONCE: Final = 8  # page tables walked before others may run
NOT_WALKED: Final = VmFlag.VM_LOCKED | VM_SPECIAL | VM_READ_HINTS


class LruGenReclaimer:
    """The generations' part of one task that reclaims.

    Args:
        current: The task.
        batch: Its work space.
        shrink: Decides about the pages isolated in it, looking around those that were used: node,
            SHRINK_* bits.
    """

    def __init__(
        self,
        current: Current,
        batch: ReclaimBatch,
        shrink: Callable[[int, int], Awaitable[None]],
    ) -> None:
        self._current = current
        self._kernel, self._task = current
        self._batch = batch
        self._shrink = shrink
        self._walk = new_mm_walk()

    async def shrink_lruvec(self, sc: ScanControl, nid: int) -> None:
        """Evict pages of a node; adds to `sc.nr_scanned` and `sc.nr_reclaimed`.

        Source: Linux 6.1 mm/vmscan.c:lru_gen_shrink_lruvec
        """
        kernel = self._kernel
        scanned, before, max_seq = 0, sc.nr_reclaimed, self._state(nid)[LG_MAX_SEQ]
        need_swapping = False
        await lru_add_drain(self._current)
        while True:
            swappiness = get_swappiness(kernel.swap, sc)
            nr_to_scan, need_aging = await self._get_nr_to_scan(sc, nid, can_swap=swappiness > 0)
            if not nr_to_scan:
                return
            delta, has_swapped = await self._evict_folios(sc, nid, swappiness)
            if not delta:
                return
            need_swapping = need_swapping or has_swapped
            scanned += delta
            if scanned >= nr_to_scan:
                break
            if should_abort_scan(
                kernel.mem, nid, sc, nr_aged=int(self._state(nid)[LG_MAX_SEQ] - max_seq),
                need_swapping=need_swapping, killed=self._task.killed,
            ):  # fmt: skip
                break
            await self._task.cond_resched()
        if sc.nr_reclaimed - before >= MIN_LRU_BATCH and not need_aging:
            sc.memcgs_need_aging = False

    async def age_node(self, sc: ScanControl, nid: int) -> None:
        """Begin a new generation if one is due, before a pass of kswapd.

        When all pages are younger than `lru_gen.min_ttl_ms` the OOM killer comes instead of
        thrashing.

        Source: Linux 6.1 mm/vmscan.c:lru_gen_age_node, :age_lruvec
        """
        kernel, task = self._kernel, self._task
        sc.last_reclaimed = sc.nr_reclaimed
        if not sc.memcgs_need_aging:
            sc.memcgs_need_aging = True
            return
        min_ttl_ns = kernel.sysctl.lru_gen_min_ttl_ms * NS_PER_MS
        can_swap = get_swappiness(kernel.swap, sc) > 0
        need_aging, nr_to_scan = should_run_aging(self._state(nid), sc.priority, can_swap)
        if self._is_old_enough(sc, nid, min_ttl_ns, nr_to_scan):
            if need_aging:
                await self._try_to_inc_max_seq(sc, nid, can_swap=can_swap)
        elif not sc.order:
            await kernel.oom_killer.ask(
                OutOfMemory(sc.gfp_mask, task.name, task.pid, None, task.cpu.number)
            )

    def look_around(self, nid: int, first: int, last: int) -> None:
        """Promote the neighbours of pages of the batch that are about to be judged."""
        bloom = self._kernel.aging[nid].bloom
        look_around_batch(*self._kernel.space, nid, bloom, self._walk, self._batch, first, last)

    async def pay_for_walk(self) -> None:
        """Let the time pass that page tables and pages took to read since the last call."""
        state = self._walk.state
        ns = int(state[W_NR_LINES]) * self._kernel.spec.latency.cache_line_ns
        state[W_NR_LINES] = 0
        if ns:
            await self._task.compute(ns)

    def _state(self, nid: int) -> I64:
        state: I64 = self._kernel.mem.lru_gen[nid]
        return state

    def _is_old_enough(self, sc: ScanControl, nid: int, min_ttl_ns: int, nr_to_scan: int) -> bool:
        if not min_ttl_ns:
            return True
        state = self._state(nid)
        gen = lru_gen_from_seq(int(state[LG_MIN_SEQ + LRU_GEN_FILE]))
        if self._kernel.engine.now_ns < int(state[LG_TIMESTAMPS + gen]) + min_ttl_ns:
            return False
        return bool(nr_to_scan) or sc.priority == DEF_PRIORITY

    async def _get_nr_to_scan(
        self, sc: ScanControl, nid: int, *, can_swap: bool
    ) -> tuple[int, bool]:
        """Return how many pages to scan, and whether a new generation is due.

        kswapd ages before its pass, not in it; others age here, unless it is the first pass.

        Source: Linux 6.1 mm/vmscan.c:get_nr_to_scan
        """
        state = self._state(nid)
        oldest, youngest = int(state[LG_MIN_SEQ + (not can_swap)]), int(state[LG_MAX_SEQ])
        need_aging, nr_to_scan = should_run_aging(state, sc.priority, can_swap)
        if not need_aging:
            return nr_to_scan, False
        if sc.priority < DEF_PRIORITY:
            if sc.is_kswapd:
                return 0, True
            if await self._try_to_inc_max_seq(sc, nid, can_swap=can_swap):
                return nr_to_scan, True
        return (nr_to_scan if oldest + MIN_NR_GENS <= youngest else 0), True

    async def _evict_folios(self, sc: ScanControl, nid: int, swappiness: int) -> tuple[int, bool]:
        """Take a batch of the oldest pages and free what can be.

        Returns:
            How many pages were scanned, 0 if none can be taken any more; and whether those taken
            were anonymous.

        Source: Linux 6.1 mm/vmscan.c:evict_folios
        """
        node, batch, cpu = self._kernel.nodes[nid].ref, self._batch, self._task.cpu
        how = sc.how()
        request = IsolateOldest(swappiness, sc.reclaim_idx, how, batch, cpu.name)
        scanned, file = await node.ask(request)
        taken = int(batch.stat[STAT_NR_TAKEN])
        if not taken:
            return scanned, False
        await self._shrink(nid, how)
        sc.nr_scanned += int(batch.stat[STAT_NR_SCANNED])
        sc.nr_reclaimed += int(batch.stat[STAT_NR_RECLAIMED])
        put_back = PutbackOldest(file, how, batch, self._walk, self._task.cpu.name)
        await free_on_node(self._current, nid, batch.to_free, await node.ask(put_back))
        return scanned, file != LRU_GEN_FILE

    async def _try_to_inc_max_seq(self, sc: ScanControl, nid: int, *, can_swap: bool) -> bool:
        """Walk all page tables, with others that age the node; tell whether that ended.

        The last walker begins the new generation; in low priorities the others wait for it.

        Source: Linux 6.1 mm/vmscan.c:try_to_inc_max_seq
        """
        kernel, task, aging = self._kernel, self._task, self._kernel.aging[nid]
        state = self._state(nid)
        max_seq = int(state[LG_MAX_SEQ])
        walked = 0
        if state[LG_CAPS] & LRU_GEN_MM_WALK:
            walk = self._walk.state
            walk[W_MAX_SEQ], walk[W_CAN_SWAP], walk[W_FORCE_SCAN] = max_seq, can_swap, 0
            success, mm = self._iterate(nid, None)
            while mm is not None:
                walked += 1
                await self._walk_mm(nid, mm)
                success, mm = self._iterate(nid, mm)
        else:
            success = aging.iterate_nowalk(max_seq)
        queue = kernel.throttle_queue(nid, LRU_GEN_WAIT)
        if not success:
            if sc.priority <= DEF_PRIORITY - 2:
                began_ns = kernel.engine.now_ns
                async with task.off_cpu():
                    while max_seq >= state[LG_MAX_SEQ] and not task.killed:
                        await queue.wait()
                trace(task, ks_sleep("aging", f"node {nid}", kernel.engine.now_ns - began_ns))
            return max_seq < int(state[LG_MAX_SEQ])
        while not await kernel.nodes[nid].ref.ask(IncMaxSeq(can_swap, task.cpu.name)):
            await task.cond_resched()
        queue.wake_all()
        min_seq = state[LG_MIN_SEQ : LG_MIN_SEQ + 2].tolist()
        trace(task, ks_lru_gen(nid, int(state[LG_MAX_SEQ]), min_seq[0], min_seq[1], walked))
        return True

    def _iterate(self, nid: int, done: MmStruct | None) -> tuple[bool, MmStruct | None]:
        mms = self._kernel.mms
        return self._kernel.aging[nid].iterate(mms.by_number, mms.mms, self._walk, done)

    async def _walk_mm(self, nid: int, mm: MmStruct) -> None:
        """Walk the page tables of an address space; its pages of a node that were used are young.

        It ends early when others wait for this walk.

        Source: Linux 6.1 mm/vmscan.c:walk_mm
        """
        kernel, walk = self._kernel, self._walk
        bloom = kernel.aging[nid].bloom
        vpn = 0
        while (vma := self._next_vma(mm, vpn)) is not None:
            vpn = walk_ptes(
                *kernel.space, nid, bloom, walk, mm.number, max(vpn, vma.vpn),
                vma.vpn + vma.nr_pages, TABLES_AT_ONCE,
            )  # fmt: skip
            await self.pay_for_walk()
            if walk.state[W_BATCHED] >= MAX_LRU_BATCH:
                await self._reset_batch_size(nid)
            if kernel.throttle_queue(nid, LRU_GEN_WAIT).nr_waiting:
                break
        if walk.state[W_BATCHED]:
            await self._reset_batch_size(nid)

    async def _reset_batch_size(self, nid: int) -> None:
        request = ResetBatchSize(self._walk, self._task.cpu.name)
        await self._kernel.nodes[nid].ref.ask(request)

    def _next_vma(self, mm: MmStruct, vpn: int) -> VmArea | None:
        """Return the first mapping behind a page that is worth walking; None at the end.

        Source: Linux 6.1 mm/vmscan.c:should_skip_vma
        """
        if self._kernel.mms.by_number.get(mm.number) is not mm:
            return None
        can_swap = bool(self._walk.state[W_CAN_SWAP])
        for vma in mm.map:
            if vma.end <= vpn << PAGE_SHIFT or vma.flags & NOT_WALKED:
                continue
            if vma.flags & VM_ACCESS_FLAGS and (can_swap or vma.file_number):
                return vma
        return None
