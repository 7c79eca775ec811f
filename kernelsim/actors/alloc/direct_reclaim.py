"""Direct reclaim: the task that needs a page frees some first, in its own time.

Linux: mm/vmscan.c: try_to_free_pages, throttle_direct_reclaim, do_try_to_free_pages, shrink_zones,
6.1.
The stall of a process is what this takes: scanning on its CPU, lru_lock, TLB flushes, waiting for
room in the disk's queue, and sleeping when reclaim is throttled.
Units: pages, ns.
"""

from kernelsim.actors.alloc.wakeup_kswapd import rouse_kswapd
from kernelsim.actors.core.current import Current
from kernelsim.actors.reclaim.reclaim import Reclaimer
from kernelsim.actors.tracing import trace
from kernelsim.config.zones import ZoneType
from kernelsim.mm.core.mem import Z_NID
from kernelsim.mm.core.vmstat import ALLOCSTALL_DMA, PGSCAN_DIRECT_THROTTLE
from kernelsim.mm.page.gfp import Gfp, gfp_zone
from kernelsim.mm.reclaim.scan_control import ScanControl
from kernelsim.mm.reclaim.throttle_reason import NOPROGRESS, PFMEMALLOC_WAIT
from kernelsim.mm.reclaim.vmscan import snapshot_refaults
from kernelsim.mm.reclaim.vmscan_compact import compaction_ready
from kernelsim.mm.reclaim.vmscan_direct import allow_direct_reclaim, direct_reclaim_goes_on
from kernelsim.mm.reclaim.vmscan_throttle import made_progress, should_throttle_noprogress
from kernelsim.trace.ks import ks_sleep
from kernelsim.trace.vmscan import mm_vmscan_direct_reclaim_begin, mm_vmscan_direct_reclaim_end


async def try_to_free_pages(
    current: Current, gfp: Gfp, zonelist: tuple[int, ...], order: int = 0
) -> int:
    """Free at least a batch of pages for a request.

    Args:
        current: The task that reclaims.
        gfp: Of the request.
        zonelist: Zone rows the request may use.
        order: Size of the block it wants.

    Returns:
        Pages reclaimed; 1 without reclaiming when the task was told to wait for kswapd instead
        and is being killed.

    Source: Linux 6.1 mm/vmscan.c:try_to_free_pages
    """
    kernel, task = current
    if await _throttle_direct_reclaim(current, zonelist):
        return 1
    sc = ScanControl(
        order=order,
        reclaim_idx=gfp_zone(gfp, kernel.phys.zone_types),
        gfp_mask=gfp,
        swappiness=kernel.sysctl.vm_swappiness,
    )
    trace(task, mm_vmscan_direct_reclaim_begin(order, int(gfp)))
    nids = list(dict.fromkeys(int(kernel.mem.zone[zone, Z_NID]) for zone in zonelist))
    kernel.mem.vm_event[ALLOCSTALL_DMA + sc.reclaim_idx] += 1
    task.memalloc = True
    try:
        await _do_try_to_free_pages(current, sc, nids, zonelist)
    finally:
        task.memalloc = False
    trace(task, mm_vmscan_direct_reclaim_end(sc.nr_reclaimed))
    return sc.nr_reclaimed or int(sc.compaction_ready)


async def _do_try_to_free_pages(
    current: Current, sc: ScanControl, nids: list[int], zonelist: tuple[int, ...]
) -> None:
    kernel, task = current
    reclaimer = Reclaimer(current)
    while True:
        sc.nr_scanned = 0
        ready = [zone for zone in zonelist if sc.order and compaction_ready(kernel.mem, zone, sc)]
        sc.compaction_ready = bool(ready)
        for nid in nids:
            own = [zone for zone in zonelist if kernel.mem.zone[zone, Z_NID] == nid]
            if not ready or any(zone not in ready for zone in own):
                await reclaimer.shrink_node(sc, nid)
        if made_progress(sc):
            kernel.throttle_queue(nids[0], NOPROGRESS).wake_all()
        elif should_throttle_noprogress(sc):
            await reclaimer.throttle(nids[0], NOPROGRESS)
        if task.killed or not direct_reclaim_goes_on(sc):
            break
    for nid in nids:
        snapshot_refaults(kernel.mem, kernel.lruvec, nid)


async def _throttle_direct_reclaim(current: Current, zonelist: tuple[int, ...]) -> bool:
    """Wait for kswapd when even the reserves run out; True if the task was killed meanwhile."""
    kernel, task = current
    phys = kernel.phys
    nr_types = len(phys.zone_types)
    normal = phys.zone_types.index(ZoneType.ZONE_NORMAL)
    usable = [zone for zone in zonelist if zone % nr_types <= normal]
    if not usable or task.killed:
        return False
    nid = usable[0] // nr_types

    def allowed() -> bool:
        return allow_direct_reclaim(
            kernel.mem, kernel.swap, kernel.lruvec, nid, normal_zoneidx=normal
        )

    if allowed():
        return False
    kernel.mem.vm_event[PGSCAN_DIRECT_THROTTLE] += 1
    queue, began_ns = kernel.throttle_queue(nid, PFMEMALLOC_WAIT), kernel.engine.now_ns
    async with task.off_cpu():
        while not allowed() and not task.killed:
            rouse_kswapd(kernel, nid)
            await queue.wait()
    trace(task, ks_sleep("pfmemalloc", f"kswapd{nid}", kernel.engine.now_ns - began_ns))
    return task.killed
