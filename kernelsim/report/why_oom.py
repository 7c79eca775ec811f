"""Why the OOM killer chose whom it chose: the ranking, and what each term of it was.

The badness is that of the machine's own OOM killer: rss + swap + page tables, in pages, plus
oom_score_adj thousandths of memory and swap; -1000 and init are never chosen.
Interface: `kills_of` a kernel log; `kill_text` of one. Units: pages.
"""

import re
from collections.abc import Iterator, Sequence
from typing import Final

import attrs

from kernelsim.config.oom_report import INVOKED, OomReport, OomTask, parse_oom_report
from kernelsim.mm.reclaim import oom_kill
from kernelsim.report.text_table import plain_table
from kernelsim.units import KIB, PAGE_SIZE

ROWS_MAX: Final = 20
RAM: Final = re.compile(r"(\d+) pages RAM")
RESERVED: Final = re.compile(r"(\d+) pages reserved")


@attrs.frozen
class Kill:
    """One OOM kill.

    Attributes:
        report: What the kernel logged.
        total_pages: Memory and swap, which adjustments are thousandths of.
    """

    report: OomReport
    total_pages: int


def kills_of(text: str, *, file: str) -> list[Kill]:
    """Return the OOM kills of a kernel log.

    Raises:
        RecordingError: There is no report in it, or one is not whole.
    """
    lines = text.splitlines(keepends=True)
    starts = [number for number, line in enumerate(lines) if INVOKED in line] or [0]
    kills = []
    for start, end in zip(starts, [*starts[1:], len(lines)], strict=True):
        part = "".join(lines[start:end])
        report = attrs.evolve(parse_oom_report(part), file=file)
        kills.append(Kill(report, total_pages(part, report)))
    return kills


def total_pages(text: str, report: OomReport) -> int:
    """Return memory without what is reserved, and swap."""
    ram, reserved = RAM.search(text), RESERVED.search(text)
    pages = sum(zone.sizes["managed"] for zone in report.zones)
    if ram and reserved:
        pages = int(ram[1]) - int(reserved[1])
    return pages + report.swap_kb.get("Total", 0) * KIB // PAGE_SIZE


def kill_text(kill: Kill) -> Iterator[str]:
    """Yield lines on one kill: who asked for what, the ranking, who was chosen."""
    report = kill.report
    yield f"{report.invoker} asked for a block of order {report.order} and nothing could be freed"
    yield (
        f"{kill.total_pages} pages of memory and swap: a thousandth of oom_score_adj is worth "
        f"{kill.total_pages // 1000} pages"
    )
    ranked = ranking(report.tasks, kill.total_pages)
    rows = [row_of(task, kill) for task in ranked[:ROWS_MAX]]
    headers = ["pid", "name", "rss", "+ swap", "+ page tables", "+ adjustment", "= badness", ""]
    yield from plain_table(headers, rows).splitlines()
    if len(ranked) > ROWS_MAX:
        yield f"… and {len(ranked) - ROWS_MAX} more"
    if report.killed is None:
        yield "the log ends before anybody was killed"
    elif report.killed != ranked[0] and badness(report.killed, kill.total_pages) is not None:
        yield (
            f"{report.killed.name} is not the first: vm.oom_kill_allocating_task, a task that was "
            "dying already, or a policy that left out others"
        )


def ranking(tasks: Sequence[OomTask], total: int) -> list[OomTask]:
    """Return tasks in the order in which the OOM killer prefers them; of equals the later listed.

    Source: Linux 6.1 mm/oom_kill.c:oom_evaluate_task
    """
    points = [badness(task, total) for task in tasks]
    chosen = [(-own, -number) for number, own in enumerate(points) if own is not None]
    never = [task for task, own in zip(tasks, points, strict=True) if own is None]
    return [*(tasks[-number] for _, number in sorted(chosen)), *never]


def badness(task: OomTask, total: int) -> int | None:
    """Return what the OOM killer ranks a task by; None for one that it never chooses."""
    seen = oom_kill.OomTask(
        pid=task.pid,
        comm=task.name,
        total_vm=0,
        rss_anon=task.rss,
        rss_file=0,
        rss_shmem=0,
        swapents=task.swapents,
        pgtables_bytes=task.pgtables_bytes,
        oom_score_adj=task.oom_score_adj,
    )
    return oom_kill.oom_badness(seen, total)


def row_of(task: OomTask, kill: Kill) -> list[str]:
    """Return the row of one task."""
    points = badness(task, kill.total_pages)
    adjustment = task.oom_score_adj * (kill.total_pages // 1000)
    shown = f"{adjustment:+d} ({task.oom_score_adj})" if task.oom_score_adj else "0"
    return [
        str(task.pid),
        task.name,
        str(task.rss),
        str(task.swapents),
        str(task.pgtables_bytes // PAGE_SIZE),
        shown,
        "never" if points is None else str(points),
        "killed" if task == kill.report.killed else "",
    ]
