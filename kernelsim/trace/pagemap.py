"""Tracepoints of the LRU lists.

Linux: include/trace/events/pagemap.h (6.1).
"""
# ruff: noqa: N801 - a tracepoint's class has the tracepoint's name

from typing import Annotated, ClassVar

from kernelsim.trace.tracepoint import Field, Tracepoint


class mm_lru_insertion(Tracepoint, frozen=True):
    """A page was put on an LRU list."""

    page_level: ClassVar[bool] = True

    folio: Annotated[int, Field("struct folio *", "address of its struct page", "bytes")]
    pfn: Annotated[int, Field("unsigned long", "frame", "pfn")]
    lru: Annotated[int, Field("enum lru_list", "which list: LRU_INACTIVE_ANON 0 …")]
    flags: Annotated[int, Field("unsigned long", "what kind of page it is, as bits")]


class mm_lru_activate(Tracepoint, frozen=True):
    """A page moved from an inactive list to the active one."""

    page_level: ClassVar[bool] = True

    folio: Annotated[int, Field("struct folio *", "address of its struct page", "bytes")]
    pfn: Annotated[int, Field("unsigned long", "frame", "pfn")]
