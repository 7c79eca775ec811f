"""Events as the kernel's own trace prints them, for tools that read that.

A line is `TASK-PID [CPU] flags SECONDS.MICROSECONDS: event: fields`. Fields have the names that
Linux 6.1 prints, which are not always those it records; our own events (`ks_…`) are printed the
same way. The log has no pid of kernel threads; they get numbers below 100 in the order they are
first seen. What is no task, such as a node, has pid 0. The CPU is the one a task was last switched
to.
# Differs from Linux: Flags of interrupts and preemption are not modelled; dots stand for them. Of
# mm_vmscan_lru_isolate the isolate_mode is not printed, of pages not the address of their struct.

Interface: `FtraceText.look` at every event of a log, `line` of those wanted; `HEADER` goes before
the first. TASK and THREAD are the names of actors that are processes and kernel threads.
Units: seconds of virtual time.
"""

import re
from typing import Final

import attrs

from kernelsim.report.sinks import SHOWN, Event, value_text
from kernelsim.units import NS_PER_S, NS_PER_US

HEADER: Final = """\
# tracer: nop
#
#           TASK-PID     CPU#  |||||  TIMESTAMP  FUNCTION
#              | |         |   |||||     |         |
"""
FORMS: Final = {  # what is printed where it is not each field by its name; include/trace/events
    "mm_vmscan_kswapd_wake": "nid={nid} order={order}",
    "mm_vmscan_wakeup_kswapd": "nid={nid} order={order} gfp_flags={gfp_flags}",
    "mm_vmscan_lru_isolate": (
        "classzone={highest_zoneidx} order={order} nr_requested={nr_requested} "
        "nr_scanned={nr_scanned} nr_skipped={nr_skipped} nr_taken={nr_taken} lru={lru}"
    ),
    "mm_vmscan_write_folio": "pfn={pfn} flags={reclaim_flags}",
    "mm_vmscan_lru_shrink_inactive": (
        "nid={nid} nr_scanned={nr_scanned} nr_reclaimed={nr_reclaimed} nr_dirty={nr_dirty} "
        "nr_writeback={nr_writeback} nr_congested={nr_congested} nr_immediate={nr_immediate} "
        "nr_activate_anon={nr_activate0} nr_activate_file={nr_activate1} "
        "nr_ref_keep={nr_ref_keep} nr_unmap_fail={nr_unmap_fail} priority={priority} "
        "flags={reclaim_flags}"
    ),
    "mm_vmscan_lru_shrink_active": (
        "nid={nid} nr_taken={nr_taken} nr_active={nr_active} nr_deactivated={nr_deactivated} "
        "nr_referenced={nr_referenced} priority={priority} flags={reclaim_flags}"
    ),
    "mm_vmscan_throttled": (  # usect_ is how it is spelled
        "nid={nid} usec_timeout={usec_timeout} usect_delayed={usec_delayed} reason={reason}"
    ),
    "mm_page_alloc": "pfn={pfn} order={order} migratetype={migratetype} gfp_flags={gfp_flags}",
    "damon_aggregated": (
        "target_id={target_id} nr_regions={nr_regions} {start}-{end}: {nr_accesses} {age}"
    ),
    "tlb_flush": "pages:{pages} reason:{reason}",
    "block_rq_issue": "{dev} {rwbs} {bytes} ({cmd}) {sector} + {nr_sector} [{comm}]",
    "block_rq_complete": "{dev} {rwbs} ({cmd}) {sector} + {nr_sector} [{error}]",
}
TASK: Final = re.compile(r"(.*)-(\d+)")  # a process, by its comm and pid
THREAD: Final = re.compile(r"(kswapd|kcompactd|pdflush)\d+|flush-\d+:\d+|kdamond\.\d+|oom_reaper")
FLAGS: Final = "....."


@attrs.define
class FtraceText:
    """Renders the events of one log, in their order."""

    _pids: dict[str, int] = attrs.field(factory=dict)  # of kernel threads
    _cpus: dict[str, int] = attrs.field(factory=dict)  # by task

    def look(self, event: Event) -> None:
        """Note who runs where, and which threads there are; for the next line."""
        if event.event == "ks_sched_switch":
            self._cpus[str(event.fields["next"])] = number_of(event.actor)
        if THREAD.fullmatch(event.actor):
            self._pids.setdefault(event.actor, len(self._pids) + 2)  # kthreadd is 2

    def line(self, event: Event) -> str:
        """Return the line of an event that was looked at."""
        seconds, rest_ns = divmod(event.t_ns, NS_PER_S)
        cpu = self._cpus.get(event.actor, number_of(event.actor))
        return (
            f"{self._task(event.actor):>23} [{cpu:03d}] {FLAGS} "
            f"{seconds:5d}.{rest_ns // NS_PER_US:06d}: {event.event}: {fields_text(event)}"
        )

    def _task(self, actor: str) -> str:
        """Return an actor as comm-pid."""
        if actor in self._pids:
            return f"{actor}-{self._pids[actor]}"
        return actor if TASK.fullmatch(actor) else f"{actor}-0"


def number_of(actor: str) -> int:
    """Return the number of a CPU's actor, 0 of any other."""
    number = actor.removeprefix("cpu")
    return int(number) if actor.startswith("cpu") and number.isdigit() else 0


def fields_text(event: Event) -> str:
    """Return the fields of an event as the kernel prints them."""
    shown = SHOWN.get(event.event, {})
    told = {
        name: shown[name](value) if name in shown and isinstance(value, int) else value
        for name, value in event.fields.items()
    }
    form = FORMS.get(event.event)
    if form is not None:
        return form.format_map(told)
    return " ".join(f"{name}={value_text(value)}" for name, value in told.items())
