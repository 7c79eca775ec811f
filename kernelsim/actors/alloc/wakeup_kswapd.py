"""Waking kswapd, in the time of the task that wants free pages.

Linux: mm/vmscan.c:wakeup_kswapd, mm/page_alloc.c:wake_all_kswapds (6.1).
"""

from kernelsim.actors.core.current import Current
from kernelsim.actors.core.kernel import Kernel
from kernelsim.actors.messages.kswapd import WakeUp
from kernelsim.actors.reclaim.kcompactd import wakeup_kcompactd
from kernelsim.actors.tracing import trace
from kernelsim.mm.core.mem import Z_NID
from kernelsim.mm.page.alloc_context import AllocContext
from kernelsim.mm.page.gfp import Gfp
from kernelsim.mm.reclaim.vmscan_kswapd import should_wake_kswapd
from kernelsim.trace.vmscan import mm_vmscan_wakeup_kswapd


def wakeup_kswapd(
    current: Current, nid: int, highest_zoneidx: int, gfp: Gfp, order: int = 0
) -> None:
    """Ask for free pages in the zones of a node up to an index; a kswapd at work takes note.

    Args:
        current: Who asks.
        nid: The node.
        highest_zoneidx: Highest zone type the request may use.
        gfp: Bits of the request.
        order: Size of the block it wants.

    Source: Linux 6.1 mm/vmscan.c:wakeup_kswapd
    """
    kernel, task = current
    state = kernel.kswapd_states[nid]
    if not should_wake_kswapd(kernel.mem, kernel.lruvec, state, nid, order, highest_zoneidx):
        if order and state.asleep and Gfp.DIRECT_RECLAIM not in gfp:  # enough is free, in pieces
            wakeup_kcompactd(current, nid, order, highest_zoneidx)
        return
    trace(task, mm_vmscan_wakeup_kswapd(nid, highest_zoneidx, order, int(gfp)))
    rouse_kswapd(kernel, nid)


def rouse_kswapd(kernel: Kernel, nid: int) -> None:
    """Make kswapd look at its node, whatever the watermarks say; it may be at work already."""
    state = kernel.kswapd_states[nid]
    if state.asleep:
        state.asleep = False
        kernel.kswapds[nid].tell(WakeUp())


def wake_all_kswapds(current: Current, context: AllocContext, order: int = 0) -> None:
    """Tell the kswapd of every node of the zonelist that a request went below low.

    One that slept gets an idle CPU, or this one if it preempts the task there.

    Source: Linux 6.1 mm/page_alloc.c:wake_all_kswapds
    """
    nids = (int(current.kernel.mem.zone[zone, Z_NID]) for zone in context.zonelist)
    for nid in dict.fromkeys(nids):
        wakeup_kswapd(current, nid, context.highest_zoneidx, context.gfp, order)
