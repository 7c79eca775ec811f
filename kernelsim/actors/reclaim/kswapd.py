"""kswapd, one a node: keeps free pages above the high watermark, in the background.

Linux: mm/vmscan.c: kswapd, kswapd_try_to_sleep, balance_pgdat, 6.1.
It never holds an allocator up by itself; it races them for the CPU, the node's locks and the disk.
Owns: its run over the node; what it is asked for is shared with those who ask (`KswapdState`).
Interface: tell it `WakeUp` when its `KswapdState` says that it sleeps, having noted there what for;
everything else it decides from the node's counters. It marks the node's zones as being reclaimed
and works their boosts off; see parts/node.py for who writes what.
Units: pages, ns.
"""

from contextlib import nullcontext
from typing import Final

from kernelsim.actors.core.current import Current
from kernelsim.actors.core.kernel import Kernel
from kernelsim.actors.core.task import Task
from kernelsim.actors.reclaim.kcompactd import wakeup_kcompactd
from kernelsim.actors.reclaim.reclaim import Reclaimer
from kernelsim.actors.tracing import trace
from kernelsim.block.blk_wbt import WBT_RWQ_KSWAPD
from kernelsim.config.zones import ZoneType
from kernelsim.mm.core.vmstat import (
    KSWAPD_HIGH_WMARK_HIT_QUICKLY,
    KSWAPD_LOW_WMARK_HIT_QUICKLY,
    PAGEOUTRUN,
)
from kernelsim.mm.reclaim.throttle_reason import PFMEMALLOC_WAIT
from kernelsim.mm.reclaim.vmscan import node_zones, snapshot_refaults
from kernelsim.mm.reclaim.vmscan_direct import allow_direct_reclaim
from kernelsim.mm.reclaim.vmscan_kswapd import BalanceRun, prepare_kswapd_sleep
from kernelsim.sim.actor import Actor
from kernelsim.trace.vmscan import mm_vmscan_kswapd_sleep, mm_vmscan_kswapd_wake
from kernelsim.units import NS_PER_S

SHORT_SLEEP_NS: Final = NS_PER_S // 10  # schedule_timeout(HZ/10) before a full sleep


class Kswapd(Actor):
    """The actor of one node's kswapd.

    Args:
        kernel: The machine.
        nid: Its node.
        task: Its thread; may run on the node's CPUs.
    """

    def __init__(self, kernel: Kernel, nid: int, task: Task) -> None:
        super().__init__(f"kswapd{nid}")
        self.nid = nid
        self.state = kernel.kswapd_states[nid]
        self._kernel = kernel
        self._task = task
        self._current = Current(kernel, task)
        self._reclaimer = Reclaimer(self._current, WBT_RWQ_KSWAPD)

    async def run(self) -> None:
        """Sleep until asked, balance the node, sleep again."""
        highest_zoneidx = len(self._kernel.phys.zone_types) - 1
        self._task.memalloc = True
        await self._task.get_cpu()
        while True:
            wanted, alloc_order = self.state.highest_zoneidx, self.state.order
            reclaim_order = alloc_order
            highest_zoneidx = highest_zoneidx if wanted is None else wanted
            while True:
                await self._try_to_sleep(alloc_order, reclaim_order, highest_zoneidx)
                wanted, alloc_order = self.state.take()
                highest_zoneidx = highest_zoneidx if wanted is None else wanted
                trace(self, mm_vmscan_kswapd_wake(self.nid, highest_zoneidx, alloc_order))
                with self._task.memstall():
                    reclaim_order = await self._balance_pgdat(alloc_order, highest_zoneidx)
                if reclaim_order >= alloc_order:
                    break

    async def _try_to_sleep(self, alloc_order: int, order: int, highest_zoneidx: int) -> None:
        # A short sleep first: a node that falls out of balance within it was not worth the words.
        mem = self._kernel.mem
        woken_early = False
        if self._prepare_sleep(order, highest_zoneidx):
            self._reset_isolation_suitable()
            wakeup_kcompactd(self._current, self.nid, alloc_order, highest_zoneidx)
            woken_early = await self._sleep(highest_zoneidx, SHORT_SLEEP_NS)
            if woken_early:
                self.state.order = max(self.state.order, order)
        if not woken_early and self._prepare_sleep(order, highest_zoneidx):
            trace(self, mm_vmscan_kswapd_sleep(self.nid))
            await self._sleep(highest_zoneidx, None)
        elif woken_early:
            mem.vm_event[KSWAPD_LOW_WMARK_HIT_QUICKLY] += 1
        else:
            mem.vm_event[KSWAPD_HIGH_WMARK_HIT_QUICKLY] += 1

    def _reset_isolation_suitable(self) -> None:
        """Have compaction look at all pageblocks again, of zones it went through in vain.

        Source: Linux 6.1 mm/compaction.c:reset_isolation_suitable
        """
        kernel = self._kernel
        for zone in node_zones(kernel.mem, self.nid):
            known = kernel.compaction.zones.get(zone)
            if known is not None and known.blockskip_flush:
                known.reset_isolation_suitable(kernel.mem, zone)

    def _prepare_sleep(self, order: int, highest_zoneidx: int) -> bool:
        # Those throttled until kswapd has done its work must not sleep on when it does.
        kernel = self._kernel
        kernel.throttle_queue(self.nid, PFMEMALLOC_WAIT).wake_all()
        return prepare_kswapd_sleep(kernel.mem, kernel.lruvec, self.nid, order, highest_zoneidx)

    async def _sleep(self, highest_zoneidx: int, timeout_ns: int | None) -> bool:
        """Sleep until told to wake up; True if that came before the timeout."""
        state = self.state
        state.asleep = True
        self._kernel.observer.falls_asleep(self.nid, highest_zoneidx)
        async with self._task.off_cpu():
            with self.engine.move_on_after(timeout_ns) if timeout_ns else nullcontext():
                while state.asleep:  # a message that came with a timeout is of the last sleep
                    await self.mailbox.receive()
            is_woken = not state.asleep
            state.asleep = False
        return is_woken

    async def _balance_pgdat(self, order: int, highest_zoneidx: int) -> int:
        """Reclaim until a zone of the node is above its high watermark.

        Returns:
            The order that was reclaimed for; 0 once enough is free for compaction to make a block.

        Source: Linux 6.1 mm/vmscan.c:balance_pgdat
        """
        kernel = self._kernel
        kernel.mem.vm_event[PAGEOUTRUN] += 1
        run = BalanceRun.start(
            kernel.mem,
            self.nid,
            order=order,
            highest_zoneidx=highest_zoneidx,
            swappiness=kernel.sysctl.vm_swappiness,
        )
        while run.begin_pass(kernel.mem):
            await self._reclaimer.kswapd_age_node(run.sc, self.nid)
            await self._reclaimer.shrink_node(run.sc, self.nid)
            self._wake_throttled()
            run.end_pass()
        # Differs from Linux: A boost of the watermarks that is worked off does not wake kcompactd,
        # which would make whole the pageblocks that were mixed up.
        run.finish(kernel.mem, kernel.lruvec)
        snapshot_refaults(kernel.mem, kernel.lruvec, self.nid)
        return run.sc.order

    def _wake_throttled(self) -> None:
        """Let those go on who wait for the reserves to fill up again."""
        kernel = self._kernel
        normal = kernel.phys.zone_types.index(ZoneType.ZONE_NORMAL)
        if allow_direct_reclaim(
            kernel.mem, kernel.swap, kernel.lruvec, self.nid, normal_zoneidx=normal
        ):
            kernel.throttle_queue(self.nid, PFMEMALLOC_WAIT).wake_all()
