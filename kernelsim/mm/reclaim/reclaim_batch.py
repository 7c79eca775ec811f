"""What one reclaimer works on: a batch of pages, where they go, and what was seen on the way.

Linux: the page lists and `struct reclaim_stat` (include/linux/vmstat.h) of mm/vmscan.c (6.1).

Interface: one `ReclaimBatch` for each reclaimer. In this order, once for each batch of at most
SWAP_CLUSTER_MAX pages of an inactive list:
    isolate_lru_folios    under lru_lock; fills `folios`, counts pgscan       (vmscan_list.py)
    shrink_folio_list     fills `to_free` and `to_write`, leaves in `folios` what goes back
                                                                              (vmscan_folio.py)
    putback_inactive      under lru_lock; counts pgsteal                      (vmscan_list.py)
The caller flushes TLBs when STAT_NR_UNMAPPED is not 0, before it starts the writes in `to_write`
(slot: Pages.private) and before it frees `to_free`. For an active list: isolate_lru_folios, then
shrink_active_list, both under lru_lock.
Units: pages.
"""

from typing import Final, NamedTuple

import numpy as np

from kernelsim.mm.core.mem import I64, SWAP_CLUSTER_MAX

# Who scans, and what it may do: the bits of `how`
SHRINK_KSWAPD: Final = 1  # current_is_kswapd()
SHRINK_MAY_UNMAP: Final = 2
SHRINK_MAY_WRITEPAGE: Final = 4
SHRINK_IO: Final = 8  # __GFP_IO: may take swap slots and start writes

# Entries of ReclaimBatch.stat; include/linux/vmstat.h:struct reclaim_stat
STAT_NR_DIRTY: Final = 0
STAT_NR_UNQUEUED_DIRTY: Final = 1
STAT_NR_CONGESTED: Final = 2
STAT_NR_WRITEBACK: Final = 3
STAT_NR_IMMEDIATE: Final = 4
STAT_NR_PAGEOUT: Final = 5
STAT_NR_ACTIVATE_ANON: Final = 6
STAT_NR_ACTIVATE_FILE: Final = 7
STAT_NR_REF_KEEP: Final = 8
STAT_NR_UNMAP_FAIL: Final = 9
STAT_NR_SCANNED: Final = 10  # pages that could be locked; counts towards sc.nr_scanned
STAT_NR_RECLAIMED: Final = 11
STAT_NR_UNMAPPED: Final = 12  # page-table entries taken; not 0 asks for a TLB flush
STAT_NR_TAKEN: Final = 13  # pages isolated
STAT_NR_PUTBACK: Final = 14  # first entries of `folios` after shrink_folio_list
STAT_NR_TO_WRITE: Final = 15
STAT_NR_TO_FREE: Final = 16
NR_STATS: Final = 17


class ReclaimBatch(NamedTuple):
    """Work space of one reclaimer; all arrays are as long as the largest batch."""

    folios: I64  # pfns isolated, oldest first; then those to put back
    to_free: I64  # pfns that are off all lists and in no cache
    to_write: I64  # pfns to write to their swap slots
    slot: I64  # one swap slot on its way to a page
    stat: I64  # [STAT_*]


def new_reclaim_batch(capacity: int = SWAP_CLUSTER_MAX) -> ReclaimBatch:
    """Return the work space for batches of up to `capacity` pages."""
    return ReclaimBatch(
        folios=np.zeros(capacity, np.int64),
        to_free=np.zeros(capacity, np.int64),
        to_write=np.zeros(capacity, np.int64),
        slot=np.zeros(1, np.int64),
        stat=np.zeros(NR_STATS, np.int64),
    )
