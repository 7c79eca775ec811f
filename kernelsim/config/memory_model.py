"""Find the struct page of a page frame, and the frame of a struct page: the three memory models.

Linux: include/asm-generic/memory_model.h, mm/sparse.c, mm/page_alloc.c:alloc_node_mem_map of 6.1;
DISCONTIGMEM, which went with 5.14, as 2.6.32 has it.
# Differs from Linux: In 6.1 pfn_valid of SPARSEMEM asks for subsections of 2 MiB, too; here a frame
# is valid when its section is there. Sections of arm64 with 16 KB pages are 128 MiB since 5.12.
Interface: `memory_model` cuts memory into maps by a model's rule; `MemoryModel` looks up in them;
`MODELS` says what each allows.
Units: page frames, bytes, virtual addresses of the kernel.

Each model keeps arrays of struct page, called maps here. They differ in what one map covers:
    flatmem        all frames from the first to the last, holes included: the frame is the index
    discontigmem   the frames of a node from its first to its last: node, then index
    sparsemem      a section of 32768 frames that has memory: section, then index
"""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING, Final

import attrs

from kernelsim.config.zones import ZONE_NORMAL_END_PFN_I386
from kernelsim.units import PAGE_SIZE

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "MODELS",
    "PAGES_PER_SECTION",
    "MemMap",
    "MemoryModel",
    "ModelRules",
    "default_model",
    "memory_model",
]

Ranges = tuple[tuple[int, int], ...]  # first pfn, pfn behind the last
PAGES_PER_SECTION: Final = 1 << 15  # frames; SECTION_SIZE_BITS 27 with PAGE_SHIFT 12
MAX_ORDER_NR_PAGES: Final = 1024  # frames; a map begins and ends at such a block
PAGE_OFFSET: Final = {"x86_64": 0xFFFF_8880_0000_0000, "i386": 0xC000_0000, "i386pae": 0xC000_0000}
VMEMMAP_START: Final = 0xFFFF_EA00_0000_0000  # asm/pgtable_64_types.h


@attrs.frozen(kw_only=True)
class ModelRules:
    """What a kernel built with a model can do."""

    name: str
    """As machine files have it."""
    numa: bool
    """Whether there can be more than one node."""
    era: str | None
    """The only era that has it; None for all."""
    hotplug_refusal: str
    """Why memory cannot come and go while the machine runs; "" where it can."""
    hotplug: str
    """What hotplug does to the maps, for people."""
    maps_dimms_at_boot: bool = False
    """Whether the last node's map has room for all that may come, instead of one that grows."""


MODELS: Final = {
    rules.name: rules
    for rules in (
        ModelRules(
            name="flatmem",
            numa=False,
            era=None,
            hotplug_refusal="flatmem has one array of struct page whose size is fixed at boot",
            hotplug="none: the one array has its size from boot",
        ),
        ModelRules(
            name="discontigmem",
            numa=True,
            era="classic",
            hotplug_refusal="",
            # MEMORY_HOTPLUG_RESERVE, 2.6.18 arch/x86_64/mm/srat.c:reserve_hotadd
            hotplug="within a node's span; what leaves is a hole in its map, which stays",
            maps_dimms_at_boot=True,
        ),
        ModelRules(
            name="sparsemem",
            numa=True,
            era=None,
            hotplug_refusal="",
            hotplug="section by section, map included",
        ),
    )
}


def default_model(arch: str, nr_nodes: int) -> str:
    """Return the model Debian builds its kernels of an architecture with; more nodes need more."""
    return "sparsemem" if arch == "x86_64" or nr_nodes > 1 else "flatmem"


@attrs.frozen
class MemMap:
    """One array of struct page."""

    first_pfn: int
    """Frame of its first entry."""
    nr_pages: int
    """Entries."""
    address: int
    """Where it lies in the kernel's memory."""


@attrs.frozen(kw_only=True)
class MemoryModel:
    """The maps of one machine.

    Source: Linux 6.1 include/asm-generic/memory_model.h
    """

    name: str
    """Its model, one of MODELS."""
    struct_page_bytes: int
    """Size of a struct page."""
    page_size: int
    """Bytes of a page frame."""
    nr_memory_pages: int
    """Frames that are memory."""
    maps: tuple[MemMap, ...]
    """By first frame."""

    @property
    def nr_struct_pages(self) -> int:
        """Return the entries of all maps."""
        return sum(each.nr_pages for each in self.maps)

    @property
    def mem_map_bytes(self) -> int:
        """Return what all maps cost."""
        return self.nr_struct_pages * self.struct_page_bytes

    @property
    def hole_bytes(self) -> int:
        """Return what of it describes frames that are no memory."""
        return (self.nr_struct_pages - self.nr_memory_pages) * self.struct_page_bytes

    def pfn_valid(self, pfn: int) -> bool:
        """Whether a frame has a struct page; it need not be memory."""
        return self._map_of(pfn) is not None

    def pfn_to_page(self, pfn: int) -> int:
        """Return the address of a frame's struct page.

        Raises ValueError for a frame that has none; a kernel would read a wrong address.
        """
        found = self._map_of(pfn)
        if found is None:
            raise ValueError(f"pfn {pfn} has no struct page")
        return found.address + (pfn - found.first_pfn) * self.struct_page_bytes

    def page_to_pfn(self, page: int) -> int:
        """Return the frame of a struct page by its address.

        Raises ValueError when no struct page begins there.
        """
        for each in self.maps:
            index, rest = divmod(page - each.address, self.struct_page_bytes)
            if 0 <= index < each.nr_pages and not rest:
                return each.first_pfn + index
        raise ValueError(f"{page:#x} is no struct page")

    def _map_of(self, pfn: int) -> MemMap | None:
        """Return the map with a frame's entry."""
        at = bisect_right(self.maps, pfn, key=lambda each: each.first_pfn)
        # The spans of nodes may overlap: the first map found backwards need not reach so far.
        before = reversed(self.maps[:at])
        return next((each for each in before if pfn < each.first_pfn + each.nr_pages), None)


def memory_model(
    name: str,
    nodes: Sequence[Ranges],
    *,
    arch: str,
    struct_page_bytes: int,
    page_size: int = PAGE_SIZE,
) -> MemoryModel:
    """Return the maps that a model keeps for the memory of a machine.

    Args:
        name: one of MODELS.
        nodes: the memory of each node in frames of PAGE_SIZE, rising within a node.
        arch: decides where the maps lie.
        struct_page_bytes: size of a struct page.
        page_size: of the kernel; frames that are not wholly memory are none.

    Source: Linux 6.1 mm/page_alloc.c:alloc_node_mem_map, mm/sparse.c:memory_present
    """
    scaled = [_in_pages(ranges, page_size) for ranges in nodes]
    spans = _spans(name, [ranges for ranges in scaled if ranges])
    is_vmemmap = name == "sparsemem" and arch == "x86_64"
    below = PAGE_OFFSET[arch] + _direct_map_end(nodes, arch)  # memblock gives from the top
    maps: list[MemMap] = []
    for first, end in spans:
        below -= (end - first) * struct_page_bytes
        address = VMEMMAP_START + first * struct_page_bytes if is_vmemmap else below
        maps.append(MemMap(first, end - first, address))
    return MemoryModel(
        name=name,
        struct_page_bytes=struct_page_bytes,
        page_size=page_size,
        nr_memory_pages=sum(end - first for ranges in scaled for first, end in ranges),
        maps=tuple(maps),
    )


def _in_pages(ranges: Ranges, page_size: int) -> Ranges:
    """Return ranges of frames of PAGE_SIZE in frames of another size, whole ones only."""
    scaled = (
        (-(-low * PAGE_SIZE // page_size), high * PAGE_SIZE // page_size) for low, high in ranges
    )
    return tuple((low, high) for low, high in scaled if low < high)


def _spans(name: str, nodes: Sequence[Ranges]) -> list[tuple[int, int]]:
    """Return the frames each map of a model covers, rising."""
    if not nodes:
        return []
    if name == "sparsemem":
        sections = {
            section
            for ranges in nodes
            for low, high in ranges
            for section in range(low // PAGES_PER_SECTION, (high - 1) // PAGES_PER_SECTION + 1)
        }
        return [(n * PAGES_PER_SECTION, (n + 1) * PAGES_PER_SECTION) for n in sorted(sections)]
    ends = sorted((ranges[0][0], ranges[-1][1]) for ranges in nodes)
    if name == "flatmem":
        ends = [(ends[0][0], max(end for _, end in ends))]
    block = MAX_ORDER_NR_PAGES
    return [(low // block * block, -(-high // block) * block) for low, high in ends]


def _direct_map_end(nodes: Sequence[Ranges], arch: str) -> int:
    """Return the physical address behind the last memory the kernel maps directly."""
    limit = None if arch == "x86_64" else ZONE_NORMAL_END_PFN_I386
    ends = [high for ranges in nodes for low, high in ranges if limit is None or low < limit]
    top = max(ends, default=0)
    return (top if limit is None else min(top, limit)) * PAGE_SIZE
