"""Render /proc/vmstat, nodeN/vmstat and nodeN/numastat.

Linux: mm/vmstat.c:vmstat_text, drivers/base/node.c.
Differs: Counters of what does not exist (huge pages, balloon, zswap) are printed as 0.

Interface: `vmstat_counters` returns what /proc/vmstat shows by name, `render_*` whole files.
Units: pages or events; nr_kernel_stack is kB.
"""

from typing import Final

from kernelsim.mm.core.vmstat import NUMA_STAT_NAMES, VM_EVENT_NAMES, ZONE_STAT_NAMES
from kernelsim.procfs.snapshot import Snapshot
from kernelsim.procfs.zones import node_stat_names

# Printed names of zone types in the counters of each zone type, lowest zone first.
ZONE_SUFFIXES: Final = {
    "DMA": "dma",
    "DMA32": "dma32",
    "Normal": "normal",
    "HighMem": "high",
    "Movable": "movable",
    "Device": "device",
}
BY_ZONE: Final = ("pgalloc_", "allocstall_", "pgskip_")
NUMA_EVENTS: Final = (
    "zone_reclaim_failed",
    "numa_pte_updates",
    "numa_huge_pte_updates",
    "numa_hint_faults",
    "numa_hint_faults_local",
    "numa_pages_migrated",
)
NUMASTAT_NAMES: Final = (
    # the line of numastat and the counter behind it
    ("numa_hit", "numa_hit"),
    ("numa_miss", "numa_miss"),
    ("numa_foreign", "numa_foreign"),
    ("interleave_hit", "numa_interleave"),
    ("local_node", "numa_local"),
    ("other_node", "numa_other"),
)


def vmstat_counters(snapshot: Snapshot) -> dict[str, int]:
    """Return every counter of /proc/vmstat in its order.

    Source: Linux 6.1 mm/vmstat.c:vmstat_start
    """
    counters = _memory_counters(snapshot)
    counters["nr_dirty_threshold"] = snapshot.dirty_threshold
    counters["nr_dirty_background_threshold"] = snapshot.dirty_background_threshold
    for name in _event_names(snapshot):
        counters[name] = snapshot.vm_events.get(name, 0)
    counters["nr_unstable"] = 0
    return counters


def _memory_counters(snapshot: Snapshot) -> dict[str, int]:
    """Return the counters of zones and nodes, summed."""
    counters = {name: snapshot.zone_stat(name) for name in ZONE_STAT_NAMES}
    counters |= _numa_counters(snapshot)
    return counters | {name: snapshot.node_stat(name) for name in node_stat_names(snapshot)}


def _numa_counters(snapshot: Snapshot) -> dict[str, int]:
    """Return the NUMA counters, none for a kernel without NUMA."""
    if not snapshot.numa:
        return {}
    zones = [zone for _, zone in snapshot.zones()]
    return {name: sum(zone.numa_stats.get(name, 0) for zone in zones) for name in NUMA_STAT_NAMES}


def _event_names(snapshot: Snapshot) -> list[str]:
    """Return the events this kernel counts: those by zone type, NUMA and 1 GiB pages vary."""
    present = {zone.name for _, zone in snapshot.zones()}
    suffixes = [suffix for zone, suffix in ZONE_SUFFIXES.items() if zone in present]
    names: list[str] = []
    for name in VM_EVENT_NAMES:
        family = next((prefix for prefix in BY_ZONE if name.startswith(prefix)), None)
        if family is not None:
            names += [family + suffix for suffix in suffixes if family + suffix not in names]
        elif name == "thp_split_pud" and "DMA32" not in present:
            pass  # a 32-bit kernel
        elif snapshot.numa or name not in NUMA_EVENTS:
            names.append(name)
    return names


def render_vmstat(snapshot: Snapshot) -> str:
    """Render /proc/vmstat."""
    return _lines(vmstat_counters(snapshot))


def render_node_vmstat(snapshot: Snapshot, nid: int) -> str:
    """Render nodeN/vmstat: counters of the node and its zones, no events.

    Source: Linux 6.1 drivers/base/node.c:node_read_vmstat
    """
    return _lines(_memory_counters(snapshot.of_node(nid)))


def render_numastat(snapshot: Snapshot, nid: int) -> str:
    """Render nodeN/numastat.

    Source: Linux 6.1 drivers/base/node.c:node_read_numastat
    """
    counters = _numa_counters(snapshot.of_node(nid))
    return _lines({name: counters[counter] for name, counter in NUMASTAT_NAMES})


def _lines(counters: dict[str, int]) -> str:
    """Return `name value` lines."""
    return "".join(f"{name} {value}\n" for name, value in counters.items())
