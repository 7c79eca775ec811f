"""What reclaim remembers of each node: costs, the age of what was evicted, states of kswapd.

Linux: `struct lruvec` and the reclaim flags of `pglist_data` (include/linux/mmzone.h, 6.1).
Differs: There is one lruvec a node, since there are no memory cgroups; its fields are a row of an
array that is passed to leaves beside `Mem`.

Interface: `lruvec[nid, LV_*]`, made by `new_lruvec(nr_nodes)`. Costs and age are written under the
node's lru_lock, the flags of kswapd by kswapd and by the tasks that wake it.
Units: pages, but for the flags, which are 0 or 1.
"""

from typing import Final

import numpy as np

from kernelsim.hw.leaf import leaf
from kernelsim.mm.core.mem import I64, I64_2D, LRU_ACTIVE_FILE, Z_NID, Mem
from kernelsim.mm.core.vmstat import NR_ZONE_INACTIVE_ANON

LV_ANON_COST: Final = 0  # I/O spent on reclaiming anonymous pages, decayed
LV_FILE_COST: Final = 1
LV_NONRESIDENT_AGE: Final = 2  # evictions and activations so far
LV_REFAULTS_ANON: Final = 3  # workingset_activate_anon when reclaim last ended
LV_REFAULTS_FILE: Final = 4
LV_PGDAT_DIRTY: Final = 5  # the tail of the file list is dirty and not queued for writing
LV_PGDAT_WRITEBACK: Final = 6  # kswapd met nothing but pages under writeback
LV_LRUVEC_CONGESTED: Final = 7  # all dirty pages met were queued for immediate reclaim
LV_KSWAPD_FAILURES: Final = 8  # runs of kswapd in a row that reclaimed nothing
LV_NR_RECLAIM_START: Final = 9  # nr_throttled_written when the first task was throttled
LV_NR_WRITEBACK_THROTTLED: Final = 10  # tasks that sleep for VMSCAN_THROTTLE_WRITEBACK
NR_LRUVEC_FIELDS: Final = 11


def new_lruvec(nr_nodes: int) -> I64:
    """Return the reclaim state of a machine that has reclaimed nothing yet, shape [nid, LV_*]."""
    return np.zeros((nr_nodes, NR_LRUVEC_FIELDS), np.int64)


@leaf
def update_lru_size(mem: Mem, zone: int, lru: int, nr_pages: int) -> None:
    """Count pages that came to a list (positive) or left it, for the zone and its node.

    Source: Linux 6.1 include/linux/mm_inline.h:__update_lru_size
    """
    mem.zone_stat[zone, NR_ZONE_INACTIVE_ANON + lru] += nr_pages
    mem.node_stat[mem.zone[zone, Z_NID], lru] += nr_pages


@leaf
def lru_note_cost(mem: Mem, lruvec: I64_2D, nid: int, file: int, nr_pages: int) -> None:
    """Record I/O caused by reclaim of one type of pages; halve both costs when they grow large.

    Source: Linux 6.1 mm/swap.c:lru_note_cost
    """
    lruvec[nid, LV_FILE_COST if file else LV_ANON_COST] += nr_pages
    size = 0
    for lru in range(LRU_ACTIVE_FILE + 1):
        size += mem.node_stat[nid, lru]
    if lruvec[nid, LV_FILE_COST] + lruvec[nid, LV_ANON_COST] > size // 4:
        lruvec[nid, LV_FILE_COST] //= 2
        lruvec[nid, LV_ANON_COST] //= 2
