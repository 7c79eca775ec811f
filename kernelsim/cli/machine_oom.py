"""Print what an OOM report holds: who asked, who had the memory, who was killed.

Interface: `print_report`.
Units: pages in the report, sizes for people on the screen.
"""

from typing import Final

from rich.console import Console
from rich.table import Table

from kernelsim.config.oom_report import OomReport
from kernelsim.units import KIB, PAGE_SIZE, format_size

NR_SHOWN: Final = 12  # the largest tasks


def print_report(report: OomReport) -> None:
    """Print the largest tasks, and the course of events."""
    tasks = sorted(report.tasks, key=lambda task: -task.nr_pages)
    table = Table("pid", "name", "memory", "swap", "oom_score_adj", "", box=None)
    for task in tasks[:NR_SHOWN]:
        sizes = (format_size(pages * PAGE_SIZE) for pages in (task.rss, task.swapents))
        end = "killed" if task == report.killed else ""
        table.add_row(str(task.pid), task.name, *sizes, str(task.oom_score_adj), end)
    Console(highlight=False, width=200).print(table)
    if len(tasks) > NR_SHOWN:
        rest = sum(task.nr_pages for task in tasks[NR_SHOWN:]) * PAGE_SIZE
        print(f"{len(tasks) - NR_SHOWN} more tasks hold {format_size(rest)}")
    free = format_size(report.swap_kb.get("Free", 0) * KIB)
    print(f"{report.invoker} asked for a block of order {report.order}; free swap {free}")
    print(f"to have it happen again: kernelsim run {report.file}")
