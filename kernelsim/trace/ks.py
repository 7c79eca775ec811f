"""Events of our own, of the engine and of the actors, that Linux has no tracepoint for.

Their names begin with `ks_`. Each is a run of pages, a batch or a decision.
Units: times are virtual ns.
"""
# ruff: noqa: N801 - a tracepoint's class has the tracepoint's name

from typing import Annotated, ClassVar

from kernelsim.trace.tracepoint import Field, Tracepoint


class ks_run_start(Tracepoint, frozen=True):
    """First line of a log; more fields say which workload, machine and seeds."""

    when: ClassVar[str] = "0, before anything happened"

    schema: Annotated[int, Field("int", "version of the lines that follow")]


class ks_run_end(Tracepoint, frozen=True):
    """Last line of a log whose run came to its end."""

    when: ClassVar[str] = "when all actors had stopped, a little after the run"

    exit_state: Annotated[str, Field("char[]", "how it ended: done, until, stopped, crashed …")]
    nr_events: Annotated[
        int, Field("unsigned long", "lines of the log, the first and this one included")
    ]


class ks_actor_start(Tracepoint, frozen=True):
    """An actor's task began."""

    when: ClassVar[str] = "start of the task"


class ks_actor_stop(Tracepoint, frozen=True):
    """An actor's task ended as it should."""

    when: ClassVar[str] = "end of the task"


class ks_actor_kill(Tracepoint, frozen=True):
    """An actor's task was ended by another."""

    when: ClassVar[str] = "end of the task"


class ks_actor_crash(Tracepoint, frozen=True):
    """An actor's task ended by an exception."""

    when: ClassVar[str] = "end of the task"

    error: Annotated[str, Field("char[]", "type and text of the exception")]


class ks_message_dropped(Tracepoint, frozen=True):
    """A message reached an actor that had ended."""

    when: ClassVar[str] = "when it arrived"

    message: Annotated[str, Field("char[]", "class of the message")]


class ks_deadlock(Tracepoint, frozen=True):
    """No actor can ever move again; one such event for each that waits."""

    when: ClassVar[str] = "when it was found"

    waits_for: Annotated[str, Field("char[]", "what it waits for")]
    since_ns: Annotated[int, Field("long", "when it began to wait", "ns")]


class ks_livelock(Tracepoint, frozen=True):
    """An actor made no progress for too long; one such event for each that waits."""

    when: ClassVar[str] = "when it was found"

    waits_for: Annotated[str, Field("char[]", "what it waits for")]
    since_ns: Annotated[int, Field("long", "when it began to wait", "ns")]


class ks_lock_wait(Tracepoint, frozen=True):
    """A CPU spun for a lock."""

    when: ClassVar[str] = (
        "when the lock was got; the wait began wait_ns before, and it was let go hold_ns after"
    )

    lock: Annotated[str, Field("char[]", "its name, such as node 0 DMA32 zone->lock")]
    user: Annotated[str, Field("char[]", "CPU that spun")]
    wait_ns: Annotated[int, Field("long", "spun", "ns")]
    hold_ns: Annotated[int, Field("long", "held after that", "ns")]
    holder: Annotated[str, Field("char[]", "CPU that let it go when the wait ended")] = ""


class ks_sched_switch(Tracepoint, frozen=True):
    """A CPU went from one task to another; from the idle task back to the last one is not told."""

    when: ClassVar[str] = "start of the switch"

    prev: Annotated[str, Field("char[]", "task that ran last on the CPU; empty for none")]
    next: Annotated[str, Field("char[]", "task that runs now")]


class ks_fault(Tracepoint, frozen=True):
    """Page faults of one kind, up to --burst-pages of them, were served."""

    when: ClassVar[str] = "end of the last fault, and of what the CPU did beside them"

    pid: Annotated[int, Field("pid_t", "faulting task", "pid")]
    vpn: Annotated[int, Field("unsigned long", "first page", "virtual page")]
    nr_pages: Annotated[int, Field("unsigned long", "pages served", "pages")]
    kind: Annotated[
        str, Field("char[]", "spurious, anon, zero_wp, swap, wp, file, migration, wp_shared")
    ]
    major: Annotated[bool, Field("bool", "whether it waited for a device")]
    latency_ns: Annotated[int, Field("long", "sum over the faults", "ns")]
    lock_ns: Annotated[int, Field("long", "part of it spent spinning", "ns")]
    reclaim_ns: Annotated[int, Field("long", "part of it spent in direct reclaim", "ns")]
    io_ns: Annotated[int, Field("long", "part of it spent waiting for a device", "ns")]


class ks_fault_retry(Tracepoint, frozen=True):
    """The kernel waited for a page that was being read: the fault begins afresh."""

    when: ClassVar[str] = "when it begins afresh"

    pid: Annotated[int, Field("pid_t", "faulting task", "pid")]
    vpn: Annotated[int, Field("unsigned long", "the page", "virtual page")]
    major: Annotated[bool, Field("bool", "whether it asked the disk itself")]


class ks_fault_failed(Tracepoint, frozen=True):
    """A fault was not served: it raises a signal, or the process is being killed."""

    when: ClassVar[str] = "end of the fault"

    pid: Annotated[int, Field("pid_t", "faulting task", "pid")]
    vpn: Annotated[int, Field("unsigned long", "the page", "virtual page")]
    why: Annotated[str, Field("char[]", "killed, I/O error, behind the end of its file, no space")]


class ks_watermark(Tracepoint, frozen=True):
    """The free pages of a zone crossed a watermark."""

    when: ClassVar[str] = "when the pages moved"

    nid: Annotated[int, Field("int", "node", "nid")]
    zid: Annotated[int, Field("int", "type of the zone", "zid")]
    band_from: Annotated[str, Field("char[]", "above_high, high_low, low_min or below_min")]
    band_to: Annotated[str, Field("char[]", "above_high, high_low, low_min or below_min")]
    free_pages: Annotated[int, Field("unsigned long", "free in the zone", "pages")]


class ks_swapin(Tracepoint, frozen=True):
    """Pages were read from swap."""

    when: ClassVar[str] = "end of the read; it began latency_ns before"

    dev: Annotated[str, Field("char[]", "name of the swap device")]
    slot: Annotated[int, Field("unsigned long", "slot of the page that faulted", "slot")]
    nr_pages: Annotated[int, Field("unsigned long", "read", "pages")]
    nr_ahead: Annotated[int, Field("unsigned long", "of them read ahead", "pages")]
    latency_ns: Annotated[int, Field("long", "from submission to completion", "ns")]


class ks_readpages(Tracepoint, frozen=True):
    """Pages of a file were read."""

    when: ClassVar[str] = "end of the read; it began latency_ns before"

    dev: Annotated[str, Field("char[]", "name of the disk")]
    ino: Annotated[int, Field("unsigned long", "number of the file", "number")]
    index: Annotated[int, Field("unsigned long", "first page", "page of the file")]
    nr_pages: Annotated[int, Field("unsigned long", "read", "pages")]
    latency_ns: Annotated[int, Field("long", "from submission to completion", "ns")]


class ks_io_wait(Tracepoint, frozen=True):
    """A task slept until it could go on writing, or until a page was written."""

    when: ClassVar[str] = "end of the sleep; it began wait_ns before"

    dev: Annotated[str, Field("char[]", "name of the disk; swap for a page that goes there")]
    why: Annotated[str, Field("char[]", "wbt: the disk's share for writers; queue; writeback")]
    nr_in_flight: Annotated[int, Field("unsigned int", "requests under way when it began")]
    wait_ns: Annotated[int, Field("long", "slept", "ns")]


class ks_sleep(Tracepoint, frozen=True):
    """A task slept for another's work, where no event of Linux's own says so."""

    when: ClassVar[str] = "end of the sleep; it began wait_ns before"

    why: Annotated[
        str,
        Field("char[]", "pfmemalloc, mempool, page read, migration, mmap_lock, oom, aging, reaped"),
    ]
    of: Annotated[str, Field("char[]", "whom it waited for, or whose; empty if nobody's")]
    wait_ns: Annotated[int, Field("long", "slept", "ns")]


class ks_process_start(Tracepoint, frozen=True):
    """A process began."""

    when: ClassVar[str] = "when it first ran, on `cpu`"

    pid: Annotated[int, Field("pid_t", "the process", "pid")]
    ppid: Annotated[int, Field("pid_t", "its parent; 0 for the workload's", "pid")]
    comm: Annotated[str, Field("char[16]", "its name")]
    cpu: Annotated[int, Field("int", "CPU it starts on", "cpu")]


class ks_process_exit(Tracepoint, frozen=True):
    """A process ended and its memory is free."""

    when: ClassVar[str] = "end of the process: its memory is free"

    pid: Annotated[int, Field("pid_t", "the process", "pid")]
    comm: Annotated[str, Field("char[16]", "its name")]
    exit_code: Annotated[int, Field("int", "exit status, or minus the signal that killed it")]
    nr_freed: Annotated[int, Field("unsigned long", "frames given back", "pages")]


class ks_pdflush_start(Tracepoint, frozen=True):
    """A pdflush thread was born."""

    when: ClassVar[str] = "when it first slept"

    nr_threads: Annotated[int, Field("int", "threads there are now")]


class ks_pdflush_stop(Tracepoint, frozen=True):
    """A pdflush thread went."""

    when: ClassVar[str] = "when it ended"

    nr_threads: Annotated[int, Field("int", "threads there are now")]


class ks_lru_gen(Tracepoint, frozen=True):
    """A node has a new youngest generation of pages."""

    when: ClassVar[str] = "when the last task that walked page tables for it has counted its pages"

    nid: Annotated[int, Field("int", "node")]
    max_seq: Annotated[int, Field("unsigned long", "number of the generation")]
    min_seq0: Annotated[int, Field("unsigned long", "of the oldest of anonymous pages")]
    min_seq1: Annotated[int, Field("unsigned long", "of the oldest of pages of files")]
    nr_walked: Annotated[int, Field("int", "address spaces that this task walked")]


class ks_mem_access(Tracepoint, frozen=True):
    """A load or a store took one step on its way to memory or back."""

    when: ClassVar[str] = "start of the step"
    page_level: ClassVar[bool] = True

    pid: Annotated[int, Field("pid_t", "task", "pid")]
    access: Annotated[str, Field("char[]", "load or store")]
    vaddr: Annotated[int, Field("unsigned long", "virtual address of the page", "address")]
    step: Annotated[
        str, Field("char[]", "TLB, walk, fault, cache, bus, interconnect, controller, DRAM")
    ]
    what: Annotated[str, Field("char[]", "hit, miss, the table of the entry read, address, data")]
    paddr: Annotated[
        int, Field("phys_addr_t", "physical, of entry or page; 0 before it is known", "address")
    ]
    latency_ns: Annotated[int, Field("long", "it took, waits in queues included", "ns")]


class ks_memory_block(Tracepoint, frozen=True):
    """A block of memory went online or offline, or could not."""

    when: ClassVar[str] = "when a write to its file ends"

    index: Annotated[int, Field("unsigned long", "number of the block")]
    state: Annotated[str, Field("char[]", "its state by now")]
    errno: Annotated[int, Field("int", "0, or why it could not")]
    reason: Annotated[str, Field("char[]", "the same in the kernel's words")]
