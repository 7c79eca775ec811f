"""Makes slices of events: what an actor did, from when to when.

Many events tell the end of something with how long it took; so slices are known in the order of
their ends. What the log does not tell is not drawn: that a task computes is seen on its CPU, from
`ks_sched_switch`, less the times it is known to have slept: a CPU that goes idle logs nothing. The
rounds of kswapd end with the last thing that it logged.

Interface: `TimelineMaker.take` for each event in turn, then `finish`; the result is in `slices` and
`moments`.
Units: ns.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

import attrs

from kernelsim.report.ftrace_text import THREAD
from kernelsim.report.sinks import Event
from kernelsim.trace.show import show_throttle_flags
from kernelsim.units import NS_PER_MS, NS_PER_US

RUNNING: Final = "running"  # categories, of slices
SPINNING: Final = "spinning"
RECLAIMING: Final = "reclaiming"
DISK: Final = "io"
STALL: Final = "stall"
WRITING: Final = "writing"
FAULT: Final = "fault"
HELD: Final = "held"
IO_WAITS: Final = {  # why a task slept, by the word of ks_io_wait
    "wbt": "waits to write to {}: writers have their share of its queue",
    "queue": "waits for room in the queue of {}",
    "writeback": "waits for a page that is written to {}",
}
SLEEP_NAMES: Final = {  # the same of ks_sleep
    "pfmemalloc": "throttled: waits until {} has freed half of min",
    "mempool": "waits for a bio of {}: there is no memory for one more",
    "page read": "waits for a page that {} is reading",
    "migration": "waits for a page that is being moved",
    "mmap_lock": "waits for mmap_lock: {} held it",
    "oom": "waits for the OOM killer",
    "aging": "waits until another task has aged {}",
    "reaped": "waits until its memory has been reaped",
}
SLEEPS: Final = {DISK, STALL}  # the task is off its CPU
FLAGGED: Final = {  # events that are a moment, with the name it has on its track
    "ks_watermark": "watermark",
    "mark_victim": "OOM victim",
    "ks_process_start": "starts",
    "ks_fault_failed": "fault failed",
    "mm_migrate_pages": "migrated",
    "ks_lru_gen": "new generation",
}


Fields = Mapping[str, Any]


@attrs.frozen
class Slice:
    """Something that took time.

    Attributes:
        track: The actor, disk or lock it is drawn at.
        start_ns: When it began.
        end_ns: When it ended.
        name: What people read.
        category: One of those above.
        fields: More about it.
        flows: Numbers of arrows that begin or end here.
    """

    track: str
    start_ns: int
    end_ns: int
    name: str
    category: str
    fields: Mapping[str, object] = attrs.field(factory=dict)
    flows: tuple[int, ...] = ()


@attrs.frozen
class Moment:
    """Something that took no time; as `Slice`."""

    track: str
    t_ns: int
    name: str
    fields: Mapping[str, object] = attrs.field(factory=dict)
    flows: tuple[int, ...] = ()


@attrs.define
class Round:
    """A round of kswapd that goes on."""

    start_ns: int
    last_ns: int
    flows: tuple[int, ...]


@attrs.define
class TimelineMaker:
    """Makes the slices of one log."""

    slices: list[Slice] = attrs.field(factory=list)
    moments: list[Moment] = attrs.field(factory=list)
    _end_ns: int = 0
    _nr_flows: int = 0
    _began: dict[str, int] = attrs.field(factory=dict)  # actor to when its reclaim or writing did
    _rounds: dict[str, Round] = attrs.field(factory=dict)
    _wakers: dict[int, tuple[int, ...]] = attrs.field(factory=dict)  # node to flows
    _on_cpu: dict[str, tuple[str, int]] = attrs.field(factory=dict)  # CPU to task, since when
    _ran: list[Slice] = attrs.field(factory=list)
    _gone: dict[str, list[tuple[int, int]]] = attrs.field(factory=dict)  # tasks that have ended
    _handlers: dict[str, Callable[[Event, Fields], None]] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._handlers = {
            "ks_fault": self._fault,
            "mm_vmscan_direct_reclaim_begin": self._reclaim_begins,
            "mm_vmscan_direct_reclaim_end": self._reclaim_ends,
            "mm_vmscan_node_reclaim_begin": self._reclaim_begins,
            "mm_vmscan_node_reclaim_end": self._reclaim_ends,
            "mm_vmscan_wakeup_kswapd": self._wakes_kswapd,
            "mm_vmscan_kswapd_wake": self._round_begins,
            "mm_vmscan_kswapd_sleep": self._round_ends,
            "mm_vmscan_throttled": self._throttled,
            "balance_dirty_pages": self._paused,
            "ks_swapin": self._read,
            "ks_io_wait": self._io_wait,
            "ks_sleep": self._sleeps,
            "ks_readpages": self._read,
            "ks_lock_wait": self._lock_wait,
            "ks_sched_switch": self._switch,
            "ks_process_exit": self._exits,
            "writeback_start": self._writing_begins,
            "writeback_written": self._writing_ends,
        }

    def take(self, event: Event) -> None:
        """Take the next event of the log."""
        handler = self._handlers.get(event.event)
        if handler is not None:  # and not when actors are stopped, a little after the run
            self._end_ns = max(self._end_ns, event.t_ns)
        going_on = self._rounds.get(event.actor)
        if handler is not None:
            handler(event, event.fields)
        elif event.event in FLAGGED:
            name = FLAGGED[event.event]
            self.moments.append(Moment(event.actor, event.t_ns, name, event.fields))
        if going_on is not None and not event.event.startswith("mm_vmscan_kswapd"):
            going_on.last_ns = max(going_on.last_ns, event.t_ns)

    def finish(self) -> None:
        """End what goes on when the log ends."""
        for actor in list(self._rounds):
            self._close_round(actor)
        for cpu, (task, since_ns) in self._on_cpu.items():
            self._ran.append(Slice(cpu, since_ns, self._end_ns, task, RUNNING))
        slept, worked = self._gone, dict[str, list[tuple[int, int]]]()
        for each in self.slices:
            times = (each.start_ns, each.end_ns)
            if each.category in SLEEPS:
                slept.setdefault(each.track, []).append(times)
            elif each.category in {RECLAIMING, WRITING}:
                worked.setdefault(each.track, []).append(times)
        for task in {each.name: None for each in self._ran}:
            if THREAD.fullmatch(task):  # they sleep between their rounds
                slept.setdefault(task, []).extend(gaps(sorted(worked.get(task, [])), self._end_ns))
        for each in self._ran:
            self.slices += awake(each, sorted(slept.get(each.name, [])))

    def _add(self, event: Event, ns: int, name: str, category: str) -> None:
        """Add a slice that ended with an event, on the event's actor."""
        start_ns = event.t_ns - ns
        self.slices.append(Slice(event.actor, start_ns, event.t_ns, name, category, event.fields))

    def _new_flow(self) -> tuple[int, ...]:
        self._nr_flows += 1
        return (self._nr_flows,)

    def _fault(self, event: Event, fields: Fields) -> None:
        nr_pages, kind = fields["nr_pages"], fields["kind"]
        name = f"fault: {kind}" if nr_pages == 1 else f"{nr_pages} faults: {kind}"
        self._add(event, fields["latency_ns"], name, FAULT)

    def _reclaim_begins(self, event: Event, _fields: Fields) -> None:
        self._began[event.actor] = event.t_ns

    def _reclaim_ends(self, event: Event, _fields: Fields) -> None:
        began_ns = self._began.pop(event.actor, None)
        if began_ns is not None:
            name = "direct reclaim" if "direct" in event.event else "node reclaim"
            self._add(event, event.t_ns - began_ns, name, RECLAIMING)

    def _wakes_kswapd(self, event: Event, fields: Fields) -> None:
        flow = self._new_flow()
        self._wakers[fields["nid"]] = flow
        self.moments.append(Moment(event.actor, event.t_ns, "wakes kswapd", event.fields, flow))

    def _round_begins(self, event: Event, fields: Fields) -> None:
        self._close_round(event.actor)
        flows = self._wakers.pop(fields["nid"], ())
        self._rounds[event.actor] = Round(event.t_ns, event.t_ns, flows)

    def _round_ends(self, event: Event, _fields: Fields) -> None:
        self._close_round(event.actor)

    def _close_round(self, actor: str) -> None:
        ended = self._rounds.pop(actor, None)
        if ended is not None:
            start_ns, last_ns, name = ended.start_ns, ended.last_ns, "balances its node"
            self.slices.append(Slice(actor, start_ns, last_ns, name, RECLAIMING, {}, ended.flows))

    def _writing_begins(self, event: Event, _fields: Fields) -> None:
        self._began[event.actor] = event.t_ns

    def _writing_ends(self, event: Event, _fields: Fields) -> None:
        began_ns = self._began.pop(event.actor, None)
        if began_ns is not None:
            self._add(event, event.t_ns - began_ns, "writes back", WRITING)

    def _exits(self, event: Event, fields: Fields) -> None:
        self.moments.append(Moment(event.actor, event.t_ns, "ends", fields))
        self._gone[event.actor] = [(event.t_ns, 1 << 62)]

    def _throttled(self, event: Event, fields: Fields) -> None:
        why = show_throttle_flags(fields["reason"])
        self._add(event, fields["usec_delayed"] * NS_PER_US, f"throttled: {why}", STALL)

    def _paused(self, event: Event, fields: Fields) -> None:
        end_ns, name = event.t_ns + fields["pause"] * NS_PER_MS, "pauses: dirty pages"
        if end_ns > event.t_ns:
            self.slices.append(Slice(event.actor, event.t_ns, end_ns, name, STALL, fields))

    def _read(self, event: Event, fields: Fields) -> None:
        flow = self._new_flow()
        start_ns = event.t_ns - fields["latency_ns"]
        name, disk = f"waits for {fields['dev']}", fields["dev"]
        self.slices += (
            Slice(event.actor, start_ns, event.t_ns, name, DISK, fields, flow),
            Slice(disk, start_ns, event.t_ns, f"read for {event.actor}", DISK, fields, flow),
        )

    def _io_wait(self, event: Event, fields: Fields) -> None:
        name = IO_WAITS[fields["why"]].format(fields["dev"])
        self._add(event, fields["wait_ns"], name, DISK)

    def _sleeps(self, event: Event, fields: Fields) -> None:
        name = SLEEP_NAMES[fields["why"]].format(fields["of"])
        self._add(event, fields["wait_ns"], name, STALL)

    def _lock_wait(self, event: Event, fields: Fields) -> None:
        lock, user = fields["lock"], fields["user"]
        wait_ns, hold_ns = fields["wait_ns"], fields["hold_ns"]
        task, _ = self._on_cpu.get(user, (user, 0))
        got_ns, flow, holds = event.t_ns, self._new_flow(), f"held by {task} on {user}"
        self.slices += (
            Slice(task, got_ns - wait_ns, got_ns, f"spins: {lock}", SPINNING, fields, flow),
            Slice(lock, got_ns, got_ns + hold_ns, holds, HELD, fields, flow),
        )

    def _switch(self, event: Event, fields: Fields) -> None:
        before = self._on_cpu.get(event.actor)
        if before is not None:
            task, since_ns = before
            self._ran.append(Slice(event.actor, since_ns, event.t_ns, task, RUNNING))
        self._on_cpu[event.actor] = (fields["next"], event.t_ns)


def gaps(times: list[tuple[int, int]], end_ns: int) -> list[tuple[int, int]]:
    """Return what lies between times, sorted by start, from 0 to an end."""
    found, at_ns = [], 0
    for start_ns, stop_ns in times:
        if start_ns > at_ns:
            found.append((at_ns, start_ns))
        at_ns = max(at_ns, stop_ns)
    return [*found, (at_ns, end_ns)] if at_ns < end_ns else found


def awake(ran: Slice, sleeps: list[tuple[int, int]]) -> list[Slice]:
    """Cut the times in which its task slept out of a CPU's slice; sleeps are sorted by start."""
    parts, at_ns = [], ran.start_ns
    for start_ns, end_ns in sleeps:
        if start_ns >= ran.end_ns:
            break
        if start_ns > at_ns:
            parts.append(attrs.evolve(ran, start_ns=at_ns, end_ns=start_ns))
        at_ns = max(at_ns, end_ns)
    if at_ns < ran.end_ns:
        parts.append(attrs.evolve(ran, start_ns=at_ns))
    return parts


def fields_of(fields: Mapping[str, object]) -> dict[str, Any]:
    """Return what a timeline shows of fields: whole numbers and texts."""
    return {name: value for name, value in fields.items() if isinstance(value, int | str)}
