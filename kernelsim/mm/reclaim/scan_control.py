"""What one reclaimer is after and how far it got.

Linux: struct scan_control, mm/vmscan.c:shrink_lruvec, :shrink_list (6.1).
Units: pages. A priority p scans 1/2**p of a list in one pass.
"""

from typing import Final

import attrs

from kernelsim.mm.core.mem import (
    LRU_ACTIVE_ANON,
    LRU_ACTIVE_FILE,
    LRU_INACTIVE_ANON,
    LRU_INACTIVE_FILE,
    SWAP_CLUSTER_MAX,
)
from kernelsim.mm.page.gfp import GFP_KERNEL, Gfp
from kernelsim.mm.reclaim.reclaim_batch import (
    SHRINK_IO,
    SHRINK_KSWAPD,
    SHRINK_MAY_UNMAP,
    SHRINK_MAY_WRITEPAGE,
    STAT_NR_CONGESTED,
    STAT_NR_DIRTY,
    STAT_NR_IMMEDIATE,
    STAT_NR_RECLAIMED,
    STAT_NR_SCANNED,
    STAT_NR_TAKEN,
    STAT_NR_UNQUEUED_DIRTY,
    STAT_NR_WRITEBACK,
    ReclaimBatch,
)

GFP_IO: Final = int(Gfp.IO)  # as plain integers: operators of flags take a microsecond each


DEF_PRIORITY: Final = 12  # include/linux/mmzone.h


DEACTIVATE_ANON: Final = 1


DEACTIVATE_FILE: Final = 2


_EVICTABLE: Final = (LRU_INACTIVE_ANON, LRU_ACTIVE_ANON, LRU_INACTIVE_FILE, LRU_ACTIVE_FILE)


@attrs.define
class ScanControl:
    """What one reclaimer is after and how far it got; as Linux's `struct scan_control`."""

    nr_to_reclaim: int = SWAP_CLUSTER_MAX
    is_kswapd: bool = False
    order: int = 0
    reclaim_idx: int = 0  # highest zone type to reclaim from
    gfp_mask: Gfp = GFP_KERNEL
    may_writepage: bool = True
    may_unmap: bool = True
    may_swap: bool = True
    swappiness: int = 60  # 0 … 200
    priority: int = DEF_PRIORITY

    # Set by prepare_scan_count for one pass over a node
    anon_cost: int = 0
    file_cost: int = 0
    may_deactivate: int = 0  # DEACTIVATE_ANON | DEACTIVATE_FILE
    cache_trim_mode: bool = False  # plenty of idle file pages: spare the anonymous ones
    file_is_tiny: bool = False  # file pages ran out: anonymous ones only
    force_deactivate: bool = False
    skipped_deactivate: bool = False  # an active list was spared

    # Results
    nr_scanned: int = 0
    nr_reclaimed: int = 0
    compaction_ready: bool = False

    # Of the multi-generational LRU
    last_reclaimed: int = 0  # nr_reclaimed when kswapd's present pass began
    memcgs_need_aging: bool = False  # the next pass of kswapd looks whether to age

    # Seen in the current pass over a node
    dirty: int = 0
    unqueued_dirty: int = 0
    congested: int = 0
    writeback: int = 0
    immediate: int = 0
    file_taken: int = 0
    taken: int = 0

    def how(self) -> int:
        """Return the bits that isolate_lru_folios and shrink_folio_list are told."""
        bits = SHRINK_KSWAPD if self.is_kswapd else 0
        bits |= SHRINK_MAY_UNMAP if self.may_unmap else 0
        bits |= SHRINK_MAY_WRITEPAGE if self.may_writepage else 0
        return bits | (SHRINK_IO if int(self.gfp_mask) & GFP_IO else 0)

    def add_batch(self, batch: ReclaimBatch, *, lru: int) -> int:
        """Add what shrink_folio_list saw in a batch of an inactive list; return its reclaimed.

        Source: Linux 6.1 mm/vmscan.c:shrink_inactive_list
        """
        stat: list[int] = batch.stat.tolist()
        self.nr_scanned += stat[STAT_NR_SCANNED]
        self.dirty += stat[STAT_NR_DIRTY]
        self.congested += stat[STAT_NR_CONGESTED]
        self.unqueued_dirty += stat[STAT_NR_UNQUEUED_DIRTY]
        self.writeback += stat[STAT_NR_WRITEBACK]
        self.immediate += stat[STAT_NR_IMMEDIATE]
        self.taken += stat[STAT_NR_TAKEN]
        if lru >= LRU_INACTIVE_FILE:
            self.file_taken += stat[STAT_NR_TAKEN]
        return stat[STAT_NR_RECLAIMED]


@attrs.define
class ShrinkPlan:
    """The pages to scan of each list in one pass over a node, handed out in batches.

    Call `next_round` until it returns nothing; scan what it names; then tell `end_round`.
    """

    nr: list[int]  # [lru] pages still to scan
    nr_to_reclaim: int
    proportional_reclaim: bool  # scan everything, however much was reclaimed
    targets: list[int] = attrs.field(init=False)
    nr_reclaimed: int = 0

    def __attrs_post_init__(self) -> None:
        """Remember the targets that the proportions are kept by."""
        self.targets = list(self.nr)

    def next_round(self) -> list[tuple[int, int]]:
        """Take a batch of each list that has pages left: pairs of list and pages to scan."""
        nr = self.nr
        if not (nr[LRU_INACTIVE_ANON] or nr[LRU_ACTIVE_FILE] or nr[LRU_INACTIVE_FILE]):
            return []
        batches = []
        for lru in _EVICTABLE:
            if nr[lru]:
                nr_to_scan = min(nr[lru], SWAP_CLUSTER_MAX)
                nr[lru] -= nr_to_scan
                batches.append((lru, nr_to_scan))
        return batches

    def end_round(self, nr_reclaimed: int) -> None:
        """Add what a round reclaimed; when it is enough, cut the rest in proportion.

        The list type with less left to scan stops. The other goes on until it was scanned to
        the same percentage of its target.

        Source: Linux 6.1 mm/vmscan.c:shrink_lruvec
        """
        self.nr_reclaimed += nr_reclaimed
        if self.nr_reclaimed < self.nr_to_reclaim or self.proportional_reclaim:
            return
        nr, targets = self.nr, self.targets
        nr_anon = nr[LRU_INACTIVE_ANON] + nr[LRU_ACTIVE_ANON]
        nr_file = nr[LRU_INACTIVE_FILE] + nr[LRU_ACTIVE_FILE]
        if not nr_file or not nr_anon:
            nr[:] = [0] * len(nr)
            return
        smaller, larger, left = LRU_INACTIVE_FILE, LRU_INACTIVE_ANON, nr_file
        if nr_file > nr_anon:
            smaller, larger, left = LRU_INACTIVE_ANON, LRU_INACTIVE_FILE, nr_anon
        percentage = left * 100 // (targets[smaller] + targets[smaller + 1] + 1)
        nr[smaller] = nr[smaller + 1] = 0
        for lru in (larger, larger + 1):
            nr_scanned = targets[lru] - nr[lru]
            nr[lru] = max(0, targets[lru] * (100 - percentage) // 100 - nr_scanned)


def plan_shrink(sc: ScanControl, nr: list[int]) -> ShrinkPlan:
    """Start a pass over a node with the scan counts of `get_scan_count`."""
    proportional = not sc.is_kswapd and sc.priority == DEF_PRIORITY
    return ShrinkPlan(nr, sc.nr_to_reclaim, proportional)


def may_shrink_active(sc: ScanControl, *, lru: int) -> bool:
    """Tell whether an active list may be shrunk now; if not, the control remembers it.

    Source: Linux 6.1 mm/vmscan.c:shrink_list
    """
    if sc.may_deactivate & (DEACTIVATE_FILE if lru == LRU_ACTIVE_FILE else DEACTIVATE_ANON):
        return True
    sc.skipped_deactivate = True
    return False


MAX_RECLAIM_RETRIES: Final = 16  # runs without progress before kswapd or the allocator gives up
