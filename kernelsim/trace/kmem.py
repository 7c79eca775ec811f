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


class mm_page_alloc_zone_locked(Tracepoint, frozen=True):
    """A block was taken from the buddy lists, with the zone lock held."""

    page_level: ClassVar[bool] = True

    pfn: Annotated[int, Field("unsigned long", "first frame of the block", "pfn")]
    order: Annotated[int, Field("unsigned int", "size of the block", "log2 pages")]
    migratetype: Annotated[int, Field("int", "mobility type asked for")]
    percpu_refill: Annotated[int, Field("int", "1 when it refills a per-cpu list")]


class mm_page_pcpu_drain(Tracepoint, frozen=True):
    """A page went from a per-cpu list back to the buddy lists."""

    page_level: ClassVar[bool] = True

    pfn: Annotated[int, Field("unsigned long", "first frame of the block", "pfn")]
    order: Annotated[int, Field("unsigned int", "size of the block", "log2 pages")]
    migratetype: Annotated[int, Field("int", "mobility type of the per-cpu list")]


class mm_page_alloc_extfrag(Tracepoint, frozen=True):
    """A request was served from another mobility type's free list."""

    page_level: ClassVar[bool] = True

    pfn: Annotated[int, Field("unsigned long", "first frame of the block", "pfn")]
    alloc_order: Annotated[int, Field("int", "size asked for", "log2 pages")]
    fallback_order: Annotated[int, Field("int", "size of the block found", "log2 pages")]
    alloc_migratetype: Annotated[int, Field("int", "mobility type asked for")]
    fallback_migratetype: Annotated[int, Field("int", "mobility type it came from")]
    change_ownership: Annotated[int, Field("int", "1 when the whole pageblock changed its type")]


class rss_stat(Tracepoint, frozen=True):
    """A resident-set counter of an address space changed."""

    page_level: ClassVar[bool] = True

    mm_id: Annotated[int, Field("unsigned int", "number of the address space")]
    curr: Annotated[int, Field("unsigned int", "1 when the running task owns it")]
    member: Annotated[int, Field("int", "which counter: MM_FILEPAGES 0 … MM_SHMEMPAGES 3")]
    size: Annotated[int, Field("long", "the counter's new value", "bytes")]
