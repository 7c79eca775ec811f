"""Read the report a kernel logs when it is out of memory.

Linux: mm/oom_kill.c:dump_header, :dump_tasks and lib/show_mem.c of 6.1, and what they were since
2.6.32: the task table has other columns, which its head names; before 4.8 the counters are the
zones'; before 3.9 no zone says "managed".
Interface: `parse_oom_report` reads the first report of a log, be it from dmesg, journalctl, syslog
or a mail.
Units: pages; kB as printed.
"""

from __future__ import annotations

import re
from typing import Final

import attrs

from kernelsim.config.proc_lines import Lines, Source
from kernelsim.errors import RecordingError
from kernelsim.units import KIB, PAGE_SIZE

__all__ = ["INVOKED", "OomReport", "OomTask", "OomZone", "parse_oom_report"]

PAGE_KB: Final = PAGE_SIZE // KIB
INVOKED: Final = " invoked oom-killer: "
TABLES: Final = ("nr_ptes", "nr_pmds", "nr_puds")  # pages, until 4.14; pgtables_bytes since 4.15
_PREFIX: Final = re.compile(r"^(?:[>|] ?)*(?:.*?\bkernel: )?(?:<\d+>)?(?:\[[^\]]*[.:][^\]]*\] ?)?")
_ORDER: Final = re.compile(r"order=(-?\d+)")
_SCORE_ADJ: Final = re.compile(r"oom_score_adj=(-?\d+)")
_CPU: Final = re.compile(r"CPU: (\d{1,4}) (?:UID: \d+ )?PID: (\d+) Comm: ")
_ZONE: Final = re.compile(r"(?:Node (\d+) )?([A-Z]\w+) free:(\d+)kB (.*)")
_SIZE: Final = re.compile(r"(\w+):(\d+)[kK]B")
_RESERVE: Final = re.compile(r"lowmem_reserve\[\]: ([\d ]+)")
_BLOCKS: Final = re.compile(r"(?:Node \d+ )?[A-Z]\w+: \d+\*(\d+)kB .*")
_SWAP: Final = re.compile(r"(Free|Total) swap += (\d+)kB")
_TASK_HEAD: Final = re.compile(r"\[ *pid *\] +(.*)")
_TASK: Final = re.compile(r"\[ *(\d+) *\] +(.*)")
_KILLED: Final = re.compile(r"(?:.*: )?Killed process (\d+)(?:, UID \d+,)? \((.*?)\)")
_CGROUP: Final = re.compile(
    r".*CONSTRAINT_MEMCG|Memory cgroup out of memory|Task in .* killed as a"
)
_OTHER: Final = re.compile(r".*constraint=CONSTRAINT_(MEMORY_POLICY|CPUSET)")


@attrs.frozen(kw_only=True)
class OomTask:
    """One line of the task table."""

    pid: int
    """Process number."""
    name: str
    """Its comm."""
    rss: int
    """Pages in memory."""
    swapents: int
    """Pages in swap."""
    oom_score_adj: int
    """-1000 … 1000."""
    pgtables_bytes: int = 0
    """Size of its page tables; 0 where the kernel does not tell."""

    @property
    def nr_pages(self) -> int:
        """Return the pages the badness counts, but for page tables."""
        return self.rss + self.swapents


@attrs.frozen(kw_only=True)
class OomZone:
    """One zone, in pages."""

    nid: int
    """Node number."""
    name: str
    """Zone name."""
    sizes: dict[str, int]
    """free, min, low, high, present, managed … as far as printed."""
    protection: tuple[int, ...]
    """lowmem_reserve, one a zone type."""


@attrs.frozen(kw_only=True)
class OomReport:
    """One report."""

    file: str
    """Name for errors."""
    invoker: str
    """The comm of who asked for memory."""
    invoker_pid: int | None
    """Its process; None before 3.x logged it."""
    oom_score_adj: int
    """Of the invoker."""
    order: int
    """Of the allocation."""
    constraint: str
    """MEMORY_POLICY or CPUSET where only some nodes were out of memory, else empty."""
    nr_cpus: int
    """CPUs there are at least."""
    is_old: bool
    """Whether a kernel before 4.8 wrote it."""
    zones: tuple[OomZone, ...]
    """Populated zones."""
    swap_kb: dict[str, int]
    """Free and Total."""
    tasks: tuple[OomTask, ...]
    """The task table."""
    killed: OomTask | None
    """Whom the kernel killed; None when the log ends before."""


@attrs.define
class _Open:
    """A report while its lines are read."""

    lines: Lines
    invoker: str = ""
    invoker_pid: int | None = None
    oom_score_adj: int = 0
    order: int = 0
    constraint: str = ""
    last_cpu: int = 0
    is_old: bool = True
    zones: list[OomZone] = attrs.field(factory=list)
    swap_kb: dict[str, int] = attrs.field(factory=dict)
    columns: list[str] = attrs.field(factory=list)
    tasks: list[OomTask] = attrs.field(factory=list)
    killed_pid: int | None = None


def parse_oom_report(source: Source) -> OomReport:
    """Return the first report of a log.

    Raises RecordingError when there is none, when it lacks the zones or the task table, when a
    memory cgroup was out of memory, or pages are not of 4 KiB.
    """
    lines = Lines.of(source, file="OOM report")
    found = _Open(lines)
    for index, raw in enumerate(lines.lines):
        line = _PREFIX.sub("", raw.strip(), count=1).strip()
        if INVOKED in line:
            if found.invoker:
                break  # the next report
            _read_head(found, line)
        elif found.invoker:
            _read_line(found, index, line)
        if found.killed_pid is not None:
            break
    return _close(found)


def _read_head(found: _Open, line: str) -> None:
    """Read who asked for what."""
    found.invoker = line.split(INVOKED, maxsplit=1)[0]
    if (order := _ORDER.search(line)) is not None:
        found.order = int(order[1])
    if (score := _SCORE_ADJ.search(line)) is not None:
        found.oom_score_adj = int(score[1])


def _read_line(found: _Open, index: int, line: str) -> None:
    """Read one line of a report; what is not needed is left out."""
    if _CGROUP.match(line):
        found.lines.fail(index, "a memory cgroup was out of memory; cgroups are not simulated")
    if match := _CPU.match(line):
        found.last_cpu = max(found.last_cpu, int(match[1]))
        found.invoker_pid = int(match[2])
    elif match := _ZONE.match(line):
        _read_zone(found, match)
    elif line.startswith("Node ") and " active_anon:" in line:
        found.is_old = False
    elif (match := _RESERVE.match(line)) and found.zones:
        row = tuple(map(int, match[1].split()))
        found.zones[-1] = attrs.evolve(found.zones[-1], protection=row)
    elif match := _BLOCKS.match(line):
        if int(match[1]) != PAGE_KB:
            rule = f"its pages are of {match[1]} KiB; only {PAGE_KB} KiB are simulated"
            found.lines.fail(index, rule)
    elif match := _SWAP.match(line):
        found.swap_kb[match[1]] = int(match[2])
    elif match := _TASK_HEAD.match(line):
        found.columns = match[1].split()
    elif (match := _TASK.match(line)) and found.columns:
        _read_task(found, index, match)
    elif match := _OTHER.match(line):
        found.constraint = match[1]
    elif match := _KILLED.match(line):
        found.killed_pid = int(match[1])


def _read_zone(found: _Open, match: re.Match[str]) -> None:
    """Add a zone; its sizes are in kB, and min, low and high stand with the boost in."""
    sizes = {key: int(kbytes) // PAGE_KB for key, kbytes in _SIZE.findall(match[4])}
    sizes["free"] = int(match[3]) // PAGE_KB
    boost = sizes.get("boost", 0)
    sizes.update({key: sizes.get(key, 0) - boost for key in ("min", "low", "high")})
    sizes.setdefault("managed", sizes.get("present", 0))
    zone = OomZone(nid=int(match[1] or 0), name=match[2], sizes=sizes, protection=())
    found.zones.append(zone)


def _read_task(found: _Open, index: int, match: re.Match[str]) -> None:
    """Add a line of the task table, whose columns the head names."""
    words = match[2].split(maxsplit=len(found.columns) - 1)
    if len(words) != len(found.columns) or not all(_is_number(word) for word in words[:-1]):
        found.lines.fail(index, f"must have the columns pid {' '.join(found.columns)}")
    row = dict(zip(found.columns, words, strict=True))
    tables = sum(int(row.get(name, 0)) for name in TABLES) * PAGE_SIZE
    found.tasks.append(
        OomTask(
            pid=int(match[1]),
            name=row["name"],
            rss=int(row.get("rss", 0)),
            swapents=int(row.get("swapents", 0)),
            oom_score_adj=int(row.get("oom_score_adj", 0)),
            pgtables_bytes=int(row.get("pgtables_bytes", tables)),
        )
    )


def _is_number(word: str) -> bool:
    return word.removeprefix("-").isdecimal() and len(word) < 20  # noqa: PLR2004 (64 bits)


def _close(found: _Open) -> OomReport:
    """Return the finished report, or raise RecordingError for what is missing."""
    file = found.lines.file
    for is_there, rule in (
        (found.invoker, f'has no OOM report: no line with "{INVOKED.strip()}"'),
        (found.zones, "the report has no zones: lines such as 'Node 0 DMA free:15900kB …'"),
        (all(zone.protection for zone in found.zones), "a zone has no line 'lowmem_reserve[]'"),
        (found.tasks, "the report has no task table; vm.oom_dump_tasks was off, or it is cut off"),
    ):
        if not is_there:
            raise RecordingError(file, None, rule)
    by_pid = {task.pid: task for task in found.tasks}
    killed = None if found.killed_pid is None else by_pid.get(found.killed_pid)
    return OomReport(
        file=file,
        invoker=found.invoker,
        invoker_pid=found.invoker_pid,
        oom_score_adj=found.oom_score_adj,
        order=found.order,
        constraint=found.constraint,
        nr_cpus=found.last_cpu + 1,
        is_old=found.is_old,
        zones=tuple(found.zones),
        swap_kb=found.swap_kb,
        tasks=tuple(found.tasks),
        killed=killed,
    )
