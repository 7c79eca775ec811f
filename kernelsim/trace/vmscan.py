"""Tracepoints of page reclaim.

Linux: include/trace/events/vmscan.h (6.1).
"""
# ruff: noqa: N801 - a tracepoint's class has the tracepoint's name

from typing import Annotated, ClassVar

from kernelsim.trace.show import (
    show_gfp_flags,
    show_hex,
    show_lru,
    show_reclaim_flags,
    show_throttle_flags,
)
from kernelsim.trace.tracepoint import Field, Tracepoint


class mm_vmscan_kswapd_sleep(Tracepoint, frozen=True):
    """kswapd goes to sleep: its node is balanced."""

    when: ClassVar[str] = "start of the sleep"

    nid: Annotated[int, Field("int", "its node", "nid")]


class mm_vmscan_kswapd_wake(Tracepoint, frozen=True):
    """kswapd begins to balance its node."""

    when: ClassVar[str] = "start of the round"

    nid: Annotated[int, Field("int", "its node", "nid")]
    zid: Annotated[int, Field("int", "highest zone type to balance", "zid")]
    order: Annotated[int, Field("int", "size of block wanted", "log2 pages")]


class mm_vmscan_wakeup_kswapd(Tracepoint, frozen=True):
    """An allocation wakes a node's kswapd."""

    when: ClassVar[str] = "when kswapd was told; it runs as soon as a CPU lets it"

    nid: Annotated[int, Field("int", "kswapd's node", "nid")]
    zid: Annotated[int, Field("int", "highest zone type the allocation may use", "zid")]
    order: Annotated[int, Field("int", "size of block wanted", "log2 pages")]
    gfp_flags: Annotated[
        int, Field("unsigned long", "GFP bits of the request", shown=show_gfp_flags)
    ]


class mm_vmscan_node_reclaim_begin(Tracepoint, frozen=True):
    """A task begins to reclaim from a node, rather than go to another one."""

    when: ClassVar[str] = "start of the reclaim"

    nid: Annotated[int, Field("int", "the node", "nid")]
    order: Annotated[int, Field("int", "size of block wanted", "log2 pages")]
    gfp_flags: Annotated[
        int, Field("unsigned long", "GFP bits of the request", shown=show_gfp_flags)
    ]


class mm_vmscan_node_reclaim_end(Tracepoint, frozen=True):
    """A task ends reclaiming from a node."""

    when: ClassVar[str] = "end of the reclaim"

    nr_reclaimed: Annotated[int, Field("unsigned long", "pages reclaimed", "pages")]


class mm_vmscan_direct_reclaim_begin(Tracepoint, frozen=True):
    """A task begins to reclaim for its own allocation."""

    when: ClassVar[str] = "start of the reclaim"

    order: Annotated[int, Field("int", "size of block wanted", "log2 pages")]
    gfp_flags: Annotated[
        int, Field("unsigned long", "GFP bits of the request", shown=show_gfp_flags)
    ]


class mm_vmscan_direct_reclaim_end(Tracepoint, frozen=True):
    """A task ends reclaiming for its own allocation."""

    when: ClassVar[str] = "end of the reclaim"

    nr_reclaimed: Annotated[int, Field("unsigned long", "freed", "pages")]


class mm_vmscan_lru_isolate(Tracepoint, frozen=True):
    """A batch was taken off an LRU list."""

    when: ClassVar[str] = "end of the batch: lru_lock was let go"

    highest_zoneidx: Annotated[int, Field("int", "highest zone type that helps", "zid")]
    order: Annotated[int, Field("int", "size of block wanted", "log2 pages")]
    nr_requested: Annotated[int, Field("unsigned long", "asked for", "pages")]
    nr_scanned: Annotated[int, Field("unsigned long", "looked at", "pages")]
    nr_skipped: Annotated[int, Field("unsigned long", "of too high a zone", "pages")]
    nr_taken: Annotated[int, Field("unsigned long", "taken", "pages")]
    lru: Annotated[int, Field("int", "which list: LRU_INACTIVE_ANON is 0", shown=show_lru)]


class mm_vmscan_write_folio(Tracepoint, frozen=True):
    """Reclaim wrote a page out."""

    when: ClassVar[str] = "when the page was handed to the block layer"
    page_level: ClassVar[bool] = True

    pfn: Annotated[int, Field("unsigned long", "frame", "pfn", show_hex)]
    reclaim_flags: Annotated[
        int, Field("int", "anon or file, async: RECLAIM_WB_* bits", shown=show_reclaim_flags)
    ]


class mm_vmscan_lru_shrink_inactive(Tracepoint, frozen=True):
    """A batch of an inactive list was reclaimed or put back."""

    when: ClassVar[str] = "end of the batch"

    nid: Annotated[int, Field("int", "node", "nid")]
    nr_scanned: Annotated[int, Field("unsigned long", "looked at", "pages")]
    nr_reclaimed: Annotated[int, Field("unsigned long", "freed", "pages")]
    nr_dirty: Annotated[int, Field("unsigned long", "found dirty", "pages")]
    nr_writeback: Annotated[int, Field("unsigned long", "found under writeback", "pages")]
    nr_congested: Annotated[int, Field("unsigned long", "of a congested device", "pages")]
    nr_immediate: Annotated[int, Field("unsigned long", "came round while written", "pages")]
    nr_activate0: Annotated[int, Field("unsigned int", "activated, anonymous", "pages")]
    nr_activate1: Annotated[int, Field("unsigned int", "activated, file", "pages")]
    nr_ref_keep: Annotated[int, Field("unsigned long", "kept because referenced", "pages")]
    nr_unmap_fail: Annotated[int, Field("unsigned long", "kept because mapped", "pages")]
    priority: Annotated[int, Field("int", "scan priority, 12 lightest … 0")]
    reclaim_flags: Annotated[
        int, Field("int", "anon or file, async: RECLAIM_WB_* bits", shown=show_reclaim_flags)
    ]


class mm_vmscan_lru_shrink_active(Tracepoint, frozen=True):
    """A batch of an active list was looked through."""

    when: ClassVar[str] = "end of the batch"

    nid: Annotated[int, Field("int", "node", "nid")]
    nr_taken: Annotated[int, Field("unsigned long", "taken off the list", "pages")]
    nr_active: Annotated[int, Field("unsigned long", "put back", "pages")]
    nr_deactivated: Annotated[int, Field("unsigned long", "moved to the inactive list", "pages")]
    nr_referenced: Annotated[int, Field("unsigned long", "found referenced", "pages")]
    priority: Annotated[int, Field("int", "scan priority, 12 lightest … 0")]
    reclaim_flags: Annotated[
        int, Field("int", "anon or file, async: RECLAIM_WB_* bits", shown=show_reclaim_flags)
    ]


class mm_vmscan_throttled(Tracepoint, frozen=True):
    """A reclaiming task slept, because reclaim could not go on."""

    when: ClassVar[str] = "end of the sleep; it began usec_delayed before"

    nid: Annotated[int, Field("int", "node", "nid")]
    usec_timeout: Annotated[int, Field("int", "longest sleep allowed", "us")]
    usec_delayed: Annotated[int, Field("int", "how long it slept", "us")]
    reason: Annotated[
        int, Field("int", "1 << VMSCAN_THROTTLE_* of the cause", shown=show_throttle_flags)
    ]
