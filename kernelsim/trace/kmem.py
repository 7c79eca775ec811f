"""Tracepoints of the page allocator.

Linux: include/trace/events/kmem.h (6.1).
"""
# ruff: noqa: N801 - a tracepoint's class has the tracepoint's name

from typing import Annotated, ClassVar

from kernelsim.trace.show import show_gfp_flags, show_hex
from kernelsim.trace.tracepoint import Field, Tracepoint


class mm_page_alloc(Tracepoint, frozen=True):
    """A block of pages was allocated."""

    when: ClassVar[str] = "when the pages were taken off the CPU's list, one by one or refilled"
    page_level: ClassVar[bool] = True

    pfn: Annotated[int, Field("unsigned long", "first frame of the block", "pfn", show_hex)]
    order: Annotated[int, Field("unsigned int", "size of the block", "log2 pages")]
    gfp_flags: Annotated[
        int, Field("unsigned long", "GFP bits of the request", shown=show_gfp_flags)
    ]
    migratetype: Annotated[
        int, Field("int", "MIGRATE_* asked for: 0 unmovable, 1 movable, 2 reclaimable")
    ]


class mm_page_free(Tracepoint, frozen=True):
    """A block of pages was freed."""

    when: ClassVar[str] = "when the pages were put on the CPU's list"
    page_level: ClassVar[bool] = True

    pfn: Annotated[int, Field("unsigned long", "first frame of the block", "pfn", show_hex)]
    order: Annotated[int, Field("unsigned int", "size of the block", "log2 pages")]


class mm_page_alloc_extfrag(Tracepoint, frozen=True):
    """A request was served from another mobility type's free list."""

    when: ClassVar[str] = "when the CPU's list was refilled with it"
    page_level: ClassVar[bool] = True

    pfn: Annotated[int, Field("unsigned long", "first frame of the block", "pfn", show_hex)]
    alloc_order: Annotated[int, Field("int", "size asked for", "log2 pages")]
    fallback_order: Annotated[int, Field("int", "size of the block found", "log2 pages")]
    alloc_migratetype: Annotated[
        int, Field("int", "MIGRATE_* asked for: 0 unmovable, 1 movable, 2 reclaimable")
    ]
    fallback_migratetype: Annotated[int, Field("int", "MIGRATE_* it came from")]
    change_ownership: Annotated[int, Field("int", "1 when the whole pageblock changed its type")]
