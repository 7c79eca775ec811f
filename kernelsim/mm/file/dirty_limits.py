"""How many pages of files may be dirty: of the machine, of a node.

Linux: mm/page-writeback.c, 6.1: global_dirtyable_memory, domain_dirty_limits, node_dirty_ok.
What may be dirty is a share of what could hold file pages at all: free pages beyond the reserves,
and the file pages there are.
# Differs from Linux: There are no limits of dirty pages in memory cgroups.
# Differs from Linux: Real-time tasks may dirty no more than others.
Units: pages.
"""

from typing import Final

import attrs

from kernelsim.config.zones import ZoneType
from kernelsim.hw.leaf import leaf
from kernelsim.mm.core.mem import (
    I64_2D,
    Z_FREE,
    Z_MANAGED,
    Z_NID,
    Z_TYPE_INDEX,
    Z_WATERMARK_BOOST,
    Z_WMARK_HIGH,
    Mem,
)
from kernelsim.mm.core.vmstat import (
    NR_ACTIVE_FILE,
    NR_DIRTY,
    NR_INACTIVE_FILE,
    NR_WRITEBACK,
    NR_ZONE_ACTIVE_FILE,
    NR_ZONE_INACTIVE_FILE,
)
from kernelsim.mm.page.phys_mem import PhysMem
from kernelsim.units import PAGE_SIZE

UINT_MAX: Final = (1 << 32) - 1


@attrs.frozen
class DirtyLimits:
    """Two limits of dirty pages: above the first they are written, above the second writers wait.

    Attributes:
        bg_thresh: The flusher works above it.
        thresh: No writer may bring them above it.
    """

    bg_thresh: int
    thresh: int

    @property
    def freerun(self) -> int:
        """Up to here writers are left alone.

        Source: Linux 6.1 mm/page-writeback.c:dirty_freerun_ceiling
        """
        return (self.thresh + self.bg_thresh) // 2


def global_dirty_limits(phys: PhysMem) -> DirtyLimits:
    """Return the limits of the whole machine.

    Source: Linux 6.1 mm/page-writeback.c:global_dirty_limits
    """
    return domain_dirty_limits(phys, global_dirtyable_memory(phys))


def domain_dirty_limits(phys: PhysMem, available: int) -> DirtyLimits:
    """Return the limits, given the pages that could be dirty.

    Source: Linux 6.1 mm/page-writeback.c:domain_dirty_limits
    """
    sysctl = phys.tunables.now
    bg_thresh = _limit(
        sysctl.vm_dirty_background_bytes, sysctl.vm_dirty_background_ratio, available
    )
    thresh = min(_limit(sysctl.vm_dirty_bytes, sysctl.vm_dirty_ratio, available), UINT_MAX)
    if bg_thresh >= thresh:
        bg_thresh = thresh // 2
    return DirtyLimits(bg_thresh, thresh)


def _limit(size_bytes: int, percent: int, available: int) -> int:
    # The share is rounded to pages of a page each, not the limit.
    if size_bytes:
        return -(-size_bytes // PAGE_SIZE)
    return (percent * PAGE_SIZE // 100) * available // PAGE_SIZE


def global_dirtyable_memory(phys: PhysMem) -> int:
    """Return the pages of the machine that could be dirty, 1 or more.

    Source: Linux 6.1 mm/page-writeback.c:global_dirtyable_memory
    """
    mem = phys.mem
    pages = _dirtyable_pages(mem.zone, mem.node_stat, phys.totalreserve_pages)
    if not phys.tunables.now.vm_highmem_is_dirtyable:
        pages -= _highmem_dirtyable_memory(phys, pages)
    return pages + 1


@leaf
def _dirtyable_pages(zone: I64_2D, node_stat: I64_2D, totalreserve: int) -> int:
    """Return the pages of all zones that could be dirty."""
    free, file = 0, 0
    for row in range(len(zone)):
        free += int(zone[row, Z_FREE])
    for nid in range(len(node_stat)):
        file += int(node_stat[nid, NR_INACTIVE_FILE] + node_stat[nid, NR_ACTIVE_FILE])
    return free - min(free, totalreserve) + file


def _highmem_dirtyable_memory(phys: PhysMem, total: int) -> int:
    # Source: Linux 6.1 mm/page-writeback.c:highmem_dirtyable_memory
    mem = phys.mem
    if ZoneType.ZONE_HIGHMEM not in phys.zone_types:
        return 0
    index = phys.zone_types.index(ZoneType.ZONE_HIGHMEM)
    pages = 0
    for row, zone in enumerate(mem.zone):
        if zone[Z_TYPE_INDEX] == index and zone[Z_MANAGED]:
            free, high = int(zone[Z_FREE]), int(zone[Z_WMARK_HIGH] + zone[Z_WATERMARK_BOOST])
            pages += free - min(free, high)
            pages += int(mem.zone_stat[row, [NR_ZONE_INACTIVE_FILE, NR_ZONE_ACTIVE_FILE]].sum())
    return min(pages, total)


def node_dirty_ok(phys: PhysMem, nid: int) -> bool:
    """Tell whether another page of a node may be made dirty: else a write looks for one elsewhere.

    Source: Linux 6.1 mm/page-writeback.c:node_dirty_ok
    """
    return nr_node_dirty(phys.mem, nid) <= _node_dirty_limit(phys, nid)


def _node_dirty_limit(phys: PhysMem, nid: int) -> int:
    sysctl = phys.tunables.now
    if not sysctl.vm_dirty_bytes:
        return node_dirty_limit(phys.mem, nid, sysctl.vm_dirty_ratio)
    pages = node_dirtyable_memory(phys.mem, nid)
    dirty = -(-sysctl.vm_dirty_bytes // PAGE_SIZE) * pages // global_dirtyable_memory(phys)
    return min(dirty, UINT_MAX)


@leaf
def node_dirty_limit(mem: Mem, nid: int, dirty_ratio: int) -> int:
    """Return how many pages of a node may be dirty, given vm.dirty_ratio.

    Source: Linux 6.1 mm/page-writeback.c:node_dirty_limit
    """
    return min(dirty_ratio * node_dirtyable_memory(mem, nid) // 100, UINT_MAX)


@leaf
def nr_node_dirty(mem: Mem, nid: int) -> int:
    """Return the pages of a node that are dirty or being written."""
    return int(mem.node_stat[nid, NR_DIRTY] + mem.node_stat[nid, NR_WRITEBACK])


@leaf
def node_dirtyable_memory(mem: Mem, nid: int) -> int:
    """Return the pages of a node that could be dirty.

    Source: Linux 6.1 mm/page-writeback.c:node_dirtyable_memory
    """
    free, reserved = 0, 0
    for zone in range(len(mem.zone)):
        if mem.zone[zone, Z_NID] != nid:
            continue
        free += int(mem.zone[zone, Z_FREE])
        reserve = 0
        for highest in range(mem.lowmem_reserve.shape[1]):
            reserve = max(reserve, int(mem.lowmem_reserve[zone, highest]))
        reserve += int(mem.zone[zone, Z_WMARK_HIGH])
        reserved += min(reserve, int(mem.zone[zone, Z_MANAGED]))
    file = int(mem.node_stat[nid, NR_INACTIVE_FILE] + mem.node_stat[nid, NR_ACTIVE_FILE])
    return free - min(free, reserved) + file
