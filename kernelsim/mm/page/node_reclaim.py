"""When a request reclaims from a node first, rather than go on to one that is further away.

Linux: mm/vmscan.c: node_reclaim, node_pagecache_reclaimable; mm/page_alloc.c:zone_allows_reclaim,
6.1. What is reclaimed then is in actors/alloc/node_reclaim.py.
Interface: `wants_node_reclaim`, for a zone that has too few free pages; `set_node_reclaim` puts the
tunables into force.
Units: pages.
"""

from typing import Final

from kernelsim.hw.leaf import leaf
from kernelsim.mm.core.mem import (
    Z_HAS_CPUS,
    Z_MANAGED,
    Z_MIN_SLAB,
    Z_MIN_UNMAPPED,
    Z_NID,
    Z_NODE_RECLAIM_MODE,
    Mem,
)
from kernelsim.mm.core.vmstat import (
    NR_ACTIVE_FILE,
    NR_DIRTY,
    NR_FILE_PAGES,
    NR_INACTIVE_FILE,
    NR_MAPPED,
    NR_SLAB_RECLAIMABLE,
)
from kernelsim.mm.page.phys_mem import PhysMem

# Bits of vm.zone_reclaim_mode; include/uapi/linux/mempolicy.h
RECLAIM_ZONE: Final = 1
RECLAIM_WRITE: Final = 2  # dirty pages are written
RECLAIM_UNMAP: Final = 4  # mapped pages, too, anonymous ones among them
NODE_RECLAIM_MODES: Final = RECLAIM_ZONE | RECLAIM_WRITE | RECLAIM_UNMAP
NODE_RECLAIM_PRIORITY: Final = 4  # mm/vmscan.c: a sixteenth of a list in the first pass
RECLAIM_DISTANCE: Final = 30  # include/linux/topology.h


def set_node_reclaim(phys: PhysMem) -> None:
    """Put vm.zone_reclaim_mode and what it leaves alone into force.

    Source: Linux 6.1 mm/page_alloc.c:setup_min_unmapped_ratio, :setup_min_slab_ratio
    """
    zone, sysctl = phys.mem.zone, phys.tunables.now
    zone[:, Z_NODE_RECLAIM_MODE] = sysctl.vm_zone_reclaim_mode & NODE_RECLAIM_MODES
    for node in phys.nodes:
        own = zone[:, Z_NID] == node.nid
        managed = zone[own, Z_MANAGED]
        zone[own, Z_MIN_UNMAPPED] = (managed * sysctl.vm_min_unmapped_ratio // 100).sum()
        zone[own, Z_MIN_SLAB] = (managed * sysctl.vm_min_slab_ratio // 100).sum()
        zone[own, Z_HAS_CPUS] = bool(node.cpus)


@leaf
def wants_node_reclaim(mem: Mem, zone: int, cpu_nid: int, distance: int) -> bool:
    """Tell whether a request is to reclaim from the node of a zone that has too few free pages.

    Args:
        mem: Physical memory.
        zone: Zone row.
        cpu_nid: Node of the CPU that asks.
        distance: From the node that is preferred to that of the zone; 10 is local.

    Source: Linux 6.1 mm/vmscan.c:node_reclaim, mm/page_alloc.c:zone_allows_reclaim
    """
    row = mem.zone[zone]
    if row[Z_NODE_RECLAIM_MODE] == 0 or distance > RECLAIM_DISTANCE:
        return False
    if row[Z_HAS_CPUS] and row[Z_NID] != cpu_nid:
        return False
    return has_reclaimable(mem, zone)


@leaf
def has_reclaimable(mem: Mem, zone: int) -> bool:
    """Tell whether the node of a zone has more page cache, or slab, than is to be left alone.

    Source: Linux 6.1 mm/vmscan.c:node_pagecache_reclaimable, :node_unmapped_file_pages
    """
    row = mem.zone[zone]
    stat, mode = mem.node_stat[row[Z_NID]], row[Z_NODE_RECLAIM_MODE]
    if mode & RECLAIM_UNMAP:
        nr_pages = stat[NR_FILE_PAGES]
    else:
        nr_pages = max(0, stat[NR_INACTIVE_FILE] + stat[NR_ACTIVE_FILE] - stat[NR_MAPPED])
    if not mode & RECLAIM_WRITE:
        nr_pages = max(0, nr_pages - stat[NR_DIRTY])
    return bool(nr_pages > row[Z_MIN_UNMAPPED] or stat[NR_SLAB_RECLAIMABLE] > row[Z_MIN_SLAB])
