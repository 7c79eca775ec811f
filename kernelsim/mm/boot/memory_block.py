"""The blocks of hotpluggable memory a machine boots with.

Linux: drivers/base/memory.c:memory_dev_init, arch/x86/mm/init_64.c:probe_memory_block_size, 6.1.
Differs: All memory blocks of a machine written by hand are online; a recorded machine keeps the
blocks it had.

Interface: `memory_dev_init`.
Units: bytes, page frames.
"""

from typing import Final

from kernelsim.config.machine import MachineSpec
from kernelsim.config.memory_model import MODELS
from kernelsim.mm.page.phys_mem import MemoryBlock, MemoryBlocks
from kernelsim.units import GIB, MIB, PAGE_SIZE

MIN_BLOCK_BYTES: Final = 128 * MIB  # SECTION_SIZE_BITS is 27
MAX_BLOCK_BYTES: Final = 2 * GIB
BIG_MACHINE_BYTES: Final = 64 * GIB  # from there on the block grows with what memory's end allows


def memory_dev_init(spec: MachineSpec) -> MemoryBlocks:
    """Return the memory blocks at boot; none where there is no hotplug.

    Source: Linux 6.1 drivers/base/memory.c:memory_dev_init
    """
    boot = spec.boot
    blocks = MemoryBlocks(auto_online=boot.auto_online_blocks)
    if boot.recorded:
        nr_pages = boot.block_size_bytes // PAGE_SIZE  # none where there is no hotplug
        zones = zones_of_blocks(spec, nr_pages) if nr_pages else {}
        blocks.size_bytes = boot.block_size_bytes
        for block in boot.memory_blocks:
            inside = zones.get(block.index, [])
            rows = [row for row, name in inside if name == block.valid_zones]
            blocks.blocks.append(
                MemoryBlock(
                    index=block.index,
                    state=block.state,
                    nid=inside[0][0] // len(spec.zone_types) if inside else 0,
                    zone=rows[0] if rows else None,
                    is_removable=bool(block.removable),
                )
            )
    elif spec.arch == "x86_64" and not MODELS[spec.memory_model].hotplug_refusal:
        blocks.size_bytes = block_size(spec)
        zones = zones_of_blocks(spec, blocks.size_bytes // PAGE_SIZE)
        blocks.blocks += [
            MemoryBlock(
                index=index,
                state="online",
                nid=inside[0][0] // len(spec.zone_types),
                zone=inside[0][0] if len(inside) == 1 else None,
            )
            for index, inside in sorted(zones.items())
        ]
    return blocks


def zones_of_blocks(spec: MachineSpec, nr_pages: int) -> dict[int, list[tuple[int, str]]]:
    """Return the zones that reach into each block with memory; a hole has no block.

    Args:
        spec: The machine.
        nr_pages: Size of a block.

    Returns:
        By number of the block, row and name of each zone.
    """
    found: dict[int, list[tuple[int, str]]] = {}
    for node in spec.nodes:
        zones = [
            (node.nid * len(node.zones) + at, zone)
            for at, zone in enumerate(node.zones)
            if zone.present_pages
        ]
        spans = [(zone.start_pfn, zone.end_pfn) for _, zone in zones]
        for first, end in node.memory_ranges or spans:
            for index in range(first // nr_pages, (end - 1) // nr_pages + 1):
                start, inside = index * nr_pages, found.setdefault(index, [])
                inside += [
                    (row, zone.type.value)
                    for row, zone in zones
                    if zone.start_pfn < start + nr_pages and start < zone.end_pfn
                    if (row, zone.type.value) not in inside
                ]
    return found


def block_size(spec: MachineSpec) -> int:
    """Return the size of a block: 128 MiB, on big machines more if memory's end is a multiple.

    Source: Linux 6.1 arch/x86/mm/init_64.c:probe_memory_block_size
    """
    end_bytes = max(node.end_pfn for node in spec.nodes) * PAGE_SIZE
    size_bytes = MIN_BLOCK_BYTES
    if end_bytes < BIG_MACHINE_BYTES:
        return size_bytes
    while size_bytes < MAX_BLOCK_BYTES and end_bytes % (2 * size_bytes) == 0:
        size_bytes *= 2
    return size_bytes
