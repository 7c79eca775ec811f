"""Set the counters to what a recorded kernel had counted.

Linux: mm/vmstat.c (6.1): the names of /proc/vmstat and /proc/zoneinfo.
Differs: Counters of things that the machine does not have are left out when a recorded state is
taken over.
Interface: `apply_boot_stats`.
Units: as the counters.
"""

from collections.abc import Mapping, Sequence
from typing import Final

from kernelsim.config.boot import BootState
from kernelsim.config.zones import ZoneType
from kernelsim.mm.core.mem import I64, Mem
from kernelsim.mm.core.vmstat import (
    ALLOCSTALL_DMA,
    NODE_STAT_NAMES,
    NUMA_STAT_NAMES,
    PGALLOC_DMA,
    PGSKIP_DMA,
    VM_EVENT_NAMES,
    ZONE_STAT_NAMES,
)

ZONE_SUFFIXES: Final = {ZoneType.ZONE_HIGHMEM: "high"}  # the others print their name in lower case


def apply_boot_stats(mem: Mem, boot: BootState, zone_types: Sequence[ZoneType]) -> None:
    """Copy the recorded counters into the arrays; a hand-written machine has none."""
    for zone in boot.zones:
        row = zone.nid * len(zone_types) + zone_types.index(zone.type)
        copy_named(mem.zone_stat[row], ZONE_STAT_NAMES, zone.stats)
        copy_named(mem.numa_stat[row], NUMA_STAT_NAMES, zone.stats)
    for node in boot.nodes:
        copy_named(mem.node_stat[node.nid], NODE_STAT_NAMES, node.stats)
    copy_named(mem.vm_event, VM_EVENT_NAMES, boot.vmstat)
    for index, zone_type in enumerate(zone_types):
        suffix = ZONE_SUFFIXES.get(zone_type, zone_type.value.lower())
        for first, prefix in (
            (PGALLOC_DMA, "pgalloc"),
            (ALLOCSTALL_DMA, "allocstall"),
            (PGSKIP_DMA, "pgskip"),
        ):
            mem.vm_event[first + index] = boot.vmstat.get(f"{prefix}_{suffix}", 0)


def copy_named(row: I64, names: Sequence[str], values: Mapping[str, int]) -> None:
    """Set the columns whose name has a value."""
    for column, name in enumerate(names):
        if name in values:
            row[column] = values[name]
