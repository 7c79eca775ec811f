"""The state a machine's memory was in, from the text of its kernel.

Linux: what /proc/zoneinfo, buddyinfo, pagetypeinfo, vmstat and meminfo print, and the meminfo,
numastat and memory block files of /sys.
Interface: `boot_state_from_proc`; only zoneinfo is needed, and the caller has read it.
Units: pages; KiB in meminfo.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

import attrs

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
from kernelsim.config.recording import Recording
from kernelsim.config.zones import MIGRATE_TYPES, NR_PAGE_ORDERS, ZoneType
from kernelsim.errors import RecordingError


def boot_state_from_proc(
    recording: Recording,
    zones: tuple[ZoneinfoZone, ...],
    *,
    nids: list[int],
    node_roots: tuple[Path, ...],
    uptime_ns: int,
) -> BootState:
    """Return the state a snapshot shows; files that are not there leave their part empty.

    Args:
        recording: the texts.
        zones: its zoneinfo.
        nids: the nodes, ascending.
        node_roots: where nodeN/meminfo and nodeN/numastat may lie, best first.
        uptime_ns: how long the machine had run.

    Raises RecordingError with file and line for what is not the kernel's text, and for free blocks
    that a zone cannot hold.
    """
    free = _free_blocks(recording)
    blocks_text = recording.get("memory_blocks.txt")
    blocks = parse_memory_blocks(blocks_text) if blocks_text is not None else None
    vmstat, meminfo = recording.get("vmstat"), recording.get("meminfo")
    stats = {zone.nid: zone.node_stats for zone in zones if zone.node_stats is not None}
    zones = tuple(_by_zone(zone) for zone in zones) if not stats else zones
    for nid in nids if not stats else ():
        stats[nid] = _summed(zone.stats for zone in zones if zone.nid == nid)
    zones = tuple(zone for nid in nids for zone in _with_files(zones, stats.get(nid, {}), nid))
    return BootState(
        zones=tuple(_zone_boot(recording, zone, free) for zone in zones if zone.populated),
        nodes=tuple(
            NodeBoot(
                nid=nid,
                stats=stats.get(nid, {}),
                meminfo_kb=_optional(node_roots, nid, "meminfo"),
                numastat=_optional(node_roots, nid, "numastat"),
            )
            for nid in nids
        ),
        vmstat=parse_vmstat(vmstat) if vmstat is not None else {},
        meminfo_kb=parse_meminfo(meminfo) if meminfo is not None else {},
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


LRU_COUNTERS: Final = ("inactive_anon", "active_anon", "inactive_file", "active_file")


def _by_zone(zone: ZoneinfoZone) -> ZoneinfoZone:
    """Return a zone of a kernel before 4.8, whose lists are the zones', with the names of today."""
    lists = {f"nr_{name}": f"nr_zone_{name}" for name in (*LRU_COUNTERS, "unevictable")}
    stats = {**zone.stats}
    stats.update({ours: stats[name] for name, ours in lists.items() if name in stats})
    return attrs.evolve(zone, stats=stats)


def _summed(rows: Iterable[dict[str, int]]) -> dict[str, int]:
    """Return the counters of a node of whose zones each has its own."""
    result: dict[str, int] = {}
    for row in rows:
        for name, value in row.items():
            if not name.startswith(("nr_zone_", "numa_", "nr_free_")):
                result[name] = result.get(name, 0) + value
    return result


def _with_files(
    zones: tuple[ZoneinfoZone, ...], node_stats: dict[str, int], nid: int
) -> Iterator[ZoneinfoZone]:
    """Yield a node's zones with those pages of files that only the node counts, highest first.

    A recording may leave the zones' counters out; a page on a list is in some zone all the same.
    """
    mine = [zone for zone in zones if zone.nid == nid]
    result: list[ZoneinfoZone] = []
    left = {
        name: node_stats.get(f"nr_{name}", 0) - sum(z.stats.get(f"nr_zone_{name}", 0) for z in mine)
        for name in LRU_COUNTERS[2:]
    }
    for zone in reversed(mine):
        counted = sum(zone.stats.get(f"nr_zone_{name}", 0) for name in LRU_COUNTERS)
        room = max(zone.pages["managed"] - zone.pages["free"] - counted, 0)
        stats = {**zone.stats}
        for name, wanted in left.items():
            more = min(max(wanted, 0), room)
            if more:
                stats[f"nr_zone_{name}"] = stats.get(f"nr_zone_{name}", 0) + more
            left[name] = wanted - more
            room -= more
        result.append(attrs.evolve(zone, stats=stats))
    yield from reversed(result)


@attrs.frozen
class _Free:
    """The free blocks of one zone."""

    file: str
    """Where they stand."""
    counts: tuple[tuple[int, ...], ...]
    """By migratetype and order; one row where the types are unknown."""
    pageblocks: tuple[int, ...] = ()
    """By migratetype."""


_FreeBlocks = dict[tuple[int, str], _Free]


def _free_blocks(recording: Recording) -> _FreeBlocks:
    """Return the free blocks by (node, zone), from pagetypeinfo where it is."""
    result: _FreeBlocks = {}
    buddyinfo = recording.get("buddyinfo")
    for line in parse_buddyinfo(buddyinfo) if buddyinfo is not None else ():
        result[(line.nid, line.name)] = _Free("buddyinfo", (_our_orders(line.counts),))
    text = recording.get("pagetypeinfo")
    try:
        info = parse_pagetypeinfo(text) if text is not None else None
    except RecordingError as error:
        if error.rule.startswith("Permission"):  # only root may read it on a live host
            return result
        raise
    for key, rows in info.free.items() if info is not None else ():
        blocks = info.blocks.get(key, {}) if info is not None else {}
        result[key] = _Free(
            "pagetypeinfo",
            tuple(
                _our_orders(tuple(map(sum, zip(*_rows_of(rows, name), strict=True))))
                for name in MIGRATE_TYPES
            ),
            tuple(sum(blocks.get(each, 0) for each in _names_of(name)) for name in MIGRATE_TYPES),
        )
    return result


def _names_of(name: str) -> tuple[str, ...]:
    """Return what kernels call a migratetype: CMA lends to movable pages, Reserve is before 4.4."""
    return {"Movable": ("Movable", "CMA"), "HighAtomic": ("HighAtomic", "Reserve")}.get(
        name, (name,)
    )


def _rows_of(rows: dict[str, tuple[int, ...]], name: str) -> list[tuple[int, ...]]:
    """Return the rows of a migratetype, zeros when there is none."""
    none = (0,) * len(next(iter(rows.values())))
    return [rows.get(each, none) for each in _names_of(name)]


def _our_orders(counts: tuple[int, ...]) -> tuple[int, ...]:
    """Return free blocks by order with larger ones, which some kernels have, cut into ours."""
    top = NR_PAGE_ORDERS - 1
    if len(counts) <= NR_PAGE_ORDERS:
        return counts
    cut = sum(count << (order - top) for order, count in enumerate(counts) if order >= top)
    return (*counts[:top], cut)


def _zone_boot(recording: Recording, zone: ZoneinfoZone, free: _FreeBlocks) -> ZoneBoot:
    """Return the state of one populated zone."""
    found = free.get((zone.nid, zone.name), _Free("zoneinfo", ()))
    counts, pageblocks = found.counts, found.pageblocks
    nr_free = sum(count << order for row in counts for order, count in enumerate(row))
    if nr_free > zone.pages["managed"]:
        place = f"node {zone.nid} zone {zone.name}"
        managed = zone.pages["managed"]
        rule = f"free blocks of {place}: {nr_free} pages, but it manages {managed} (zoneinfo)"
        raise recording.error(found.file, rule)
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
        stats={"nr_free_pages": zone.pages["free"], **zone.stats},
        node_unreclaimable=zone.node_unreclaimable or 0,
    )
