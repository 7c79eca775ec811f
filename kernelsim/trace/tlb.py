"""Tracepoints of the translation look-aside buffer.

Linux: include/trace/events/tlb.h (6.1).
"""
# ruff: noqa: N801 - a tracepoint's class has the tracepoint's name

from typing import Annotated

from kernelsim.trace.tracepoint import Field, Tracepoint


class tlb_flush(Tracepoint, frozen=True):
    """A CPU dropped translations."""

    reason: Annotated[int, Field("int", "TLB_FLUSH_ON_TASK_SWITCH 0 … TLB_REMOTE_SEND_IPI 4")]
    pages: Annotated[int, Field("unsigned long", "how many; all bits set means all", "pages")]
