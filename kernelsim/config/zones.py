"""Name the memory zones, say which of them an architecture has and where they end.

Linux: include/linux/mmzone.h (enum zone_type), mm/page_alloc.c (zone_names), arch/x86/mm/init*.c.
Differs: The highest address that a 32-bit kernel maps directly is the round 896 MiB. Real kernels
end a few MiB lower, by the room their fixed mappings take; recorded machines keep the recorded
figure.
Interface: `zone_types(arch)` gives the zones in the kernel's order (also the order of printing);
`zone_boundaries(arch)` gives the first pfn behind each zone that has a fixed end.
Units: page frame numbers of 4 KiB pages.
"""

from __future__ import annotations

import enum
from typing import Final

from kernelsim.units import GIB, MIB, PAGE_SIZE

__all__ = [
    "ARCHES",
    "LOWMEM_RESERVE_RATIO",
    "MAX_NR_ZONES",
    "MAX_NUMNODES",
    "MIGRATE_TYPES",
    "NR_PAGE_ORDERS",
    "ZONE_DMA32_END_PFN",
    "ZONE_DMA_END_PFN",
    "ZONE_NORMAL_END_PFN_I386",
    "ZoneType",
    "zone_boundaries",
    "zone_types",
]

ZONE_DMA_END_PFN: Final = 16 * MIB // PAGE_SIZE  # pages; ISA DMA reaches 16 MiB
ZONE_DMA32_END_PFN: Final = 4 * GIB // PAGE_SIZE  # pages; 32-bit PCI devices reach 4 GiB
ZONE_NORMAL_END_PFN_I386: Final = 896 * MIB // PAGE_SIZE  # pages; end of the direct map
NR_PAGE_ORDERS: Final = 11  # free lists a zone: orders 0 to 10; linux/mmzone.h MAX_ORDER of 6.1

MAX_NUMNODES: Final = 1024  # nodes; CONFIG_NODES_SHIFT=10 of Debian's x86_64 kernel
MAX_NR_ZONES: Final = 5  # types of zones a kernel has; include/linux/mmzone.h
MIGRATE_TYPES: Final = ("Unmovable", "Movable", "Reclaimable", "HighAtomic", "Isolate")


class ZoneType(enum.Enum):
    """A zone type; the value is the name the kernel prints.

    Source: Linux 6.1 include/linux/mmzone.h:zone_type
    """

    ZONE_DMA = "DMA"
    ZONE_DMA32 = "DMA32"
    ZONE_NORMAL = "Normal"
    ZONE_HIGHMEM = "HighMem"
    ZONE_MOVABLE = "Movable"
    ZONE_DEVICE = "Device"


_ZONES_X86_64: Final = (
    ZoneType.ZONE_DMA,
    ZoneType.ZONE_DMA32,
    ZoneType.ZONE_NORMAL,
    ZoneType.ZONE_MOVABLE,
    ZoneType.ZONE_DEVICE,
)
_ZONES_I386: Final = (
    ZoneType.ZONE_DMA,
    ZoneType.ZONE_NORMAL,
    ZoneType.ZONE_HIGHMEM,
    ZoneType.ZONE_MOVABLE,
)
LOWMEM_RESERVE_RATIO: Final = {  # vm.lowmem_reserve_ratio as built in; mm/page_alloc.c
    ZoneType.ZONE_DMA: 256,
    ZoneType.ZONE_DMA32: 256,
    ZoneType.ZONE_NORMAL: 32,
    ZoneType.ZONE_HIGHMEM: 0,
    ZoneType.ZONE_MOVABLE: 0,
    ZoneType.ZONE_DEVICE: 0,
}
_ZONES_BY_ARCH: Final = {"x86_64": _ZONES_X86_64, "i386": _ZONES_I386, "i386pae": _ZONES_I386}
ARCHES: Final = tuple(_ZONES_BY_ARCH)


def zone_types(arch: str) -> tuple[ZoneType, ...]:
    """Return the zones a kernel of this architecture has, lowest first.

    Raises KeyError for an architecture that is not in ARCHES.
    """
    return _ZONES_BY_ARCH[arch]


def zone_name(nid: int, zone_type: ZoneType) -> str:
    """Return what people call a zone, in locks, tables and messages: "node 1 Normal"."""
    return f"node {nid} {zone_type.value}"


def zone_boundaries(arch: str) -> tuple[tuple[ZoneType, int | None], ...]:
    """Return (zone, first pfn behind it) of the zones made of plain memory; None is "no end".

    Source: Linux 6.1 arch/x86/mm/init.c:zone_sizes_init
    """
    if arch == "x86_64":
        return (
            (ZoneType.ZONE_DMA, ZONE_DMA_END_PFN),
            (ZoneType.ZONE_DMA32, ZONE_DMA32_END_PFN),
            (ZoneType.ZONE_NORMAL, None),
        )
    return (
        (ZoneType.ZONE_DMA, ZONE_DMA_END_PFN),
        (ZoneType.ZONE_NORMAL, ZONE_NORMAL_END_PFN_I386),
        (ZoneType.ZONE_HIGHMEM, None),
    )
