"""What the tools people know would print about a machine, from its rendered /proc and /sys.

Layouts are those of procps 4.0.2 (free, ps, pmap) and numactl 2.0.16, column by column.

Interface: each function takes the directory that holds `proc` and `sys`, and returns the text.
Raises OSError when a file is not there.
Units: kB and MB as the tools print them.
"""

import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path, PurePosixPath
from typing import Final, NamedTuple

from kernelsim.config.number_list import format_number_list, parse_number_list
from kernelsim.config.proc_text import parse_meminfo, parse_node_meminfo, parse_numastat
from kernelsim.units import KIB

NODES: Final = "sys/devices/system/node"
TICKS_PER_S: Final = 100
SECONDS_PER_MINUTE: Final = 60
MAPS_FIELDS: Final = 6  # of a line of maps, with the name
SMAPS_FIGURE: Final = re.compile(r"(\w+): +(\d+) kB")
SMAPS_WORDS: Final = ("THPeligible:", "ProtectionKey:", "VmFlags:")  # lines without a size
WHOLE: Final = 1000  # permille
BOOT: Final = datetime(1970, 1, 1, tzinfo=UTC)  # virtual time begins with the epoch
# Of `ps aux`: where a column begins, and where it ends if it is aligned to its right.
PS_COLUMNS: Final[dict[str, tuple[int, int | None]]] = {
    "USER": (0, None),
    "PID": (9, 14),
    "%CPU": (15, 19),
    "%MEM": (20, 24),
    "VSZ": (25, 31),
    "RSS": (32, 37),
    "TTY": (38, None),
    "STAT": (47, None),
    "START": (52, 57),
    "TIME": (58, 64),
    "COMMAND": (65, None),
}
STAT_STATE: Final = 3  # fields of /proc/PID/stat, numbered from 1 as in its manual
STAT_SESSION: Final = 6
STAT_UTIME: Final = 14
STAT_STIME: Final = 15
STAT_START: Final = 22
STAT_VSIZE: Final = 23
STAT_RSS: Final = 24
STAT_START_STACK: Final = 28
PAGE_KB: Final = 4


def free_text(tree: Path) -> str:
    """Return what `free` prints."""
    kb = parse_meminfo(tree / "proc/meminfo")
    cache = kb["Buffers"] + kb["Cached"] + kb["SReclaimable"]
    available = kb["MemAvailable"] or kb["MemFree"]  # it takes 0 for "the kernel does not tell"
    used = kb["MemTotal"] - available
    memory = (kb["MemTotal"], used, kb["MemFree"], kb["Shmem"], cache, available)
    swap = (kb["SwapTotal"], kb["SwapTotal"] - kb["SwapFree"], kb["SwapFree"])
    names = ("total", "used", "free", "shared", "buff/cache", "available")
    lines = [
        f"{'':<9}" + " ".join(f"{name:>11}" for name in names),
        f"{'Mem:':<9}" + " ".join(f"{value:11d}" for value in memory),
        f"{'Swap:':<9}" + " ".join(f"{value:11d}" for value in swap),
    ]
    return "".join(f"{line}\n" for line in lines)


def node_numbers(tree: Path) -> tuple[int, ...]:
    """Return the nodes of a machine, none of a kernel without NUMA."""
    online = tree / NODES / "online"
    return parse_number_list(online.read_text(encoding="utf-8").strip()) if online.exists() else ()


def numastat_text(tree: Path) -> str:
    """Return what `numastat` prints."""
    nodes = {
        nid: parse_numastat(tree / NODES / f"node{nid}/numastat") for nid in node_numbers(tree)
    }
    rows = [("", [f"node{nid}" for nid in nodes])]
    names = next(iter(nodes.values()), {})
    rows += [(name, [str(stats[name]) for stats in nodes.values()]) for name in names]
    return "".join(
        f"{name:<16}{''.join(f'{cell:>16}' for cell in cells)}\n" for name, cells in rows
    )


def numactl_text(tree: Path) -> str:
    """Return what `numactl -H` prints."""
    nids = node_numbers(tree)
    lines = [f"available: {len(nids)} nodes ({format_number_list(nids)})"]
    for nid in nids:
        folder = tree / NODES / f"node{nid}"
        cpus = parse_number_list((folder / "cpulist").read_text(encoding="utf-8").strip())
        kb = parse_node_meminfo(folder / "meminfo")
        lines.append(f"node {nid} cpus:{''.join(f' {cpu}' for cpu in cpus)}")
        lines.append(f"node {nid} size: {kb['MemTotal'] // KIB} MB")
        lines.append(f"node {nid} free: {kb['MemFree'] // KIB} MB")
    if not nids:
        lines.append("No distance information available.")
    else:
        lines += ["node distances:", "node " + "".join(f"{nid:3d} " for nid in nids)]
    for nid in nids:
        row = (tree / NODES / f"node{nid}/distance").read_text(encoding="utf-8").split()
        lines.append(f"{nid:3d}: " + "".join(f"{int(distance):3d} " for distance in row))
    return "".join(f"{line}\n" for line in lines)


def numactl_show_text(tree: Path) -> str:
    """Return what `numactl -s` prints for a process that has no policy and may run everywhere."""
    nids = node_numbers(tree)
    cpus = [
        cpu
        for nid in nids
        for cpu in parse_number_list(
            (tree / NODES / f"node{nid}/cpulist").read_text(encoding="utf-8").strip()
        )
    ]
    with_cpus = parse_number_list((tree / NODES / "has_cpu").read_text(encoding="utf-8").strip())
    with_memory = parse_number_list(
        (tree / NODES / "has_memory").read_text(encoding="utf-8").strip()
    )
    masks = {
        "physcpubind": tuple(sorted(cpus)),
        "cpubind": with_cpus,
        "nodebind": with_cpus,
        "membind": with_memory,
        "preferred": (),
    }
    lines = ["policy: default", "preferred node: current"]
    lines += [f"{name}: " + "".join(f"{n} " for n in numbers) for name, numbers in masks.items()]
    return "".join(f"{line}\n" for line in lines)


def ps_text(tree: Path) -> str:
    """Return what `ps aux` prints of the processes; the clock began at 00:00 with the boot."""
    lines = [ps_line(list(PS_COLUMNS))]
    pids = sorted(int(path.name) for path in (tree / "proc").iterdir() if path.name.isdecimal())
    lines += [ps_line(ps_cells(tree, pid)) for pid in pids]
    return "".join(f"{line}\n" for line in lines)


def ps_line(cells: Sequence[str]) -> str:
    """Put cells into the columns of `ps aux`; one that is too wide moves only what must move."""
    line = ""
    for (start, end), cell in zip(PS_COLUMNS.values(), cells, strict=True):
        column = start if end is None else end - len(cell)
        line += " " * max(column - len(line), 1 if line else 0) + cell
    return line


def ps_cells(tree: Path, pid: int) -> list[str]:
    """Return what stands in the columns of one process."""
    memory_kb = parse_meminfo(tree / "proc/meminfo")["MemTotal"]
    uptime_ticks = int(
        float((tree / "proc/uptime").read_text(encoding="utf-8").split()[0]) * TICKS_PER_S
    )
    text = (tree / f"proc/{pid}/stat").read_text(encoding="utf-8")
    comm = text[text.index("(") + 1 : text.rindex(")")]
    fields = ["", str(pid), comm, *text[text.rindex(")") + 1 :].split()]
    status = dict(
        line.split(":\t", 1)
        for line in (tree / f"proc/{pid}/status").read_text(encoding="utf-8").splitlines()
    )
    uid = int(status["Uid"].split()[0])
    ticks = int(fields[STAT_UTIME]) + int(fields[STAT_STIME])
    start = int(fields[STAT_START])
    permille = ticks * 1000 // max(uptime_ticks - start, 1)
    rss_kb = int(fields[STAT_RSS]) * PAGE_KB
    minutes, seconds = divmod(ticks // TICKS_PER_S, SECONDS_PER_MINUTE)
    locked = "L" if int(status["VmLck"].split()[0]) else ""
    leader = "s" if fields[STAT_SESSION] == str(pid) else ""
    return [
        "root" if uid == 0 else str(uid),
        str(pid),
        tenths(permille) if permille < WHOLE else str(permille // 10),
        f"{tenths(min(rss_kb * WHOLE // max(memory_kb, 1), WHOLE - 1)):>4}",
        str(int(fields[STAT_VSIZE]) // KIB),
        str(rss_kb),
        "?",
        fields[STAT_STATE] + locked + leader,
        start_text(start, uptime_ticks),
        f"{minutes}:{seconds:02d}",
        command_of(tree, pid),
    ]


def start_text(start_ticks: int, uptime_ticks: int) -> str:
    """Return when a process began: the time of today, or the date of an earlier day."""
    start, now = (BOOT + timedelta(seconds=t // TICKS_PER_S) for t in (start_ticks, uptime_ticks))
    return start.strftime("%H:%M" if start.date() == now.date() else "%b%d")


def command_of(tree: Path, pid: int) -> str:
    """Return the command line of a process, or its name in brackets if it has none."""
    words = (
        (tree / f"proc/{pid}/cmdline").read_text(encoding="utf-8").rstrip("\0").replace("\0", " ")
    )
    return words or f"[{(tree / f'proc/{pid}/comm').read_text(encoding='utf-8').strip()}]"


def tenths(permille: int) -> str:
    """Return a share in percent with one decimal, cut off."""
    return f"{permille // 10}.{permille % 10}"


class _Area(NamedTuple):
    """A mapping as pmap names it."""

    start: int
    size_kb: int
    flags: str
    name: str


def pmap_text(tree: Path, pid: str) -> str:
    """Return what `pmap PID` prints."""
    lines = [f"{pid}:   {command_of(tree, int(pid))}"]
    areas = [area for area, _ in _areas(tree, pid, "maps")]
    for area in areas:
        lines.append(f"{area.start:016x} {area.size_kb:6d}K {area.flags} {area.name}")
    lines.append(f" total {sum(area.size_kb for area in areas):16d}K")
    return "".join(f"{line}\n" for line in lines)


def pmap_x_text(tree: Path, pid: str) -> str:
    """Return what `pmap -x PID` prints, from what smaps says of each mapping."""
    head = f"{'Address':<16} {'Kbytes':>7} {'RSS':>7} {'Dirty':>7} {'Mode':<5} Mapping"
    lines = [f"{pid}:   {command_of(tree, int(pid))}", head]
    total = [0, 0, 0]
    for area, kb in _areas(tree, pid, "smaps"):
        row = [area.size_kb, kb["Rss"], kb["Shared_Dirty"] + kb["Private_Dirty"]]
        total = [before + each for before, each in zip(total, row, strict=True)]
        figures = " ".join(f"{each:7d}" for each in row)
        lines.append(f"{area.start:016x} {figures} {area.flags} {area.name}")
    lines.append(f"{'-' * 16} {' '.join(['-' * 7] * 3)} ")
    lines.append(f"{'total kB':<16} " + " ".join(f"{each:7d}" for each in total))
    return "".join(f"{line}\n" for line in lines)


def _areas(tree: Path, pid: str, file: str) -> Iterator[tuple[_Area, dict[str, int]]]:
    """Yield the mappings of maps or smaps, with what stands below each in kB."""
    stat = (tree / f"proc/{pid}/stat").read_text(encoding="utf-8")
    start_stack = int(stat[stat.rindex(")") + 1 :].split()[STAT_START_STACK - STAT_STATE])
    found: list[tuple[_Area, dict[str, int]]] = []
    for line in (tree / f"proc/{pid}/{file}").read_text(encoding="utf-8").splitlines():
        figure = SMAPS_FIGURE.fullmatch(line)
        if figure:
            found[-1][1][figure[1]] = int(figure[2])
        elif not line.startswith(SMAPS_WORDS):
            found.append((_area(line, start_stack), {}))
    yield from found


def _area(line: str, start_stack: int) -> _Area:
    fields = line.split(maxsplit=MAPS_FIELDS - 1)
    start, end = (int(address, 16) for address in fields[0].split("-"))
    flags = fields[1][:3] + ("s" if fields[1][3] == "s" else "-") + "-"
    name = fields[MAPS_FIELDS - 1] if len(fields) == MAPS_FIELDS else ""
    if name.startswith("/"):
        name = PurePosixPath(name).name
    else:
        name = "  [ stack ]" if start <= start_stack <= end else "  [ anon ]"
    return _Area(start, (end - start) // KIB, flags, name)
