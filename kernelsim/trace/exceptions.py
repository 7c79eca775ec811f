"""Tracepoints of page faults.

Linux: arch/x86/include/asm/trace/exceptions.h (6.1).
"""
# ruff: noqa: N801 - a tracepoint's class has the tracepoint's name

from typing import Annotated, ClassVar

from kernelsim.trace.show import show_hex
from kernelsim.trace.tracepoint import Field, Tracepoint


class page_fault_user(Tracepoint, frozen=True):
    """User code touched an address that needs the fault handler."""

    when: ClassVar[str] = "start of the fault; ks_fault is its end"
    page_level: ClassVar[bool] = True

    address: Annotated[int, Field("unsigned long", "the address touched", "bytes", show_hex)]
    ip: Annotated[int, Field("unsigned long", "address of the instruction", "bytes", show_hex)]
    error_code: Annotated[int, Field("unsigned long", "X86_PF_* bits", shown=show_hex)]
