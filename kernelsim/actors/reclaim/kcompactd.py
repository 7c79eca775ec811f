"""kcompactd, one a node: makes blocks of pages in the background, for requests to come.

Linux: mm/compaction.c: kcompactd, kcompactd_do_work, wakeup_kcompactd, compact_node, 6.1.
kswapd wakes it when enough is free for a request of an order above 0, though in pieces. Twice a
second it looks for itself: for a request that was not worth it then, and whether free memory is
fragmented so much that it makes large blocks before anybody asks (vm.compaction_proactiveness).
# Differs from Linux: A look that finds nothing to do wakes no thread and leaves no trace.
Owns: its run over the node; what it is asked for is shared with those who ask (`KcompactdState`).
Interface: `wakeup_kcompactd`; `compact_node` does all of a node, in the caller's time.
Units: pages; an order is the logarithm of a number of pages.
"""

from functools import partial
from typing import Final

from kernelsim.actors.core.current import Current
from kernelsim.actors.core.free_pages import drain_all_pages
from kernelsim.actors.core.kernel import Kernel
from kernelsim.actors.core.task import Task
from kernelsim.actors.reclaim.compact_zone import compact_zone, suitable
from kernelsim.actors.tracing import trace
from kernelsim.mm.core.mem import MIGRATE_UNMOVABLE
from kernelsim.mm.core.vmstat import (
    COMPACT_DAEMON_FREE_SCANNED,
    COMPACT_DAEMON_MIGRATE_SCANNED,
    COMPACT_DAEMON_WAKE,
)
from kernelsim.mm.page.compaction import (
    COMPACT_MAX_DEFER_SHIFT,
    MIGRATE_SYNC,
    MIGRATE_SYNC_LIGHT,
    WHOLE_ZONE,
    CompactControl,
    CompactResult,
)
from kernelsim.mm.page.fragmentation_score import (
    fragmentation_score_node,
    fragmentation_score_wmark,
)
from kernelsim.mm.reclaim.vmscan import node_zones, zones_upto
from kernelsim.sim.actor import Actor
from kernelsim.trace.compaction import (
    mm_compaction_defer_compaction,
    mm_compaction_kcompactd_sleep,
    mm_compaction_kcompactd_wake,
    mm_compaction_wakeup_kcompactd,
)
from kernelsim.units import NS_PER_MS

HPAGE_FRAG_CHECK_INTERVAL_NS: Final = 500 * NS_PER_MS  # mm/compaction.c


class Kcompactd(Actor):
    """The actor of one node's kcompactd.

    Args:
        kernel: The machine.
        nid: Its node.
        task: Its thread; may run on the node's CPUs.
    """

    def __init__(self, kernel: Kernel, nid: int, task: Task) -> None:
        super().__init__(f"kcompactd{nid}")
        self.nid = nid
        self.state = kernel.compaction.states[nid]
        self._kernel = kernel
        self._task = task
        self._current = Current(kernel, task)

    async def run(self) -> None:
        """Sleep until asked, compact the node's zones, sleep again.

        Source: Linux 6.1 mm/compaction.c:kcompactd
        """
        state, default_ns = self.state, HPAGE_FRAG_CHECK_INTERVAL_NS
        self._sleep(default_ns)
        await self._wait()
        await self._task.get_cpu(wakeup=True)
        while True:
            timeout_ns = default_ns
            if state.max_order:
                with self._task.memstall():
                    await self._do_work()
            elif should_proactive_compact_node(self._kernel, self.nid) and (
                not await self._proactive_compact_node()
            ):
                timeout_ns = default_ns << COMPACT_MAX_DEFER_SHIFT
            if state.max_order:
                continue
            trace(self, mm_compaction_kcompactd_sleep(self.nid))
            self._sleep(timeout_ns)
            async with self._task.off_cpu():
                await self._wait()

    def _sleep(self, timeout_ns: int) -> None:
        self.state.asleep = True
        self.state.looks_ns = self.engine.now_ns + timeout_ns
        arm_looks(self._kernel)

    async def _wait(self) -> None:
        while self.state.asleep:
            await self.mailbox.receive()

    async def _proactive_compact_node(self) -> bool:
        """Make large blocks in all zones of the node; False if that made it no better.

        Source: Linux 6.1 mm/compaction.c:proactive_compact_node
        """
        mem, zones = self._kernel.mem, node_zones(self._kernel.mem, self.nid)
        before = fragmentation_score_node(mem, zones)
        for zone in zones_upto(mem, self.nid, len(zones) - 1):
            await compact_zone(self._current, whole_zone(zone, MIGRATE_SYNC_LIGHT, len(zones) - 1))
        return fragmentation_score_node(mem, zones) < before

    async def _do_work(self) -> None:
        """Compact zones so that there is a block of the order that is wanted.

        Source: Linux 6.1 mm/compaction.c:kcompactd_do_work
        """
        kernel, state = self._kernel, self.state
        order, highest = state.max_order, highest_zoneidx(kernel, self.nid)
        trace(self, mm_compaction_kcompactd_wake(self.nid, order, highest))
        kernel.mem.vm_event[COMPACT_DAEMON_WAKE] += 1
        for zone in zones_upto(kernel.mem, self.nid, highest):
            cc = control(zone, order, highest)
            if kernel.compaction.zones[zone].is_deferred(order):
                continue
            # Whether a zone is worth it is asked for requests that may use none above it.
            own = control(zone, order, zone % len(kernel.phys.zone_types))
            if suitable(self._current, own) is CompactResult.CONTINUE:
                await self._compact(cc)
        if state.max_order <= order:
            state.max_order = 0
        if highest_zoneidx(kernel, self.nid) >= highest:  # else of one that came meanwhile
            state.highest_zoneidx = None

    async def _compact(self, cc: CompactControl) -> None:
        kernel, known = self._kernel, self._kernel.compaction.zones[cc.zone]
        result = await compact_zone(self._current, cc)
        if result is CompactResult.SUCCESS:
            known.defer_reset(cc.order, has_block=False)
        elif result in (CompactResult.PARTIAL_SKIPPED, CompactResult.COMPLETE):
            await drain_all_pages(self._current, cc.zone)
            defer_compaction(self._current, cc.zone, cc.order)
        kernel.mem.vm_event[COMPACT_DAEMON_MIGRATE_SCANNED] += cc.nr_migrate_scanned
        kernel.mem.vm_event[COMPACT_DAEMON_FREE_SCANNED] += cc.nr_free_scanned


def should_proactive_compact_node(kernel: Kernel, nid: int) -> bool:
    """Tell whether so little free memory is in large blocks that some are to be made now.

    Source: Linux 6.1 mm/compaction.c:should_proactive_compact_node
    """
    proactiveness = kernel.sysctl.vm_compaction_proactiveness
    if not proactiveness or kernel.compaction.kswapds[nid].is_running:
        return False
    score = fragmentation_score_node(kernel.mem, node_zones(kernel.mem, nid))
    return score > fragmentation_score_wmark(proactiveness, low=False)


def arm_looks(kernel: Kernel) -> None:
    """Let the first of those asleep look when its time has come."""
    sleepers = [state.looks_ns for state in kernel.compaction.states if state.asleep]
    if sleepers:
        clock = kernel.engine.clock
        clock.call_meanwhile(max(min(sleepers), clock.now_ns), partial(_look, kernel))


def _look(kernel: Kernel, _: object) -> bool:
    """Wake those whose time has come and who have something to do; the others look later.

    Source: Linux 6.1 mm/compaction.c:kcompactd
    """
    now_ns = kernel.engine.now_ns
    for nid, state in enumerate(kernel.compaction.states):
        if not state.asleep or state.looks_ns > now_ns:
            continue
        if state.max_order or should_proactive_compact_node(kernel, nid):
            kernel.compaction.wake(nid)
        else:
            state.looks_ns = now_ns + HPAGE_FRAG_CHECK_INTERVAL_NS
    arm_looks(kernel)
    return False


def highest_zoneidx(kernel: Kernel, nid: int) -> int:
    """Return the highest zone type that kcompactd is asked for."""
    highest = kernel.compaction.states[nid].highest_zoneidx
    return len(kernel.phys.zone_types) - 1 if highest is None else highest


def control(zone: int, order: int, highest: int) -> CompactControl:
    """Return how kcompactd compacts a zone."""
    return CompactControl(zone, order, MIGRATE_UNMOVABLE, MIGRATE_SYNC_LIGHT, highest)


def whole_zone(zone: int, mode: int, highest: int) -> CompactControl:
    """Return how all of a zone is compacted: proactively, if it does not wait for writeback."""
    return CompactControl(
        zone, WHOLE_ZONE, MIGRATE_UNMOVABLE, mode, highest,
        whole_zone=True, ignore_skip_hint=True, is_proactive=mode == MIGRATE_SYNC_LIGHT,
    )  # fmt: skip


def defer_compaction(current: Current, zone: int, order: int) -> None:
    """Have requests do without compaction of a zone for a while: it has failed.

    Source: Linux 6.1 mm/compaction.c:defer_compaction
    """
    kernel, task = current
    known = kernel.compaction.zones[zone]
    known.defer(order)
    nid, idx = divmod(zone, len(kernel.phys.zone_types))
    point = mm_compaction_defer_compaction(
        nid, idx, order, known.considered, known.defer_shift, known.order_failed
    )
    trace(task, point)


def wakeup_kcompactd(current: Current, nid: int, order: int, highest: int) -> None:
    """Ask for blocks in the zones of a node up to a type, if compaction can make some.

    Source: Linux 6.1 mm/compaction.c:wakeup_kcompactd
    """
    kernel, task = current
    if not order or not kernel.compaction.kcompactds:
        return
    state = kernel.compaction.states[nid]
    state.max_order = max(state.max_order, order)
    state.highest_zoneidx = min(highest_zoneidx(kernel, nid), highest)
    if not state.asleep:
        return
    order, highest = state.max_order, state.highest_zoneidx
    controls = (control(zone, order, highest) for zone in zones_upto(kernel.mem, nid, highest))
    if not any(suitable(current, cc) is CompactResult.CONTINUE for cc in controls):
        return
    trace(task, mm_compaction_wakeup_kcompactd(nid, order, highest))
    kernel.compaction.wake(nid)


async def compact_node(current: Current, nid: int) -> None:
    """Compact all zones of a node, whole.

    Source: Linux 6.1 mm/compaction.c:compact_node
    """
    kernel, highest = current.kernel, len(current.kernel.phys.zone_types) - 1
    for zone in zones_upto(kernel.mem, nid, highest):
        await compact_zone(current, whole_zone(zone, MIGRATE_SYNC, highest))
