"""Tracepoints of compaction.

Linux: include/trace/events/compaction.h (6.1).
"""
# ruff: noqa: N801 - a tracepoint's class has the tracepoint's name

from typing import Annotated, ClassVar

from kernelsim.trace.show import show_compact_result, show_gfp_flags, show_hex
from kernelsim.trace.tracepoint import Field, Tracepoint


class mm_compaction_isolate_migratepages(Tracepoint, frozen=True):
    """Pages of a pageblock were taken off their lists, to be moved."""

    when: ClassVar[str] = "when the pageblock was left, or enough were taken"

    start_pfn: Annotated[int, Field("unsigned long", "first frame", shown=show_hex)]
    end_pfn: Annotated[int, Field("unsigned long", "the one to go on from", shown=show_hex)]
    nr_scanned: Annotated[int, Field("unsigned long", "frames looked at", "pages")]
    nr_taken: Annotated[int, Field("unsigned long", "pages taken", "pages")]


class mm_compaction_isolate_freepages(Tracepoint, frozen=True):
    """Free pages of a pageblock were taken, for others to be moved to."""

    when: ClassVar[str] = "when the pageblock was left, or enough were taken"

    start_pfn: Annotated[int, Field("unsigned long", "first frame", shown=show_hex)]
    end_pfn: Annotated[int, Field("unsigned long", "the one to go on from", shown=show_hex)]
    nr_scanned: Annotated[int, Field("unsigned long", "frames looked at", "pages")]
    nr_taken: Annotated[int, Field("unsigned long", "pages taken", "pages")]


class mm_compaction_migratepages(Tracepoint, frozen=True):
    """The pages that were taken are moved."""

    when: ClassVar[str] = "end of the moves"

    nr_migrated: Annotated[int, Field("unsigned long", "pages that were moved", "pages")]
    nr_failed: Annotated[int, Field("unsigned long", "pages that were not", "pages")]


class mm_compaction_begin(Tracepoint, frozen=True):
    """A task begins to compact a zone."""

    when: ClassVar[str] = "start of the run"

    zone_start: Annotated[int, Field("unsigned long", "first frame of it", shown=show_hex)]
    migrate_pfn: Annotated[
        int, Field("unsigned long", "where pages are taken from", shown=show_hex)
    ]
    free_pfn: Annotated[int, Field("unsigned long", "where they are moved to", shown=show_hex)]
    zone_end: Annotated[int, Field("unsigned long", "the frame behind it", shown=show_hex)]
    sync: Annotated[bool, Field("bool", "whether it may wait")]


class mm_compaction_end(Tracepoint, frozen=True):
    """A task has compacted a zone."""

    when: ClassVar[str] = "end of the run"

    zone_start: Annotated[int, Field("unsigned long", "first frame of it", shown=show_hex)]
    migrate_pfn: Annotated[
        int, Field("unsigned long", "where pages are taken from", shown=show_hex)
    ]
    free_pfn: Annotated[int, Field("unsigned long", "where they are moved to", shown=show_hex)]
    zone_end: Annotated[int, Field("unsigned long", "the frame behind it", shown=show_hex)]
    sync: Annotated[bool, Field("bool", "whether it may wait")]
    status: Annotated[int, Field("int", "how it ended", shown=show_compact_result)]


class mm_compaction_try_to_compact_pages(Tracepoint, frozen=True):
    """A request begins to compact for itself."""

    when: ClassVar[str] = "before the first zone"

    order: Annotated[int, Field("int", "size of block wanted", "log2 pages")]
    gfp_mask: Annotated[
        int, Field("unsigned long", "GFP bits of the request", shown=show_gfp_flags)
    ]
    prio: Annotated[int, Field("int", "how hard it tries: 0 most, 2 least")]


class mm_compaction_suitable(Tracepoint, frozen=True):
    """It was decided whether compaction of a zone is worth it."""

    when: ClassVar[str] = "when it was decided"

    nid: Annotated[int, Field("int", "node of the zone", "nid")]
    idx: Annotated[int, Field("enum zone_type", "type of the zone", "zid")]
    order: Annotated[int, Field("int", "size of block wanted", "log2 pages")]
    ret: Annotated[int, Field("int", "what was decided", shown=show_compact_result)]


class mm_compaction_defer_compaction(Tracepoint, frozen=True):
    """Compaction of a zone has failed: it is put off."""

    when: ClassVar[str] = "when it had failed"

    nid: Annotated[int, Field("int", "node of the zone", "nid")]
    idx: Annotated[int, Field("enum zone_type", "type of the zone", "zid")]
    order: Annotated[int, Field("int", "size of block wanted", "log2 pages")]
    considered: Annotated[int, Field("unsigned int", "requests put off so far")]
    defer_shift: Annotated[int, Field("unsigned int", "how many are to be, as a logarithm")]
    order_failed: Annotated[int, Field("int", "smallest size that failed", "log2 pages")]


class mm_compaction_wakeup_kcompactd(Tracepoint, frozen=True):
    """A node's kcompactd is woken."""

    when: ClassVar[str] = "when it was told; it runs as soon as a CPU lets it"

    nid: Annotated[int, Field("int", "its node", "nid")]
    order: Annotated[int, Field("int", "size of block wanted", "log2 pages")]
    highest_zoneidx: Annotated[int, Field("enum zone_type", "highest zone type to use", "zid")]


class mm_compaction_kcompactd_wake(Tracepoint, frozen=True):
    """kcompactd begins to compact its node."""

    when: ClassVar[str] = "start of the round"

    nid: Annotated[int, Field("int", "its node", "nid")]
    order: Annotated[int, Field("int", "size of block wanted", "log2 pages")]
    highest_zoneidx: Annotated[int, Field("enum zone_type", "highest zone type to use", "zid")]


class mm_compaction_kcompactd_sleep(Tracepoint, frozen=True):
    """kcompactd goes to sleep."""

    when: ClassVar[str] = "start of the sleep"

    nid: Annotated[int, Field("int", "its node", "nid")]
