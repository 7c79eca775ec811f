"""Telling what came of batches of an inactive list, in the words of Linux's tracepoint.

Linux: mm/vmscan.c:shrink_inactive_list, include/trace/events/vmscan.h, 6.1.
Units: pages.
"""

from typing import Final

from kernelsim.actors.core.task import Task
from kernelsim.actors.reclaim.swap_writes import RECLAIM_WB_ANON_ASYNC
from kernelsim.actors.tracing import trace, wants
from kernelsim.mm.core.mem import I64, LRU_ACTIVE_ANON
from kernelsim.mm.reclaim.reclaim_batch import (
    STAT_NR_ACTIVATE_ANON,
    STAT_NR_ACTIVATE_FILE,
    STAT_NR_CONGESTED,
    STAT_NR_DIRTY,
    STAT_NR_IMMEDIATE,
    STAT_NR_RECLAIMED,
    STAT_NR_REF_KEEP,
    STAT_NR_SCANNED,
    STAT_NR_UNMAP_FAIL,
    STAT_NR_WRITEBACK,
)
from kernelsim.mm.reclaim.scan_control import ScanControl
from kernelsim.trace.show import RECLAIM_NAMES
from kernelsim.trace.vmscan import mm_vmscan_lru_shrink_inactive

RECLAIM_WB_FILE_ASYNC: Final = RECLAIM_NAMES["RECLAIM_WB_FILE"] | RECLAIM_NAMES["RECLAIM_WB_ASYNC"]


def reclaim_flags(lru: int) -> int:
    """Return RECLAIM_WB_* of a list."""
    return RECLAIM_WB_FILE_ASYNC if lru > LRU_ACTIVE_ANON else RECLAIM_WB_ANON_ASYNC


def trace_shrink_inactive(task: Task, stats: I64, sc: ScanControl, nid: int, lru: int) -> None:
    """Log what a batch has come to, STAT_*."""
    if not wants(task, mm_vmscan_lru_shrink_inactive):
        return
    stat = stats.tolist()
    point = mm_vmscan_lru_shrink_inactive(
        nid=nid,
        nr_scanned=stat[STAT_NR_SCANNED],
        nr_reclaimed=stat[STAT_NR_RECLAIMED],
        nr_dirty=stat[STAT_NR_DIRTY],
        nr_writeback=stat[STAT_NR_WRITEBACK],
        nr_congested=stat[STAT_NR_CONGESTED],
        nr_immediate=stat[STAT_NR_IMMEDIATE],
        nr_activate0=stat[STAT_NR_ACTIVATE_ANON],
        nr_activate1=stat[STAT_NR_ACTIVATE_FILE],
        nr_ref_keep=stat[STAT_NR_REF_KEEP],
        nr_unmap_fail=stat[STAT_NR_UNMAP_FAIL],
        priority=sc.priority,
        reclaim_flags=reclaim_flags(lru),
    )
    trace(task, point)
