"""What a kernel whose build is known keeps of memory while it boots, to the page.

Linux: mm/memblock.c, mm/sparse-vmemmap.c, mm/percpu.c, kernel/dma/swiotlb.c, fs/dcache.c and
fs/inode.c (the hash tables that are there before the buddy system), 6.1.
Interface: `KERNELS` by name; `boot_reserve` tells the pages, zone by zone, that the buddy system
never gets, those below 16 MiB aside. For x86_64 with sparsemem.
Units: pages of 4 KiB.

The image lies low, in the first zone above ZONE_DMA. All else comes from the top of memory down,
what belongs to a node from that of the node. The figures of `KERNELS` are the differences between
present and managed pages of recorded machines of 512 MiB to 4 GiB, of 1 to 4 nodes, and hold for
all of them; what the kernel log says of its parts (code, data, percpu, NODE_DATA) is in them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import attrs

from kernelsim.config.era import LINUX_6_1
from kernelsim.config.memory_model import PAGES_PER_SECTION
from kernelsim.config.zones import ZONE_DMA32_END_PFN, ZoneType
from kernelsim.units import GIB, MIB, PAGE_SIZE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kernelsim.config.machine import NodeSpec, ZoneSpec

MEMMAP_PAGES: Final = (  # struct pages of a section, in full
    PAGES_PER_SECTION * LINUX_6_1.struct_page_bytes // PAGE_SIZE
)
SWIOTLB_PAGES: Final = 64 * MIB // PAGE_SIZE  # bounce buffer, once there may be RAM above 4 GiB
SWIOTLB_SLOTS_PAGES: Final = 192  # 24 bytes for each 2 KiB of it; kernel/dma/swiotlb.c:io_tlb_slot
PMD_SPAN_PAGES: Final = GIB // PAGE_SIZE  # that one page of the direct map's tables maps
HASH_SCALES: Final = (13, 14)  # of dentries and inodes: an entry for 2^scale bytes
HASH_ENTRY_BYTES: Final = 8
ADAPT_SCALE_PAGES: Final = 64 * GIB // PAGE_SIZE  # mm/page_alloc.c:ADAPT_SCALE_NPAGES
Place = tuple[int, ZoneType]  # node and zone


@attrs.frozen(kw_only=True)
class KernelImage:
    """What is fixed when a kernel is built.

    Attributes:
        image_pages: Code and data that stay.
        early_pages: What memblock hands out from the top of memory, other than what is told apart.
        numa_pages: Of these, those that go with the image when there are nodes.
        percpu_pages: The first chunk of percpu memory, a CPU.
        pgdat_pages: NODE_DATA, a node.
        init_pages: Sections that are freed when the watermarks have been computed.
    """

    image_pages: int
    early_pages: int
    numa_pages: int
    percpu_pages: int
    pgdat_pages: int
    init_pages: int


KERNELS: Final = {
    "debian-6.1": KernelImage(
        image_pages=11_318,
        early_pages=16,
        numa_pages=3,
        percpu_pages=62,
        pgdat_pages=44,
        init_pages=2004,
    )
}


def boot_reserve(
    nodes: Sequence[NodeSpec], image: KernelImage, *, end_pfn: int
) -> dict[Place, int]:
    """Return the pages of each zone that boot keeps.

    Args:
        nodes: With zones and memory, `managed_pages` not read.
        image: The kernel.
        end_pfn: Behind all memory that there may ever be, slots for DIMMs included.
    """
    with_memory = [node for node in nodes if _zones(node)]
    kept: dict[Place, int] = {}

    def keep(node: NodeSpec, zone: ZoneSpec, pages: int) -> None:
        place = node.nid, zone.type
        kept[place] = kept.get(place, 0) + pages

    for node in with_memory:
        own = memmap_pages(node) + image.pgdat_pages + image.percpu_pages * len(node.cpus)
        keep(node, _zones(node)[-1], own)
    first, last = with_memory[0], with_memory[-1]
    numa_pages = image.numa_pages if len(with_memory) > 1 else 0
    keep(first, _zones(first)[0], image.image_pages + numa_pages)
    keep(last, _zones(last)[-1], image.early_pages - numa_pages)
    if len(with_memory) == 1:  # else they lie in vmalloc space: hashdist
        keep(last, _zones(last)[-1], hash_pages(first.present_pages - memmap_pages(first)))
    if end_pfn > ZONE_DMA32_END_PFN:
        keep(first, _zones(first)[0], SWIOTLB_PAGES)
        above = max(0, last.end_pfn - ZONE_DMA32_END_PFN)
        tables = -(-above // PMD_SPAN_PAGES) + (above > 0)
        keep(last, _zones(last)[-1], SWIOTLB_SLOTS_PAGES + tables)
    return kept


def _zones(node: NodeSpec) -> list[ZoneSpec]:
    """Return the zones of a node that memblock allocates from, lowest first."""
    aside = (ZoneType.ZONE_DMA, ZoneType.ZONE_DEVICE)
    return [zone for zone in node.zones if zone.present_pages and zone.type not in aside]


def memmap_pages(node: NodeSpec) -> int:
    """Return the pages of the struct pages of a node: those of whole sections.

    Source: Linux 6.1 mm/sparse-vmemmap.c:__populate_section_memmap
    """
    sections = {
        section
        for first, end in node.memory_ranges
        for section in range(first // PAGES_PER_SECTION, (end - 1) // PAGES_PER_SECTION + 1)
    }
    return MEMMAP_PAGES * len(sections)


def hash_pages(nr_kernel_pages: int) -> int:
    """Return the pages of the hash tables of dentries and inodes.

    Source: Linux 6.1 mm/page_alloc.c:alloc_large_system_hash
    """
    rounded = -(-nr_kernel_pages * PAGE_SIZE // MIB) * MIB // PAGE_SIZE
    shift, adapt = 0, ADAPT_SCALE_PAGES
    while adapt < rounded:
        shift, adapt = shift + 1, adapt << 2
    entries = [rounded * PAGE_SIZE >> scale + shift for scale in HASH_SCALES]
    sizes = [HASH_ENTRY_BYTES << (max(nr, 1) - 1).bit_length() for nr in entries]
    return sum(-(-size // PAGE_SIZE) for size in sizes)
