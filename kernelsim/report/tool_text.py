"""What the tools people know would print about a machine, from its rendered /proc and /sys.

Layouts are those of procps 4.0.2 (free, ps, pmap) and numactl 2.0.16, column by column.

Interface: each function takes the directory that holds `proc` and `sys`, and returns the text.
Raises OSError when a file is not there.
Units: kB and MB as the tools print them.
"""

from pathlib import Path, PurePosixPath
from typing import Final

from kernelsim.config.number_list import format_number_list, parse_number_list
from kernelsim.config.proc_text import parse_meminfo, parse_node_meminfo, parse_numastat
from kernelsim.units import KIB

NODES: Final = "sys/devices/system/node"
TICKS_PER_S: Final = 100
SECONDS_PER_MINUTE: Final = 60
MAPS_FIELDS: Final = 6  # of a line of maps, with the name
STAT_STATE: Final = 3  # fields of /proc/PID/stat, numbered from 1 as in its manual
STAT_UTIME: Final = 14
STAT_STIME: Final = 15
STAT_START: Final = 22
STAT_VSIZE: Final = 23
STAT_RSS: Final = 24
PAGE_KB: Final = 4


def free_text(tree: Path) -> str:
    """Return what `free` prints."""
    kb = parse_meminfo(tree / "proc/meminfo")
    cache = kb["Buffers"] + kb["Cached"] + kb["SReclaimable"]
    used = kb["MemTotal"] - kb["MemAvailable"]
    memory = (kb["MemTotal"], used, kb["MemFree"], kb["Shmem"], cache, kb["MemAvailable"])
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
    return parse_number_list(online.read_text().strip()) if online.exists() else ()


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
        cpus = parse_number_list((folder / "cpulist").read_text().strip())
        kb = parse_node_meminfo(folder / "meminfo")
        lines.append(f"node {nid} cpus:{''.join(f' {cpu}' for cpu in cpus)}")
        lines.append(f"node {nid} size: {kb['MemTotal'] // KIB} MB")
        lines.append(f"node {nid} free: {kb['MemFree'] // KIB} MB")
    lines += ["node distances:", "node " + "".join(f"{nid:3d} " for nid in nids)]
    for nid in nids:
        row = (tree / NODES / f"node{nid}/distance").read_text().split()
        lines.append(f"{nid:3d}: " + "".join(f"{int(distance):3d} " for distance in row))
    return "".join(f"{line}\n" for line in lines)


def ps_text(tree: Path) -> str:
    """Return what `ps aux` prints of the processes; the clock began at 00:00 with the boot."""
    kb = parse_meminfo(tree / "proc/meminfo")
    uptime_ticks = int(float((tree / "proc/uptime").read_text().split()[0]) * TICKS_PER_S)
    lines = ["USER       PID %CPU %MEM    VSZ   RSS TTY      STAT START   TIME COMMAND"]
    pids = sorted(int(path.name) for path in (tree / "proc").iterdir() if path.name.isdecimal())
    for pid in pids:
        text = (tree / f"proc/{pid}/stat").read_text()
        comm = text[text.index("(") + 1 : text.rindex(")")]
        fields = ["", str(pid), comm, *text[text.rindex(")") + 1 :].split()]
        ticks = int(fields[STAT_UTIME]) + int(fields[STAT_STIME])
        start = int(fields[STAT_START])
        permille = ticks * 1000 // max(uptime_ticks - start, 1)
        rss_kb = int(fields[STAT_RSS]) * PAGE_KB
        share = rss_kb * 1000 // max(kb["MemTotal"], 1)
        minutes, seconds = divmod(ticks // TICKS_PER_S, SECONDS_PER_MINUTE)
        hours = start // TICKS_PER_S // SECONDS_PER_MINUTE
        began = f"{hours // SECONDS_PER_MINUTE:02d}:{hours % SECONDS_PER_MINUTE:02d}"
        lines.append(
            f"{'root':<8} {pid:5d} {tenths(permille):>4} {tenths(share):>4} "
            f"{int(fields[STAT_VSIZE]) // KIB:6d} {rss_kb:5d} {'?':<8} {fields[STAT_STATE]:<4} "
            f"{began:>5} {minutes:3d}:{seconds:02d} [{comm}]"
        )
    return "".join(f"{line}\n" for line in lines)


def tenths(permille: int) -> str:
    """Return a share in percent with one decimal, cut off."""
    return f"{permille // 10}.{permille % 10}"


def pmap_text(tree: Path, pid: str) -> str:
    """Return what `pmap PID` prints."""
    comm = (tree / f"proc/{pid}/comm").read_text().strip()
    lines = [f"{pid}:   {comm}"]
    total_kb = 0
    for line in (tree / f"proc/{pid}/maps").read_text().splitlines():
        fields = line.split(maxsplit=MAPS_FIELDS - 1)
        start, end = (int(address, 16) for address in fields[0].split("-"))
        size_kb = (end - start) // KIB
        total_kb += size_kb
        flags = fields[1][:3] + ("s" if fields[1][3] == "s" else "-") + "-"
        name = fields[MAPS_FIELDS - 1] if len(fields) == MAPS_FIELDS else ""
        if name == "[stack]":
            name = "  [ stack ]"
        elif not name.startswith("/"):
            name = "  [ anon ]"
        else:
            name = PurePosixPath(name).name
        lines.append(f"{start:016x} {size_kb:6d}K {flags} {name}")
    lines.append(f" total {total_kb:16d}K")
    return "".join(f"{line}\n" for line in lines)
