"""Tracepoints of the out-of-memory killer and of the retries before it.

Linux: include/trace/events/oom.h.
"""
# ruff: noqa: N801 - a tracepoint's class has the tracepoint's name

from typing import Annotated

from kernelsim.trace.tracepoint import Field, Tracepoint


class oom_score_adj_update(Tracepoint, frozen=True):
    """A task's oom_score_adj was set."""

    pid: Annotated[int, Field("pid_t", "the task", "pid")]
    comm: Annotated[str, Field("char[16]", "its name")]
    oom_score_adj: Annotated[int, Field("short", "new value, -1000 … 1000", "thousandths")]


class reclaim_retry_zone(Tracepoint, frozen=True):
    """The allocator's slow path looked whether reclaim could still help in a zone."""

    node: Annotated[int, Field("int", "the zone's node", "nid")]
    zone_idx: Annotated[int, Field("int", "the zone's type", "zid")]
    order: Annotated[int, Field("int", "size asked for", "log2 pages")]
    reclaimable: Annotated[int, Field("unsigned long", "on the zone's LRU lists", "pages")]
    available: Annotated[int, Field("unsigned long", "reclaimable and free", "pages")]
    min_wmark: Annotated[int, Field("unsigned long", "the min watermark", "pages")]
    no_progress_loops: Annotated[int, Field("int", "rounds without progress so far")]
    wmark_check: Annotated[bool, Field("bool", "whether all of it would be enough")]


class mark_victim(Tracepoint, frozen=True):
    """A task was chosen to be killed."""

    pid: Annotated[int, Field("int", "the task", "pid")]
    comm: Annotated[str, Field("char[]", "its name")]
    total_vm: Annotated[int, Field("unsigned long", "its address space", "KiB")]
    anon_rss: Annotated[int, Field("unsigned long", "resident anonymous memory", "KiB")]
    file_rss: Annotated[int, Field("unsigned long", "resident file memory", "KiB")]
    shmem_rss: Annotated[int, Field("unsigned long", "resident shared memory", "KiB")]
    uid: Annotated[int, Field("uid_t", "its user", "uid")]
    pgtables: Annotated[int, Field("unsigned long", "its page tables", "KiB")]
    oom_score_adj: Annotated[int, Field("short", "its adjustment", "thousandths")]


class wake_reaper(Tracepoint, frozen=True):
    """The oom_reaper was woken for a victim."""

    pid: Annotated[int, Field("int", "the victim", "pid")]


class start_task_reaping(Tracepoint, frozen=True):
    """The oom_reaper begins to unmap a victim's memory."""

    pid: Annotated[int, Field("int", "the victim", "pid")]


class finish_task_reaping(Tracepoint, frozen=True):
    """The oom_reaper has unmapped a victim's memory."""

    pid: Annotated[int, Field("int", "the victim", "pid")]
