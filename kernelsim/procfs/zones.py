"""Render /proc/zoneinfo, buddyinfo and pagetypeinfo.

Linux: mm/vmstat.c:zoneinfo_show_print, frag_show_print, pagetypeinfo_show.

Interface: `render_*` return the whole file. zoneinfo lists every zone type, the other two only
populated zones.
Units: pages; blocks of 2**order pages.
"""

from collections.abc import Iterator, Mapping
from typing import Final

from kernelsim.config.zones import MIGRATE_TYPES, NR_PAGE_ORDERS
from kernelsim.mm.core.vmstat import NODE_STAT_NAMES, NUMA_STAT_NAMES, ZONE_STAT_NAMES
from kernelsim.mm.page.compact_suitable import fragmentation_index, unusable_free_index
from kernelsim.procfs.snapshot import NodeSnapshot, Snapshot, ZoneSnapshot

FREE_COUNT_MAX: Final = 100_000  # blocks; pagetypeinfo stops counting a list there
PROMOTION_STATS: Final = ("pgpromote_success", "pgpromote_candidate")


def node_stat_names(snapshot: Snapshot) -> tuple[str, ...]:
    """Return the node counters this kernel prints; promotion is counted with NUMA only."""
    absent = () if snapshot.numa else PROMOTION_STATS
    return tuple(name for name in NODE_STAT_NAMES if name not in absent)


def render_zoneinfo(snapshot: Snapshot) -> str:
    """Render /proc/zoneinfo.

    Source: Linux 6.1 mm/vmstat.c:zoneinfo_show_print
    """
    lines: list[str] = []
    for node in snapshot.nodes:
        first = next((zone for zone in node.zones if zone.populated), None)
        for zone in node.zones:
            lines.append(f"Node {node.nid}, zone {zone.name:>8}")
            if zone is first:
                lines.append("  per-node stats")
                lines += _counters(node.stats, node_stat_names(snapshot))
            lines += _zone_pages(zone)
            if zone.populated:
                lines += _zone_details(snapshot, node, zone)
    return "\n".join(lines) + "\n"


def _counters(stats: Mapping[str, int], names: tuple[str, ...]) -> Iterator[str]:
    """Yield a line a counter."""
    for name in names:
        yield f"      {name:<12} {stats.get(name, 0)}"


def _zone_pages(zone: ZoneSnapshot) -> Iterator[str]:
    """Yield sizes and watermarks, which empty zones have as well."""
    yield f"  pages free     {zone.stats.get('nr_free_pages', 0)}"
    figures = {
        "boost": zone.boost,
        "min": zone.min + zone.boost,
        "low": zone.low + zone.boost,
        "high": zone.high + zone.boost,
        "spanned": zone.spanned,
        "present": zone.present,
        "managed": zone.managed,
        "cma": zone.cma,
    }
    for name, pages in figures.items():
        yield f"        {name:<8} {pages}"
    yield f"        protection: ({', '.join(str(pages) for pages in zone.protection)})"


def _zone_details(snapshot: Snapshot, node: NodeSnapshot, zone: ZoneSnapshot) -> Iterator[str]:
    """Yield what only a populated zone has: counters, per-cpu lists, where it starts."""
    yield from _counters(zone.stats, ZONE_STAT_NAMES)
    if snapshot.numa:
        yield from _counters(zone.numa_stats, NUMA_STAT_NAMES)
    yield "  pagesets"
    for pcp in zone.pcp:
        yield f"    cpu: {pcp.cpu}"
        yield f"              count: {pcp.count}"
        yield f"              high:  {pcp.high}"
        yield f"              batch: {pcp.batch}"
        yield f"  vm stats threshold: {pcp.vm_stats_threshold}"
    yield f"  node_unreclaimable:  {node.unreclaimable:d}"
    yield f"  start_pfn:           {zone.start_pfn}"


def render_buddyinfo(snapshot: Snapshot) -> str:
    """Render /proc/buddyinfo: free blocks of each order.

    Source: Linux 6.1 mm/vmstat.c:frag_show_print
    """
    return "".join(
        f"Node {node.nid}, zone {zone.name:>8} {_row(zone.nr_free, 6)}\n"
        for node, zone in snapshot.zones()
        if zone.populated
    )


def render_extfrag(snapshot: Snapshot) -> Iterator[tuple[str, str]]:
    """Yield the files of /sys/kernel/debug/extfrag: how far each zone's free memory is in pieces.

    Source: Linux 6.1 mm/vmstat.c:unusable_show_print, :extfrag_show_print
    """
    orders = range(NR_PAGE_ORDERS)
    for name, index_of, width in (
        ("unusable_index", unusable_free_index, 1),
        ("extfrag_index", fragmentation_index, 2),
    ):
        lines = []
        for node, zone in snapshot.zones():
            if zone.populated:
                indexes = [index_of(zone.nr_free, order) for order in orders]
                shown = (f"{int(i / 1000):{width}d}.{abs(i) % 1000:03d} " for i in indexes)
                lines.append(f"Node {node.nid}, zone {zone.name:>8} {''.join(shown)}\n")
        yield name, "".join(lines)


def render_pagetypeinfo(snapshot: Snapshot) -> str:
    """Render /proc/pagetypeinfo: free blocks by migrate type, one part a node with memory.

    Source: Linux 6.1 mm/vmstat.c:pagetypeinfo_show
    """
    lines: list[str] = []
    for node in snapshot.nodes:
        zones = [zone for zone in node.zones if zone.populated]
        if zones:
            lines += _node_pagetypes(snapshot.pageblock_order, node.nid, zones)
    return "".join(f"{line}\n" for line in lines)


def _node_pagetypes(order: int, nid: int, zones: list[ZoneSnapshot]) -> Iterator[str]:
    """Yield the lines of one node."""
    yield f"Page block order: {order}"
    yield f"Pages per block:  {1 << order}"
    yield ""
    orders = tuple(range(len(zones[0].nr_free)))
    yield f"{'Free pages count per migrate type at order':<43} {_row(orders, 6)}"
    for zone in zones:
        for kind in MIGRATE_TYPES:
            counts = zone.free_lists.get(kind, (0,) * len(zone.nr_free))
            shown = "".join(
                f">{FREE_COUNT_MAX:6d} " if count >= FREE_COUNT_MAX else f"{count:6d} "
                for count in counts
            )
            yield f"Node {nid:4d}, zone {zone.name:>8}, type {kind:>12} {shown}"
    yield ""
    yield f"{'Number of blocks type':<23}{''.join(f'{kind:>12} ' for kind in MIGRATE_TYPES)}"
    for zone in zones:
        blocks = tuple(zone.pageblocks.get(kind, 0) for kind in MIGRATE_TYPES)
        yield f"Node {nid}, zone {zone.name:>8} {_row(blocks, 12)}"


def _row(numbers: tuple[int, ...], width: int) -> str:
    """Return right-aligned numbers, each with a blank behind it."""
    return "".join(f"{number:{width}d} " for number in numbers)
