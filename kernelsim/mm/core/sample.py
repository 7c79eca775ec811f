"""Copies and sums of the counters, for whoever samples them while a machine runs.

One compiled call costs less than to copy arrays one by one.
Interface: `copy_counters`, `available_sums`. Units: as the counters'.
"""

from kernelsim.hw.leaf import leaf
from kernelsim.mm.core.mem import I64, I64_2D, Z_FREE, Z_WATERMARK_BOOST, Z_WMARK_LOW
from kernelsim.mm.core.vmstat import (
    NR_ACTIVE_FILE,
    NR_INACTIVE_FILE,
    NR_KERNEL_MISC_RECLAIMABLE,
    NR_SLAB_RECLAIMABLE,
)


@leaf
def copy_counters(
    zone: I64_2D, node_stat: I64_2D, vm_event: I64, zones: I64, fields: I64, row: I64
) -> int:
    """Copy some zones' columns, all of the nodes', and the events' counters, one behind the other.

    Args:
        zone: [zone row, Z_*].
        node_stat: [nid, NR_*].
        vm_event: Counters of events.
        zones: Rows of `zone` to copy,
        fields: and their columns.
        row: Written from its second place on; the first is the time's.

    Returns:
        The place behind the last one written.
    """
    at = 1
    for number in zones:
        for field in fields:
            row[at] = zone[number, field]
            at += 1
    for nid in range(len(node_stat)):
        for item in range(node_stat.shape[1]):
            row[at] = node_stat[nid, item]
            at += 1
    for item in range(len(vm_event)):
        row[at] = vm_event[item]
        at += 1
    return at


@leaf
def available_sums(zone: I64_2D, node_stat: I64_2D) -> tuple[int, int, int, int]:
    """Return sums over the machine that MemAvailable is made of, pages.

    Args:
        zone: [zone row, Z_*].
        node_stat: [nid, NR_*].

    Returns:
        Free pages; low watermarks with their boosts; pages of files on LRU lists; kernel memory
        that shrinkers can free.
    """
    free, low, cache, reclaimable = 0, 0, 0, 0
    for row in range(len(zone)):
        free += int(zone[row, Z_FREE])
        low += int(zone[row, Z_WMARK_LOW] + zone[row, Z_WATERMARK_BOOST])
    for nid in range(len(node_stat)):
        cache += int(node_stat[nid, NR_ACTIVE_FILE] + node_stat[nid, NR_INACTIVE_FILE])
        reclaimable += int(node_stat[nid, NR_SLAB_RECLAIMABLE])
        reclaimable += int(node_stat[nid, NR_KERNEL_MISC_RECLAIMABLE])
    return free, low, cache, reclaimable
