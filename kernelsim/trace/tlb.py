"""Tracepoints of the translation look-aside buffer.

Linux: include/trace/events/tlb.h (6.1).
"""
# ruff: noqa: N801 - a tracepoint's class has the tracepoint's name

from typing import Annotated, ClassVar

from kernelsim.trace.show import show_signed, show_tlb_flush_reason
from kernelsim.trace.tracepoint import Field, Tracepoint


class tlb_flush(Tracepoint, frozen=True):
    """A CPU dropped translations."""

    when: ClassVar[str] = "start of the flush"

    reason: Annotated[
        int, Field("int", "TLB_FLUSH_ON_TASK_SWITCH is 0", shown=show_tlb_flush_reason)
    ]
    pages: Annotated[
        int, Field("unsigned long", "how many; all bits set means all", "pages", show_signed)
    ]
