"""What comes of zones and nodes when memory goes online or offline.

Linux: mm/memory_hotplug.c: zone_for_pfn_range, move_pfn_range_to_zone, online_pages, offline_pages,
remove_pfn_range_from_zone; drivers/base/memory.c: valid_zones_show; 6.1, with the policy
`contig-zones` that Debian's kernels have.
Interface: `zone_for_block` chooses, `online_pages` gives frames to a zone, `offline_pages` takes
away those that page_isolation.py has made free; `memory_changed` then has all that is derived
from zones follow: watermarks, reserves, per-cpu lists, zonelists.
Units: pages, pfn.
"""

from typing import Final

import attrs
import numpy as np

from kernelsim.config.zones import ZoneType
from kernelsim.mm.core.mem import (
    MIGRATE_MOVABLE,
    PAGEBLOCK_NR_PAGES,
    PAGEBLOCK_ORDER,
    Z_FRESH_END,
    Z_FRESH_START,
    Z_MANAGED,
    Z_PCP_BATCH,
    Z_PCP_HIGH,
    Z_PRESENT,
    Z_SPANNED,
    Z_START_PFN,
    Z_WMARK_HIGH,
    Mem,
)
from kernelsim.mm.page import watermark
from kernelsim.mm.page.free_area import free_range
from kernelsim.mm.page.node_reclaim import set_node_reclaim
from kernelsim.mm.page.page_isolation import enter_untouched, offline_isolated_pages
from kernelsim.mm.page.page_zone import owned_span, reserve_unclaimed
from kernelsim.mm.page.phys_mem import MemoryBlock, PhysMem, zone_span
from kernelsim.mm.page.zone_marks import setup_per_zone_lowmem_reserve, setup_per_zone_wmarks
from kernelsim.units import PAGE_SIZE

# What may be written to a block's state; drivers/base/memory.c:online_type_to_str
OFFLINE: Final = "offline"
ONLINE: Final = "online"
ONLINE_KERNEL: Final = "online_kernel"
ONLINE_MOVABLE: Final = "online_movable"
ONLINE_TYPES: Final = (OFFLINE, ONLINE, ONLINE_KERNEL, ONLINE_MOVABLE)
GOING_OFFLINE: Final = "going-offline"
KERNEL_ZONES: Final = (ZoneType.ZONE_DMA, ZoneType.ZONE_DMA32, ZoneType.ZONE_NORMAL)


def block_range(phys: PhysMem, index: int) -> tuple[int, int]:
    """Return the first frame of a memory block and the one behind its last."""
    nr_pages = phys.memory_blocks.size_bytes // PAGE_SIZE
    return index * nr_pages, (index + 1) * nr_pages


def zone_for_block(phys: PhysMem, block: MemoryBlock, online_type: str) -> int:
    """Return the zone row that an offline block goes to.

    Args:
        phys: Physical memory.
        block: The block.
        online_type: What is written to its state.

    Source: Linux 6.1 mm/memory_hotplug.c:zone_for_pfn_range
    """
    first = block.nid * len(phys.zone_types)
    movable = first + phys.zone_types.index(ZoneType.ZONE_MOVABLE)
    if online_type == ONLINE_MOVABLE:
        return movable
    kernel = _default_kernel_zone(phys, block)
    if online_type == ONLINE_KERNEL:
        return kernel
    start, end = block_range(phys, block.index)
    in_kernel = zone_intersects(phys.mem, kernel, start, end)
    in_movable = zone_intersects(phys.mem, movable, start, end)
    return movable if in_movable and not in_kernel else kernel


def _default_kernel_zone(phys: PhysMem, block: MemoryBlock) -> int:
    """Return the zone that has the frames of a block in its span; else the normal one.

    Source: Linux 6.1 mm/memory_hotplug.c:default_kernel_zone_for_pfn
    """
    first, types = block.nid * len(phys.zone_types), phys.zone_types
    start, end = block_range(phys, block.index)
    for kind in KERNEL_ZONES:
        if kind in types:
            zone = first + types.index(kind)
            if zone_intersects(phys.mem, zone, start, end):
                return zone
    return first + types.index(ZoneType.ZONE_NORMAL)


def zone_intersects(mem: Mem, zone: int, start: int, end: int) -> bool:
    """Tell whether a zone's span and a range of frames have one in common.

    Source: Linux 6.1 include/linux/mmzone.h:zone_intersects
    """
    first, last = zone_span(mem, zone)
    return max(first, start) < min(last, end)


def valid_zones(phys: PhysMem, block: MemoryBlock) -> str:
    """Return what the file `valid_zones` of a block says.

    Source: Linux 6.1 drivers/base/memory.c:valid_zones_show
    """
    types = phys.zone_types
    if block.state != OFFLINE:
        return "none" if block.zone is None else types[block.zone % len(types)].value
    words = (ONLINE, ONLINE_KERNEL, ONLINE_MOVABLE)
    zones = dict.fromkeys(zone_for_block(phys, block, word) for word in words)
    return " ".join(types[zone % len(types)].value for zone in zones)


def online_pages(mem: Mem, zone: int, start: int, end: int) -> None:
    """Give a range of frames to a zone, under its lock; they are free, behind all that is.

    Source: Linux 6.1 mm/memory_hotplug.c:online_pages, :move_pfn_range_to_zone
    """
    row = mem.zone[zone]
    first, last = zone_span(mem, zone)
    low, high = (min(first, start), max(last, end)) if row[Z_SPANNED] else (start, end)
    for edge in (first, last):
        if low < edge < high and edge % PAGEBLOCK_NR_PAGES:
            block = edge & -PAGEBLOCK_NR_PAGES  # Linux has done so when it booted
            reserve_unclaimed(mem, np.arange(block, block + PAGEBLOCK_NR_PAGES), zone)
    row[Z_START_PFN], row[Z_SPANNED] = low, high - low
    blocks = slice(start >> PAGEBLOCK_ORDER, end >> PAGEBLOCK_ORDER)
    mem.block_zone[blocks] = zone + 1
    mem.block_mt[blocks] = MIGRATE_MOVABLE
    row[Z_PRESENT] += end - start
    row[Z_MANAGED] += end - start
    fresh_start, fresh_end = int(row[Z_FRESH_START]), int(row[Z_FRESH_END])
    if fresh_start != fresh_end:
        enter_untouched(mem, zone, fresh_start, fresh_end)
    free_range(mem, zone, start, end)


def offline_pages(mem: Mem, zone: int, start: int, end: int) -> None:
    """Take a range of frames, all free and isolated, away from their zone, under its lock.

    Source: Linux 6.1 mm/memory_hotplug.c:offline_pages, :remove_pfn_range_from_zone
    """
    offline_isolated_pages(mem, zone, start, end)
    blocks = slice(start >> PAGEBLOCK_ORDER, end >> PAGEBLOCK_ORDER)
    mem.block_mt[blocks] = 0
    mem.block_zone[blocks] = 0
    row = mem.zone[zone]
    row[Z_PRESENT] -= end - start
    row[Z_MANAGED] -= end - start
    if not row[Z_PRESENT]:  # zone_pcp_reset
        row[[Z_PCP_BATCH, Z_PCP_HIGH, Z_FRESH_START, Z_FRESH_END]] = 0
    shrink_zone_span(mem, zone)


def memory_changed(phys: PhysMem, zone: int) -> None:
    """Compute afresh what follows from the memory of all zones, after that of one has changed.

    Zonelists are built anew when it got its first memory or lost its last.

    Source: Linux 6.1 mm/memory_hotplug.c:online_pages, :offline_pages
    """
    is_listed = zone in phys.zonelists[zone // len(phys.zone_types)]
    if is_listed != bool(phys.mem.zone[zone, Z_PRESENT]):
        phys.changed()
    init_per_zone_wmark_min(phys)


def shrink_zone_span(mem: Mem, zone: int) -> None:
    """Let the span of a zone end where its memory ends; holes inside stay.

    Source: Linux 6.1 mm/memory_hotplug.c:shrink_zone_span
    """
    # Differs from Linux: Part of a pageblock at an end of a zone stays in its span. Linux looks at
    # one page a pageblock, and leaves such a part out when the zone beside it has that page.
    row = mem.zone[zone]
    low, high = owned_span(mem, zone) if row[Z_PRESENT] else (0, 0)
    row[Z_START_PFN], row[Z_SPANNED] = low, high - low


def init_per_zone_wmark_min(phys: PhysMem) -> None:
    """Compute vm.min_free_kbytes from the memory there is, and all that follows from it.

    A larger value that was written to it stays.

    Source: Linux 6.1 mm/page_alloc.c:init_per_zone_wmark_min, :calculate_min_free_kbytes
    """
    zones = phys.zones_managed()
    free_pages = watermark.nr_free_buffer_pages(zones, phys.mem.zone[:, Z_WMARK_HIGH].tolist())
    assert phys.tunables.now.vm_min_free_kbytes is not None, "computed at boot"
    kbytes = watermark.calculate_min_free_kbytes(
        free_pages,
        current_kbytes=phys.tunables.now.vm_min_free_kbytes,
        user_kbytes=phys.user_min_free_kbytes,
    )
    phys.tunables.now = attrs.evolve(phys.tunables.now, vm_min_free_kbytes=kbytes)
    setup_per_zone_wmarks(phys)
    setup_per_zone_lowmem_reserve(phys)
    set_node_reclaim(phys)
