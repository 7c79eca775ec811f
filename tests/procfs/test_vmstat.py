"""Behaviour of the vmstat renderers beyond the golden files."""

from kernelsim.procfs.snapshot import NodeSnapshot, Snapshot, ZoneSnapshot
from kernelsim.procfs.vmstat import render_node_vmstat, render_numastat, vmstat_counters


def machine(*zones: str, numa: bool = True) -> Snapshot:
    """Make a machine of one node with these zone types."""
    made = tuple(
        ZoneSnapshot(name=name, present=1, numa_stats={"numa_hit": 3, "numa_interleave": 2})
        for name in zones
    )
    node = NodeSnapshot(nid=0, zones=made, stats={"nr_dirty": 7})
    return Snapshot(nodes=(node,), numa=numa, vm_events={"pgfault": 9, "pgalloc_high": 4})


def test_events_by_zone_follow_the_zone_types():
    """A counter by zone stands for each zone type of the machine, lowest zone first."""
    names = list(vmstat_counters(machine("DMA", "Normal", "HighMem", "Movable")))

    first = names.index("pgalloc_dma")
    assert names[first : first + 5] == [
        "pgalloc_dma",
        "pgalloc_normal",
        "pgalloc_high",
        "pgalloc_movable",
        "allocstall_dma",
    ]


def test_counters_are_sums_and_default_to_zero():
    """Counters of zones and nodes are summed; one that nobody counted is 0."""
    counters = vmstat_counters(machine("DMA32", "Normal"))

    assert (6, 7, 9, 0) == tuple(
        counters[name] for name in ("numa_hit", "nr_dirty", "pgfault", "pgmajfault")
    )


def test_kernel_without_numa_has_no_numa_counters():
    """Without NUMA neither numa_hit nor promotion nor hinting faults are printed."""
    names = vmstat_counters(machine("DMA", "Normal", numa=False))

    assert [] == [name for name in names if "numa" in name or "promote" in name]
    assert "zone_reclaim_failed" not in names


def test_node_files_have_no_events():
    """nodeN/vmstat ends with the node's counters; numastat renames the NUMA ones."""
    snapshot = machine("DMA32", "Normal")

    assert "pgfault" not in render_node_vmstat(snapshot, 0)
    assert render_numastat(snapshot, 0).splitlines() == [
        "numa_hit 6",
        "numa_miss 0",
        "numa_foreign 0",
        "interleave_hit 4",
        "local_node 0",
        "other_node 0",
    ]
