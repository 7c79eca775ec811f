"""How fragmented the free memory of a node is: when kcompactd compacts it before anybody asks.

Linux: mm/compaction.c: fragmentation_score_zone, fragmentation_score_node,
fragmentation_score_wmark; mm/vmstat.c:extfrag_for_order, 6.1.
The score is the share of free pages that lie in blocks smaller than a pageblock, a huge page.
Units: per cent.
"""

from collections.abc import Sequence
from typing import Final

from kernelsim.mm.core.mem import PAGEBLOCK_ORDER, Z_FREE, Z_PRESENT, Mem
from kernelsim.mm.page.free_area import free_area_counts

LOW_WMARK_MIN: Final = 5
WMARK_GAP: Final = 10


def fragmentation_score_zone(mem: Mem, zone: int) -> int:
    """Return the share of a zone's free pages that lie in smaller blocks; 0 if none is free.

    Source: Linux 6.1 mm/compaction.c:fragmentation_score_zone, mm/vmstat.c:extfrag_for_order
    """
    nr_free = int(mem.zone[zone, Z_FREE])
    blocks = free_area_counts(mem, zone).sum(axis=1)[PAGEBLOCK_ORDER:]
    whole = sum(int(nr) << order for order, nr in enumerate(blocks, PAGEBLOCK_ORDER))
    return (nr_free - whole) * 100 // nr_free if nr_free else 0


def fragmentation_score_node(mem: Mem, zones: Sequence[int]) -> int:
    """Return the score of a node, given its zones: a small one weighs little.

    Source: Linux 6.1 mm/compaction.c:fragmentation_score_node, :fragmentation_score_zone_weighted
    """
    present = sum(int(mem.zone[zone, Z_PRESENT]) for zone in zones)
    return sum(
        int(mem.zone[zone, Z_PRESENT]) * fragmentation_score_zone(mem, zone) // (present + 1)
        for zone in zones
    )


def fragmentation_score_wmark(proactiveness: int, *, low: bool) -> int:
    """Return the score down to which compaction goes on, or that above which it begins.

    Args:
        proactiveness: vm.compaction_proactiveness, above 0.
        low: Which one.

    Source: Linux 6.1 mm/compaction.c:fragmentation_score_wmark
    """
    wmark = max(100 - proactiveness, LOW_WMARK_MIN)
    return wmark if low else min(wmark + WMARK_GAP, 100)
