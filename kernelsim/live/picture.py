"""Draws a view as lines of a terminal, for 80 columns or more.

Interface: `picture`.
Units: pages, ns of virtual time; columns and lines of the terminal. A figure behind a `+` is what
was added since the view before.
"""

from collections.abc import Iterator, Sequence
from typing import Final

import attrs
from rich.text import Text

from kernelsim.live.pace import Pace
from kernelsim.live.view import LockView, TaskView, View
from kernelsim.procfs.meminfo import meminfo_kb
from kernelsim.report.progress import free_bar
from kernelsim.report.text_table import filled
from kernelsim.units import GIB, KIB, MIB, PAGE_SIZE, format_duration, scaled

KEYS: Final = "space pause  s step  [ ] its length  - + speed  c full speed  ↑↓ scroll  q end"
OVER: Final = "the run is over  ↑↓ scroll  q leave"
GUEST_KEYS: Final = KEYS.replace("q end", "q leave")
GUEST_OVER: Final = "the run is over  q leave"
ZONES_MAX: Final = 8
LOCKS_MAX: Final = 3
BAR_CELLS: Final = 28
WIDE: Final = 110  # columns from which on a process's waits are shown by cause
HEADS: Final = (
    "  PID",
    "NAME       ",
    "STATE     ",
    "CPU%",
    "    RSS",
    "   SWAP",
    " FAULTS",
    "MAJOR",
)
WIDE_HEADS: Final = ("    LOCKS", "  RECLAIM", "      I/O")
STYLES: Final = {
    "running": "green",
    "asking": "yellow",
    "reclaiming": "red",
    "blocked": "magenta",
    "awake": "red",
}
SIZES: Final = {
    "total": "MemTotal",
    "free": "MemFree",
    "available": "MemAvailable",
    "cached": "Cached",
    "dirty": "Dirty",
    "swap free": "SwapFree",
}
COUNTS: Final = {
    "faults": ("pgfault",),
    "scanned": ("pgscan_kswapd", "pgscan_direct"),
    "reclaimed": ("pgsteal_kswapd", "pgsteal_direct"),
    "swap out": ("pswpout",),
    "in": ("pswpin",),
}


@attrs.frozen(kw_only=True)
class Scene:
    """What there is to draw.

    Attributes:
        title: What runs where.
        view: Now.
        before: A while ago, or at the beginning of a step.
        pace: How time goes on.
        reached_ns: Virtual time that passed in a second, of late.
        end: How the run ended; empty while it goes on.
        first: The process at the top of the list.
        is_guest: Who sees it did not start the run.
    """

    title: str
    view: View
    before: View
    pace: Pace
    reached_ns: int
    end: str
    first: int
    is_guest: bool = False


def picture(scene: Scene, width: int, height: int) -> Text:
    """Return the whole screen: so many lines, none longer than the width."""
    lines = [*head_lines(scene, width), *zone_lines(scene.view), *kswapd_lines(scene.view)]
    lines += lock_lines(scene.view.locks, scene.before.locks)
    room = height - len(lines) - 2
    lines += [Text(), *task_lines(scene, width, max(room - 1, 1))]
    lines = lines[: height - 1]
    lines += [Text()] * (height - 1 - len(lines))
    keys, over = (GUEST_KEYS, GUEST_OVER) if scene.is_guest else (KEYS, OVER)
    lines.append(Text(over if scene.end else keys, style="reverse"))
    for line in lines:
        line.no_wrap = True
        line.truncate(width, overflow="ellipsis")
    return Text("\n").join(lines)


def head_lines(scene: Scene, width: int) -> Iterator[Text]:
    """Yield what runs, the clock, and what the whole machine says."""
    view, before, machine = scene.view, scene.before, scene.view.machine
    clock = f"virtual time {format_duration(view.t_ns)}"
    passed_ns = view.t_ns - before.t_ns
    yield Text(f"{filled(scene.title, width - len(clock) - 1)} {clock}", style="bold")
    yield Text(f"{pace_text(scene)}; + is since {format_duration(passed_ns)}")
    kb = meminfo_kb(machine)
    sizes = {name: short(kb[key] * KIB) for name, key in SIZES.items()}
    yield Text("  ".join(f"{name} {size}" for name, size in sizes.items()))
    events, earlier = machine.vm_events, before.machine.vm_events
    counts = [
        f"{name} {sum(events[key] for key in keys)}"
        f"+{sum(events[key] - earlier[key] for key in keys)}"
        for name, keys in COUNTS.items()
    ]
    yield Text("  ".join(counts))


def pace_text(scene: Scene) -> str:
    """Return how time goes on."""
    pace = scene.pace
    if scene.end:
        return scene.end
    if pace.is_paused:
        return f"paused, step {format_duration(pace.step_ns)}"
    if pace.stop_ns is not None:
        return f"on a step to {format_duration(pace.stop_ns)}"
    reached = format_duration(scene.reached_ns)
    if pace.speed_ns is None:
        return f"full speed, {reached} a second"
    return f"{format_duration(pace.speed_ns)} a second, reached {reached}"


def zone_lines(view: View) -> Iterator[Text]:
    """Yield the zones with memory: free pages as a bar, and the watermarks."""
    zones = [(node.nid, zone) for node in view.machine.nodes for zone in node.zones]
    zones = [(nid, zone) for nid, zone in zones if zone.populated]
    for nid, zone in zones[:ZONES_MAX]:
        marks = [mark + zone.boost for mark in (zone.min, zone.low, zone.high)]
        free = zone.stats["nr_free_pages"]
        yield Text.assemble(
            filled(f"node {nid} {zone.name}", 15),
            free_bar(free, zone.managed, marks, BAR_CELLS),
            f" free, min {marks[0]} low {marks[1]} high {marks[2]}",
        )
    if len(zones) > ZONES_MAX:
        yield Text(f"and {len(zones) - ZONES_MAX} zones more")


def kswapd_lines(view: View) -> Iterator[Text]:
    """Yield what each kswapd does, four a line."""
    words = []
    for kswapd in view.kswapds:
        wait = f" for {kswapd.waits_for}" if kswapd.waits_for else ""
        style = STYLES.get(kswapd.doing, "")
        words.append(Text.assemble(f"kswapd{kswapd.nid} ", (kswapd.doing, style), wait))
    for start in range(0, len(words), 4):
        yield Text("  ").join(words[start : start + 4])


def lock_lines(locks: Sequence[LockView], before: Sequence[LockView]) -> Iterator[Text]:
    """Yield the locks that were waited for longest."""
    earlier = {lock.name: lock for lock in before}
    for lock in locks[:LOCKS_MAX]:
        was = earlier.get(lock.name)
        waits, wait_ns = (was.nr_waits, was.wait_ns) if was else (0, 0)
        yield Text(
            f"{lock.name}: {lock.nr_waits}+{lock.nr_waits - waits} waits of {lock.nr_holds}, "
            f"{format_duration(lock.wait_ns)} + {format_duration(lock.wait_ns - wait_ns)}, "
            f"longest {format_duration(lock.wait_ns_max)}"
        )


def task_lines(scene: Scene, width: int, nr_max: int) -> Iterator[Text]:
    """Yield a head and the processes, as many as there is room for."""
    heads = (*HEADS, *(WIDE_HEADS if width >= WIDE else ()))
    yield Text(" ".join((*heads, "WAITS FOR")), style="reverse")
    earlier = {task.process.pid: task for task in scene.before.tasks}
    passed_ns = max(scene.view.t_ns - scene.before.t_ns, 1)
    for task in scene.view.tasks[scene.first : scene.first + nr_max]:
        was = earlier.get(task.process.pid)
        percent = (task.cpu_ns - (was.cpu_ns if was else 0)) * 100 // passed_ns
        cells = [cell for cell, _ in zip(task_cells(task, percent), heads, strict=False)]
        line = Text(" ".join((*cells, task.waits_for)))
        line.stylize(STYLES.get(task.doing, ""), 18, 28)
        yield line


def task_cells(task: TaskView, percent: int) -> Iterator[str]:
    """Yield what stands below `HEADS` and `WIDE_HEADS`."""
    process = task.process
    yield f"{process.pid:5}"
    yield filled(process.comm[:11], 11)
    yield f"{task.doing:10}"
    yield f"{percent:4}"
    yield f"{short(process.rss * PAGE_SIZE):>7}"
    yield f"{short(process.swap * PAGE_SIZE):>7}"
    yield f"{process.minflt + process.majflt:7}"
    yield f"{process.majflt:5}"
    for wait_ns in (task.lock_ns, task.reclaim_ns, task.io_ns):
        yield f"{format_duration(wait_ns):>9}"


def short(size_bytes: int) -> str:
    """Return a size in at most 7 characters."""
    for unit, letter in ((GIB, "G"), (MIB, "M"), (KIB, "K")):
        if size_bytes >= unit:
            return f"{scaled(size_bytes, unit, 1)}{letter}"
    return str(size_bytes)
