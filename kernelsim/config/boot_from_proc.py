"""The state a machine's memory was in, from the text of its kernel.

Linux: what /proc/zoneinfo, buddyinfo, pagetypeinfo, vmstat and meminfo print, and the meminfo,
numastat and memory block files of /sys.
Interface: `boot_state_from_proc`; only zoneinfo is needed, and the caller has read it.
Units: pages; KiB in meminfo.
"""

from pathlib import Path

from kernelsim.config.boot import BootState, MemoryBlockBoot, NodeBoot, PcpBoot, ZoneBoot
from kernelsim.config.proc_text import (
    ZoneinfoZone,
    parse_buddyinfo,
    parse_meminfo,
    parse_memory_blocks,
    parse_node_meminfo,
    parse_numastat,
    parse_pagetypeinfo,
    parse_vmstat,
)
from kernelsim.config.zones import MIGRATE_TYPES, NR_PAGE_ORDERS, ZoneType
from kernelsim.errors import RecordingError


def boot_state_from_proc(
    folder: Path,
    zones: tuple[ZoneinfoZone, ...],
    *,
    nids: list[int],
    node_roots: tuple[Path, ...],
    uptime_ns: int,
) -> BootState:
    """Return the state a snapshot shows; files that are not there leave their part empty.

    Args:
        folder: the snapshot.
        zones: its zoneinfo.
        nids: the nodes, ascending.
        node_roots: where nodeN/meminfo and nodeN/numastat may lie, best first.
        uptime_ns: how long the machine had run.

    Raises RecordingError with file and line for what is not the kernel's text, and for free blocks
    that a zone cannot hold.
    """
    free = _free_blocks(folder)
    blocks = None
    if (folder / "memory_blocks.txt").is_file():
        blocks = parse_memory_blocks(folder / "memory_blocks.txt")
    stats = {zone.nid: zone.node_stats for zone in zones if zone.node_stats is not None}
    return BootState(
        zones=tuple(_zone_boot(folder, zone, free) for zone in zones if zone.populated),
        nodes=tuple(
            NodeBoot(
                nid=nid,
                stats=stats.get(nid, {}),
                meminfo_kb=_optional(node_roots, nid, "meminfo"),
                numastat=_optional(node_roots, nid, "numastat"),
            )
            for nid in nids
        ),
        vmstat=parse_vmstat(folder / "vmstat") if (folder / "vmstat").is_file() else {},
        meminfo_kb=parse_meminfo(folder / "meminfo") if (folder / "meminfo").is_file() else {},
        memory_blocks=tuple(
            MemoryBlockBoot(
                index=index,
                state=block["state"],
                valid_zones=block["valid_zones"],
                removable=int(block.get("removable", "0")),
            )
            for index, block in sorted(blocks.blocks.items() if blocks is not None else ())
        ),
        block_size_bytes=blocks.block_size_bytes if blocks is not None else 0,
        auto_online_blocks=blocks.auto_online_blocks if blocks is not None else "offline",
        uptime_ns=uptime_ns,
    )


def _optional(roots: tuple[Path, ...], nid: int, name: str) -> dict[str, int]:
    """Return nodeN/meminfo or nodeN/numastat, {} when it is not there."""
    parse = parse_node_meminfo if name == "meminfo" else parse_numastat
    for root in roots:
        path = root / f"node{nid}" / name
        if path.is_file():
            return parse(path)
    return {}


_FreeBlocks = dict[tuple[int, str], tuple[tuple[tuple[int, ...], ...], tuple[int, ...]]]


def _free_blocks(folder: Path) -> _FreeBlocks:
    """Return (node, zone) → (free blocks by type and order, pageblocks by type)."""
    result: _FreeBlocks = {}
    if (folder / "buddyinfo").is_file():
        for line in parse_buddyinfo(folder / "buddyinfo"):
            result[(line.nid, line.name)] = ((line.counts,), ())
    path = folder / "pagetypeinfo"
    try:
        info = parse_pagetypeinfo(path) if path.is_file() else None
    except RecordingError as error:
        if error.rule.startswith("Permission"):  # only root may read it on a live host
            return result
        raise
    for key, rows in info.free.items() if info is not None else ():
        counts = tuple(
            rows.get(name, (0,) * len(next(iter(rows.values())))) for name in MIGRATE_TYPES
        )
        blocks = info.blocks.get(key, {}) if info is not None else {}
        result[key] = (counts, tuple(blocks.get(name, 0) for name in MIGRATE_TYPES))
    return result


def _zone_boot(folder: Path, zone: ZoneinfoZone, free: _FreeBlocks) -> ZoneBoot:
    """Return the state of one populated zone."""
    counts, pageblocks = free.get((zone.nid, zone.name), ((), ()))
    nr_free = sum(count << order for row in counts for order, count in enumerate(row))
    if nr_free > zone.pages["managed"] or max(map(len, counts), default=0) > NR_PAGE_ORDERS:
        place = f"node {zone.nid} zone {zone.name}"
        managed = zone.pages["managed"]
        rule = f"free blocks of {place}: {nr_free} pages, but it manages {managed} (zoneinfo)"
        raise RecordingError(str(folder / "pagetypeinfo"), None, rule)
    low, mid, high = zone.watermarks
    return ZoneBoot(
        nid=zone.nid,
        type=ZoneType(zone.name),
        watermark_min=low,
        watermark_low=mid,
        watermark_high=high,
        watermark_boost=zone.boost,
        protection=zone.protection,
        free=counts,
        pageblocks=pageblocks,
        pcp=tuple(
            PcpBoot(
                cpu=pageset.cpu,
                count=pageset.count,
                high=pageset.high,
                batch=pageset.batch,
                vm_stats_threshold=pageset.vm_stats_threshold or 0,
            )
            for pageset in zone.pagesets
        ),
        stats=zone.stats,
        node_unreclaimable=zone.node_unreclaimable or 0,
    )
