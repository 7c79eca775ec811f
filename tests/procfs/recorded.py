"""Read a recorded snapshot directory back into a `Snapshot`: the inverse of the renderers.

A recorder reads one file after the other while the kernel runs on, so two files of one snapshot
may differ by some pages. `read_snapshot` takes zones and nodes from zoneinfo and moves them to what
the *focus* file says, putting the difference on the first node the file is about.

Interface: `read_snapshot(folder, focus=…)`; files that are not there leave their figures at 0.
Units: as in snapshot.py.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

import attrs

from kernelsim.config.proc_text import (
    Pagetypeinfo,
    ZoneinfoZone,
    parse_buddyinfo,
    parse_meminfo,
    parse_memory_blocks,
    parse_node_meminfo,
    parse_nodes,
    parse_numastat,
    parse_pagetypeinfo,
    parse_swaps,
    parse_sysctl,
    parse_vmstat,
    parse_zoneinfo,
)
from kernelsim.config.zones import NR_PAGE_ORDERS
from kernelsim.mm.core.vmstat import NODE_STAT_NAMES, NUMA_STAT_NAMES, ZONE_STAT_NAMES
from kernelsim.procfs.meminfo import mem_available
from kernelsim.procfs.snapshot import (
    PAGE_KB,
    MemoryBlock,
    NodeSnapshot,
    PcpSnapshot,
    Snapshot,
    SwapArea,
    ZoneSnapshot,
)
from kernelsim.procfs.vmstat import NUMASTAT_NAMES
from kernelsim.units import NS_PER_S

# Counters a meminfo file shows, under their name there.
MEMINFO_NODE_STATS: Final = {
    "SwapCached": "nr_swapcached",
    "Active(anon)": "nr_active_anon",
    "Inactive(anon)": "nr_inactive_anon",
    "Active(file)": "nr_active_file",
    "Inactive(file)": "nr_inactive_file",
    "Unevictable": "nr_unevictable",
    "Dirty": "nr_dirty",
    "Writeback": "nr_writeback",
    "AnonPages": "nr_anon_pages",
    "Mapped": "nr_mapped",
    "Shmem": "nr_shmem",
    "SReclaimable": "nr_slab_reclaimable",
    "SUnreclaim": "nr_slab_unreclaimable",
    "PageTables": "nr_page_table_pages",
    "SecPageTables": "nr_sec_page_table_pages",
    "WritebackTmp": "nr_writeback_temp",
}
MEMINFO_ZONE_STATS: Final = {"Mlocked": "nr_mlock", "Bounce": "nr_bounce"}
CACHE_LINES: Final = ("Cached", "Buffers", "SwapCached")


def read_snapshot(folder: Path, *, focus: str = "zoneinfo") -> Snapshot:
    """Read a snapshot directory.

    Args:
        folder: directory with zoneinfo and the other files of the recording layout.
        focus: file whose figures are met exactly: zoneinfo, meminfo, vmstat, node0/meminfo,
            node0/vmstat, node0/numastat … Files that share no figure need none.

    Raises:
        RecordingError: a file cannot be read or is malformed.
    """
    zones = parse_zoneinfo(folder / "zoneinfo")
    snapshot = Snapshot(
        nodes=_nodes(folder, zones), numa=any("numa_hit" in zone.stats for zone in zones)
    )
    for add in (_add_vmstat, _add_meminfo, _add_listings):
        snapshot = add(snapshot, folder)
    snapshot = attrs.evolve(snapshot, totalreserve_pages=_totalreserve_pages(snapshot))
    return _focused(snapshot, folder, focus)


def _nodes(folder: Path, zones: tuple[ZoneinfoZone, ...]) -> tuple[NodeSnapshot, ...]:
    """Build the nodes from zoneinfo, buddyinfo, pagetypeinfo and nodes.txt."""
    has = {path.name for path in folder.iterdir()}
    buddy = parse_buddyinfo(folder / "buddyinfo") if "buddyinfo" in has else ()
    free = {(line.nid, line.name): line.counts for line in buddy}
    types = parse_pagetypeinfo(folder / "pagetypeinfo") if "pagetypeinfo" in has else None
    known = parse_nodes(folder / "nodes.txt") if "nodes.txt" in has else None
    nodes = []
    for nid in dict.fromkeys(zone.nid for zone in zones):
        own = [zone for zone in zones if zone.nid == nid]
        nodes.append(
            NodeSnapshot(
                nid=nid,
                zones=tuple(_zone(zone, free.get((nid, zone.name)), types) for zone in own),
                stats=next((zone.node_stats for zone in own if zone.node_stats), {}),
                unreclaimable=any(zone.node_unreclaimable for zone in own),
                cpus=known.cpus.get(nid, ()) if known else (),
                distances=known.distances.get(nid, (10,)) if known else (10,),
            )
        )
    return tuple(nodes)


def _zone(
    zone: ZoneinfoZone, nr_free: tuple[int, ...] | None, types: Pagetypeinfo | None
) -> ZoneSnapshot:
    """Build one zone."""
    watermarks = dict(zip(("min", "low", "high"), zone.watermarks, strict=True))
    key = (zone.nid, zone.name)
    return ZoneSnapshot(
        name=zone.name,
        boost=zone.boost,
        **watermarks,
        **{name: zone.pages.get(name, 0) for name in ("spanned", "present", "managed", "cma")},
        protection=zone.protection,
        stats={"nr_free_pages": zone.pages["free"]}
        | {name: value for name, value in zone.stats.items() if name in ZONE_STAT_NAMES},
        numa_stats={n: value for n, value in zone.stats.items() if n in NUMA_STAT_NAMES},
        pcp=tuple(
            PcpSnapshot(
                cpu=pageset.cpu,
                count=pageset.count,
                high=pageset.high,
                batch=pageset.batch,
                vm_stats_threshold=pageset.vm_stats_threshold or 0,
            )
            for pageset in zone.pagesets
        ),
        start_pfn=zone.start_pfn or 0,
        nr_free=nr_free or (0,) * NR_PAGE_ORDERS,
        free_lists=types.free.get(key, {}) if types else {},
        pageblocks=types.blocks.get(key, {}) if types else {},
    )


def _add_vmstat(snapshot: Snapshot, folder: Path) -> Snapshot:
    """Add the counters that only /proc/vmstat shows."""
    if not (folder / "vmstat").exists():
        return snapshot
    counters = parse_vmstat(folder / "vmstat")
    own = {*ZONE_STAT_NAMES, *NODE_STAT_NAMES, *NUMA_STAT_NAMES}
    events = {name: value for name, value in counters.items() if name not in own}
    return attrs.evolve(
        snapshot,
        dirty_threshold=events.pop("nr_dirty_threshold", 0),
        dirty_background_threshold=events.pop("nr_dirty_background_threshold", 0),
        vm_events=events,
    )


def _add_meminfo(snapshot: Snapshot, folder: Path) -> Snapshot:
    """Add the figures that only /proc/meminfo shows."""
    if not (folder / "meminfo").exists():
        return snapshot
    kb = parse_meminfo(folder / "meminfo")
    prefix = "DirectMap"
    return attrs.evolve(
        snapshot,
        buffers=kb["Buffers"] // PAGE_KB,
        swap_total=kb["SwapTotal"] // PAGE_KB,
        swap_free=kb["SwapFree"] // PAGE_KB,
        commit_limit=kb["CommitLimit"] // PAGE_KB,
        committed_as=kb["Committed_AS"] // PAGE_KB,
        vmalloc_total_kb=kb["VmallocTotal"],
        vmalloc_used=kb["VmallocUsed"] // PAGE_KB,
        percpu=kb["Percpu"] // PAGE_KB,
        hugepage_kb=kb.get("Hugepagesize", 0),
        direct_map_kb={
            name.removeprefix(prefix): size for name, size in kb.items() if name.startswith(prefix)
        },
    )


def _add_listings(snapshot: Snapshot, folder: Path) -> Snapshot:
    """Add swap areas, sysctls, node states and memory blocks."""
    has = {path.name for path in folder.iterdir()}
    if "swaps" in has:
        lines = parse_swaps(folder / "swaps")
        areas = (
            SwapArea(
                path=n.filename, type=n.type, size_kb=n.size_kb, used_kb=n.used_kb, prio=n.prio
            )
            for n in lines
        )
        snapshot = attrs.evolve(snapshot, swaps=tuple(areas))
    if "sysctl_vm.txt" in has:
        sysctls = parse_sysctl(folder / "sysctl_vm.txt")
        uptime_ns, idle_ns = map(_seconds_ns, sysctls.pop("uptime", "0.00 0.00").split())
        snapshot = attrs.evolve(snapshot, sysctls=sysctls, uptime_ns=uptime_ns, idle_ns=idle_ns)
    if "nodes.txt" in has:
        states = parse_nodes(folder / "nodes.txt").states
        snapshot = attrs.evolve(snapshot, possible_nodes=states.get("possible", ()))
    if "pagetypeinfo" in has:
        order = parse_pagetypeinfo(folder / "pagetypeinfo").page_block_order
        snapshot = attrs.evolve(snapshot, pageblock_order=order)
    if "memory_blocks.txt" in has:
        blocks = parse_memory_blocks(folder / "memory_blocks.txt")
        snapshot = attrs.evolve(
            snapshot,
            block_size_bytes=blocks.block_size_bytes,
            auto_online_blocks=blocks.auto_online_blocks,
            memory_blocks=tuple(
                MemoryBlock(
                    index=index,
                    state=files["state"],
                    valid_zones=files["valid_zones"],
                    removable=files.get("removable", "1") == "1",
                )
                for index, files in blocks.blocks.items()
            ),
        )
    return snapshot


def _seconds_ns(text: str) -> int:
    """Read seconds with two decimals."""
    seconds, _, hundredths = text.partition(".")
    return int(seconds) * NS_PER_S + int(hundredths) * (NS_PER_S // 100)


def _totalreserve_pages(snapshot: Snapshot) -> int:
    """Compute what the kernel would have computed from these zones.

    Source: Linux 6.1 mm/page_alloc.c:calculate_totalreserve_pages
    """
    return snapshot.zone_sum(
        lambda zone: min(max(zone.protection, default=0) + zone.high + zone.boost, zone.managed)
    )


def _focused(snapshot: Snapshot, folder: Path, focus: str) -> Snapshot:
    """Move counters to what the focus file says."""
    where, _, name = focus.rpartition("/")
    nids = [int(where.removeprefix("node"))] if where else [node.nid for node in snapshot.nodes]
    kb: Mapping[str, int] = {}
    if name == "vmstat":
        wanted = parse_vmstat(folder / focus)
    elif name == "numastat":
        shown = parse_numastat(folder / focus)
        wanted = {counter: shown[line] for line, counter in NUMASTAT_NAMES}
    elif name == "meminfo":
        kb = parse_node_meminfo(folder / focus) if where else parse_meminfo(folder / focus)
        wanted = _meminfo_counters(kb)
    else:
        wanted = {}
    if "HighFree" in kb:
        high_free = {"nr_free_pages": kb["HighFree"] // PAGE_KB}
        snapshot = _moved(snapshot, nids, high_free, "HighMem")
    snapshot = _moved(snapshot, nids, wanted)
    return _with_available(snapshot, kb["MemAvailable"]) if focus == "meminfo" else snapshot


def _with_available(snapshot: Snapshot, available_kb: int) -> Snapshot:
    """Take totalreserve_pages from MemAvailable, where that is not cut off at 0.

    The kernel computes the reserve with the watermark boost of that moment and keeps it, so a
    later zoneinfo does not tell it.
    """
    if not available_kb:
        return snapshot
    most = mem_available(attrs.evolve(snapshot, totalreserve_pages=0))
    return attrs.evolve(snapshot, totalreserve_pages=most - available_kb // PAGE_KB)


def _meminfo_counters(kb: Mapping[str, int]) -> dict[str, int]:
    """Turn lines of a meminfo file into the counters behind them."""
    names = MEMINFO_NODE_STATS | MEMINFO_ZONE_STATS | {"MemFree": "nr_free_pages"}
    counters = {counter: kb[line] // PAGE_KB for line, counter in names.items() if line in kb}
    file_kb = kb["FilePages"] if "FilePages" in kb else sum(kb[line] for line in CACHE_LINES)
    misc_kb = kb["KReclaimable"] - kb["SReclaimable"]
    return counters | {
        "nr_file_pages": file_kb // PAGE_KB,
        "nr_kernel_misc_reclaimable": misc_kb // PAGE_KB,
        "nr_kernel_stack": kb["KernelStack"],
    }


def _moved(
    snapshot: Snapshot, nids: list[int], wanted: Mapping[str, int], zone_name: str | None = None
) -> Snapshot:
    """Make counters of these nodes (of one zone type, when named) add up to what is wanted.

    The difference goes to the first node with memory and to its first zone of that name.
    """
    nodes = list(snapshot.nodes)
    scope = [index for index, node in enumerate(nodes) if node.nid in nids]
    home = next((i for i in scope if any(zone.populated for zone in nodes[i].zones)), scope[0])
    zones = list(nodes[home].zones)
    first = next(
        i for i, zone in enumerate(zones) if zone.populated and zone_name in (None, zone.name)
    )
    stats, numa = dict(zones[first].stats), dict(zones[first].numa_stats)
    node_stats = dict(nodes[home].stats)
    others = [
        zone
        for index in scope
        for zone in nodes[index].zones
        if zone is not zones[first] and zone_name in (None, zone.name)
    ]
    for name, total in wanted.items():
        if name in ZONE_STAT_NAMES:
            stats[name] = total - sum(zone.stats.get(name, 0) for zone in others)
        elif name in NUMA_STAT_NAMES:
            numa[name] = total - sum(zone.numa_stats.get(name, 0) for zone in others)
        elif name in NODE_STAT_NAMES:
            rest = sum(nodes[i].stats.get(name, 0) for i in scope if i != home)
            node_stats[name] = total - rest
    zones[first] = attrs.evolve(zones[first], stats=stats, numa_stats=numa)
    nodes[home] = attrs.evolve(nodes[home], zones=tuple(zones), stats=node_stats)
    return attrs.evolve(snapshot, nodes=tuple(nodes))
