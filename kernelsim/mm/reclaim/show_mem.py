"""What the kernel log says of memory when an allocation has failed: the block "Mem-Info".

Linux: lib/show_mem.c:__show_mem; mm/page_alloc.c:__show_free_areas, :show_migration_types;
mm/hugetlb.c:hugetlb_show_meminfo_node; mm/swap_state.c:show_swap_cache_info, 6.1.
Differs: The Mem-Info block of the kernel log knows no CMA and no failed memory, and huge pages of
one size.
Interface: `show_mem` returns the lines; it reads the state and changes nothing.
Units: pages; kB where a line says so.
"""

from collections.abc import Iterator
from typing import Final

import attrs
import numpy as np

from kernelsim.config.zones import ZoneType
from kernelsim.mm.core.lruvec import LV_KSWAPD_FAILURES
from kernelsim.mm.core.mem import (
    I64,
    MAX_ORDER,
    Z_FREE,
    Z_MANAGED,
    Z_NID,
    Z_NR_RESERVED_HIGHATOMIC,
    Z_PRESENT,
    Z_TYPE_INDEX,
    Z_WATERMARK_BOOST,
    Z_WMARK_HIGH,
    Z_WMARK_LOW,
    Z_WMARK_MIN,
    Mem,
)
from kernelsim.mm.core.vmstat import (
    NODE_STAT_NAMES,
    NR_FREE_CMA,
    NR_KERNEL_STACK,
    ZONE_STAT_NAMES,
)
from kernelsim.mm.page.free_area import free_area_counts
from kernelsim.mm.page.phys_mem import PhysMem
from kernelsim.mm.reclaim.scan_control import MAX_RECLAIM_RETRIES
from kernelsim.mm.swap.swap_area import SS_FREE, SS_TOTAL, SwapArea

MIGRATETYPE_LETTERS: Final = "UMEHI"  # by MIGRATE_*; show_migration_types
PAGE_KB: Final = 4

# Words of a line, and the counters behind them, in the order they are printed.
GLOBAL_LINES: Final = """\
active_anon:{nr_active_anon} inactive_anon:{nr_inactive_anon} isolated_anon:{nr_isolated_anon}
 active_file:{nr_active_file} inactive_file:{nr_inactive_file} isolated_file:{nr_isolated_file}
 unevictable:{nr_unevictable} dirty:{nr_dirty} writeback:{nr_writeback}
 slab_reclaimable:{nr_slab_reclaimable} slab_unreclaimable:{nr_slab_unreclaimable}
 mapped:{nr_mapped} shmem:{nr_shmem} pagetables:{nr_page_table_pages}
 sec_pagetables:{nr_sec_page_table_pages} bounce:{nr_bounce}
 kernel_misc_reclaimable:{nr_kernel_misc_reclaimable}
 free:{free} free_pcp:{free_pcp} free_cma:{nr_free_cma}"""
NODE_LINE: Final = (
    "Node {nid} active_anon:{nr_active_anon}kB inactive_anon:{nr_inactive_anon}kB "
    "active_file:{nr_active_file}kB inactive_file:{nr_inactive_file}kB "
    "unevictable:{nr_unevictable}kB isolated(anon):{nr_isolated_anon}kB "
    "isolated(file):{nr_isolated_file}kB mapped:{nr_mapped}kB dirty:{nr_dirty}kB "
    "writeback:{nr_writeback}kB shmem:{nr_shmem}kB shmem_thp: {nr_shmem_hugepages}kB "
    "shmem_pmdmapped: {nr_shmem_pmdmapped}kB anon_thp: {nr_anon_transparent_hugepages}kB "
    "writeback_tmp:{nr_writeback_temp}kB kernel_stack:{kernel_stack_kb}kB "
    "pagetables:{nr_page_table_pages}kB sec_pagetables:{nr_sec_page_table_pages}kB "
    "all_unreclaimable? {all_unreclaimable}"
)
ZONE_LINE: Final = (
    "{zone} free:{free}kB boost:{boost}kB min:{min}kB low:{low}kB high:{high}kB "
    "reserved_highatomic:{highatomic}KB active_anon:{nr_zone_active_anon}kB "
    "inactive_anon:{nr_zone_inactive_anon}kB active_file:{nr_zone_active_file}kB "
    "inactive_file:{nr_zone_inactive_file}kB unevictable:{nr_zone_unevictable}kB "
    "writepending:{nr_zone_write_pending}kB present:{present}kB managed:{managed}kB "
    "mlocked:{nr_mlock}kB bounce:{nr_bounce}kB free_pcp:{free_pcp}kB local_pcp:{local_pcp}kB "
    "free_cma:{nr_free_cma}kB"
)


@attrs.frozen(kw_only=True)
class ShowMem:
    """What is to be shown, and what of it.

    Attributes:
        phys: Physical memory.
        swap: Swap slots.
        lruvec: What reclaim remembers of each node, shape [nid, LV_*].
        cpu: The CPU that prints.
        highest_zoneidx: Highest zone index the request could use; higher ones are left out.
        nodemask: Nodes its policy allows; the others are left out. None for all.
        is_numa: Whether the kernel is built for NUMA; if not, zones are named without their node.
        hugepage_kb: Size of a huge page.
    """

    phys: PhysMem
    swap: SwapArea
    lruvec: I64
    cpu: int
    highest_zoneidx: int
    nodemask: tuple[int, ...] | None
    is_numa: bool
    hugepage_kb: int

    @property
    def mem(self) -> Mem:
        """The arrays of physical memory."""
        return self.phys.mem

    def zones(self) -> list[int]:
        """Return the rows of the populated zones to be shown."""
        return [
            zone
            for zone, row in enumerate(self.mem.zone)
            if row[Z_PRESENT]
            and row[Z_TYPE_INDEX] <= self.highest_zoneidx
            and self.shows_node(int(row[Z_NID]))
        ]

    def shows_node(self, nid: int) -> bool:
        """Return whether a node is to be shown (mm/page_alloc.c:show_mem_node_skip)."""
        return self.nodemask is None or nid in self.nodemask

    def zone_name(self, zone: int) -> str:
        """Return how a zone is named at the beginning of a line."""
        row = self.mem.zone[zone]
        name = self.phys.zone_types[row[Z_TYPE_INDEX]].value
        return f"Node {row[Z_NID]} {name}" if self.is_numa else name


def show_mem(shown: ShowMem) -> list[str]:
    """Return the lines of the Mem-Info block.

    Source: Linux 6.1 lib/show_mem.c:__show_mem
    """
    return ["Mem-Info:", *_show_free_areas(shown), *_show_swap(shown), *_show_totals(shown)]


def _show_free_areas(shown: ShowMem) -> Iterator[str]:
    mem, zones = shown.mem, shown.zones()
    counters = dict(zip(NODE_STAT_NAMES, mem.node_stat.sum(axis=0).tolist(), strict=True))
    counters |= zip(ZONE_STAT_NAMES, mem.zone_stat.sum(axis=0).tolist(), strict=True)
    counters |= {
        "free": int(mem.zone[:, Z_FREE].sum()),
        "free_pcp": int(mem.pcp_count[zones].sum()),
    }
    yield from GLOBAL_LINES.format_map(counters).splitlines()
    nids = [node.nid for node in shown.phys.online_nodes if shown.shows_node(node.nid)]
    with_zones = {int(mem.zone[zone, Z_NID]) for zone in zones if mem.zone[zone, Z_MANAGED]}
    for nid in nids:
        if nid in with_zones:
            yield _node_line(shown, nid)
    for zone in zones:
        yield _zone_line(shown, zone)
        yield f"lowmem_reserve[]:{''.join(f' {pages}' for pages in mem.lowmem_reserve[zone])}"
    for zone in zones:
        yield f"{shown.zone_name(zone)}: {_free_blocks(free_area_counts(mem, zone))}"
    for nid in nids:
        yield (
            f"Node {nid} hugepages_total=0 hugepages_free=0 hugepages_surp=0 "
            f"hugepages_size={shown.hugepage_kb}kB"
        )
    yield f"{counters['nr_file_pages']} total pagecache pages"
    yield f"{counters['nr_swapcached']} pages in swap cache"


def _node_line(shown: ShowMem, nid: int) -> str:
    row = shown.mem.node_stat[nid]
    failures = int(shown.lruvec[nid, LV_KSWAPD_FAILURES])
    return NODE_LINE.format_map(
        dict(zip(NODE_STAT_NAMES, (row * PAGE_KB).tolist(), strict=True))
        | {
            "nid": nid,
            "kernel_stack_kb": int(row[NR_KERNEL_STACK]),
            "all_unreclaimable": "yes" if failures >= MAX_RECLAIM_RETRIES else "no",
        }
    )


def _zone_line(shown: ShowMem, zone: int) -> str:
    mem = shown.mem
    row: I64 = mem.zone[zone] * PAGE_KB
    pcp = mem.pcp_count[zone] * PAGE_KB
    boost = int(row[Z_WATERMARK_BOOST])
    stats = (mem.zone_stat[zone] * PAGE_KB).tolist()
    assert not stats[NR_FREE_CMA], "there is no CMA"
    return ZONE_LINE.format_map(
        dict(zip(ZONE_STAT_NAMES, stats, strict=True))
        | {
            "zone": shown.zone_name(zone),
            "free": int(row[Z_FREE]),
            "boost": boost,
            "min": int(row[Z_WMARK_MIN]) + boost,
            "low": int(row[Z_WMARK_LOW]) + boost,
            "high": int(row[Z_WMARK_HIGH]) + boost,
            "highatomic": int(row[Z_NR_RESERVED_HIGHATOMIC]),
            "present": int(row[Z_PRESENT]),
            "managed": int(row[Z_MANAGED]),
            "free_pcp": int(pcp.sum()),
            "local_pcp": int(pcp[shown.cpu]),
        }
    )


def _free_blocks(counts: I64) -> str:
    """Return the free blocks by order, with the letters of the migratetypes that have some."""
    words: list[str] = []
    for order in range(MAX_ORDER):
        words.append(f"{counts[order].sum()}*{PAGE_KB << order}kB")
        if counts[order].any():
            names = (MIGRATETYPE_LETTERS[kind] for kind in np.flatnonzero(counts[order]))
            words.append(f"({''.join(names)})")
    total = int(counts.sum(axis=1) @ (1 << np.arange(MAX_ORDER)))
    return f"{' '.join(words)} = {total * PAGE_KB}kB"


def _show_swap(shown: ShowMem) -> Iterator[str]:
    state = shown.swap.state
    yield f"Free swap  = {state[SS_FREE] * PAGE_KB}kB"
    yield f"Total swap = {state[SS_TOTAL] * PAGE_KB}kB"


def _show_totals(shown: ShowMem) -> Iterator[str]:
    zone, types = shown.mem.zone, shown.phys.zone_types
    present = int(zone[:, Z_PRESENT].sum())
    # Where there is high memory, movable memory is made of it.
    high = {ZoneType.ZONE_HIGHMEM, ZoneType.ZONE_MOVABLE}
    indices = [index for index, kind in enumerate(types) if kind in high]
    has_highmem = ZoneType.ZONE_HIGHMEM in types
    is_high = np.isin(zone[:, Z_TYPE_INDEX], indices) & has_highmem
    yield f"{present} pages RAM"
    yield f"{zone[is_high, Z_PRESENT].sum()} pages HighMem/MovableOnly"
    yield f"{present - zone[:, Z_MANAGED].sum()} pages reserved"
    yield "0 pages hwpoisoned"
