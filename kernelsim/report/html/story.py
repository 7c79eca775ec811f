"""The story of a run in sentences, the first thing of its report.

Each sentence is there when the run has what it tells. Names in them are as processes gave them:
whoever puts them on a page escapes them.

Interface: `story`. Units: as in the text.
"""

from collections.abc import Callable, Iterator
from errno import errorcode
from typing import Final

import numpy as np

from kernelsim.procfs.snapshot import PAGE_KB
from kernelsim.report.html.memory import spoken
from kernelsim.report.html.record import Life, RunRecord
from kernelsim.units import format_duration

KB_PER_MIB: Final = 1024
WAITS: Final = {
    "reclaim_ns": "in direct reclaim",
    "io_ns": "for I/O",
    "lock_ns": "getting pages from the nodes",
    "run_delay_ns": "for a CPU",
}
WORTH_TELLING: Final = 1000  # a wait of less than this part of the run is not told


def story(record: RunRecord, lives: list[Life]) -> list[str]:
    """Return what happened, the most general first."""
    tellers: tuple[Callable[[RunRecord], Iterator[str]], ...] = (
        ending,
        faults,
        pressure,
        kswapd,
        direct_reclaim,
        swap,
        dirty,
        locks,
        hotplug,
    )
    told = [sentence for teller in tellers for sentence in teller(record)]
    return told + list(longest_wait(record, lives)) + list(kills(lives))


def ending(record: RunRecord) -> Iterator[str]:
    """Tell what ran where, for how long, and how it ended."""
    run, samples = record.run, record.samples
    nodes = f"{record.nr_nodes} nodes" if record.nr_nodes > 1 else "one node"
    yield (
        f"{run.get('workload', 'A workload')} ran for {format_duration(record.end_ns)} of virtual "
        f"time on {run.get('machine', 'a machine')} ({nodes}, "
        f"{mib(int(samples.total('free')[0]))} free at first), seed {run.get('seed')}."
    )
    expectations = run.get("expectations", [])
    failed = [each["text"] for each in expectations if each["nr_failed"]]
    if failed:
        yield f"{len(failed)} of its {len(expectations)} expectations failed: {'; '.join(failed)}."
    if run.get("exit_state") != "done":
        yield f"It did not run to its end: {run.get('exit_state')}, {run.get('detail')}."


def faults(record: RunRecord) -> Iterator[str]:
    """Tell of page faults, and of the slowest."""
    samples = record.samples
    nr, major = (grown(record, name) for name in ("pgfault", "pgmajfault"))
    if not nr or not len(samples.t_ns):
        return
    share = percent(major, nr)
    yield f"There were {nr:,} page faults; {major:,} of them ({share}) waited for a disk."
    slowest = record.slowest_fault()
    if slowest is not None:
        parts = {"reclaim_ns": "direct reclaim", "io_ns": "I/O", "lock_ns": "locks"}
        told = [f"{format_duration(int(slowest[k]))} of it in {v}" for k, v in parts.items()]
        longest = max(range(len(told)), key=lambda n: int(slowest[list(parts)[n]]))
        cause = f", {told[longest]}" if int(slowest[list(parts)[longest]]) else ""
        yield (
            f"The slowest, of kind {slowest['kind']}, kept {slowest['actor']} waiting for "
            f"{format_duration(int(slowest['latency_ns']))} until "
            f"{format_duration(int(slowest['t_ns']))}{cause}."
        )


def pressure(record: RunRecord) -> Iterator[str]:
    """Tell how far free memory fell."""
    fell = record.below_min()
    for nid, zid, nr, first_ns in zip(*fell.values(), strict=True):
        zone = next(z for z in record.zones if z.startswith(f"node{nid}_") and record.zid(z) == zid)
        yield (
            f"Free pages of {spoken(zone)} fell below the min watermark {times(int(nr))}, first at "
            f"{format_duration(int(first_ns))}."
        )
    if not len(fell["nid"]):
        yield "Free memory never fell below a min watermark."


def kswapd(record: RunRecord) -> Iterator[str]:
    """Tell what kswapd did."""
    rounds, scanned, taken = (
        grown(record, name) for name in ("pageoutrun", "pgscan_kswapd", "pgsteal_kswapd")
    )
    if rounds:
        who = "kswapd0" if record.nr_nodes == 1 else "The kswapds"
        yield (
            f"{who} balanced {times(rounds)}: {taken:,} pages reclaimed of {scanned:,} looked at "
            f"({percent(taken, scanned)})."
        )


def direct_reclaim(record: RunRecord) -> Iterator[str]:
    """Tell who had to reclaim, and how much of all of it."""
    stalls = record.stalls()
    if not len(stalls["ns"]):
        return
    total_ns = int(stalls["ns"].sum())
    if not total_ns:
        yield f"Tasks tried to reclaim {times(len(stalls['ns']))} and found nothing to take."
        return
    by_actor = {
        actor: int(stalls["ns"][stalls["actor"] == actor].sum())
        for actor in dict.fromkeys(stalls["actor"].tolist())
    }
    most = max(by_actor, key=lambda actor: by_actor[actor])
    whose = "all of it" if len(by_actor) == 1 else f"{percent(by_actor[most], total_ns)} of it"
    longest_ns, began_ns = int(stalls["ns"][0]), int(stalls["t_ns"][0])
    yield (
        f"Tasks reclaimed pages themselves {times(len(stalls['ns']))}, "
        f"{format_duration(total_ns)} in all, {whose} in {most}; the longest stall took "
        f"{format_duration(longest_ns)} from {format_duration(began_ns)} on."
    )


def swap(record: RunRecord) -> Iterator[str]:
    """Tell what went to swap and came back."""
    out, back = grown(record, "pswpout"), grown(record, "pswpin")
    if out or back:
        yield f"{out:,} pages ({mib(out)}) went to swap and {back:,} ({mib(back)}) came back."


def dirty(record: RunRecord) -> Iterator[str]:
    """Tell how near dirty pages came to their limit."""
    samples = record.samples
    held = samples.total("nr_dirty")
    if held.any():
        row = int(np.argmax(held))
        limit = int(samples.of("nr_dirty_threshold")[row])
        yield (
            f"At most {mib(int(held[row]))} of files were dirty, "
            f"{percent(int(held[row]), limit)} of the limit at that time."
        )


def locks(record: RunRecord) -> Iterator[str]:
    """Tell the lock that was waited for longest."""
    totals = record.lock_totals()
    if len(totals["lock"]):
        yield (
            f"The lock waited for longest is {totals['lock'][0]}: "
            f"{times(int(totals['nr'][0]))}, {format_duration(int(totals['ns'][0]))} in all, "
            f"{format_duration(int(totals['max_ns'][0]))} the longest."
        )


def hotplug(record: RunRecord) -> Iterator[str]:
    """Tell how often memory came and went, and why a block stayed."""
    changes = record.hotplug()
    told = []
    for state, did in (("online", "came online"), ("offline", "went offline")):
        nr = sum(change.state == state and not change.errno for change in changes)
        if nr:
            told.append(f"{nr:,} {'block' if nr == 1 else 'blocks'} {did}")
    if told:
        yield f"Of memory, {' and '.join(told)}."
    stayed = [change for change in changes if change.errno]
    if stayed:
        first = stayed[0]
        name = errorcode.get(first.errno, str(first.errno))
        which = "block" if len(stayed) == 1 else "first block"
        yield (
            f"Memory could not go offline {times(len(stayed))}, {which} {first.block} at "
            f"{format_duration(first.t_ns)}: {name}, {first.reason}."
        )


def longest_wait(record: RunRecord, lives: list[Life]) -> Iterator[str]:
    """Tell of the process that lost most time, and on what."""
    found = []
    for life in lives:
        columns = record.processes.get(life.pid)
        if columns is not None:
            found.append(({name: int(columns[name][-1]) for name in WAITS}, life, columns))
    if not found:
        return
    waits, life, columns = max(found, key=lambda each: sum(each[0].values()))
    if sum(waits.values()) * WORTH_TELLING < record.end_ns:
        return
    lived_ns = int(columns["t_ns"][-1]) - life.start_ns
    told = [
        f"{format_duration(ns)} {WAITS[name]}"
        for name, ns in sorted(waits.items(), key=lambda each: -each[1])
        if ns * WORTH_TELLING >= record.end_ns
    ]
    yield (
        f"Of its {format_duration(lived_ns)}, {life.comm} ({life.pid}) waited longest of all: "
        f"{', '.join(told)}."
    )


def kills(lives: list[Life]) -> Iterator[str]:
    """Tell whom the OOM killer chose."""
    victims = sorted(
        (life.victim_ns, f"{life.comm} ({life.pid})")
        for life in lives
        if life.victim_ns is not None
    )
    if victims:
        told = ", ".join(f"{name} at {format_duration(ns)}" for ns, name in victims)
        yield f"The OOM killer chose {told}: dmesg has why."


def grown(record: RunRecord, counter: str) -> int:
    """Return by how much a counter grew in the run."""
    values = record.samples.of(counter)
    return int(values[-1]) - int(values[0])


def percent(part: int, whole: int) -> str:
    """Write a share for people: whole percents, with a decimal below ten."""
    share = 100 * part / max(whole, 1)
    return f"{share:.1f} %" if 0 < share < 10 else f"{share:.0f} %"  # noqa: PLR2004 - as said


def times(nr: int) -> str:
    """Write how often."""
    return {1: "once", 2: "twice"}.get(nr, f"{nr:,} times")


def mib(pages: int) -> str:
    """Write pages as a size."""
    return f"{pages * PAGE_KB / KB_PER_MIB:,.0f} MiB"
