"""Write the lines of workload.out: what the steps of a script report.

The grammar is that of the recordings, so a run of ours and one of a real kernel are read by the
same program. Steps are counted per process from 1, and every step counts, also those that print
no line of their own (`name`, `mem`, `vm0`, `snap` …).

Interface: pure functions from figures to lines without their newline.
Units: `_kB` keys are kB, counters are pages or events, durations are given in nanoseconds and
printed as whole milliseconds, rounded down.
"""

from collections.abc import Iterable, Mapping
from typing import Final, TypeAlias

import attrs

from kernelsim.procfs.snapshot import MemoryBlock
from kernelsim.procfs.system import memory_block_files
from kernelsim.units import NS_PER_MS

MEM_KEYS: Final = (
    "VmPeak_kB",
    "VmSize_kB",
    "VmLck_kB",
    "VmPin_kB",
    "VmHWM_kB",
    "VmRSS_kB",
    "RssAnon_kB",
    "RssFile_kB",
    "RssShmem_kB",
    "VmData_kB",
    "VmPTE_kB",
    "VmSwap_kB",
    "minflt_total",
    "majflt_total",
)
MEMINFO_KEYS: Final = (
    "MemFree",
    "MemAvailable",
    "Buffers",
    "Cached",
    "SwapCached",
    "Active(anon)",
    "Inactive(anon)",
    "Active(file)",
    "Inactive(file)",
    "Unevictable",
    "Mlocked",
    "SwapFree",
    "Dirty",
    "Writeback",
    "AnonPages",
    "Slab",
    "PageTables",
    "CommitLimit",
    "Committed_AS",
)
Fields: TypeAlias = Iterable[tuple[str, int | str]]
"""Keys and values of a line, in the order they are printed."""


@attrs.frozen
class StepReport:
    """What one step reports when it is done."""

    proc: str
    """Name of the process at the end of the step."""
    step: int
    """Number of the step in its process, from 1."""
    op: str
    """The step as written in the script."""
    ret: int
    """Result of the system call or count of the step; -1 when it failed."""
    errno: int
    """0, or the error number of the failure."""
    minflt: int
    """Minor faults of this step."""
    majflt: int
    """Major faults of this step."""
    duration_ns: int
    fields: tuple[tuple[str, int | str], ...] = ()
    """What this kind of step reports beyond that (`ptr`, `cached_pages`, …), in order."""


def command_line(number: int, text: str) -> str:
    """Announce a line of the script, numbered from 1."""
    return f"@@CMD {number}: {text}"


def step_line(report: StepReport) -> str:
    """Report a step: result, faults, time and its own fields."""
    fields: list[tuple[str, int | str]] = [
        ("step", report.step),
        ("op", report.op),
        ("ret", report.ret),
        ("errno", report.errno),
        ("minflt", report.minflt),
        ("majflt", report.majflt),
        ("ms", report.duration_ns // NS_PER_MS),
        *report.fields,
    ]
    return fields_line(f"proc={report.proc}", fields)


def fields_line(head: str, fields: Fields) -> str:
    """Report progress of a step: `proc=E` and `[("grown_kB", 16384)]`, for example."""
    return " ".join([head, *(f"{key}={value}" for key, value in fields)])


def pass_line(
    proc: str, op: str, number: int, *, minflt: int, majflt: int, duration_ns: int
) -> str:
    """Report one of several passes of a step over its range, numbered from 1."""
    fields: list[tuple[str, int | str]] = [
        *(("op", op), ("pass", number), ("minflt", minflt), ("majflt", majflt)),
        ("ms", round(duration_ns / NS_PER_MS)),
    ]
    return fields_line(f"proc={proc}", fields)


def mem_line(proc: str, figures: Mapping[str, int]) -> str:
    """Report the memory of a process.

    Args:
        proc: name of the process.
        figures: a value for each of `MEM_KEYS`.
    """
    return fields_line(f"proc={proc} mem", [(key, figures[key]) for key in MEM_KEYS])


def meminfo_line(proc: str, figures: Mapping[str, int]) -> str:
    """Report the main lines of /proc/meminfo.

    Args:
        proc: name of the process that looks.
        figures: kB of at least each of `MEMINFO_KEYS`.
    """
    fields = [(key, figures[key]) for key in MEMINFO_KEYS]
    return fields_line(f"proc={proc} meminfo_kB", fields)


def vmdelta_lines(label: str, before: Mapping[str, int], now: Mapping[str, int]) -> list[str]:
    """Report every counter of /proc/vmstat that changed, in the order of `now`."""
    return [
        f"vmdelta label={label} {key}={value - before.get(key, 0)} now={value}"
        for key, value in now.items()
        if value != before.get(key, 0)
    ]


def verbatim_lines(proc: str, file: str, text: str) -> list[str]:
    """Report a file as it is, between a begin and an end line."""
    return [f"proc={proc} begin={file}", *text.splitlines(), f"proc={proc} end={file}"]


def snapshot_lines(proc: str, name: str, duration_ns: int) -> list[str]:
    """Report that a snapshot directory was written."""
    return [f"[snapshot {name}]", f"proc={proc} snapshot={name} ms={duration_ns // NS_PER_MS}"]


def block_lines(blocks: Iterable[MemoryBlock]) -> list[str]:
    """Report the memory blocks as a shell does that goes through /sys/devices/system/memory."""
    found = {f"memory{block.index}": memory_block_files(block) for block in blocks}
    return [
        f"blk {name} {files['state']} removable={files['removable']} zones={files['valid_zones']}"
        for name, files in sorted(found.items())
    ]


def pointer(address: int) -> str:
    """Print an address as C does."""
    return f"{address:#x}"


def cached_lines(pages: Iterable[int]) -> list[str]:
    """Report which pages of a file are cached, as ranges; the pages are rising."""
    ranges: list[list[int]] = []
    for page in pages:
        if ranges and page == ranges[-1][1] + 1:
            ranges[-1][1] = page
        else:
            ranges.append([page, page])
    return [f"  cached_range={first}-{last}" for first, last in ranges]
