"""A recorded OOM report beside ours of the same machine, line by line.

Numbers that follow from the machine are the same; others may differ, as two runs of one kernel do.
The recorded call trace and registers are left out: ours has none.
"""

import re
from pathlib import Path

import pytest

from kernelsim.oracle.case_run import run_case
from tools.ratchet import read_ratchet

pytestmark = [pytest.mark.slow, pytest.mark.mission("R12")]

CASE = Path(__file__).parent / "cases/d08"
STAMP = re.compile(r"^\[ *\d+\.\d{6}\] ?(.*)$")
STACK = re.compile(r"Call Trace:\n.* </TASK>\n", re.DOTALL)
# What depends on what ran before, by the words before the number.
VARYING = re.compile(
    r"\b(free|free_pcp|local_pcp|(?:in)?active_anon|pagetables|kernel_stack|slab_\w+|boost|min|low"
    r"|high|total-vm|anon-rss|pgtables|pid):\d+|\b(pid=|process )\d+"
)
BLOCKS = re.compile(r"\d+(\*\d+kB)(?: \(\w+\))?|(= )\d+(?=kB)")
TASK = re.compile(r"^\[ *\d+\] +(\d+) +\d+ +\d+ +\d+ +\d+ +(\d+) +(-?\d+) (\w+)$")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Run the case; return the rows that were compared and the kernel log."""
    out = tmp_path_factory.mktemp("d08")
    return run_case(CASE, out).rows, (out / "dmesg.txt").read_text()


def reports(text):
    """Return the reports of a kernel log, each a list of lines without time stamps and stack."""
    lines = [match[1] for line in text.splitlines() if (match := STAMP.match(line))]
    _, *found = re.split(
        r"^(?=\w+ invoked oom-killer)", "\n".join(lines) + "\n", flags=re.MULTILINE
    )
    return [STACK.sub("", report).splitlines() for report in found]


def determined(line):
    """Return a line with N for what may differ."""
    if match := TASK.match(line):
        return match.groups()
    line = re.sub(r"^(CPU: \d+ PID: )\d+ (Comm: \w+) Not tainted .*", r"\1N \2", line)
    line = re.sub(r"^(Hardware name: ).*", r"\1N", line)
    line = BLOCKS.sub(lambda match: f"{match[2] or 'N'}{match[1] or 'N'}", line)
    return VARYING.sub(lambda match: f"{match[1] or match[2]}N", line)


def test_the_rows_inside_stay_inside(run):
    """Victims, constraints and the machine's figures; only the rows outside that were so before."""
    ratchet = read_ratchet()
    assert len(run[0]) == ratchet.compared["d08"]
    assert [row.name for row in run[0] if not row.ok] == ratchet.outside["d08"]


def test_a_report_is_the_recorded_one(run):
    """The last of the three kills, of the same three processes: every line, in the same order."""
    recorded = reports((CASE / "dmesg.txt").read_text())
    ours = reports(run[1])
    assert len(ours) == len(recorded) == 3
    assert list(map(determined, ours[-1])) == list(map(determined, recorded[-1]))
    assert "Node 0 DMA32: 8*4kB (UME) 12*8kB (UE)" in "\n".join(recorded[-1])


def test_watermarks_are_the_recorded_ones_without_boost(run):
    """What a zone keeps is the same; how far fragmentation has raised it may differ."""
    marks = re.compile(r"Node 0 (\w+) free:\d+kB boost:(\d+)kB min:(\d+)kB low:(\d+)kB high:(\d+)")

    def unboosted(report):
        found = [[*map(int, match.groups()[1:])] for line in report if (match := marks.match(line))]
        return [[mark - boost for mark in others] for boost, *others in found]

    [recorded, ours] = [reports(text)[-1] for text in ((CASE / "dmesg.txt").read_text(), run[1])]
    assert unboosted(ours) == unboosted(recorded) == [[88, 108, 128], [2600, 3248, 3896]]
