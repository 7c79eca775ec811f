"""Tracepoints of writing files back.

Linux: include/trace/events/writeback.h (6.1).
"""
# ruff: noqa: N801 - a tracepoint's class has the tracepoint's name

from typing import Annotated, ClassVar

from kernelsim.trace.show import show_dev, show_signed, show_wb_reason
from kernelsim.trace.tracepoint import Field, Tracepoint


class writeback_dirty_folio(Tracepoint, frozen=True):
    """A page of a file became dirty."""

    when: ClassVar[str] = "when it became dirty"
    page_level: ClassVar[bool] = True

    name: Annotated[str, Field("char[32]", "its device, major:minor")]
    ino: Annotated[int, Field("ino_t", "its file")]
    index: Annotated[int, Field("unsigned long", "page of the file", "pages")]


class writeback_start(Tracepoint, frozen=True):
    """A flusher begins a round of a work."""

    when: ClassVar[str] = "start of the round"

    name: Annotated[str, Field("char[32]", "the device, major:minor")]
    nr_pages: Annotated[int, Field("long", "still to be written", "pages", shown=show_signed)]
    sb_dev: Annotated[int, Field("dev_t", "file system to be written, 0 for all", shown=show_dev)]
    sync_mode: Annotated[int, Field("int", "1: wait for pages that are being written")]
    for_kupdate: Annotated[int, Field("int", "1: only what has been dirty for long")]
    range_cyclic: Annotated[int, Field("int", "1: go on in a file where the last round stopped")]
    for_background: Annotated[int, Field("int", "1: until below the background limit")]
    reason: Annotated[int, Field("int", "who asked for it", shown=show_wb_reason)]
    cgroup_ino: Annotated[int, Field("ino_t", "1, the root cgroup")] = 1


class writeback_written(Tracepoint, frozen=True):
    """A flusher is done with a round of a work."""

    when: ClassVar[str] = "end of the round"

    name: Annotated[str, Field("char[32]", "the device, major:minor")]
    nr_pages: Annotated[int, Field("long", "still to be written", "pages", shown=show_signed)]
    sb_dev: Annotated[int, Field("dev_t", "file system to be written, 0 for all", shown=show_dev)]
    sync_mode: Annotated[int, Field("int", "1: wait for pages that are being written")]
    for_kupdate: Annotated[int, Field("int", "1: only what has been dirty for long")]
    range_cyclic: Annotated[int, Field("int", "1: go on in a file where the last round stopped")]
    for_background: Annotated[int, Field("int", "1: until below the background limit")]
    reason: Annotated[int, Field("int", "who asked for it", shown=show_wb_reason)]
    cgroup_ino: Annotated[int, Field("ino_t", "1, the root cgroup")] = 1


class global_dirty_state(Tracepoint, frozen=True):
    """The limits of dirty pages were computed."""

    when: ClassVar[str] = "when they were looked at"
    page_level: ClassVar[bool] = True

    nr_dirty: Annotated[int, Field("unsigned long", "dirty", "pages")]
    nr_writeback: Annotated[int, Field("unsigned long", "being written", "pages")]
    background_thresh: Annotated[int, Field("unsigned long", "flushers work above it", "pages")]
    dirty_thresh: Annotated[int, Field("unsigned long", "writers wait above it", "pages")]
    dirty_limit: Annotated[int, Field("unsigned long", "the same, falling slowly", "pages")]
    nr_dirtied: Annotated[int, Field("unsigned long", "became dirty so far", "pages")]
    nr_written: Annotated[int, Field("unsigned long", "written so far", "pages")]


class bdi_dirty_ratelimit(Tracepoint, frozen=True):
    """The rate at which tasks may dirty pages of a device was estimated afresh."""

    when: ClassVar[str] = "when it was estimated"

    bdi: Annotated[str, Field("char[32]", "the device, major:minor")]
    write_bw: Annotated[int, Field("unsigned long", "bandwidth", "KiB/s")]
    avg_write_bw: Annotated[int, Field("unsigned long", "the same, smoothed", "KiB/s")]
    dirty_rate: Annotated[int, Field("unsigned long", "rate of dirtying meanwhile", "KiB/s")]
    dirty_ratelimit: Annotated[int, Field("unsigned long", "what a task may", "KiB/s")]
    task_ratelimit: Annotated[int, Field("unsigned long", "what a task was allowed", "KiB/s")]
    balanced_dirty_ratelimit: Annotated[
        int, Field("unsigned long", "what would keep the balance", "KiB/s")
    ]
    cgroup_ino: Annotated[int, Field("ino_t", "1, the root cgroup")] = 1


class balance_dirty_pages(Tracepoint, frozen=True):
    """A writer above freerun looks at the limits: it pauses, or goes on."""

    when: ClassVar[str] = "start of the pause"

    bdi: Annotated[str, Field("char[32]", "the device, major:minor")]
    limit: Annotated[int, Field("unsigned long", "hard limit", "pages")]
    setpoint: Annotated[int, Field("unsigned long", "where dirty pages should be", "pages")]
    dirty: Annotated[int, Field("unsigned long", "dirty or being written", "pages")]
    wb_setpoint: Annotated[int, Field("unsigned long", "the device's setpoint", "pages")]
    wb_dirty: Annotated[int, Field("unsigned long", "the device's dirty pages", "pages")]
    dirty_ratelimit: Annotated[int, Field("unsigned long", "what a task may", "KiB/s")]
    task_ratelimit: Annotated[int, Field("unsigned long", "what it may now", "KiB/s")]
    dirtied: Annotated[int, Field("unsigned int", "dirtied since the last pause", "pages")]
    dirtied_pause: Annotated[int, Field("unsigned int", "pages between two looks", "pages")]
    paused: Annotated[int, Field("unsigned long", "paused already at this look", "ms")]
    pause: Annotated[int, Field("long", "it pauses; 0 or less: it goes on", "ms")]
    period: Annotated[int, Field("unsigned long", "what its pages are worth", "ms")]
    think: Annotated[int, Field("long", "time it took to dirty them", "ms")]
    cgroup_ino: Annotated[int, Field("ino_t", "1, the root cgroup")] = 1
