"""Compacting a zone: used pages are moved to its top, so that free ones lie together at its bottom.

Linux: mm/compaction.c: compact_zone, isolate_migratepages, isolate_freepages, compaction_alloc,
release_freepages, 6.1.
It is done in the time of who wants a block, of kcompactd, or of who writes to vm.compact_memory.
Pages are taken off their lists under lru_lock, free ones out of the zone under zone->lock, both a
pageblock and 32 pages at a time; users of a page wait while it is copied (core/migrate_pages.py).
Interface: `compact_zone`.
Units: pages, pfn.
"""

from typing import Final

import numpy as np

from kernelsim.actors.core.current import Current
from kernelsim.actors.core.free_pages import free_frames
from kernelsim.actors.core.lru_add import lru_add_drain
from kernelsim.actors.core.migrate_pages import migrate_pages
from kernelsim.actors.messages.blocks import IsolateFreepages, IsolateMigratepages
from kernelsim.actors.messages.node import DrainPages
from kernelsim.actors.reclaim.reclaim import Reclaimer
from kernelsim.actors.tracing import trace
from kernelsim.mm.core.mem import (
    I64,
    MAX_ORDER_NR_PAGES,
    PAGEBLOCK_NR_PAGES,
    PAGEBLOCK_ORDER,
)
from kernelsim.mm.core.vmstat import (
    COMPACT_FREE_SCANNED,
    COMPACT_ISOLATED,
    COMPACT_MIGRATE_SCANNED,
    NR_ACTIVE_ANON,
    NR_ACTIVE_FILE,
    NR_INACTIVE_ANON,
    NR_INACTIVE_FILE,
    NR_ISOLATED_ANON,
    NR_ISOLATED_FILE,
    PGMIGRATE_FAIL,
    PGMIGRATE_SUCCESS,
)
from kernelsim.mm.file.isolate_migratepages import MS_NR_SCANNED, MS_PFN
from kernelsim.mm.page.compact_suitable import (
    compact_finished,
    compaction_suitable,
    is_fragmented,
    proactive_finished,
)
from kernelsim.mm.page.compaction import (
    COMPACT_CLUSTER_MAX,
    CompactControl,
    CompactResult,
)
from kernelsim.mm.page.isolate_freepages import FS_NR_SCANNED, FS_PFN
from kernelsim.mm.page.phys_mem import zone_span
from kernelsim.mm.reclaim.throttle_reason import ISOLATED
from kernelsim.trace.compaction import (
    mm_compaction_begin,
    mm_compaction_end,
    mm_compaction_isolate_freepages,
    mm_compaction_isolate_migratepages,
    mm_compaction_migratepages,
    mm_compaction_suitable,
)
from kernelsim.trace.migrate import mm_migrate_pages
from kernelsim.trace.show import MIGRATE_REASONS

REASON: Final = MIGRATE_REASONS.index("compaction")
LISTED: Final = (NR_INACTIVE_ANON, NR_ACTIVE_ANON, NR_INACTIVE_FILE, NR_ACTIVE_FILE)


def suitable(current: Current, cc: CompactControl) -> CompactResult:
    """Tell whether compaction of a zone is worth it.

    Source: Linux 6.1 mm/compaction.c:compaction_suitable
    """
    kernel, task = current
    result = compaction_suitable(kernel.mem, cc)
    if result is CompactResult.CONTINUE and not is_fragmented(
        kernel.mem, cc, kernel.sysctl.vm_extfrag_threshold
    ):
        result = CompactResult.NOT_SUITABLE_ZONE
    nid, idx = divmod(cc.zone, len(kernel.phys.zone_types))
    trace(task, mm_compaction_suitable(nid, idx, cc.order, int(result)))
    return CompactResult.SKIPPED if result is CompactResult.NOT_SUITABLE_ZONE else result


async def compact_zone(current: Current, cc: CompactControl) -> CompactResult:
    """Compact a zone until there is the block that is wanted, or all of it has been gone through.

    Source: Linux 6.1 mm/compaction.c:compact_zone
    """
    kernel, task = current
    result = suitable(current, cc)
    if result is not CompactResult.CONTINUE:
        return result
    cc.start(kernel.mem, kernel.compaction.zones[cc.zone])
    start, end = zone_span(kernel.mem, cc.zone)
    trace(task, mm_compaction_begin(start, cc.migrate_pfn, cc.free_pfn, end, cc.is_sync))
    await lru_add_drain(current)
    kernel.compaction.tasks.add(task.name)
    run = _Run(current, cc)
    result = await run.run()
    await run.release_freepages()
    kernel.compaction.tasks.discard(task.name)
    kernel.mem.vm_event[COMPACT_MIGRATE_SCANNED] += cc.nr_migrate_scanned
    kernel.mem.vm_event[COMPACT_FREE_SCANNED] += cc.nr_free_scanned
    point = mm_compaction_end(start, cc.migrate_pfn, cc.free_pfn, end, cc.is_sync, int(result))
    trace(task, point)
    return result


class _Run:
    """One run over a zone, and the free pages it has in hand."""

    def __init__(self, current: Current, cc: CompactControl) -> None:
        self._current = current
        self._kernel, self._task = current
        self._cc = cc
        self._state = self._kernel.compaction.zones[cc.zone]
        self._node = self._kernel.node_of(cc.zone)
        self._pfns = np.zeros(COMPACT_CLUSTER_MAX, np.int64)
        self._kinds = np.zeros(COMPACT_CLUSTER_MAX, np.int64)
        self._free: I64 = np.zeros(0, np.int64)
        self._enough = False

    async def run(self) -> CompactResult:
        """Move pages, 32 at a time, until it is over."""
        cc, last_migrated = self._cc, 0
        while True:
            result = self._finished()
            if result not in (CompactResult.NO_SUITABLE_PAGE, CompactResult.CONTINUE):
                return result
            began = cc.migrate_pfn
            if await self._too_many_isolated():
                return CompactResult.CONTENDED
            nr = await self._isolate_migratepages()
            if nr:
                last_migrated = began
                nr_failed = await self._migrate(nr)
                if len(self._free) == 0 and nr_failed and not self._enough and not cc.have_met:
                    return CompactResult.CONTENDED
                if nr_failed and cc.is_direct and not cc.is_sync:  # its block will not be free
                    cc.migrate_pfn = -(-cc.migrate_pfn >> cc.order) << cc.order
                    last_migrated = 0
            if cc.order > 0 and 0 < last_migrated < cc.migrate_pfn & -(1 << cc.order):
                await self._drain()
                last_migrated = 0

    def _finished(self) -> CompactResult:
        cc, kernel = self._cc, self._kernel
        if not cc.is_proactive or cc.have_met:
            return compact_finished(kernel.mem, cc, self._state, is_killed=self._task.killed)
        return proactive_finished(
            kernel.mem,
            cc.zone,
            kernel.sysctl.vm_compaction_proactiveness,
            kswapd_runs=kernel.compaction.kswapds[self._node.nid].is_running,
        )

    async def _too_many_isolated(self) -> bool:
        """Wait while most pages are off their lists; True for who may not wait.

        Source: Linux 6.1 mm/compaction.c:too_many_isolated
        """
        nid, stat = self._node.nid, self._kernel.mem.node_stat
        while True:
            isolated = int(stat[nid, NR_ISOLATED_ANON] + stat[nid, NR_ISOLATED_FILE])
            if isolated <= int(stat[nid, list(LISTED)].sum()) // 2 or self._task.killed:
                return False
            if not self._cc.is_sync:
                return True
            await Reclaimer(self._current).throttle(nid, ISOLATED)

    async def _isolate_migratepages(self) -> int:
        """Take pages off their lists, of the next pageblock worth it; return how many.

        Source: Linux 6.1 mm/compaction.c:isolate_migratepages
        """
        cc, kernel, task = self._cc, self._kernel, self._task
        end = cc.next_migrate_block(kernel.mem, self._state)
        if not end:
            return 0
        if not cc.is_sync and self._node.lru_lock.free_ns > kernel.engine.now_ns:
            cc.is_contended = True
        skip_order = cc.order if cc.is_direct and not cc.is_sync else 0
        unevictable, start = kernel.sysctl.vm_compact_unevictable_allowed, cc.migrate_pfn
        scan = np.array((start, end, skip_order, unevictable, cc.zone, 0), np.int64)
        request = IsolateMigratepages(scan, self._pfns, self._kinds, task.cpu.name)
        nr: int = await self._node.ref.ask(request)
        pfn, nr_scanned = int(scan[MS_PFN]), int(scan[MS_NR_SCANNED])
        await task.compute(kernel.spec.latency.scan_page_ns * nr_scanned)
        cc.nr_migrate_scanned += nr_scanned
        kernel.mem.vm_event[COMPACT_ISOLATED] += nr
        cc.has_scanned(self._state, pfn, end, nr)
        trace(task, mm_compaction_isolate_migratepages(start, pfn, nr_scanned, nr))
        return nr

    async def _migrate(self, nr: int) -> int:
        """Move the pages that were taken; return how many could not be.

        Source: Linux 6.1 mm/migrate.c:migrate_pages, mm/compaction.c:compaction_alloc
        """
        kernel, task = self._current
        if len(self._free) < nr:
            await self._isolate_freepages(nr)
        self._enough = len(self._free) >= nr
        new, rest = self._free[:nr], self._free[nr:]
        self._free = rest
        left, spare = await migrate_pages(self._current, self._pfns[:nr], self._kinds[:nr], new)
        self._free = np.concatenate((spare, rest))
        await free_frames(self._current, left, len(left))
        nr_moved, nr_failed = len(left), nr - len(left)
        kernel.mem.vm_event[PGMIGRATE_SUCCESS] += nr_moved
        kernel.mem.vm_event[PGMIGRATE_FAIL] += nr_failed
        trace(task, mm_migrate_pages(nr_moved, nr_failed, 0, 0, 0, self._cc.mode, REASON))
        trace(task, mm_compaction_migratepages(nr_moved, nr_failed))
        return nr_failed

    async def _isolate_freepages(self, wanted: int) -> None:
        """Take free pages until as many as wanted are in hand, from the top of the zone downwards.

        Source: Linux 6.1 mm/compaction.c:isolate_freepages
        """
        cc, mem, state = self._cc, self._kernel.mem, self._state
        low = (cc.migrate_pfn | (PAGEBLOCK_NR_PAGES - 1)) + 1
        pfn, block = cc.free_pfn, cc.free_pfn & -PAGEBLOCK_NR_PAGES
        while block >= low:
            if cc.is_target(mem, state, block):
                end = min(block + PAGEBLOCK_NR_PAGES, zone_span(mem, cc.zone)[1])
                pfn = await self._isolate_freepages_block(pfn, end, wanted)
                if pfn == end:
                    state.skip.add(block >> PAGEBLOCK_ORDER)
                    state.free_pfn = min(state.free_pfn, block)
                if len(self._free) >= wanted:
                    if pfn >= end:
                        pfn = block - PAGEBLOCK_NR_PAGES
                    break
                if pfn < end:  # the zone has too little left
                    break
            block -= PAGEBLOCK_NR_PAGES
            pfn = block
        cc.free_pfn = pfn

    async def _isolate_freepages_block(self, start: int, end: int, wanted: int) -> int:
        """Take free pages of a pageblock; return the frame to go on from."""
        cc, kernel, task = self._cc, self._kernel, self._task
        if not cc.is_sync and self._node.zone_locks[cc.zone].free_ns > kernel.engine.now_ns:
            cc.is_contended = True
        more = wanted - len(self._free)
        scan = np.array((start, end, more, cc.zone, 0, 0), np.int64)
        out = np.zeros(more + MAX_ORDER_NR_PAGES, np.int64)
        request = IsolateFreepages(cc.zone, scan, out, task.cpu.name)
        nr: int = await self._node.ref.ask(request)
        self._free = np.concatenate((self._free, out[:nr]))
        pfn, nr_scanned = int(scan[FS_PFN]), int(scan[FS_NR_SCANNED])
        await task.compute(kernel.spec.latency.scan_page_ns * nr_scanned)
        cc.nr_free_scanned += nr_scanned
        kernel.mem.vm_event[COMPACT_ISOLATED] += nr
        trace(task, mm_compaction_isolate_freepages(start, pfn, nr_scanned, nr))
        return pfn

    async def _drain(self) -> None:
        """Have the frames that pages have left merge: they are in this CPU's lists.

        Source: Linux 6.1 mm/compaction.c:compact_zone, mm/swap.c:lru_add_drain_cpu_zone
        """
        await lru_add_drain(self._current)
        zone, cpu = self._cc.zone, self._task.cpu
        if self._kernel.mem.pcp_count[zone, cpu.number]:
            await self._node.ref.ask(DrainPages(zone, cpu.number, cpu.name))

    async def release_freepages(self) -> None:
        """Give back what was not used; the next one looks for free pages from there on.

        Source: Linux 6.1 mm/compaction.c:release_freepages, :compact_zone
        """
        if not len(self._free):
            return
        highest = int(self._free.max()) & -PAGEBLOCK_NR_PAGES
        self._state.free_pfn = max(self._state.free_pfn, highest)
        await free_frames(self._current, self._free, len(self._free))
        self._free = self._free[:0]
