"""What free pages oblige to, worked out apart from the allocator and kswapd.

Who must be told when pages are short, when kswapd may sleep, which zone a request gets its page
from, and from which nodes a policy allows it.
Linux: mm/vmscan.c: pgdat_balanced, prepare_kswapd_sleep, wakeup_kswapd; mm/page_alloc.c:
get_page_from_freelist; mm/mempolicy.c: policy_nodemask, 6.1.
Interface: each `wrong_*` returns what is wrong as a text, an empty one if nothing is.
Units: pages.
"""

from collections.abc import Callable, Sequence
from typing import Final

from kernelsim.actors.core.kernel import Kernel
from kernelsim.config.zones import ZoneType
from kernelsim.mm.core.lruvec import LV_KSWAPD_FAILURES
from kernelsim.mm.core.mem import (
    I64,
    Z_FREE,
    Z_MANAGED,
    Z_NID,
    Z_NR_RESERVED_HIGHATOMIC,
    Z_TYPE_INDEX,
    Z_WATERMARK_BOOST,
    Z_WMARK_HIGH,
    Mem,
)
from kernelsim.mm.page.alloc_context import AllocContext
from kernelsim.mm.page.gfp import Gfp
from kernelsim.mm.page.mempolicy import Mempolicy

KSWAPD_FAILURES_MAX: Final = 16  # MAX_RECLAIM_RETRIES, mm/internal.h


def is_balanced(mem: Mem, nid: int, highest_zoneidx: int) -> bool:
    """Tell whether some zone of a node is above high for requests of up to an index."""
    has_pages = False
    for number, row in enumerate(mem.zone):
        if row[Z_NID] != nid or row[Z_TYPE_INDEX] > highest_zoneidx or not row[Z_MANAGED]:
            continue
        has_pages = True
        mark = row[Z_WMARK_HIGH] + row[Z_WATERMARK_BOOST]
        mark += mem.lowmem_reserve[number, highest_zoneidx] + row[Z_NR_RESERVED_HIGHATOMIC]
        if row[Z_FREE] > mark:
            return True
    return not has_pages


def is_boosted(mem: Mem, nid: int, highest_zoneidx: int) -> bool:
    """Tell whether a mark of a node was raised, since its pageblocks were mixed up."""
    zones = (mem.zone[:, Z_NID] == nid) & (mem.zone[:, Z_TYPE_INDEX] <= highest_zoneidx)
    return bool((mem.zone[zones, Z_WATERMARK_BOOST] > 0).any())


def is_hopeless(kernel: Kernel, nid: int) -> bool:
    """Tell whether the kswapd of a node has failed so often that it is left alone."""
    return bool(kernel.lruvec[nid, LV_KSWAPD_FAILURES] >= KSWAPD_FAILURES_MAX)


def wrong_sleep(kernel: Kernel, nid: int, highest_zoneidx: int) -> str:
    """Say what is wrong when a kswapd goes to sleep, having cared for zones up to an index."""
    if is_hopeless(kernel, nid) or is_balanced(kernel.mem, nid, highest_zoneidx):
        return ""
    return f"kswapd{nid} goes to sleep though no zone up to {highest_zoneidx} is above high"


def wrong_silence(kernel: Kernel, mem: Mem, name: str, context: AllocContext) -> str:
    """Say which kswapd sleeps on though a task that found no zone above low needs it.

    Args:
        kernel: The machine.
        mem: Its zones as they stood then.
        name: Of the task.
        context: What it wants.
    """
    highest = context.highest_zoneidx
    for nid in dict.fromkeys(int(mem.zone[zone, Z_NID]) for zone in context.zonelist):
        if not kernel.kswapd_states[nid].asleep or is_hopeless(kernel, nid):
            continue
        if not is_balanced(mem, nid, highest) or is_boosted(mem, nid, highest):
            return f"{name}: a request found no zone above low, and kswapd{nid} was not woken"
    return ""


def wrong_node(kernel: Kernel, pid: int, context: AllocContext, zone: int) -> str:
    """Say whether a zone lies outside what the policy of a process allows."""
    policy, entry = context.policy, kernel.processes.get(pid)
    if policy is None and entry is not None and Gfp.THISNODE not in context.gfp:
        policy = entry.policy  # also if the request has lost it
    nodes = bound_to(kernel, policy, context.highest_zoneidx)
    nid = int(kernel.mem.zone[zone, Z_NID])
    if nodes is None or nid in nodes:
        return ""
    return f"pid {pid} is bound to nodes {list(nodes)} and is served from node {nid}"


def bound_to(
    kernel: Kernel, policy: Mempolicy | None, highest_zoneidx: int
) -> tuple[int, ...] | None:
    """Return the nodes that requests of a policy are confined to; None for all.

    A policy rules the highest populated zone type below movable, and what lies above.
    """
    if policy is None or policy.mode != "bind":
        return None
    movable = kernel.phys.zone_types.index(ZoneType.ZONE_MOVABLE)
    populated = kernel.mem.zone[kernel.mem.zone[:, Z_MANAGED] > 0]
    own = [int(row[Z_TYPE_INDEX]) for row in populated if int(row[Z_NID]) in policy.nodes]
    plain = [int(index) for index in populated[:, Z_TYPE_INDEX] if index < movable]
    ruled = movable if own and min(own) >= movable else max(plain, default=movable)
    return policy.nodes if highest_zoneidx >= ruled else None


def wrong_zone(zonelist: Sequence[int], zone: int, free: I64, lowest: Callable[[int], int]) -> str:
    """Say whether a request passes a zone by that has enough, or takes one that has not.

    Args:
        zonelist: Zone rows in the order they are to be tried.
        zone: The one that was chosen.
        free: Free pages by zone row, when it was.
        lowest: Pages that must be left there, by zone row.
    """
    for other in zonelist:
        has_enough = int(free[other]) > max(lowest(other), 0)  # PF_MEMALLOC may take the last
        if other == zone:
            if has_enough:
                return ""
            return f"zone {zone} has {free[zone]} free pages of which {lowest(zone)} must be left"
        if has_enough:
            return f"zone {other} comes before zone {zone} and has {free[other]} free pages"
    return f"zone {zone} is not one of those it may use: {list(zonelist)}"
