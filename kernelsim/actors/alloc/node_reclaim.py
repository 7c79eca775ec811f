"""Node reclaim: a task frees pages of a node near it before it takes some from another one.

Linux: mm/vmscan.c: node_reclaim, __node_reclaim, 6.1.
It happens in the task's own time, as direct reclaim does, and one task at a time on each node.
Units: pages, ns.
"""

from kernelsim.actors.core.current import Current
from kernelsim.actors.reclaim.reclaim import Reclaimer
from kernelsim.actors.tracing import trace
from kernelsim.mm.core.mem import SWAP_CLUSTER_MAX, Z_NID, Z_NODE_RECLAIM_MODE
from kernelsim.mm.core.vmstat import ZONE_RECLAIM_FAILED
from kernelsim.mm.page.alloc_context import AllocContext
from kernelsim.mm.page.gfp import Gfp
from kernelsim.mm.page.node_reclaim import (
    NODE_RECLAIM_PRIORITY,
    RECLAIM_UNMAP,
    RECLAIM_WRITE,
    has_reclaimable,
    wants_node_reclaim,
)
from kernelsim.mm.reclaim.scan_control import ScanControl
from kernelsim.trace.vmscan import mm_vmscan_node_reclaim_begin, mm_vmscan_node_reclaim_end


async def node_reclaim(current: Current, context: AllocContext, zone: int) -> bool:
    """Reclaim from the node of a zone that has too few free pages, if that is to be done.

    Returns:
        Whether it was, so that the zone is worth another look.

    Source: Linux 6.1 mm/vmscan.c:node_reclaim
    """
    kernel, task = current
    if not kernel.mem.zone[zone, Z_NODE_RECLAIM_MODE]:
        return False
    nid = int(kernel.mem.zone[zone, Z_NID])
    distance = kernel.phys.numa_distance[context.preferred_nid][nid]
    if not wants_node_reclaim(kernel.mem, zone, task.cpu.nid, distance):
        return False
    if Gfp.DIRECT_RECLAIM not in context.gfp or task.memalloc or nid in kernel.reclaimed_nodes:
        return False
    kernel.reclaimed_nodes.add(nid)
    try:
        nr_reclaimed = await _node_reclaim(current, context, zone)
    finally:
        kernel.reclaimed_nodes.discard(nid)
    if not nr_reclaimed:
        kernel.mem.vm_event[ZONE_RECLAIM_FAILED] += 1
    tried = context.zonelist[: context.zonelist.index(zone) + 1]
    kernel.observer.passed(task.cpu.name, tried)
    return True


async def _node_reclaim(current: Current, context: AllocContext, zone: int) -> int:
    """Reclaim a batch; return how many pages it gave.

    Source: Linux 6.1 mm/vmscan.c:__node_reclaim
    """
    kernel, task = current
    nid, mode = kernel.mem.zone[zone, [Z_NID, Z_NODE_RECLAIM_MODE]].tolist()
    sc = ScanControl(
        nr_to_reclaim=SWAP_CLUSTER_MAX,
        reclaim_idx=context.highest_zoneidx,
        gfp_mask=context.gfp,
        priority=NODE_RECLAIM_PRIORITY,
        may_writepage=bool(mode & RECLAIM_WRITE),
        may_unmap=bool(mode & RECLAIM_UNMAP),
        swappiness=kernel.sysctl.vm_swappiness,
    )
    await task.cond_resched()
    trace(task, mm_vmscan_node_reclaim_begin(nid, 0, int(context.gfp)))
    began_ns = kernel.engine.now_ns
    with task.memstall():
        task.memalloc = True
        try:
            if has_reclaimable(kernel.mem, zone):
                reclaimer = Reclaimer(current)
                while True:
                    await reclaimer.shrink_node(sc, nid)
                    sc.priority -= 1
                    if sc.nr_reclaimed or sc.priority < 0 or task.killed:
                        break
        finally:
            task.memalloc = False
    task.waits.reclaim_ns += kernel.engine.now_ns - began_ns
    trace(task, mm_vmscan_node_reclaim_end(sc.nr_reclaimed))
    return sc.nr_reclaimed
