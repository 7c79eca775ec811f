"""Tracepoints of the page allocator.

Linux: include/trace/events/kmem.h (6.1).
"""
# ruff: noqa: N801 - a tracepoint's class has the tracepoint's name

from typing import Annotated, ClassVar

from kernelsim.trace.tracepoint import Field, Tracepoint


class mm_page_alloc(Tracepoint, frozen=True):
    """A block of pages was allocated."""

    page_level: ClassVar[bool] = True

    pfn: Annotated[int, Field("unsigned long", "first frame of the block", "pfn")]
    order: Annotated[int, Field("unsigned int", "size of the block", "log2 pages")]
    gfp_flags: Annotated[int, Field("unsigned long", "GFP bits of the request")]
    migratetype: Annotated[int, Field("int", "mobility type asked for")]


class mm_page_free(Tracepoint, frozen=True):
    """A block of pages was freed."""

    page_level: ClassVar[bool] = True

    pfn: Annotated[int, Field("unsigned long", "first frame of the block", "pfn")]
    order: Annotated[int, Field("unsigned int", "size of the block", "log2 pages")]


class mm_page_alloc_extfrag(Tracepoint, frozen=True):
    """A request was served from another mobility type's free list."""

    page_level: ClassVar[bool] = True

    pfn: Annotated[int, Field("unsigned long", "first frame of the block", "pfn")]
    alloc_order: Annotated[int, Field("int", "size asked for", "log2 pages")]
    fallback_order: Annotated[int, Field("int", "size of the block found", "log2 pages")]
    alloc_migratetype: Annotated[int, Field("int", "mobility type asked for")]
    fallback_migratetype: Annotated[int, Field("int", "mobility type it came from")]
    change_ownership: Annotated[int, Field("int", "1 when the whole pageblock changed its type")]
