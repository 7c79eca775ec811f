"""kcompactd, one a node: makes blocks of pages in the background, for requests to come.

Linux: mm/compaction.c: kcompactd, kcompactd_do_work, wakeup_kcompactd, compact_node, 6.1.
kswapd wakes it when enough is free for a request of an order above 0, though in pieces.
# Differs from Linux: No node is compacted from time to time before anybody asks for a block
# (vm.compaction_proactiveness).
Owns: its run over the node; what it is asked for is shared with those who ask (`KcompactdState`).
Interface: `wakeup_kcompactd`; `compact_node` does all of a node, in the caller's time.
Units: pages; an order is the logarithm of a number of pages.
"""

from kernelsim.actors.core.current import Current
from kernelsim.actors.core.free_pages import drain_all_pages
from kernelsim.actors.core.kernel import Kernel
from kernelsim.actors.core.task import Task
from kernelsim.actors.messages.kswapd import WakeUp
from kernelsim.actors.reclaim.compact_zone import compact_zone, suitable
from kernelsim.actors.tracing import trace
from kernelsim.mm.core.mem import MIGRATE_UNMOVABLE
from kernelsim.mm.core.vmstat import (
    COMPACT_DAEMON_FREE_SCANNED,
    COMPACT_DAEMON_MIGRATE_SCANNED,
    COMPACT_DAEMON_WAKE,
)
from kernelsim.mm.page.compaction import (
    MIGRATE_SYNC,
    MIGRATE_SYNC_LIGHT,
    WHOLE_ZONE,
    CompactControl,
    CompactResult,
)
from kernelsim.mm.reclaim.vmscan import zones_upto
from kernelsim.sim.actor import Actor
from kernelsim.trace.compaction import (
    mm_compaction_defer_compaction,
    mm_compaction_kcompactd_sleep,
    mm_compaction_kcompactd_wake,
    mm_compaction_wakeup_kcompactd,
)


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
        state = self.state
        state.asleep = True
        await self._wait()
        await self._task.get_cpu(wakeup=True)
        while True:
            with self._task.memstall():
                await self._do_work()
            if state.max_order:
                continue
            trace(self, mm_compaction_kcompactd_sleep(self.nid))
            state.asleep = True
            async with self._task.off_cpu():
                await self._wait()

    async def _wait(self) -> None:
        while self.state.asleep:
            await self.mailbox.receive()

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


def highest_zoneidx(kernel: Kernel, nid: int) -> int:
    """Return the highest zone type that kcompactd is asked for."""
    highest = kernel.compaction.states[nid].highest_zoneidx
    return len(kernel.phys.zone_types) - 1 if highest is None else highest


def control(zone: int, order: int, highest: int) -> CompactControl:
    """Return how kcompactd compacts a zone."""
    return CompactControl(zone, order, MIGRATE_UNMOVABLE, MIGRATE_SYNC_LIGHT, highest)


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
    state.asleep = False
    kernel.compaction.kcompactds[nid].tell(WakeUp())


async def compact_node(current: Current, nid: int) -> None:
    """Compact all zones of a node, whole.

    Source: Linux 6.1 mm/compaction.c:compact_node
    """
    kernel, highest = current.kernel, len(current.kernel.phys.zone_types) - 1
    for zone in zones_upto(kernel.mem, nid, highest):
        cc = CompactControl(
            zone, WHOLE_ZONE, MIGRATE_UNMOVABLE, MIGRATE_SYNC, highest,
            whole_zone=True, ignore_skip_hint=True,
        )  # fmt: skip
        await compact_zone(current, cc)
