"""Lay the memory of a hand-written machine out as the firmware and the kernel of a PC would.

Linux: arch/x86/mm/init.c:zone_sizes_init, mm/page_alloc.c:find_zone_movable_pfns_for_nodes and
:free_area_init_core.
Differs: How many pages of a zone the buddy system gets is an estimate, see `reserved_estimate`, and
no ACPI tables lie at the end of memory.
Differs: The struct pages of holes lie beside the kernel, also those in the map of another node.
Interface: `lay_out_nodes` turns sizes into zones; `NodeMemory` says what a person asked for.
Units: pages of 4 KiB; pfn.

Physical addresses of a PC:
    pfn 0          never used (the BIOS's vectors)
    pfn 1..4095    ZONE_DMA; 97 frames of it (640 KiB to 1 MiB, video and BIOS) are no memory
    3..4 GiB       PCI devices: the RAM "under" it appears above 4 GiB
Nodes follow each other in address order unless a node says where it starts.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Final

import attrs

from kernelsim.config.boot_reserve import boot_reserve
from kernelsim.config.dimm_window import dimm_window, struct_page_ranges
from kernelsim.config.machine import NodeSpec, ZoneSpec
from kernelsim.config.memory_model import PAGES_PER_SECTION, memory_model
from kernelsim.config.zones import ZoneType, zone_boundaries, zone_name, zone_types
from kernelsim.errors import ConfigError
from kernelsim.units import GIB, MIB, PAGE_SIZE, format_size

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kernelsim.config.boot_reserve import KernelImage
    from kernelsim.config.era import Era

__all__ = ["NodeMemory", "lay_out_nodes", "movable_starts", "reserved_estimate"]

PCI_HOLE_START_PFN: Final = 3 * GIB // PAGE_SIZE  # pages; where PC firmware puts PCI windows
PCI_HOLE_END_PFN: Final = 4 * GIB // PAGE_SIZE  # pages
LEGACY_HOLE: Final = (0x9F, 0x100)  # pfn; video and BIOS area, with the EBDA page below it
MAX_ORDER_NR_PAGES: Final = 1024  # pages; linux/mmzone.h

DMA_RESERVED_PAGES: Final = 158  # pages; 3998 present - 3840 managed on every recorded machine
KERNEL_RESERVED_PAGES: Final = 11_500  # pages; text, data, bss, log, percpu: fit, see below
HASH_SHARE: Final = 700  # 1/pages; dentry, inode and TCP hashes: 0.14 % of memory
SWIOTLB_PAGES: Final = 64 * MIB // PAGE_SIZE  # pages; bounce buffer once RAM lies above 4 GiB


@attrs.frozen(kw_only=True)
class NodeMemory:
    """What a person says about a node."""

    cpus: tuple[int, ...]
    """CPU numbers."""
    nr_pages: int
    """RAM in pages, the frames lost to the legacy hole included; 0 for a node without memory."""
    start_pfn: int | None = None
    """First pfn, None: behind the node before."""
    device_pages: int = 0
    """Persistent memory in ZONE_DEVICE, behind all RAM."""


def lay_out_nodes(
    nodes: Sequence[NodeMemory],
    *,
    arch: str,
    era: Era,
    model: str,
    movable_pages: int = 0,
    kernelcore_pages: int = 0,
    holes: Sequence[tuple[int, int]] = (),
    maxmem_bytes: int = 0,
    image: KernelImage | None = None,
) -> tuple[NodeSpec, ...]:
    """Return the nodes with their zones.

    Args:
        nodes: what each node has, by node number.
        arch: x86_64, i386 or i386pae.
        era: decides the size of a struct page.
        model: memory model; one with large maps leaves less memory for use.
        movable_pages: `movablecore=` in pages; 0 for none.
        kernelcore_pages: `kernelcore=` in pages; 0 for none. With both, the larger core holds.
        holes: (first pfn, pfn behind) without memory, beside those of a PC.
        maxmem_bytes: what DIMMs may make of it; a model that has maps for them at boot pays now.
        image: the kernel, when its build is known; None for an estimate of what it keeps.

    Raises ConfigError when nodes overlap, a 32-bit machine has more than it can address, or
    device memory is asked for where there is no ZONE_DEVICE.
    Source: Linux 6.1 mm/page_alloc.c:free_area_init
    """
    ranges = _place(nodes, _holes(holes), arch=arch)
    total = sum(end - first for node in ranges for first, end in node)
    movable = _movable_pages(total, movable_pages, kernelcore_pages)
    movable_from = movable_starts(ranges, arch=arch, movable=movable)
    device_start = max((end for node in ranges for _, end in node), default=0)
    specs: list[NodeSpec] = []
    for nid, node in enumerate(nodes):
        zones = {
            zone.type: zone
            for zone in _plain_zones(ranges[nid], arch=arch, movable_from=movable_from[nid])
        }
        if node.device_pages:
            device_start = -(-device_start // PAGES_PER_SECTION) * PAGES_PER_SECTION
            zones[ZoneType.ZONE_DEVICE] = ZoneSpec(
                type=ZoneType.ZONE_DEVICE, start_pfn=device_start, spanned_pages=node.device_pages
            )
            device_start += node.device_pages
        specs.append(
            NodeSpec(
                nid=nid,
                cpus=node.cpus,
                zones=tuple(zones.get(kind, ZoneSpec(type=kind)) for kind in zone_types(arch)),
                memory_ranges=ranges[nid],
            )
        )
    if image is not None:
        return _with_image(specs, image, maxmem_bytes)
    described = struct_page_ranges(specs, model, maxmem_bytes)
    kept = _pages_of_holes(described, model, arch=arch, era=era)
    return _with_managed(specs, era=era, mem_map_of_holes=kept)


_Ranges = tuple[tuple[int, int], ...]


def _holes(asked: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return all holes in rising order: those of a PC, and what was asked for, none overlapping."""
    holes = sorted([LEGACY_HOLE, (PCI_HOLE_START_PFN, PCI_HOLE_END_PFN), *asked])
    for (_, end), (start, _) in pairwise(holes):
        if start < end:
            text = f"{start * PAGE_SIZE:#x}"
            raise ConfigError("holes", text, f"a hole up to {end * PAGE_SIZE:#x} lies there")
    return holes


def _pages_of_holes(described: Sequence[_Ranges], model: str, *, arch: str, era: Era) -> int:
    """Return the pages that the struct pages of holes take; sparsemem has none for whole sections.

    What its sections hold of holes is inside the error of `reserved_estimate`.
    """
    if model == "sparsemem":
        return 0
    maps = memory_model(
        model,
        described,
        arch=arch,
        struct_page_bytes=era.struct_page_bytes,
    )
    return maps.hole_bytes // PAGE_SIZE


def _place(
    nodes: Sequence[NodeMemory], holes: Sequence[tuple[int, int]], *, arch: str
) -> list[_Ranges]:
    """Give each node its page frames, around the holes."""
    limit = {"x86_64": 1 << 40, "i386": PCI_HOLE_START_PFN, "i386pae": 1 << 24}[arch]
    placed: list[_Ranges] = []
    cursor = 0
    for nid, node in enumerate(nodes):
        start = cursor if node.start_pfn is None else node.start_pfn
        if node.device_pages and ZoneType.ZONE_DEVICE not in zone_types(arch):
            raise ConfigError(f"node[{nid}].device_memory", arch, "only x86_64 has ZONE_DEVICE")
        # Frames of the legacy hole count as RAM that was bought; those of the PCI hole move up.
        ranges = _fill(start, node.nr_pages, holes)
        if node.nr_pages and not ranges:
            size, legacy = format_size(node.nr_pages * PAGE_SIZE), format_size(LEGACY_HOLE[1] << 12)
            rule = f"all of it is frame 0 or lies below {legacy}, where video and BIOS are"
            raise ConfigError(f"node[{nid}].memory", size, rule)
        if ranges and ranges[-1][1] > limit:
            size = f"up to pfn {ranges[-1][1]}"
            raise ConfigError(f"node[{nid}].memory", size, f"{arch} addresses up to pfn {limit}")
        for other, taken in enumerate(placed):
            if any(low < end and first < high for low, high in ranges for first, end in taken):
                rule = f"the memory of nodes {other} and {nid} overlaps"
                raise ConfigError(f"node[{nid}].start", start * PAGE_SIZE, rule)
        placed.append(ranges)
        cursor = ranges[-1][1] if ranges else cursor
    return placed


def _fill(start: int, nr_pages: int, holes: Sequence[tuple[int, int]]) -> _Ranges:
    """Return the ranges of nr_pages frames from start on; the legacy hole swallows its frames."""
    ranges: list[tuple[int, int]] = []
    pfn, left = start, nr_pages
    while left > 0:
        hole = next((hole for hole in holes if hole[1] > pfn), None)
        if hole is not None and hole[0] <= pfn:
            left -= hole[1] - pfn if hole is LEGACY_HOLE else 0
            pfn = hole[1]
            continue
        end = pfn + left if hole is None else min(pfn + left, hole[0])
        first = max(pfn, 1)  # frame 0 is never given to the kernel
        if end > first:
            ranges.append((first, end))
        left -= end - pfn
        pfn = end
    return tuple(ranges)


def _movable_pages(total: int, movablecore: int, kernelcore: int) -> int:
    """Return the pages of ZONE_MOVABLE; 0 when neither size is given or the core takes all.

    Source: Linux 6.1 mm/page_alloc.c:find_zone_movable_pfns_for_nodes
    """
    core = kernelcore
    if movablecore:
        movable = -(-movablecore // MAX_ORDER_NR_PAGES) * MAX_ORDER_NR_PAGES
        core = max(core, total - min(movable, total))
    elif not kernelcore:
        return 0
    return max(total - core, 0) if core else 0


def movable_starts(ranges: Sequence[_Ranges], *, arch: str, movable: int) -> list[int | None]:
    """Return the first pfn of ZONE_MOVABLE of each node, None where there is none.

    The kernel's share is dealt out evenly; what a node lacks of its share the others give in the
    next round. Only the highest populated zone type gives up pages, so lower ones count in full.

    Source: Linux 6.1 mm/page_alloc.c:find_zone_movable_pfns_for_nodes
    """
    starts: list[int | None] = [None] * len(ranges)
    total = sum(end - first for node in ranges for first, end in node)
    if not movable:
        return starts
    top = max(end for node in ranges for _, end in node)
    usable_from = max(low for low, _ in _bands(arch) if low < top)
    with_memory = [nid for nid, node in enumerate(ranges) if node]
    cores = [0] * len(ranges)
    left = total - movable
    for usable_nodes in range(len(with_memory), 0, -1):
        share = left // usable_nodes
        for nid in with_memory:
            if left < share:
                share = left // usable_nodes
            cores[nid], used = _core_end(ranges[nid], cores[nid], share, usable_from)
            left -= min(used, left)
        if left < usable_nodes:
            break
    for nid in with_memory:
        start = -(-cores[nid] // MAX_ORDER_NR_PAGES) * MAX_ORDER_NR_PAGES
        if start < ranges[nid][-1][1]:
            starts[nid] = start
    return starts


def _core_end(node: _Ranges, core_end: int, share: int, usable_from: int) -> tuple[int, int]:
    """Return where the kernel's part of a node ends after one more share, and what that took."""
    used = 0
    for first, end in node:
        start = max(first, core_end)
        if start >= end:
            continue
        low = max(0, min(end, usable_from) - start)  # is of no use for anything else
        share, used = share - min(low, share), used + low
        if end <= usable_from:
            core_end = end
            continue
        start = max(start, usable_from)
        size = min(end - start, share)
        core_end, share, used = start + size, share - size, used + size
        if not share:
            break
    return core_end, used


def _bands(arch: str) -> list[tuple[int, int | None]]:
    """Return (first pfn, pfn behind) of each plain zone type, lowest first."""
    low = 0
    bands: list[tuple[int, int | None]] = []
    for _, end in zone_boundaries(arch):
        bands.append((low, end))
        low = end or low
    return bands


def _plain_zones(ranges: _Ranges, *, arch: str, movable_from: int | None) -> list[ZoneSpec]:
    """Return the populated zones of a node's ranges, `managed_pages` still equal to present."""
    if not ranges:
        return []
    node_start, node_end = ranges[0][0], ranges[-1][1]
    bands = [
        (kind, low, node_end if high is None else high)
        for (kind, _), (low, high) in zip(zone_boundaries(arch), _bands(arch), strict=True)
    ]
    if movable_from is not None:
        bands = [(kind, low, min(high, movable_from)) for kind, low, high in bands]
        bands.append((ZoneType.ZONE_MOVABLE, movable_from, node_end))
    zones: list[ZoneSpec] = []
    for kind, low, high in bands:
        start, end = max(low, node_start), min(high, node_end)
        present = sum(max(0, min(e, end) - max(f, start)) for f, e in ranges)
        if present:
            zones.append(
                ZoneSpec(
                    type=kind,
                    start_pfn=start,
                    spanned_pages=end - start,
                    present_pages=present,
                    managed_pages=present,
                )
            )
    return zones


def reserved_estimate(zone: ZoneSpec, *, era: Era, holds_kernel: bool, bounce_buffer: bool) -> int:
    """Return how many present pages of a zone the boot keeps from the buddy system.

    The estimate is a fit to recorded 6.1 machines of 512 MiB to 4 GiB: one struct page a frame,
    0.14 % for hash tables, and in the zone that holds the kernel 11 500 pages (at most a quarter
    of the zone, as a small machine runs a small kernel) and 64 MiB of bounce buffer when there is
    RAM above 4 GiB. It is within 2 % of their managed pages.
    """
    if zone.type is ZoneType.ZONE_DMA:
        return min(DMA_RESERVED_PAGES, zone.present_pages)
    reserved = zone.present_pages * era.struct_page_bytes // PAGE_SIZE
    reserved += zone.present_pages // HASH_SHARE
    if holds_kernel:
        reserved += min(KERNEL_RESERVED_PAGES, zone.present_pages // 4)
        reserved += min(SWIOTLB_PAGES, zone.present_pages // 8) if bounce_buffer else 0
    return min(reserved, zone.present_pages)


def _with_image(
    specs: Sequence[NodeSpec], image: KernelImage, maxmem_bytes: int
) -> tuple[NodeSpec, ...]:
    """Return the nodes with the pages managed that a kernel leaves.

    Raises ConfigError when it needs more of a zone than there is.
    """
    top = max(node.end_pfn for node in specs)
    end_pfn = dimm_window(specs, maxmem_bytes)[1] if maxmem_bytes else top
    if not any(zone.present_pages for node in specs for zone in node.zones[1:]):
        raise ConfigError("kernel", format_size(top * PAGE_SIZE), "needs memory above 16 MiB")
    kept = boot_reserve(specs, image, end_pfn=end_pfn)
    nodes: list[NodeSpec] = []
    for node in specs:
        zones: list[ZoneSpec] = []
        for zone in node.zones:
            needs = kept.get((node.nid, zone.type), 0)
            if zone.type is ZoneType.ZONE_DMA:
                needs = min(DMA_RESERVED_PAGES, zone.present_pages)
            elif needs and needs + image.init_pages >= zone.present_pages:
                size, rule = format_size(needs * PAGE_SIZE), zone_name(node.nid, zone.type)
                size_there = format_size(zone.present_pages * PAGE_SIZE)
                raise ConfigError("kernel", size, f"is more than {rule} has: {size_there}")
            managed = 0 if zone.type is ZoneType.ZONE_DEVICE else zone.present_pages - needs
            zones.append(attrs.evolve(zone, managed_pages=managed))
        nodes.append(attrs.evolve(node, zones=tuple(zones)))
    return tuple(nodes)


def _with_managed(
    specs: Sequence[NodeSpec], *, era: Era, mem_map_of_holes: int
) -> tuple[NodeSpec, ...]:
    """Return the nodes with managed pages estimated; the first zone above DMA holds the kernel.

    Raises ConfigError when the struct pages of holes, which lie there, too, leave nothing of it.
    """
    nodes: list[NodeSpec] = []
    kernel_placed = False
    top = max(node.end_pfn for node in specs)
    for node in specs:
        zones: list[ZoneSpec] = []
        for zone in node.zones:
            holds_kernel = (
                not kernel_placed and zone.type is not ZoneType.ZONE_DMA and zone.present_pages > 0
            )
            kernel_placed = kernel_placed or holds_kernel
            reserved = reserved_estimate(
                zone,
                era=era,
                holds_kernel=holds_kernel,
                bounce_buffer=top > PCI_HOLE_END_PFN,
            )
            if holds_kernel and mem_map_of_holes:
                reserved += mem_map_of_holes
                if reserved >= zone.present_pages:
                    size = format_size(mem_map_of_holes * PAGE_SIZE)
                    rule = f"the struct pages of its holes need {size} of zone {zone.type.value}"
                    raise ConfigError("holes", format_size(zone.present_pages * PAGE_SIZE), rule)
            managed = max(zone.present_pages - reserved, 0)
            zones.append(attrs.evolve(zone, managed_pages=managed))
        nodes.append(attrs.evolve(node, zones=tuple(zones)))
    return tuple(nodes)
