"""The summary of a run, for people: what memory management did, and what it cost each process.

The text is the same for the same seed but for its line `wall time`.

Interface: `summarize` makes a `RunSummary`, `print_summary` prints it: tables with lines on a
terminal, aligned columns elsewhere; `summary_text` is the latter.
Units: in the text.
"""

import signal
import sys
from collections.abc import Iterator, Sequence
from typing import Final

import attrs
from rich.console import Console
from rich.table import Table
from rich.text import Text

from kernelsim.config.zones import zone_name
from kernelsim.errors import CheckFailedError
from kernelsim.machine import Machine
from kernelsim.mm.core.mem import (
    Z_FREE,
    Z_PRESENT,
    Z_WATERMARK_BOOST,
    Z_WMARK_HIGH,
    Z_WMARK_LOW,
    Z_WMARK_MIN,
)
from kernelsim.mm.core.vmstat import (
    OOM_KILL,
    PAGEOUTRUN,
    PGFAULT,
    PGMAJFAULT,
    PGSCAN_DIRECT,
    PGSCAN_KSWAPD,
    PGSTEAL_DIRECT,
    PGSTEAL_KSWAPD,
    PSWPIN,
    PSWPOUT,
)
from kernelsim.procfs.capture import vm_events
from kernelsim.procfs.dmesg import render_dmesg
from kernelsim.report.run_options import RunOptions
from kernelsim.report.text_table import plain_table
from kernelsim.sim.ending import Ended
from kernelsim.units import format_duration
from kernelsim.workload.handle import ProcessHandle
from kernelsim.workload.machine import MachineHandle
from kernelsim.workload.process_statistics import ProcessStatistics

LOCKS_MAX: Final = 5
PROCESSES_MAX: Final = 20
PROCESS_HEADERS: Final = (
    *("pid", "name", "status", "rss", "swap", "faults", "major"),
    *("cpu", "run queue", "locks", "reclaim", "I/O"),
)
WALL: Final = "wall time"
Rows = tuple[tuple[str, ...], ...]


@attrs.frozen
class SummaryTable:
    """One table of the summary."""

    title: str
    headers: tuple[str, ...]
    rows: Rows


@attrs.frozen
class RunSummary:
    """The whole summary.

    Attributes:
        facts: Pairs of what and how much.
        expectations: Lines about those that failed, or were not reached.
        notes: Lines the workload wants shown.
        tables: Those that have rows.
        console: What the simulated kernel printed on its console, errors and worse, with its time
            stamps; the whole log is the file `dmesg` of the run.
    """

    facts: tuple[tuple[str, str], ...]
    expectations: tuple[str, ...]
    notes: tuple[str, ...]
    tables: tuple[SummaryTable, ...]
    console: str


def summarize(
    machine: Machine,
    handle: MachineHandle,
    options: RunOptions,
    *,
    wall_ns: int,
    compile_ns: int = 0,
    nr_checks: int | None = None,
    failure: CheckFailedError | None = None,
    unreached: Sequence[int] = (),
) -> RunSummary:
    """Summarize a run that has ended.

    Args:
        machine: After its run.
        handle: What its workload had of it.
        options: What the user chose.
        wall_ns: What the run took in real time.
        compile_ns: What compiling took besides, before the run and in it.
        nr_checks: How often everything was checked, and held; None when checking was off.
        failure: What makes the run's exit status 1.
        unreached: Lines of the workload with expectations that the run ended before.
    """
    ended = machine.ended
    assert ended is not None
    compiling = f", and {format_duration(compile_ns)} for compiling" if compile_ns else ""
    facts = [
        ("ended", ended_text(ended, failure)),
        *expectation_facts(handle),
        ("virtual time", format_duration(ended.now_ns)),
        (WALL, format_duration(wall_ns) + compiling),
        *knob_facts(machine, options),
        *event_facts(machine, handle),
    ]
    if nr_checks is not None:
        facts.append(("checks", f"ran {nr_checks} times, found nothing wrong"))
    if options.out is not None:
        facts.append(("files", str(options.out)))
    tables = (
        zone_table(machine),
        band_table(machine),
        lock_table(machine),
        process_table(handle),
    )
    return RunSummary(
        tuple(facts),
        tuple(expectation_lines(handle, unreached)),
        (*handle.notes, *handle.damon_choice.remarks()),
        tuple(table for table in tables if table.rows),
        render_dmesg(machine.kernel.console, boot_ns=machine.spec.boot.uptime_ns),
    )


def knob_facts(machine: Machine, options: RunOptions) -> list[tuple[str, str]]:
    """Return what the knobs of the run stand at, and what each does to its results."""
    engine, burst_pages = machine.engine, machine.kernel.burst_pages
    order = "none: simultaneous events happen in the order they were planned in"
    if engine.schedule_seed is not None:
        order = f"{engine.schedule_seed}: its own order of simultaneous events, so other results"
    burst = "every step by messages: slower, the same counters"
    if burst_pages > 1:
        burst = "most pages in one event of the log; changes the speed, no counter"
    facts = [
        (
            "seed",
            f"{engine.seed}: addresses, cache misses, timer phase, first CPU; a workload's draws",
        ),
        ("schedule seed", order),
        ("burst pages", f"{burst_pages}: {burst}"),
    ]
    if options.trace:
        words = " ".join(options.trace)
        facts.append(("trace", f"{words}: chooses what is logged, changes no result"))
    return facts


def ended_text(ended: Ended, failure: CheckFailedError | None) -> str:
    """Return how a run ended: the panic, the uncaught outcome, or what the engine says."""
    if ended.state == "done" and failure is not None:
        return "done, and failed"
    detail = str(failure) if ended.state == "failed" and failure is not None else ended.detail
    return f"{ended.state}: {detail}" if detail else ended.state


def expectation_facts(handle: MachineHandle) -> list[tuple[str, str]]:
    """Return how many expectations held, if any was stated."""
    nr_all, nr_failed = len(list(handle.expectations)), len(handle.expectations.failed)
    if not nr_all:
        return []
    text = f"{nr_failed} of {nr_all} FAILED" if nr_failed else f"{nr_all} held"
    return [("expectations", text)]


def expectation_lines(handle: MachineHandle, unreached: Sequence[int]) -> Iterator[str]:
    """Yield a line for each expectation that failed, and one for all that were not reached."""
    for each in handle.expectations.failed:
        yield f"FAILED {each.told()}"
    if unreached:
        yield f"not reached: those of line {', '.join(map(str, unreached))}"


def event_facts(machine: Machine, handle: MachineHandle) -> list[tuple[str, str]]:
    """Return what the event counters say, counted from the start of the run."""
    counts = [int(count) for count in machine.mem.vm_event]
    before = machine.spec.boot.vmstat

    def since(number: int, name: str) -> int:
        return counts[number] - before.get(name, 0)

    faults, major = since(PGFAULT, "pgfault"), since(PGMAJFAULT, "pgmajfault")
    stalls = sum(
        count - before.get(name, 0)
        for name, count in vm_events(machine.kernel).items()
        if name.startswith("allocstall_")
    )
    scanned = (since(PGSCAN_KSWAPD, "pgscan_kswapd"), since(PGSCAN_DIRECT, "pgscan_direct"))
    stolen = (since(PGSTEAL_KSWAPD, "pgsteal_kswapd"), since(PGSTEAL_DIRECT, "pgsteal_direct"))
    scans = [
        f", scanned {looked} pages and reclaimed {got}"
        for looked, got in zip(scanned, stolen, strict=True)
    ]
    stalled_ns = sum(process.stats.reclaim_ns for process in handle.processes)
    stalled_ns += sum(task.waits.reclaim_ns for task in machine.kernel.kthreads)
    return [
        ("page faults", f"{faults}, {major} of them major"),
        ("kswapd", f"ran {since(PAGEOUTRUN, 'pageoutrun')} times{scans[0]}"),
        ("direct reclaim", f"{stalls} stalls, {format_duration(stalled_ns)} in all{scans[1]}"),
        ("swap", f"{since(PSWPOUT, 'pswpout')} pages out, {since(PSWPIN, 'pswpin')} pages in"),
        ("OOM kills", str(since(OOM_KILL, "oom_kill"))),
    ]


def zone_table(machine: Machine) -> SummaryTable:
    """Return free pages and watermarks of each zone with memory."""
    columns = (Z_WMARK_MIN, Z_WMARK_LOW, Z_WMARK_HIGH, Z_WATERMARK_BOOST, Z_FREE)
    rows = [
        (
            name_of(machine, number),
            *(str(int(row[column])) for column in columns),
        )
        for number, row in enumerate(machine.mem.zone)
        if row[Z_PRESENT]
    ]
    return SummaryTable(
        "zones, in pages", ("zone", "min", "low", "high", "boost", "free"), tuple(rows)
    )


def name_of(machine: Machine, zone: int) -> str:
    """Return the name of a zone row, as "node 0 DMA32"."""
    types = machine.kernel.phys.zone_types
    return zone_name(zone // len(types), types[zone % len(types)])


def band_table(machine: Machine) -> SummaryTable:
    """Return when each zone first entered each band of its watermarks, and how often it did."""
    rows = []
    for node in machine.kernel.nodes:
        for zone, entries in node.bands.entries.items():
            cells = [
                f"{format_duration(first_ns)}, {times} ×" if times else "never"
                for times, first_ns in reversed(entries[:-1])
            ]
            rows.append((name_of(machine, zone), *cells))
    headers = ("zone", "below high", "below low", "below min")
    return SummaryTable("watermarks first crossed", headers, tuple(rows))


def lock_table(machine: Machine) -> SummaryTable:
    """Return the locks and servers that were waited for longest."""
    accounts = machine.engine.accounts
    busy = sorted(
        ((account.wait_ns, name) for name, account in accounts.items() if account.wait_ns),
        key=lambda pair: (-pair[0], pair[1]),
    )
    rows = []
    for wait_ns, name in busy:
        account = accounts[name]
        share = f"{account.nr_waits} of {account.nr_holds}"
        longest = format_duration(account.wait_ns_max)
        rows.append((name, share, format_duration(wait_ns), longest))
    headers = ("lock", "waits", "waited", "longest")
    return SummaryTable("locks, longest waited for first", headers, cut(rows, LOCKS_MAX))


def process_table(machine: MachineHandle) -> SummaryTable:
    """Return what each process has, did, and used its time for, longest wait first."""
    stats = {handle: handle.stats for handle in machine.processes}
    order = sorted(stats, key=lambda handle: (-memory_wait_ns(stats[handle]), handle.pid))
    rows = [process_row(handle, stats[handle]) for handle in order]
    title = "processes, longest wait for memory first (locks, reclaim, I/O); rss and swap in pages"
    return SummaryTable(title, PROCESS_HEADERS, cut(rows, PROCESSES_MAX))


def memory_wait_ns(stats: ProcessStatistics) -> int:
    """Return how long a process waited for memory."""
    return stats.lock_ns + stats.reclaim_ns + stats.io_ns


def process_row(handle: ProcessHandle, stats: ProcessStatistics) -> tuple[str, ...]:
    """Return the row of one process."""
    counts = (stats.rss_pages, stats.swap_pages, stats.pgfault, stats.pgmajfault)
    used = (stats.utime_ns + stats.stime_ns, stats.run_delay_ns)
    times = (*used, stats.lock_ns, stats.reclaim_ns, stats.io_ns)
    return (
        str(handle.pid),
        handle.name,
        status_text(handle.exit_status),
        *map(str, counts),
        *map(format_duration, times),
    )


def cut(rows: Sequence[tuple[str, ...]], most: int) -> Rows:
    """Return the first rows, and one that says how many more there are if that saves any."""
    if len(rows) <= most + 1:
        return tuple(rows)
    last = ("…", f"and {len(rows) - most} more", *[""] * (len(rows[0]) - 2))
    return (*rows[:most], last)


def status_text(status: int | None) -> str:
    """Return how a process ended: its status, or the signal by name; empty while it lives."""
    if status is None:
        return ""
    return str(status) if status >= 0 else signal.Signals(-status).name


def summary_text(summary: RunSummary) -> str:
    """Return the summary as plain text."""
    width = max(len(name) for name, _ in summary.facts)
    parts = ["".join(f"{name:<{width}}  {value}\n" for name, value in summary.facts)]
    if summary.expectations:
        lines = "".join(f"{line}\n" for line in summary.expectations)
        parts.append(f"\nexpectations\n{lines}")
    if summary.notes:
        parts.append("\nnotes\n" + "".join(f"{note}\n" for note in summary.notes))
    parts += [f"\n{t.title}\n{plain_table(t.headers, t.rows)}" for t in summary.tables]
    if summary.console:
        parts.append(f"\nconsole\n{summary.console}")
    return "".join(parts)


def print_summary(summary: RunSummary) -> None:
    """Print the summary on stdout."""
    if not sys.stdout.isatty():
        sys.stdout.write(summary_text(summary))
        return
    console = Console()
    facts = Table(box=None, show_header=False)
    for name, value in summary.facts:
        facts.add_row(Text(name, style="bold"), Text(value))
    console.print(facts)
    for line in summary.expectations:
        console.print(Text(line, style="bold red"))
    for note in summary.notes:
        console.print(Text(note))
    for each in summary.tables:
        table = Table(title=each.title, title_justify="left")
        for number, header in enumerate(each.headers):
            table.add_column(header, justify="left" if number == 0 else "right")
        for row in each.rows:
            table.add_row(*(Text(cell) for cell in row))
        console.print(table)
    console.print(Text(summary.console), end="")
