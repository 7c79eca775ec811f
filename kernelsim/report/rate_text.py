"""What `vmstat` and `sar` would have printed while a run went on, from its sampled counters.

Layouts are those of procps 4.0.2 and sysstat 12.6. Time is virtual, and began at 00:00:00.
Differs: The pgsteal/s of `sar -B` is what reclaim freed. sar itself adds up every pgsteal counter,
so it says twice as much of a kernel newer than 5.7, and takes throttled reclaims for scanned pages.
vmstat 4.0.2 reads the sizes of memory for its first line only; here each line has its own.

Interface: `vmstat_text`, `sar_text` of a run directory's metrics.parquet.
Units: kB, pages and events a second, percent of CPU time.
"""

from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Final

import numpy as np

from kernelsim.procfs.system import NS_PER_TICK
from kernelsim.report.samples import Column, Samples
from kernelsim.units import NS_PER_S

PAGE_KB: Final = 4
PERCENT: Final = 100
VMSTAT_HEAD: Final = (
    "procs -----------memory---------- ---swap-- -----io---- -system-- ------cpu-----\n"
    " r  b   swpd   free   buff  cache   si   so    bi    bo   in   cs us sy id wa st\n"
)
SAR_COLUMNS: Final = {
    "-B": "pgpgin/s pgpgout/s fault/s majflt/s pgfree/s pgscank/s pgscand/s pgsteal/s %vmeff",
    "-W": "pswpin/s pswpout/s",
    "-r": "kbmemfree kbavail kbmemused %memused kbbuffers kbcached kbcommit %commit kbactive"
    " kbinact kbdirty",
}

Rate = Callable[[str], float]


def vmstat_text(path: Path, interval_ns: int, *, nr_cpus: int) -> str:
    """Return what `vmstat` prints: the state at the start, then a line an interval.

    Args:
        path: metrics.parquet.
        interval_ns: Distance of the lines.
        nr_cpus: CPUs of the machine, for idle time.
    """
    samples = Samples(path)
    rows = samples.rows_every(interval_ns)
    lines = [vmstat_line(samples, 0, 0, nr_cpus)]
    lines += [vmstat_line(samples, before, row, nr_cpus) for before, row in pairwise(rows)]
    return VMSTAT_HEAD + "".join(f"{line}\n" for line in lines)


def vmstat_line(samples: Samples, before: int, row: int, nr_cpus: int) -> str:
    """Return one line; sizes of the row, rates since the row before."""

    def size_kb(column: Column) -> int:
        return int(column[row]) * PAGE_KB

    def rate(name: str, unit: int = 1) -> int:
        elapsed_ns = int(samples.t_ns[row] - samples.t_ns[before])
        grown = int(samples.of(name)[row] - samples.of(name)[before]) * unit
        return nearest(grown * NS_PER_S, elapsed_ns)

    swapped = samples.of("swap_total") - samples.of("swap_free")
    buffers = samples.of("buffers")
    cache = samples.total("nr_file_pages") - samples.total("nr_swapcached") - buffers
    cache = np.maximum(cache, 0) + samples.total("nr_slab_reclaimable")
    spent = cpu_ticks(samples, before, row, nr_cpus)
    cpu = (
        [nearest(ticks * PERCENT, sum(spent)) for ticks in spent] if any(spent) else [0, 0, 100, 0]
    )
    return (
        f"{int(samples.of('nr_running')[row]):2d} {int(samples.of('nr_blocked')[row]):2d} "
        f"{size_kb(swapped):6d} {size_kb(samples.total('free')):6d} "
        f"{size_kb(buffers):6d} {size_kb(cache):6d} "
        f"{rate('pswpin', PAGE_KB):4d} {rate('pswpout', PAGE_KB):4d} "
        f"{rate('pgpgin'):5d} {rate('pgpgout'):5d} "
        f"{rate('interrupts'):4d} {rate('context_switches'):4d} "
        + " ".join(f"{part:2d}" for part in (*cpu, 0))
    )


def nearest(dividend: int, divisor: int) -> int:
    """Divide and round to the nearest whole number, halves up; by 0 it is 0."""
    return (dividend + divisor // 2) // divisor if divisor else 0


def cpu_ticks(samples: Samples, before: int, row: int, nr_cpus: int) -> list[int]:
    """Return the ticks of all CPUs between two rows: user, system, idle, waiting for I/O."""

    def ticks_of(index: int) -> list[int]:
        busy_ns = int(samples.of("cpu_busy_ns")[index])
        user_ns = min(int(samples.of("cpu_user_ns")[index]), busy_ns)
        iowait_ns = int(samples.of("cpu_iowait_ns")[index])
        idle_ns = int(samples.t_ns[index]) * nr_cpus - busy_ns - iowait_ns
        parts = (user_ns, busy_ns - user_ns, idle_ns, iowait_ns)
        return [part // NS_PER_TICK for part in parts]

    now, earlier = ticks_of(row), ticks_of(before)
    return [ticks - ticks_before for ticks, ticks_before in zip(now, earlier, strict=True)]


def rate_between(samples: Samples, before: int, row: int, name: str) -> float:
    """Return how much a counter grew a second between two rows."""
    elapsed_ns = int(samples.t_ns[row] - samples.t_ns[before])
    grown = int(samples.of(name)[row] - samples.of(name)[before])
    return grown * NS_PER_S / elapsed_ns if elapsed_ns else 0.0


def sar_text(path: Path, interval_ns: int, *, option: str, nr_cpus: int, total_kb: int) -> str:
    """Return what `sar` prints: a line an interval, and the average.

    Args:
        path: metrics.parquet.
        interval_ns: Distance of the lines.
        option: -B paging, -W swapping, -r memory.
        nr_cpus: CPUs of the machine, for the title.
        total_kb: MemTotal.
    """
    samples = Samples(path)
    rows = samples.rows_every(interval_ns)
    head = "".join(f" {name:>9}" for name in SAR_COLUMNS[option].split())
    lines = [f"Linux 6.1.0 (kernelsim) \t1970-01-01 \t_x86_64_\t({nr_cpus} CPU)", ""]
    lines.append(f"{'00:00:00':<11}{head}")
    for before, row in pairwise(rows):
        label = clock_text(int(samples.t_ns[row]), in_hundredths=interval_ns % NS_PER_S != 0)
        lines.append(sar_line(label, samples, option, before, [row], total_kb))
    if len(rows) > 1:
        lines.append(sar_line("Average:", samples, option, rows[0], rows[1:], total_kb))
    return "".join(f"{line}\n" for line in lines)


def sar_line(
    label: str, samples: Samples, option: str, before: int, rows: list[int], total_kb: int
) -> str:
    """Return one line: rates from the row before up to the last, sizes as the mean of the rows."""
    if option == "-r":
        return f"{label:<11}" + "".join(
            f" {cell}" for cell in memory_cells(samples, rows, total_kb)
        )

    def rate(name: str) -> float:
        return rate_between(samples, before, rows[-1], name)

    cells = paging_rates(rate) if option == "-B" else map(rate, ("pswpin", "pswpout"))
    return f"{label:<11}" + "".join(f" {cell:9.2f}" for cell in cells)


def memory_cells(samples: Samples, rows: list[int], total_kb: int) -> Iterator[str]:
    """Yield the figures of `sar -r`; a mean is rounded to the kB.

    Source: sysstat 12.6 pr_stats.c:stub_print_memory_stats
    """

    def kb(column: Column) -> float:
        return float(column[rows].mean()) * PAGE_KB

    free, buffers = kb(samples.total("free")), kb(samples.of("buffers"))
    file_pages = samples.total("nr_file_pages") - samples.total("nr_swapcached")
    cached = kb(np.maximum(file_pages - samples.of("buffers"), 0))
    slab = kb(samples.total("nr_slab_reclaimable") + samples.total("nr_slab_unreclaimable"))
    used = total_kb - min(free + buffers + cached + slab, total_kb)
    commit = kb(samples.of("committed_as"))
    limit = total_kb + kb(samples.of("swap_total"))
    active = kb(samples.total("nr_active_anon") + samples.total("nr_active_file"))
    inactive = kb(samples.total("nr_inactive_anon") + samples.total("nr_inactive_file"))
    yield f"{free:9.0f}"
    yield f"{kb(samples.of('available')):9.0f}"
    yield f"{used:9.0f}"
    yield f"{used * PERCENT / total_kb if total_kb else 0.0:9.2f}"
    yield f"{buffers:9.0f}"
    yield f"{cached:9.0f}"
    yield f"{commit:9.0f}"
    yield f"{commit * PERCENT / limit if limit else 0.0:9.2f}"
    yield f"{active:9.0f}"
    yield f"{inactive:9.0f}"
    yield f"{kb(samples.total('nr_dirty')):9.0f}"


def paging_rates(rate: Rate) -> Iterator[float]:
    """Yield the figures of `sar -B`; the last is pages reclaimed of those scanned, in percent."""
    for name in ("pgpgin", "pgpgout", "pgfault", "pgmajfault", "pgfree"):
        yield rate(name)
    kswapd, direct = rate("pgscan_kswapd"), rate("pgscan_direct")
    stolen = rate("pgsteal_kswapd") + rate("pgsteal_direct")
    yield kswapd
    yield direct
    yield stolen
    scanned = kswapd + direct
    yield stolen * PERCENT / scanned if scanned else 0.0


def clock_text(t_ns: int, *, in_hundredths: bool) -> str:
    """Return a virtual time as a clock shows it, cut off at the second or its hundredth."""
    seconds, rest_ns = divmod(t_ns, NS_PER_S)
    text = f"{seconds // 3600 % 24:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"
    return f"{text}.{rest_ns * 100 // NS_PER_S:02d}" if in_hundredths else text
