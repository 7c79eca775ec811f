"""The blocks of hotpluggable memory of a machine.

Linux: drivers/base/memory.c, arch/x86/mm/init_64.c:probe_memory_block_size, 6.1.
Differs: a recorded machine keeps the blocks it had; the rest all are online.

Interface: `memory_blocks_of`.
Units: bytes, page frames.
"""

from typing import Final

from kernelsim.config.machine import MachineSpec
from kernelsim.procfs.snapshot import MemoryBlock
from kernelsim.units import GIB, MIB, PAGE_SIZE

MIN_BLOCK_BYTES: Final = 128 * MIB  # SECTION_SIZE_BITS is 27
MAX_BLOCK_BYTES: Final = 2 * GIB
BIG_MACHINE_BYTES: Final = 64 * GIB  # from there on the block grows with what memory's end allows


def memory_blocks_of(spec: MachineSpec) -> tuple[int, tuple[MemoryBlock, ...]]:
    """Return the size of a block in bytes and the blocks; 0 and none where there is no hotplug."""
    boot = spec.boot
    if boot.recorded:
        return boot.block_size_bytes, tuple(
            MemoryBlock(
                index=block.index,
                state=block.state,
                valid_zones=block.valid_zones,
                removable=bool(block.removable),
            )
            for block in boot.memory_blocks
        )
    if spec.arch != "x86_64":
        return 0, ()
    size_bytes = block_size(spec)
    nr_pages = size_bytes // PAGE_SIZE
    zones = [zone for node in spec.nodes for zone in node.zones if zone.present_pages]
    inside: dict[int, list[str]] = {}
    for zone in zones:
        last = zone.start_pfn + zone.spanned_pages - 1
        for index in range(zone.start_pfn // nr_pages, last // nr_pages + 1):
            inside.setdefault(index, []).append(zone.type.value)
    return size_bytes, tuple(
        MemoryBlock(
            index=index, state="online", valid_zones=names[0] if len(names) == 1 else "none"
        )
        for index, names in sorted(inside.items())
    )


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
