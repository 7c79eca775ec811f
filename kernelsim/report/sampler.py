"""Samples the counters of a running machine in virtual time, at most so many rows a run.

A run does not say beforehand how long it is. Sampling begins every millisecond; when the rows are
too many, only those at the multiples of a longer interval are kept and sampling goes on at that
one. Each interval divides a second or is a multiple of it, so rates a second can be told exactly.

Interface: `Sampler.take` when virtual time has reached `due_ns`, `finish` at the end, `recorder`
and `process_recorder` for the tables.
Units: ns; pages and events as in the kernel's counters. Columns: `t_ns`; nodeN_ZONE_free, _min,
_low, _high, _boost of each zone that has or may get memory; nodeN_ and the node counters' names;
the names of /proc/vmstat's events; and `MACHINE_COLUMNS`, on machines of several nodes with
nodeN_link_ns, how long the links to it were busy. A second table has `PROCESS_COLUMNS`, a row a
living process.
"""

from collections.abc import Callable
from typing import Final, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from kernelsim.actors.core.kernel import Kernel
from kernelsim.config.zones import MAX_NR_ZONES, ZoneType
from kernelsim.mm.core.mem import (
    Z_FREE,
    Z_PRESENT,
    Z_WATERMARK_BOOST,
    Z_WMARK_HIGH,
    Z_WMARK_LOW,
    Z_WMARK_MIN,
)
from kernelsim.mm.core.sample import available_sums, copy_counters
from kernelsim.mm.core.vmstat import (
    ALLOCSTALL_DMA,
    NODE_STAT_NAMES,
    PGALLOC_DMA,
    PGSKIP_DMA,
    VM_EVENT_NAMES,
)
from kernelsim.mm.file.dirty_limits import global_dirty_limits
from kernelsim.mm.space.pgtable import MM_SWAPENTS
from kernelsim.mm.swap.swapon import si_swapinfo
from kernelsim.procfs.meminfo import si_mem_available
from kernelsim.procfs.snapshot import PAGE_KB
from kernelsim.procfs.vmstat import ZONE_SUFFIXES
from kernelsim.report.metrics import MetricsRecorder
from kernelsim.sched.psi import (
    PSI_CPU_SOME,
    PSI_IO_FULL,
    PSI_IO_SOME,
    PSI_MEM_FULL,
    PSI_MEM_SOME,
    PsiTotals,
)
from kernelsim.units import NS_PER_MS, NS_PER_S

ROWS_MAX: Final = 1000
FIRST_INTERVAL_NS: Final = NS_PER_MS
ZONE_COLUMNS: Final = {
    "free": Z_FREE,
    "min": Z_WMARK_MIN,
    "low": Z_WMARK_LOW,
    "high": Z_WMARK_HIGH,
    "boost": Z_WATERMARK_BOOST,
}
DIMM_ZONES: Final = (ZoneType.ZONE_NORMAL, ZoneType.ZONE_MOVABLE)
MACHINE_COLUMNS: Final = (
    "swap_total",
    "swap_free",
    "nr_in_flight",
    "nr_processes",
    "nr_running",
    "nr_blocked",
    "buffers",
    "available",
    "committed_as",
    "context_switches",
    "interrupts",
    "cpu_user_ns",
    "cpu_busy_ns",
    "cpu_iowait_ns",
    "nr_dirty_threshold",
    "nr_dirty_background_threshold",
    *("psi_memory_some_ns", "psi_memory_full_ns", "psi_io_some_ns", "psi_io_full_ns"),
    "psi_cpu_some_ns",
)
PSI_STATES: Final = (PSI_MEM_SOME, PSI_MEM_FULL, PSI_IO_SOME, PSI_IO_FULL, PSI_CPU_SOME)
PROCESS_COLUMNS: Final = (
    *("t_ns", "pid", "rss", "swap", "minflt", "majflt"),
    *("utime_ns", "stime_ns", "run_delay_ns", "lock_ns", "reclaim_ns", "io_ns"),
)


S = TypeVar("S")


class Sample(NamedTuple):
    """What was sampled at one moment."""

    row: NDArray[np.int64]
    """The machine's columns."""
    processes: list[tuple[int, ...]]
    """`PROCESS_COLUMNS` of each living process."""


class Sampler:
    """The rows sampled so far.

    Args:
        kernel: The machine; its boot is over.
        rows_max: Rows kept at most, 10 or more.

    Attributes:
        interval_ns: Distance of the rows at present.
        due_ns: When to take the next one.
    """

    def __init__(self, kernel: Kernel, *, rows_max: int = ROWS_MAX) -> None:
        self.interval_ns = FIRST_INTERVAL_NS
        self.due_ns = 0
        self._kernel = kernel
        self._rows_max = rows_max
        self._samples: list[Sample] = []
        # Of its own, so that looking changes nothing; in ns, as samples may be less than jiffies
        # apart.
        self._stalled = PsiTotals(kernel.psi.cpus, unit_ns=1)
        self._zones = zones_to_sample(kernel)
        self._fields = np.array(list(ZONE_COLUMNS.values()))
        self.columns = column_names(kernel, self._zones)

    def take(self) -> None:
        """Add a row for the present virtual time, and set when the next is due."""
        self._samples.append(self._sample())
        self._samples, self.interval_ns = thinned_out(
            self._samples, self.interval_ns, self._rows_max, lambda sample: int(sample.row[0])
        )
        now_ns = self._kernel.engine.now_ns
        self.due_ns = (now_ns // self.interval_ns + 1) * self.interval_ns

    def finish(self) -> None:
        """Add the last row, whatever the time, unless there is one."""
        if not self._samples or int(self._samples[-1].row[0]) < self._kernel.engine.now_ns:
            self._samples.append(self._sample())

    def recorder(self) -> MetricsRecorder:
        """Return the table."""
        recorder = MetricsRecorder(self.columns)
        for sample in self._samples:
            recorder.append(sample.row)
        return recorder

    def process_recorder(self) -> MetricsRecorder:
        """Return the table of processes, by time, then by when they started."""
        recorder = MetricsRecorder(PROCESS_COLUMNS)
        for sample in self._samples:
            for values in sample.processes:
                recorder.append(values)
        return recorder

    def _sample(self) -> Sample:
        kernel = self._kernel
        mem = kernel.mem
        kernel.bursts.enter_tasks()
        now_ns = kernel.engine.now_ns
        row = np.empty(len(self.columns), np.int64)
        end = copy_counters(mem.zone, mem.node_stat, mem.vm_event, self._zones, self._fields, row)
        row[0] = now_ns
        row[end:] = machine_row(kernel, self._stalled.collect(now_ns)) + link_row(kernel)
        return Sample(row, process_rows(kernel))


def thinned_out(
    samples: list[S], interval_ns: int, samples_max: int, t_ns: Callable[[S], int]
) -> tuple[list[S], int]:
    """Return fewer than so many samples, those at the multiples of an interval, and the interval.

    Args:
        samples: At multiples of `interval_ns`.
        interval_ns: Lengthened for as long as it takes.
        samples_max: There will be less.
        t_ns: Gives the time of a sample.
    """
    while len(samples) >= samples_max:
        interval_ns *= longer(interval_ns)
        samples = [sample for sample in samples if t_ns(sample) % interval_ns == 0]
    return samples, interval_ns


def longer(interval_ns: int) -> int:
    """Return by how much to lengthen an interval: 2, or 5 where twice it does not divide a second.

    So the intervals are 1, 2, 4, 8, 40, 200 ms, 1 s, 2 s, 4 s …
    """
    return 2 if interval_ns >= NS_PER_S or NS_PER_S % (2 * interval_ns) == 0 else 5


def zones_to_sample(kernel: Kernel) -> NDArray[np.int64]:
    """Return the rows of zones with memory, and of those that DIMMs may bring memory to."""
    types = kernel.phys.zone_types
    first, end = kernel.spec.dimm_window
    may_grow = [kind in DIMM_ZONES and first < end for kind in types] * len(kernel.nodes)
    has_memory = kernel.mem.zone[:, Z_PRESENT] > 0
    rows: NDArray[np.int64] = np.flatnonzero(has_memory | np.array(may_grow))
    return rows


def column_names(kernel: Kernel, zones: NDArray[np.int64]) -> tuple[str, ...]:
    """Return the columns in their order."""
    types = kernel.phys.zone_types
    zone_names = [f"node{zone // len(types)}_{types[zone % len(types)].value}" for zone in zones]
    nids = range(len(kernel.nodes))
    return (
        "t_ns",
        *(f"{zone}_{name}" for zone in zone_names for name in ZONE_COLUMNS),
        *(f"node{nid}_{name}" for nid in nids for name in NODE_STAT_NAMES),
        *event_names(types),
        *MACHINE_COLUMNS,
        *(f"node{nid}_link_ns" for nid in nids if len(nids) > 1),
    )


def event_names(zone_types: tuple[ZoneType, ...]) -> list[str]:
    """Return the names of the event counters; three of them depend on the architecture's zones."""
    names = list(VM_EVENT_NAMES)
    others = [kind for kind in ZoneType if kind not in zone_types]
    unused = others[len(zone_types) - MAX_NR_ZONES :] if len(zone_types) < MAX_NR_ZONES else []
    for index, zone_type in enumerate((*zone_types, *unused)):
        suffix = ZONE_SUFFIXES[zone_type.value]
        names[PGALLOC_DMA + index] = f"pgalloc_{suffix}"
        names[ALLOCSTALL_DMA + index] = f"allocstall_{suffix}"
        names[PGSKIP_DMA + index] = f"pgskip_{suffix}"
    return names


def machine_row(kernel: Kernel, stalled_ns: list[int]) -> tuple[int, ...]:
    """Return the values of `MACHINE_COLUMNS`; of pressure the totals are given, [PSI_*]."""
    boot_kb = kernel.spec.boot.meminfo_kb
    dirty = global_dirty_limits(kernel.phys)
    running = waiting = switches = ipis = user_ns = busy_ns = iowait_ns = 0
    for cpu in kernel.cpus:
        state = cpu.state
        running += (state.current is not None) + len(state.run_queue)
        waiting += state.nr_iowait
        switches += state.nr_switches
        ipis += state.nr_ipis
        user_ns += state.user_ns
        busy_ns += cpu.busy_total_ns()
        iowait_ns += cpu.iowait_total_ns()
    return (
        *si_swapinfo(kernel.swap),
        kernel.nr_in_flight,
        len(kernel.processes),
        running,
        waiting,
        boot_kb.get("Buffers", 0) // PAGE_KB,
        available_pages(kernel),
        kernel.mms.commit.committed_pages + boot_kb.get("Committed_AS", 0) // PAGE_KB,
        switches,
        ipis,
        user_ns,
        busy_ns,
        iowait_ns,
        dirty.thresh,
        dirty.bg_thresh,
        *(stalled_ns[state] for state in PSI_STATES),
    )


def link_row(kernel: Kernel) -> tuple[int, ...]:
    """Return how long the links to each node have been busy; nothing on a machine of one node."""
    busy_ns = [0] * len(kernel.nodes)
    if len(busy_ns) == 1:
        return ()
    for (source, target), server in kernel.interconnect.links.items():
        if source != target:  # else it is the bus of the node
            busy_ns[target] += server.account.hold_ns
    return tuple(busy_ns)


def process_rows(kernel: Kernel) -> list[tuple[int, ...]]:
    """Return `PROCESS_COLUMNS` of each living process."""
    now_ns, processes = kernel.engine.now_ns, kernel.processes.values()
    held = kernel.mms.mms.rss[[process.mm.number for process in processes]].tolist()
    rows: list[tuple[int, ...]] = []
    for process, rss in zip(processes, held, strict=True):
        task, waits, swap = process.task, process.task.waits, rss[MM_SWAPENTS]
        rows.append(
            (
                now_ns,
                process.pid,
                sum(rss) - swap + process.mm.image_rss_pages,
                swap,
                *(process.minflt, process.majflt),
                *(task.utime_ns, task.stime_ns, task.run_delay_ns),
                *(waits.lock_ns, waits.reclaim_ns, waits.io_ns),
            )
        )
    return rows


def available_pages(kernel: Kernel) -> int:
    """Return MemAvailable in pages."""
    free, low, cache, reclaimable = available_sums(kernel.mem.zone, kernel.mem.node_stat)
    return si_mem_available(
        free=free,
        totalreserve=kernel.phys.totalreserve_pages,
        low=low,
        cache=cache,
        reclaimable=reclaimable,
    )
