"""`kernelsim show`: print what /proc, /sys and the usual tools would have shown of a run.

Exit status: 0, or 2 when there is no such run, snapshot, process or thing to show.
"""

import re
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec

from kernelsim.errors import ConfigError
from kernelsim.units import parse_duration

PROC_FILES: Final = (
    "zoneinfo",
    "meminfo",
    "vmstat",
    "buddyinfo",
    "pagetypeinfo",
    "slabinfo",
    "vmallocinfo",
    "swaps",
    "stat",
    "uptime",
    "cpuinfo",
    "diskstats",
    "pressure/cpu",
    "pressure/io",
    "pressure/memory",
)
PROCESS_FILES: Final = (
    "maps",
    "smaps",
    "smaps_rollup",
    "numa_maps",
    "status",
    "stat",
    "statm",
    "oom_score",
)
TOOLS: Final = ("numastat", "numactl -H", "numactl -s", "free", "ps")
NUMA_TOOLS: Final = ("numastat", "numactl -s")  # the real ones refuse a kernel without nodes, too
PMAP_X: Final = "pmap -x "
PMAPS: Final = ("pmap", PMAP_X.strip())
DMESG: Final = "dmesg"
LRU_GEN: Final = "lru_gen"
DEBUG_LRU_GEN: Final = "sys/kernel/debug/lru_gen"
RATE_TOOLS: Final = ("vmstat", "sar -B", "sar -W", "sar -r")
BARE_NUMBER: Final = re.compile(r"[0-9.]+")
RULE: Final = (
    f"must be one of {' '.join(PROC_FILES)} lru_gen; maps:PID status:PID smaps:PID … pmap:PID; "
    '"pmap -x PID"; numastat free ps dmesg "numactl -H" "numactl -s"; '
    '"vmstat 1" "sar -B" "sar -W" "sar -r 1"'
)


def show(directory: Path, what: str = "", /, *, snapshot: str | None = None) -> None:
    """Print what /proc, /sys or a tool shows of a run's machine; without WHAT, list what it can.

    Args:
        directory: What `kernelsim run --out` wrote.
        what: zoneinfo meminfo vmstat buddyinfo pagetypeinfo slabinfo vmallocinfo swaps stat uptime
            cpuinfo diskstats pressure/cpu pressure/io pressure/memory lru_gen;
            maps:PID smaps:PID numa_maps:PID status:PID stat:PID statm:PID pmap:PID "pmap -x PID";
            numastat free ps dmesg "numactl -H" "numactl -s"; and over the run's time, with an
            interval in virtual seconds, "vmstat 1" "sar -B 1" "sar -W 1" "sar -r 1".
        snapshot: Show this snapshot of the workload instead of the end of the run.
    """
    if not (directory / "events.jsonl").is_file():
        rule = "must hold a run; there is no events.jsonl"
        raise ConfigError("DIRECTORY", str(directory), rule)
    words = " ".join(what.split())
    tree = tree_of(directory, snapshot)
    if not words:
        sys.stdout.write(choices_text(directory, tree))
        return
    try:
        text = text_of(directory, tree, words)
    except (ValueError, LookupError) as error:
        rule = f"a file of it that {words!r} needs is not as kernelsim writes it: {error!r}"
        raise ConfigError("DIRECTORY", str(tree), rule) from error
    sys.stdout.write(text)


def tree_of(directory: Path, snapshot: str | None) -> Path:
    """Return where `proc` and `sys` are."""
    if snapshot is None:
        rule = unfinished(directory)
        if rule:
            raise ConfigError("DIRECTORY", str(directory), rule)
        return directory
    folder = directory / "snapshots"
    names = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
    if snapshot not in names:
        known = f"the run has {' '.join(names)}" if names else "the run has none"
        raise ConfigError("--snapshot", snapshot, known)
    return folder / snapshot


def unfinished(directory: Path) -> str:
    """Return why there is no end of a run to show; empty if there is one."""
    from kernelsim.report.rundir import PREVIOUS, RUN, is_being_written, run_of

    run = run_of(directory)
    if run is None:
        if is_being_written(directory):
            return f"the run goes on: there is no {RUN} yet; its log can be inspected"
        kept = f"; the run before it is in {PREVIOUS}" if (directory / PREVIOUS).is_dir() else ""
        rule = f"the run did not get to its end: there is no whole {RUN}"
        return f"{rule}; its log can be inspected{kept}"
    if run.get("kind") == "simulation":
        return "the run was a simulation without a machine; its log can be inspected"
    if not (directory / "proc").is_dir():
        return f"there is no proc/: {run.get('detail') or 'it was removed'}"
    return ""


def choices_text(directory: Path, tree: Path) -> str:
    """Return what there is to show of a run, a line each."""
    from kernelsim.report.tool_text import node_numbers

    tools = [tool for tool in TOOLS if tool not in NUMA_TOOLS or node_numbers(tree)]
    log = directory / DMESG
    tools += [DMESG] if log.is_file() and log.stat().st_size else []
    pids = sorted(int(path.name) for path in (tree / "proc").iterdir() if path.name.isdecimal())
    snapshots = directory / "snapshots"
    names = sorted(path.name for path in snapshots.iterdir()) if snapshots.is_dir() else []
    files = [name for name in PROC_FILES if (tree / "proc" / name).is_file()]
    files += [LRU_GEN] if (tree / DEBUG_LRU_GEN).is_file() else []
    rows = (
        ("files", files),
        ("of a process", [f"{name}:PID" for name in (*PROCESS_FILES, "pmap")] if pids else []),
        ("", [f'"{PMAP_X}PID"'] if pids else []),
        ("PID is one of", [str(pid) for pid in pids]),
        ("tools", [f'"{tool}"' if " " in tool else tool for tool in tools]),
        ("over the time", [f'"{tool} SECONDS"' for tool in RATE_TOOLS]),
        ("--snapshot", names),
    )
    return "".join(f"{label:<15}{' '.join(words)}\n" for label, words in rows if words)


def text_of(directory: Path, tree: Path, what: str) -> str:
    """Return the text of one thing."""
    if what in PROC_FILES:
        return (tree / "proc" / what).read_text(encoding="utf-8")
    if what == LRU_GEN:
        return (tree / DEBUG_LRU_GEN).read_text(encoding="utf-8")
    if what == DMESG:
        return (directory / DMESG).read_text(encoding="utf-8")
    if what in TOOLS:
        return tool_text(tree, what)
    name, colon, pid = what.partition(":")
    if what.startswith(PMAP_X):
        name, colon, pid = PMAP_X.strip(), ":", what.removeprefix(PMAP_X)
    if colon and name in (*PROCESS_FILES, *PMAPS):
        return process_text(directory, tree, name, pid)
    for tool in RATE_TOOLS:
        if what == tool or what.startswith(f"{tool} "):
            return rates_text(directory, tree, tool, what.removeprefix(tool).strip() or "1")
    raise ConfigError("WHAT", what, RULE)


def tool_text(tree: Path, what: str) -> str:
    """Return what a tool prints of a moment."""
    from kernelsim.report import tool_text as tools

    if what in NUMA_TOOLS and not tools.node_numbers(tree):
        raise ConfigError("WHAT", what, "the kernel of this run knows no NUMA nodes")
    render: dict[str, Callable[[Path], str]] = {
        "numastat": tools.numastat_text,
        "numactl -H": tools.numactl_text,
        "numactl -s": tools.numactl_show_text,
        "free": tools.free_text,
        "ps": tools.ps_text,
    }
    return render[what](tree)


def process_text(directory: Path, tree: Path, name: str, pid: str) -> str:
    """Return a file of a process, or its pmap.

    Raises:
        ConfigError: It does not live at that moment; as on Linux, there is no /proc/PID then.
    """
    pids = sorted(int(path.name) for path in (tree / "proc").iterdir() if path.name.isdecimal())
    if not pid.isdecimal() or int(pid) not in pids:
        known = f"alive are {' '.join(map(str, pids))}" if pids else "no process is alive"
        fate = fate_of(directory, pid) or "there was no such process"
        what = f"{name}:{pid}" if " " not in name else f"{name} {pid}"
        raise ConfigError("WHAT", what, f"{fate}; {known}")
    if name in PMAPS:
        from kernelsim.report.tool_text import pmap_text, pmap_x_text

        return pmap_text(tree, pid) if name == "pmap" else pmap_x_text(tree, pid)
    return (tree / "proc" / pid / name).read_text(encoding="utf-8")


class Fate(msgspec.Struct):
    """What run.json says of a process."""

    pid: int
    name: str
    exit_status: int | None
    """Minus the signal that ended it; None while it lives."""


def fate_of(directory: Path, pid: str) -> str:
    """Say how a process of the run that is not in /proc ended; empty if there was none.

    Raises:
        ValueError: run.json is not as kernelsim writes it.
    """
    from kernelsim.report.rundir import run_of

    try:
        told = (run_of(directory) or {}).get("processes", [])
        fates = {str(fate.pid): fate for fate in msgspec.convert(told, list[Fate])}
    except msgspec.ValidationError as error:
        raise ValueError(f"run.json: processes: {error}") from error
    if pid not in fates:
        return ""
    status = fates[pid].exit_status
    end = "it had not begun"
    if status is not None:
        how = signal.Signals(-status).name if status < 0 else f"exit status {status}"
        end = f"it ended with {how}"
    return f"{fates[pid].name} was not alive at that moment, so there is no /proc/{pid}: {end}"


def rates_text(directory: Path, tree: Path, tool: str, interval: str) -> str:
    """Return what a tool that repeats itself prints over the run."""
    from kernelsim.report.rate_text import sar_text, vmstat_text

    text = f"{interval}s" if BARE_NUMBER.fullmatch(interval) else interval  # as the tools read it
    interval_ns = parse_duration(text, key=f"WHAT: interval of {tool}")
    if interval_ns < 1:
        raise ConfigError("WHAT", f"{tool} {interval}", "the interval must be above 0")
    cpus = [
        line.split()[0] for line in (tree / "proc/stat").read_text(encoding="utf-8").splitlines()
    ]
    nr_cpus = sum(name.startswith("cpu") and name != "cpu" for name in cpus)
    nr_cpus = max(nr_cpus, 1)
    metrics = directory / "metrics.parquet"
    if tool == "vmstat":
        return vmstat_text(metrics, interval_ns, nr_cpus=nr_cpus)
    total_kb = int((tree / "proc/meminfo").read_text(encoding="utf-8").split()[1])
    option = tool.removeprefix("sar ")
    return sar_text(metrics, interval_ns, option=option, nr_cpus=nr_cpus, total_kb=total_kb)
