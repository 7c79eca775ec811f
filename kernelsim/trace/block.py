"""Tracepoints of block requests.

Linux: include/trace/events/block.h (6.1).
"""
# ruff: noqa: N801 - a tracepoint's class has the tracepoint's name

from typing import Annotated, ClassVar

from kernelsim.trace.show import show_dev
from kernelsim.trace.tracepoint import Field, Tracepoint


class block_rq_issue(Tracepoint, frozen=True):
    """A request went to the device."""

    when: ClassVar[str] = "when the device took the request"
    page_level: ClassVar[bool] = True

    dev: Annotated[int, Field("dev_t", "major << 20 | minor", shown=show_dev)]
    sector: Annotated[int, Field("sector_t", "first sector", "512 bytes")]
    nr_sector: Annotated[int, Field("unsigned int", "length", "512 bytes")]
    bytes: Annotated[int, Field("unsigned int", "length of a command without sectors", "bytes")]
    ioprio: Annotated[int, Field("unsigned short", "I/O priority")]
    rwbs: Annotated[str, Field("char[10]", "what it does: R read, W write, S synchronous …")]
    comm: Annotated[str, Field("char[16]", "task that issued it")]
    cmd: Annotated[str, Field("char[]", "command bytes; empty")]


class block_rq_complete(Tracepoint, frozen=True):
    """The device finished a request."""

    when: ClassVar[str] = "when the device was done with it"
    page_level: ClassVar[bool] = True

    dev: Annotated[int, Field("dev_t", "major << 20 | minor", shown=show_dev)]
    sector: Annotated[int, Field("sector_t", "first sector", "512 bytes")]
    nr_sector: Annotated[int, Field("unsigned int", "length", "512 bytes")]
    error: Annotated[int, Field("int", "0, or a negative errno")]
    ioprio: Annotated[int, Field("unsigned short", "I/O priority")]
    rwbs: Annotated[str, Field("char[10]", "what it did: R read, W write, S synchronous …")]
    cmd: Annotated[str, Field("char[]", "command bytes; empty")]
