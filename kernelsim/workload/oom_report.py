"""Rebuild the moment of an OOM report: its processes hold their memory, and one asks for more.

Each task of the report is a process that holds the pages it had in memory and in swap. What is
used beyond them is held by a process "kernel" that nobody kills, its memory locked. Then the
process that invoked the OOM killer asks for pages until somebody dies: is it whom the real kernel
killed?
Differs: What a process of the report had of files and shared memory is anonymous memory of its
own; where more was shared than there is, all have less in proportion.
Interface: `oom_workload`.
Units: pages; kB in the report.
"""

from pathlib import Path
from typing import Final

from kernelsim.config.from_oom import machine_from_oom
from kernelsim.config.oom_report import OomReport, OomTask, OomZone, parse_oom_report
from kernelsim.errors import ProcessEndedError
from kernelsim.mm.reclaim.oom_kill import OOM_SCORE_ADJ_MIN
from kernelsim.procfs.meminfo import meminfo_kb
from kernelsim.units import KIB, MIB, PAGE_SIZE
from kernelsim.workload.api import Workload
from kernelsim.workload.handle import ProcessHandle
from kernelsim.workload.machine import MachineHandle

PAGE_KB: Final = PAGE_SIZE // KIB
ASKED_AT_ONCE: Final = MIB // PAGE_SIZE  # pages that are asked for in one go, at least
SPARE_SHARE: Final = 50  # a fiftieth of memory stays with the kernel: page tables, images, batches


def oom_workload(path: Path) -> Workload:
    """Return the workload of a kernel log, on the machine of its first OOM report.

    Raises RecordingError and ConfigError as parse_oom_report and machine_from_oom.
    """
    report = parse_oom_report(path)

    async def main(machine: MachineHandle) -> None:
        await replay_oom(machine, report)

    return Workload(main, "machine", machine=machine_from_oom(report))


async def replay_oom(machine: MachineHandle, report: OomReport) -> None:
    """Start the processes of a report, have memory used up, and say who was killed."""
    kernel = await machine.spawn("kernel", oom_score_adj=OOM_SCORE_ADJ_MIN)
    await hold_locked(kernel, report)
    handles = await start_tasks(machine, report)
    await hold_the_rest(machine, kernel, report)
    invoker = next((h for t, h in handles if t.pid == report.invoker_pid), None)
    await ask_for_more(machine, report, invoker)
    victims = [task for task, handle in handles if handle.exit_status is not None]
    who = f"{victims[0].name} ({victims[0].pid})" if victims else "nobody of the report"
    if report.killed is None:
        machine.note(f"killed here: {who}; the log does not say whom the kernel killed")
        return
    real = f"{report.killed.name} ({report.killed.pid})"
    machine.note(f"killed here: {who}; the kernel killed {real}")
    machine.expect(report.killed in victims[:1], f"{report.killed.name} is killed first")


async def hold_locked(kernel: ProcessHandle, report: OomReport) -> None:
    """Have a process lock the memory that is in use and no task's."""
    in_use = sum(zone.sizes["managed"] - kept_free(zone) for zone in report.zones)
    nr_pages = in_use - in_use // SPARE_SHARE - sum(task.rss for task in report.tasks)
    if nr_pages > 0:
        await kernel.syscall("mlock", await kernel.mmap(nr_pages * PAGE_SIZE))


def kept_free(zone: OomZone) -> int:
    """Return the pages that stay free of a zone until the invoker asks."""
    return max(zone.sizes["free"], zone.sizes["high"])


async def start_tasks(
    machine: MachineHandle, report: OomReport
) -> list[tuple[OomTask, ProcessHandle]]:
    """Start a process a task, and have each hold its pages."""
    room = sum(zone.sizes["managed"] - kept_free(zone) for zone in report.zones)
    room += report.swap_kb.get("Total", 0) // PAGE_KB
    room -= room // SPARE_SHARE
    wanted = sum(task.nr_pages for task in report.tasks)
    if wanted > room:
        machine.note(f"{wanted} pages of {len(report.tasks)} tasks are shared in part: {room} fit")
    handles: list[tuple[OomTask, ProcessHandle]] = []
    for task in report.tasks:
        process = await machine.spawn(task.name, oom_score_adj=task.oom_score_adj)
        handles.append((task, process))
        nr_pages = task.nr_pages if wanted <= room else task.nr_pages * room // wanted
        nr_pages -= process.stats.rss_pages
        if nr_pages > 0 and not killed(machine):
            await process.touch(await process.mmap(nr_pages * PAGE_SIZE), write=True)
    return handles


async def hold_the_rest(machine: MachineHandle, kernel: ProcessHandle, report: OomReport) -> None:
    """Have the kernel's process take what is left, in swap, too, down to what the report had."""
    spare_kb = PAGE_KB * sum(map(kept_free, report.zones)) + report.swap_kb.get("Free", 0)
    while not killed(machine):
        meminfo = meminfo_kb(machine.capture())
        left_kb = meminfo["MemFree"] + meminfo["SwapFree"] - spare_kb
        nr_pages = min(left_kb // PAGE_KB, max(left_kb // PAGE_KB // 8, ASKED_AT_ONCE))
        if nr_pages <= 0:
            return
        await kernel.touch(await kernel.mmap(nr_pages * PAGE_SIZE), write=True)


async def ask_for_more(
    machine: MachineHandle, report: OomReport, invoker: ProcessHandle | None
) -> None:
    """Have the invoker touch new pages until somebody has been killed, or all memory is its own."""
    process = invoker
    if process is None or process.exit_status is not None:
        process = await machine.spawn(report.invoker, oom_score_adj=report.oom_score_adj)
    managed = sum(zone.sizes["managed"] for zone in report.zones)
    most = managed + report.swap_kb.get("Total", 0) // PAGE_KB
    for _ in range(0, most, ASKED_AT_ONCE):
        if killed(machine):
            return
        try:
            region = await process.mmap(ASKED_AT_ONCE * PAGE_SIZE)
            await process.touch(region, write=True)
        except ProcessEndedError:
            return


def killed(machine: MachineHandle) -> bool:
    """Whether somebody has been killed."""
    return machine.vmstat["oom_kill"] > 0
