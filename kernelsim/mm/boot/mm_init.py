"""Build physical memory from a machine's description.

Linux: mm/mm_init.c and mm/memblock.c, 6.1.
Differs: The memory of a machine written by hand is all free but for the pages that boot keeps,
which lie at the bottom of each zone; that of a recorded one is as `boot_pages` says.
# Differs from Linux: The first watermarks of a machine written by hand that names no kernel follow
# from the pages it has for use. A kernel computes them while its init sections and its initramfs
# still hold pages, so they are up to 2 % lower, and one with huge pages switched on sets
# min_free_kbytes higher.
Interface: `build` makes a `PhysMem`; `new_mem`, `init_zone` and `fill_zone` are the steps.
Units: pages, pfn. Memory that is never touched costs nothing: columns are mapped, not filled.
"""

import mmap
from collections.abc import Sequence
from contextlib import suppress
from math import prod
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from kernelsim.config.boot import BootState, ZoneBoot
from kernelsim.config.machine import MachineSpec, NodeSpec, ZoneSpec
from kernelsim.mm.boot.boot_pages import Range, place_boot_pages
from kernelsim.mm.boot.boot_stats import apply_boot_stats
from kernelsim.mm.boot.early_marks import early_marks
from kernelsim.mm.boot.memory_block import memory_dev_init
from kernelsim.mm.core.lru_gen import new_lru_gen
from kernelsim.mm.core.mem import (
    I64,
    MAX_ORDER_NR_PAGES,
    MIGRATE_MOVABLE,
    NR_EXTFRAG_FIELDS,
    NR_EXTFRAG_ROWS,
    NR_ZONE_FIELDS,
    PAGEBLOCK_NR_PAGES,
    PAGEBLOCK_ORDER,
    PAGEVEC_SIZE,
    Z_MANAGED,
    Z_NID,
    Z_PCP_BATCH,
    Z_PCP_HIGH,
    Z_PRESENT,
    Z_SPANNED,
    Z_START_PFN,
    Z_TYPE_INDEX,
    Z_WATERMARK_BOOST,
    Z_WMARK_HIGH,
    Z_WMARK_LOW,
    Z_WMARK_MIN,
    Z_WMARK_PROMO,
    Mem,
    Pages,
    PG_reserved,
    nr_lists,
)
from kernelsim.mm.core.slab_cache import new_slabs
from kernelsim.mm.core.tunables import Tunables
from kernelsim.mm.core.vmstat import (
    NODE_STAT_NAMES,
    NUMA_STAT_NAMES,
    VM_EVENT_NAMES,
    ZONE_STAT_NAMES,
)
from kernelsim.mm.page.free_area import free_range
from kernelsim.mm.page.page_zone import enter_memory
from kernelsim.mm.page.phys_mem import PgData, PhysMem
from kernelsim.mm.page.zone_marks import (
    init_min_free_kbytes,
    setup_per_zone_lowmem_reserve,
    setup_per_zone_wmarks,
    update_totalreserve,
)

__all__ = [
    "build",
    "fill_zone",
    "free_range",
    "init_zone",
    "new_mem",
    "zeros",
]

PAGES_A_SLAB: Final = 16  # there is room to note so many slabs: more than ever there are
MAP_NORESERVE: Final = 0x4000  # asm-generic/mman.h; the mmap module of 3.11 does not name it


def zeros(shape: tuple[int, ...], dtype: type[np.generic]) -> NDArray[Any]:
    """Return an array of zeros that costs memory only where it is written, page by page.

    Huge pages are refused: one written entry would cost 2 MiB. A host without them gives none.
    """
    size = prod(shape) * np.dtype(dtype).itemsize
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | MAP_NORESERVE
    area = mmap.mmap(-1, max(size, 1), flags=flags)
    with suppress(OSError):
        area.madvise(mmap.MADV_NOHUGEPAGE)
    return np.frombuffer(area, dtype=dtype, count=prod(shape)).reshape(shape)


def new_mem(
    *,
    nr_pfns: int,
    nr_nodes: int,
    nr_zone_types: int,
    nr_cpus: int,
    nr_ranges: int = 16,
    is_32bit: bool = False,
) -> Mem:
    """Return memory without zones: every pfn below `nr_pfns` is a hole.

    Columns reach to the end of the last MAX_ORDER block, so that a buddy always has an entry. There
    is room for the pageblocks at the ends of `nr_ranges` ranges of memory.
    """
    nr_pfns = -(-nr_pfns // MAX_ORDER_NR_PAGES) * MAX_ORDER_NR_PAGES
    nr_zones = nr_nodes * nr_zone_types
    nr_blocks = nr_pfns // PAGEBLOCK_NR_PAGES
    counts: dict[str, I64] = {
        "lists": np.zeros((nr_lists(nr_zones, nr_cpus, nr_nodes), 3), np.int64),
        "zone": np.zeros((nr_zones, NR_ZONE_FIELDS), np.int64),
        "lowmem_reserve": np.zeros((nr_zones, nr_zone_types), np.int64),
        "pcp_count": np.zeros((nr_zones, nr_cpus), np.int64),
        "pcp_free_factor": np.zeros((nr_zones, nr_cpus), np.int64),
        "zone_stat": np.zeros((nr_zones, len(ZONE_STAT_NAMES)), np.int64),
        "node_stat": np.zeros((nr_nodes, len(NODE_STAT_NAMES)), np.int64),
        "numa_stat": np.zeros((nr_zones, len(NUMA_STAT_NAMES)), np.int64),
        "vm_event": np.zeros(len(VM_EVENT_NAMES), np.int64),
        "lru_batch": np.zeros((nr_cpus, 1 + PAGEVEC_SIZE), np.int64),
        "activate_batch": np.zeros((nr_cpus, 1 + PAGEVEC_SIZE), np.int64),
        "extfrag": np.zeros((NR_EXTFRAG_ROWS, NR_EXTFRAG_FIELDS), np.int64),
        "lru_gen": new_lru_gen(nr_nodes),
    }
    pages = Pages(
        flags=zeros((nr_pfns,), np.uint32),
        next=zeros((nr_pfns,), np.int32),
        prev=zeros((nr_pfns,), np.int32),
        mapcount=zeros((nr_pfns,), np.int32),
        mapping=zeros((nr_pfns,), np.int32),
        index=zeros((nr_pfns,), np.int64),
        private=zeros((nr_pfns,), np.int32),
        token=zeros((nr_pfns,), np.uint64),
        gen=zeros((nr_pfns,), np.uint8),
    )
    return Mem(
        pages=pages,
        block_mt=zeros((nr_blocks,), np.uint8),
        block_zone=zeros((nr_blocks,), np.int16),
        split_zone=zeros((1 + 2 * nr_ranges, PAGEBLOCK_NR_PAGES), np.int16),
        slabs=new_slabs(64 + nr_pfns // PAGES_A_SLAB, nr_nodes, nr_cpus, zeros, is_32bit=is_32bit),
        **counts,
    )


def init_zone(mem: Mem, zone: int, spec: ZoneSpec, nid: int, ranges: Sequence[Range]) -> None:
    """Enter a zone's sizes and the pageblocks of its memory; no page of it is free yet.

    Args:
        mem: The machine's memory.
        zone: Zone row.
        spec: Sizes of the zone.
        nid: Its node.
        ranges: Its memory, in rising order, holes left out.

    Source: Linux 6.1 mm/page_alloc.c:free_area_init_core, memmap_init_zone_range
    """
    row = mem.zone[zone]
    row[Z_NID] = nid
    row[Z_TYPE_INDEX] = zone % mem.lowmem_reserve.shape[1]
    row[Z_START_PFN] = spec.start_pfn
    row[Z_SPANNED] = spec.spanned_pages
    row[Z_PRESENT] = spec.present_pages
    row[Z_MANAGED] = spec.managed_pages
    for start, end in ranges:
        blocks = slice(start >> PAGEBLOCK_ORDER, (end - 1 >> PAGEBLOCK_ORDER) + 1)
        mem.block_mt[blocks] = MIGRATE_MOVABLE
    enter_memory(mem, zone, ranges)


def build(spec: MachineSpec) -> PhysMem:
    """Build the memory of a machine, with the state it was recorded in if there is one."""
    nr_types = len(spec.zone_types)
    ranges = [zone_ranges(node, zone) for node in spec.nodes for zone in node.zones]
    nr_pfns = max(node.end_pfn for node in spec.nodes)
    if spec.maxmem_bytes:  # entries that no memory comes to cost nothing
        nr_pfns = max(nr_pfns, spec.dimm_window[1])
    mem = new_mem(
        nr_pfns=nr_pfns,
        nr_nodes=len(spec.nodes),
        nr_zone_types=nr_types,
        nr_cpus=spec.nr_cpus,
        nr_ranges=sum(map(len, ranges)),
        is_32bit=spec.arch != "x86_64",
    )
    recorded = {(zone.nid, zone.type): zone for zone in spec.boot.zones}
    for node in spec.nodes:
        for index, zone_spec in enumerate(node.zones):
            zone = node.nid * nr_types + index
            init_zone(mem, zone, zone_spec, node.nid, ranges[zone])
            boot = recorded.get((node.nid, zone_spec.type))
            fill_zone(mem, zone, ranges[zone], boot)
    phys = PhysMem(
        mem=mem,
        era=spec.era,
        zone_types=spec.zone_types,
        nodes=tuple(PgData(nid=node.nid, cpus=node.cpus) for node in spec.nodes),
        numa_distance=spec.distances,
        memory_blocks=memory_dev_init(spec),
        tunables=Tunables(spec.sysctl),
    )
    phys.changed()
    if spec.sysctl.vm_min_free_kbytes is not None and not spec.boot.recorded:
        phys.user_min_free_kbytes = spec.sysctl.vm_min_free_kbytes
    if spec.init_pages and not spec.boot.recorded:
        early_marks(phys, spec)
    else:
        init_min_free_kbytes(phys, recorded_minima(spec))
        setup_per_zone_lowmem_reserve(phys)
        setup_per_zone_wmarks(phys)
    apply_boot_marks(phys, spec.boot)
    apply_boot_stats(mem, spec.boot, spec.zone_types)
    return phys


def recorded_minima(spec: MachineSpec) -> dict[int, int]:
    """Return WMARK_MIN of a recorded machine by zone row; {} for one written by hand."""
    types = spec.zone_types
    return {
        zone.nid * len(types) + types.index(zone.type): zone.watermark_min
        for zone in spec.boot.zones
    }


def zone_ranges(node: NodeSpec, zone: ZoneSpec) -> list[Range]:
    """Return the memory of a zone; unknown holes are taken to lie at its end."""
    if not zone.present_pages:
        return []
    memory = node.memory_ranges or ((zone.start_pfn, zone.start_pfn + zone.present_pages),)
    clipped = [(max(low, zone.start_pfn), min(high, zone.end_pfn)) for low, high in memory]
    return sorted(part for part in clipped if part[0] < part[1])


def fill_zone(mem: Mem, zone: int, ranges: Sequence[Range], boot: ZoneBoot | None) -> None:
    """Free the managed pages of a zone, or what a recorded kernel had free of them."""
    nr_reserved = int(mem.zone[zone, Z_PRESENT] - mem.zone[zone, Z_MANAGED])
    if boot is not None:
        place_boot_pages(mem, zone, ranges, boot, nr_reserved)
        return
    for start, end in ranges:
        kept = min(nr_reserved, end - start)
        nr_reserved -= kept
        mem.pages.flags[start : start + kept] = PG_reserved
        free_range(mem, zone, start + kept, end)


def apply_boot_marks(phys: PhysMem, boot: BootState) -> None:
    """Put the recorded marks, reserves and per-cpu list sizes over the computed ones."""
    for zone_boot in boot.zones:
        zone = zone_boot.nid * len(phys.zone_types) + phys.zone_types.index(zone_boot.type)
        row = phys.mem.zone[zone]
        row[Z_WMARK_MIN] = zone_boot.watermark_min
        row[Z_WMARK_LOW] = zone_boot.watermark_low
        row[Z_WMARK_HIGH] = zone_boot.watermark_high
        row[Z_WMARK_PROMO] = 2 * zone_boot.watermark_high - zone_boot.watermark_low
        row[Z_WATERMARK_BOOST] = zone_boot.watermark_boost
        phys.mem.lowmem_reserve[zone, : len(zone_boot.protection)] = zone_boot.protection
        if zone_boot.pcp:
            row[Z_PCP_BATCH] = zone_boot.pcp[0].batch
            row[Z_PCP_HIGH] = zone_boot.pcp[0].high
    update_totalreserve(phys)
