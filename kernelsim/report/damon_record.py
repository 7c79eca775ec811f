"""What DAMON saw in a run, as a record that damo reads: the lines `perf script` prints of it.

damo takes a text file for the output of perf script; `damo report heatmap --input FILE` draws it.
Interface: `write_damon`.
Units: seconds of virtual time.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Final

from kernelsim.report.event_reader import Selection
from kernelsim.report.ftrace_text import FtraceText
from kernelsim.report.sinks import Event
from kernelsim.trace.damon import damon_aggregated

EVENT: Final = damon_aggregated.event


def write_damon(events: Iterable[Event], selection: Selection, target: Path) -> int:
    """Write the chosen events of DAMON to a file, if there are any; return their number.

    Raises:
        OSError: The file cannot be written.
    """
    text = FtraceText()
    lines = []
    for event in events:
        text.look(event)
        if event.event == EVENT and selection.takes(event):
            lines.append(perf_line(text.line(event)))
    if lines:
        target.write_text("".join(f"{line}\n" for line in lines), encoding="ascii")
    return len(lines)


def perf_line(line: str) -> str:
    """Return a line of ftrace as perf script has it.

    Source: Linux 6.1 tools/perf/builtin-script.c:perf_sample__fprintf_start
    """
    task, cpu, _flags, time, event, fields = line.split(maxsplit=5)
    comm, _, pid = task.rpartition("-")
    return f"{comm:>16} {pid:>7} {cpu} {time} {damon_aggregated.subsystem}:{event} {fields}"
