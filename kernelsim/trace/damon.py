"""Tracepoint of the data access monitor.

Linux: include/trace/events/damon.h (6.1).
"""
# ruff: noqa: N801 - a tracepoint's class has the tracepoint's name

from typing import Annotated, ClassVar

from kernelsim.trace.tracepoint import Field, Tracepoint


class damon_aggregated(Tracepoint, frozen=True):
    """An aggregation interval of DAMON ended; one such event for each region of its targets."""

    when: ClassVar[str] = "end of the interval"

    target_id: Annotated[int, Field("unsigned long", "process watched, by its place among them")]
    nr_regions: Annotated[int, Field("unsigned int", "regions it is divided into now")]
    start: Annotated[int, Field("unsigned long", "first address of the region", "address")]
    end: Annotated[int, Field("unsigned long", "first address behind it", "address")]
    nr_accesses: Annotated[int, Field("unsigned int", "samples of the interval that saw a use")]
    age: Annotated[int, Field("unsigned int", "intervals for which this was about the same")]
