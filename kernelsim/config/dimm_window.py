"""Where DIMMs may come while a machine runs, and which memory models pay for them at boot.

Interface: `dimm_window`, the frames; `struct_page_ranges`, those that are described from boot on.
Units: page frames, bytes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from kernelsim.config.memory_model import MODELS
from kernelsim.config.zones import ZONE_DMA32_END_PFN
from kernelsim.units import GIB, PAGE_SIZE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kernelsim.config.machine import NodeSpec

DIMM_ALIGN_PAGES: Final = GIB // PAGE_SIZE  # of the window; hw/i386/pc.c of QEMU


def dimm_window(nodes: Sequence[NodeSpec], maxmem_bytes: int) -> tuple[int, int]:
    """Return the frames where DIMMs may come: the first, and the one behind the last.

    They lie above all RAM and above 4 GiB, as those of an emulated PC do.
    """
    top = max(node.end_pfn for node in nodes)
    start = max(ZONE_DMA32_END_PFN, -(-top // DIMM_ALIGN_PAGES) * DIMM_ALIGN_PAGES)
    own = sum(node.present_pages for node in nodes)
    return start, start + max(0, maxmem_bytes // PAGE_SIZE - own)


def struct_page_ranges(
    nodes: Sequence[NodeSpec], model: str, maxmem_bytes: int
) -> list[tuple[tuple[int, int], ...]]:
    """Return the frames of each node that a memory model has a struct page for from boot on.

    Source: Linux 2.6.18 arch/x86_64/mm/srat.c:reserve_hotadd
    """
    ranges = [node.struct_page_ranges for node in nodes]
    first, end = dimm_window(nodes, maxmem_bytes)
    if MODELS[model].maps_dimms_at_boot and first < end:
        ranges[-1] = (*ranges[-1], (first, end))
    return ranges
