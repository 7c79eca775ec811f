"""Describe what a kernel already uses when the simulation takes over: the state after boot.

Differs: A machine written by hand has an empty `BootState`: the kernel uses nothing of it, and
every managed page is free.
Interface: values only. `BootState.zones` has one `ZoneBoot` a populated zone, by node then zone.
Units: pages, except what says `_kb` (KiB, as in meminfo) or `_bytes`.
"""

from __future__ import annotations

import attrs

from kernelsim.config.zones import ZoneType

__all__ = ["BootState", "MemoryBlockBoot", "NodeBoot", "PcpBoot", "ZoneBoot"]


@attrs.frozen(kw_only=True)
class PcpBoot:
    """The per-cpu page list of one CPU in one zone."""

    cpu: int
    """CPU number."""
    count: int
    """Pages on the list; the zone's free pages do not count them."""
    high: int
    """Pages at which the list is given back."""
    batch: int
    """Pages moved in one go."""
    vm_stats_threshold: int
    """Per-cpu counter drift allowed before it is folded into the zone."""


@attrs.frozen(kw_only=True)
class ZoneBoot:
    """What a zone holds at boot."""

    nid: int
    """Node number."""
    type: ZoneType
    """Zone type."""
    watermark_min: int
    """WMARK_MIN in pages, without boost."""
    watermark_low: int
    """WMARK_LOW in pages, without boost."""
    watermark_high: int
    """WMARK_HIGH in pages, without boost."""
    watermark_boost: int
    """Momentary boost in pages; the kernel prints the watermarks with it added."""
    protection: tuple[int, ...]
    """lowmem_reserve in pages, one a zone type of the node."""
    free: tuple[tuple[int, ...], ...]
    """Free blocks [migratetype][order]: rows as in MIGRATE_TYPES; one row if types are unknown."""
    pageblocks: tuple[int, ...] = ()
    """Pageblocks of each migratetype, as in MIGRATE_TYPES."""
    pcp: tuple[PcpBoot, ...] = ()
    """Per-cpu lists, by CPU."""
    stats: dict[str, int] = attrs.field(factory=dict)
    """Zone counters and NUMA counters, kernel's names, in the kernel's order."""
    node_unreclaimable: int = 0
    """1 when kswapd had given the node up."""

    @property
    def nr_free(self) -> int:
        """Return the free pages of the buddy lists."""
        return sum(count << order for row in self.free for order, count in enumerate(row))


@attrs.frozen(kw_only=True)
class NodeBoot:
    """What a node's counters say at boot."""

    nid: int
    """Node number."""
    stats: dict[str, int] = attrs.field(factory=dict)
    """Node counters of zoneinfo, kernel's names and order."""
    meminfo_kb: dict[str, int] = attrs.field(factory=dict)
    """nodeN/meminfo; HugePages_ keys are counts."""
    numastat: dict[str, int] = attrs.field(factory=dict)
    """nodeN/numastat in pages."""


@attrs.frozen(kw_only=True)
class MemoryBlockBoot:
    """One hotpluggable block of memory as sysfs shows it."""

    index: int
    """Block number: physical address / block size."""
    state: str
    """online, offline or going-offline."""
    valid_zones: str
    """Zones it may go online in, first the default; `none` for a block over two zones."""
    removable: int
    """As sysfs prints it; 1 is no promise that offlining works."""


@attrs.frozen(kw_only=True)
class BootState:
    """The state after boot; empty for a machine that was written by hand."""

    zones: tuple[ZoneBoot, ...] = ()
    """Populated zones."""
    nodes: tuple[NodeBoot, ...] = ()
    """Nodes with memory."""
    vmstat: dict[str, int] = attrs.field(factory=dict)
    """All of /proc/vmstat, kernel's names and order."""
    meminfo_kb: dict[str, int] = attrs.field(factory=dict)
    """All of /proc/meminfo; HugePages_ keys are counts."""
    memory_blocks: tuple[MemoryBlockBoot, ...] = ()
    """Memory blocks by number."""
    block_size_bytes: int = 128 << 20
    """Size of a memory block; 128 MiB on x86_64 below 64 GiB."""
    auto_online_blocks: str = "offline"
    """What happens to hot-added blocks: offline, online, online_kernel, online_movable."""
    uptime_ns: int = 0
    """Time since boot."""
    assumed: tuple[str, ...] = ()
    """What the recording does not say and is taken for granted, a sentence each."""

    @property
    def recorded(self) -> bool:
        """Return whether the state was taken from a running kernel."""
        return bool(self.zones)
