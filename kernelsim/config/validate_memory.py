"""Check that the memory of a machine can be: zones, ranges, the memory model.

Interface: `validate_memory` and `validate_memory_model`; machine.py calls them.
Units: pages, pfn, bytes.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from kernelsim.config.disks import MAX_PFN
from kernelsim.config.memory_model import MODELS
from kernelsim.config.zones import ZoneType
from kernelsim.errors import ConfigError
from kernelsim.units import PAGE_SIZE, format_size

if TYPE_CHECKING:
    from kernelsim.config.machine import MachineSpec, NodeSpec


def validate_memory(machine: MachineSpec) -> None:
    """Check zone sizes, and that no page frame belongs to two zones.

    Raises ConfigError for the first fault.
    """
    for node in machine.nodes:
        for zone in node.zones:
            sizes = (zone.managed_pages, zone.present_pages, zone.spanned_pages)
            if sorted(sizes) != list(sizes) or zone.managed_pages < 0 or zone.start_pfn < 0:
                where = f"nodes[{node.nid}].zones.{zone.type.value}"
                text = "managed/present/spanned " + "/".join(map(str, sizes))
                raise ConfigError(where, text, "must be 0 <= managed <= present <= spanned")
            if zone.end_pfn > MAX_PFN:
                where = f"nodes[{node.nid}].zones.{zone.type.value}"
                rule = "memory must end below 64 TiB, as page tables of 4 levels need it"
                raise ConfigError(where, f"pfn {zone.end_pfn}", rule)
        _validate_ranges(node)
    if not any(node.managed_pages for node in machine.nodes):
        present = sum(node.present_pages for node in machine.nodes)
        rule = "the kernel keeps all of it" if present else "at least one node needs memory"
        raise ConfigError("memory", format_size(present * PAGE_SIZE) if present else 0, rule)
    high = (ZoneType.ZONE_HIGHMEM, ZoneType.ZONE_MOVABLE, ZoneType.ZONE_DEVICE)
    zones = [zone for node in machine.nodes for zone in node.zones]
    if not any(zone.managed_pages for zone in zones if zone.type not in high):
        raise ConfigError("memory", 0, "the kernel itself needs pages that are not high or movable")
    ranges = sorted(
        (start, end, node.nid)
        for node in machine.nodes
        for start, end in (
            node.memory_ranges
            or tuple((zone.start_pfn, zone.end_pfn) for zone in node.zones if zone.spanned_pages)
        )
    )
    for (_, end, first), (start, _, second) in pairwise(ranges):
        if start < end:
            rule = f"the memory of nodes {first} and {second} overlaps"
            raise ConfigError(f"node[{second}].start", f"pfn {start}", rule)


def _validate_ranges(node: NodeSpec) -> None:
    """Check that the memory of a node, where it is told, is that of its zones."""
    spans = [(zone.start_pfn, zone.end_pfn) for zone in node.zones]
    for index, (start, end) in enumerate(node.memory_ranges):
        where = f"nodes[{node.nid}].memory_ranges[{index}]"
        if not 0 < start < end:
            raise ConfigError(where, f"{start}, {end}", "must be a frame above 0, and a later one")
        inside = sum(max(0, min(end, high) - max(start, low)) for low, high in spans)
        if inside < end - start:
            rule = f"{end - start - inside} of its frames are in no zone of the node"
            raise ConfigError(where, f"{start}, {end}", rule)
    held = sum(end - start for start, end in node.memory_ranges)
    if node.memory_ranges and held != node.present_pages:
        rule = f"the zones of the node have {node.present_pages} pages present"
        raise ConfigError(f"nodes[{node.nid}].memory_ranges", f"{held} frames", rule)


def validate_memory_model(machine: MachineSpec) -> None:
    """Check that a kernel of this era can be built with the model for these nodes.

    Raises ConfigError for the first fault.
    """
    if machine.memory_model not in MODELS:
        rule = f"must be one of {', '.join(MODELS)}"
        raise ConfigError("memory_model", machine.memory_model, rule)
    rules = MODELS[machine.memory_model]
    if rules.era not in (None, machine.era.name):
        rule = f'only era = "{rules.era}" has it; it went with 5.14'
        raise ConfigError("memory_model", rules.name, rule)
    if len(machine.nodes) > 1 and not rules.numa:
        others = ", ".join(name for name, model in MODELS.items() if model.numa)
        rule = f"is for one node; for {len(machine.nodes)} it must be one of {others}"
        raise ConfigError("memory_model", rules.name, rule)
    if machine.maxmem_bytes and machine.arch != "x86_64":
        raise ConfigError("maxmem", machine.maxmem_bytes, "DIMMs come only on x86_64")
    if machine.maxmem_bytes and rules.hotplug_refusal:
        rule = f"is for memory that comes while it runs; {rules.hotplug_refusal}"
        raise ConfigError("maxmem", rules.name, rule)
    if machine.dimm_window[1] > MAX_PFN or machine.maxmem_bytes < 0:
        raise ConfigError("maxmem", machine.maxmem_bytes, "memory must end below 64 TiB")
    has_device = any(
        zone.spanned_pages
        for node in machine.nodes
        for zone in node.zones
        if zone.type is ZoneType.ZONE_DEVICE
    )
    if has_device and rules.hotplug_refusal:
        raise ConfigError("device_memory", rules.name, f"is hot-plugged; {rules.hotplug_refusal}")
