"""Tracepoints of the out-of-memory killer and of the retries before it.

Linux: include/trace/events/oom.h.
"""
# ruff: noqa: N801 - a tracepoint's class has the tracepoint's name

from typing import Annotated, ClassVar

from kernelsim.trace.show import show_compact_result
from kernelsim.trace.tracepoint import Field, Tracepoint


class wake_reaper(Tracepoint, frozen=True):
    """The OOM reaper is woken for a victim that has not died in time."""

    when: ClassVar[str] = "when its time was over"

    pid: Annotated[int, Field("int", "the victim", "pid")]


class start_task_reaping(Tracepoint, frozen=True):
    """The OOM reaper begins to take a victim's pages."""

    when: ClassVar[str] = "before the first page"

    pid: Annotated[int, Field("int", "the victim", "pid")]


class finish_task_reaping(Tracepoint, frozen=True):
    """The OOM reaper has taken a victim's pages."""

    when: ClassVar[str] = "after the last page"

    pid: Annotated[int, Field("int", "the victim", "pid")]


class skip_task_reaping(Tracepoint, frozen=True):
    """The OOM reaper finds nothing to take: the victim has freed its pages itself."""

    when: ClassVar[str] = "when it came to the victim"

    pid: Annotated[int, Field("int", "the victim", "pid")]


class mark_victim(Tracepoint, frozen=True):
    """A task was chosen to be killed."""

    when: ClassVar[str] = "when it was chosen; it dies later"

    pid: Annotated[int, Field("int", "the task", "pid")]
    comm: Annotated[str, Field("char[]", "its name")]
    total_vm: Annotated[int, Field("unsigned long", "its address space", "KiB")]
    anon_rss: Annotated[int, Field("unsigned long", "resident anonymous memory", "KiB")]
    file_rss: Annotated[int, Field("unsigned long", "resident file memory", "KiB")]
    shmem_rss: Annotated[int, Field("unsigned long", "resident shared memory", "KiB")]
    uid: Annotated[int, Field("uid_t", "its user", "uid")]
    pgtables: Annotated[int, Field("unsigned long", "its page tables", "KiB")]
    oom_score_adj: Annotated[int, Field("short", "its adjustment", "thousandths")]


class compact_retry(Tracepoint, frozen=True):
    """A request that compaction did not serve decides whether to try again."""

    when: ClassVar[str] = "when it decides"

    order: Annotated[int, Field("int", "size of block wanted", "log2 pages")]
    priority: Annotated[int, Field("int", "how hard it tries next: 0 most, 2 least")]
    result: Annotated[int, Field("int", "how it ended", shown=show_compact_result)]
    retries: Annotated[int, Field("int", "times it worked in vain")]
    max_retries: Annotated[int, Field("int", "at most")]
    ret: Annotated[bool, Field("bool", "whether it tries again")]
